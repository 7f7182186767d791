"""What is left of the functions when the server speaks the stock dialect only."""

from __future__ import annotations

import uuid

import flamepy
import numpy as np
import pyarrow as pa
import pytest
from flamepy import ObjectRef, get_object, patch_object, put_object, update_object
from flamepy.core.transport import Connection

pytestmark = pytest.mark.usefixtures("client")


@pytest.fixture(autouse=True)
def stock_dialect(monkeypatch):
    """Make the client believe so; our server speaks both dialects."""
    monkeypatch.setattr(Connection, "speaks_documents", lambda *_: False)


@pytest.fixture
def session() -> str:
    return f"stock/{uuid.uuid4()}"


@pytest.mark.parametrize(
    "obj",
    [
        {"a": 1},
        np.arange(1_000_000.0),
        b"x" * 1_000_000,
        pa.table({"a": range(200_000)}),
        pa.record_batch({"a": pa.array([], pa.int8())}),
    ],
    ids=lambda obj: type(obj).__name__,
)
def test_objects_come_back(session, obj):
    ref = put_object(session, obj)
    for result in (get_object(ref), get_object(ref), get_object(ObjectRef(ref.endpoint, ref.key))):
        np.testing.assert_equal(result, obj)
        assert type(result) is type(obj)


def test_patches_come_one_by_one(session):
    ref = put_object(session, [0])
    for number in range(1, 5):
        ref = patch_object(ref, number)
        assert get_object(ref, lambda base, patches: base + patches) == list(range(number + 1))
    assert get_object(update_object(ref, [9])) == [9]


def test_rows_become_deltas(session):
    ref = put_object(session, {"base": 1})
    patch_object(ref, pa.table({"a": [1]}))
    assert get_object(ref, lambda _, patches: patches) == [pa.table({"a": [1]})]


def test_files(session, tmp_path):
    for size in (0, 10, 9_000_000):
        source, target = tmp_path / "source", tmp_path / "target"
        source.write_bytes(b"z" * size)
        flamepy.download_object(flamepy.upload_object(session, source), target)
        assert target.read_bytes() == source.read_bytes()


def test_deletes_are_not_counted(session):
    ref = put_object(session, 1)
    assert flamepy.delete_objects(session) == -1
    with pytest.raises(KeyError):
        get_object(ref)


@pytest.mark.parametrize(
    "call",
    [
        lambda ref: update_object(ref, 1, if_version=1),
        lambda ref: patch_object(ref, 1, if_version=1),
        lambda ref: put_object("app/session", 1, ttl=1),
        lambda ref: update_object(ref, 1, ttl=1),
        lambda ref: patch_object(ref, 1, ttl=1),
        lambda ref: flamepy.upload_object("app/session", __file__, ttl=1),
        lambda ref: flamepy.delete_objects(ref.key, if_version=1),
        lambda ref: flamepy.stat_object(ref),
        lambda ref: list(flamepy.list_objects()),
        lambda ref: flamepy.watch_objects(),
    ],
)
def test_what_the_server_lacks_is_said(session, call):
    with pytest.raises(flamepy.NotSupported, match=r"not supported by this server.*Flame 0\.6"):
        call(put_object(session, 1))
