"""Objects with a time to live."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta, timezone

import flamepy
import pyarrow as pa
import pytest
from flamepy.core.conditions import WriteOptions
from harness.wait import until


@pytest.fixture
def session(client) -> str:
    return f"ttl/{uuid.uuid4()}"


def is_gone(ref: flamepy.ObjectRef) -> bool:
    try:
        flamepy.get_object(ref)
    except KeyError:
        return True
    return False


@pytest.mark.parametrize(
    "obj", [{"a": 1}, b"x" * 1_000_000, pa.table({"a": [1]})], ids=["small", "stream", "table"]
)
def test_an_object_expires(session, obj):
    ref = flamepy.put_object(session, obj, ttl=0.2)
    until(lambda: is_gone(ref), "the object expires")
    with pytest.raises(KeyError):
        flamepy.stat_object(ref)


def test_every_writing_call_sets_the_moment(session, tmp_path):
    def left(ref: flamepy.ObjectRef) -> float:
        info = flamepy.stat_object(ref)
        assert info.expires_at - info.modified_at == timedelta(
            milliseconds=info.expires_at_ms - info.modified_ms
        )
        seconds = (info.expires_at_ms - info.modified_ms) / 1000
        return pytest.approx(seconds, abs=0.3)  # Two looks at one clock.

    file = tmp_path / "file"
    file.write_bytes(b"content")
    assert left(flamepy.put_object(session, 1, ttl=60)) == 60
    assert left(ref := flamepy.put_object(session, [1], name="n", ttl=timedelta(hours=1))) == 3600
    assert left(flamepy.update_object(ref, [2], ttl=90.5)) == 90.5
    assert left(flamepy.patch_object(ref, 3, ttl=70)) == 70
    assert left(flamepy.upload_object(session, file, ttl=80)) == 80
    file.write_bytes(bytes(1_000_000))
    assert left(flamepy.upload_object(session, file, ttl=90)) == 90


def test_without_a_ttl_an_object_stays(session):
    info = flamepy.stat_object(flamepy.put_object(session, 1))
    assert info.expires_at is None
    assert datetime.now(timezone.utc) - info.modified_at < timedelta(hours=1)


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), True, "1", timedelta(0), 1e15])
def test_senseless_ttls_are_refused_before_anything_is_sent(session, ttl):
    with pytest.raises(ValueError, match="ttl is"):
        flamepy.put_object(session, 1, name="n", ttl=ttl)
    assert list(flamepy.list_objects(session)) == []


def test_a_ttl_is_never_rounded_down():
    assert WriteOptions.of(ttl=0.0001).ttl_ms == 1
    assert WriteOptions.of(ttl=0.1).ttl_ms == 100
    assert WriteOptions.of(ttl=timedelta(microseconds=1)).ttl_ms == 1
