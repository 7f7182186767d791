"""Files as objects, against a real server."""

from __future__ import annotations

import os
import uuid

import flamepy
import pyarrow as pa
import pytest
from flamepy import ObjectRef, download_object, upload_object

pytestmark = pytest.mark.usefixtures("client")


@pytest.fixture
def session() -> str:
    return f"files/{uuid.uuid4()}"


@pytest.mark.parametrize("size", [0, 1, 131_072, 131_073, 4 << 20, 10_000_019])
def test_f1_download_brings_back_what_was_uploaded(session, tmp_path, size):
    source, target = tmp_path / "source", tmp_path / "new" / "dir" / "target"
    source.write_bytes(os.urandom(size))
    ref = upload_object(session, str(source))
    assert ref.version == 1
    download_object(ref, str(target))
    assert target.read_bytes() == source.read_bytes()
    assert os.listdir(target.parent) == ["target"]


def test_upload_to_a_key_replaces_it(session, tmp_path):
    file = tmp_path / "file"
    for version in (1, 2):
        file.write_bytes(b"x" * version)
        assert upload_object(f"{session}/n", file) == ObjectRef(
            flamepy.core.context.current_context().cache_endpoint, f"{session}/n", version
        )
    with pytest.raises(flamepy.VersionConflict):
        upload_object(f"{session}/n", file, if_version=1)


def test_uploads_that_are_refused_locally(session, tmp_path):
    with pytest.raises(FileNotFoundError):
        upload_object(session, str(tmp_path / "absent"))
    with pytest.raises(ValueError):
        upload_object("a/*", __file__)
    with pytest.raises(ValueError):
        upload_object("a", __file__)


def test_a_failed_download_leaves_the_destination_alone(session, tmp_path, client):
    target = tmp_path / "target"
    target.write_text("before")
    with pytest.raises(KeyError):
        download_object(ObjectRef(client.endpoint, f"{session}/absent", 1), target)
    table = flamepy.put_object(session, pa.table({"a": [1]}))
    with pytest.raises(flamepy.WrongKind, match="get_object"):
        download_object(table, target)
    patched = flamepy.put_object(session, b"x")
    flamepy.patch_object(patched, 1)
    with pytest.raises(flamepy.WrongKind, match="patches"):
        download_object(patched, target)
    assert target.read_text() == "before"
    assert sorted(os.listdir(tmp_path)) == ["home", "target"]


def test_a_file_that_shrinks_while_it_is_read_is_not_uploaded(session, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(bytes(9_000_000))
    original = flamepy.core.files._read

    def read_after_truncation(path, size):
        chunks = original(path, size)
        yield next(chunks)
        os.truncate(path, 5_000_000)
        yield from chunks

    monkeypatch.setattr(flamepy.core.files, "_read", read_after_truncation)
    with pytest.raises(OSError, match="shorter"):
        upload_object(f"{session}/n", file)
    with pytest.raises(KeyError):
        flamepy.stat_object(f"{session}/n")


def test_f7_errors_of_the_server_are_typed(session, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(9_000_000))
    flamepy.put_object(session, 1, name="n")
    for call in (
        lambda: upload_object(f"{session}/n", file, if_version=7),
        lambda: flamepy.put_object(session, bytes(9_000_000), name="n", if_version=7),
        lambda: flamepy.put_object(session, b"", name="n", if_version=7),
    ):
        with pytest.raises(flamepy.VersionConflict) as caught:
            call()
        assert caught.value.current_version == 1
