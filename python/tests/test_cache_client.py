"""The public functions against a real server."""

from __future__ import annotations

import threading
import uuid

import flamepy
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from flamepy import ObjectRef, get_object, patch_object, put_object, update_object
from flamepy.core.client import default_client
from flamepy.core.object_cache import Entry

pytestmark = pytest.mark.usefixtures("client")

TABLE = pa.table({"a": [1, 2], "s": ["x", None]})


@pytest.fixture
def session() -> str:
    """A prefix that no other test uses."""
    return f"test/{uuid.uuid4()}"


def appended(base, patches):
    return [*base, *patches]


@pytest.mark.parametrize(
    "obj",
    [
        None,
        {"a": [1, 2]},
        "text",
        b"bytes" * 200_000,
        pa.array([1, None]),
        pa.chunked_array([[1], [2]]),
        TABLE,
        TABLE.to_batches()[0],
        pa.record_batch({"a": pa.array([], pa.int8())}),
        pa.table({"a": range(500_000)}),
        pa.table({}),
        pa.table({"d": pa.chunked_array([pa.array([c]).dictionary_encode() for c in "ab"])}),
    ],
    ids=lambda obj: f"{type(obj).__name__}-{getattr(obj, 'nbytes', 0)}",
)
def test_objects_come_back(session, obj):
    ref = put_object(session, obj)
    for result in (get_object(ref), get_object(ref), get_object(ObjectRef(ref.endpoint, ref.key))):
        assert type(result) is type(obj)
        assert result == obj


@pytest.mark.parametrize("size", [1000, 1_000_000])
@pytest.mark.parametrize("dtype", ["f8", "?", ">i4", "M8[s]", "c16"])
def test_arrays_come_back_aligned_and_read_only(session, dtype, size):
    array = np.arange(size).astype(dtype)
    ref = put_object(session, array)
    result = get_object(ref)
    assert result.dtype == array.dtype
    assert result.flags.aligned
    np.testing.assert_array_equal(result, array)
    with pytest.raises(ValueError, match="read-only"):
        result[0] = array[1]
    private = get_object(ref, copy=True)
    private[0] = array[1]
    np.testing.assert_array_equal(get_object(ref), array)


def test_frames_come_back(session):
    frame = pd.DataFrame({"i": [1, 2], "c": pd.Categorical(["a", None])}, index=["x", "y"])
    pd.testing.assert_frame_equal(get_object(put_object(session, frame)), frame)
    frame = pl.DataFrame({"e": pl.Series(["a", None], dtype=pl.Enum(["a", "b"]))})
    assert get_object(put_object(session, frame)).equals(frame)


def test_f8_an_empty_record_batch_stays_one(session):
    batch = TABLE.schema.empty_table().to_reader().schema
    batch = pa.RecordBatch.from_pylist([], schema=batch)
    result = get_object(put_object(session, batch))
    assert isinstance(result, pa.RecordBatch)
    assert result.equals(batch)


def test_older_forms_of_put(session):
    app, name = session.split("/")
    assert put_object(app, name, 1).key.startswith(f"{session}/")
    assert put_object(name, 1).key.startswith(f"default/{name}/")
    assert put_object(key_prefix=session, obj=1).version == 1


@pytest.mark.parametrize("prefix", ["a/b/c", "a/*", "a/..", "", "a/", None])
def test_what_is_no_prefix_is_refused_locally(prefix):
    with pytest.raises(ValueError):
        put_object(prefix, 1)


@pytest.mark.parametrize("call", [get_object, flamepy.stat_object])
def test_what_is_no_key_is_refused_locally(call):
    with pytest.raises(ValueError):
        call(ObjectRef("grpc://127.0.0.1:1", "a/b", 1))


def test_versions_rise_by_one(session):
    ref = put_object(session, [1])
    assert ref.version == 1
    ref = update_object(ref, [2])
    ref = patch_object(ref, 3)
    assert ref.version == 3
    assert get_object(ref) == [2]
    assert get_object(ref, appended) == [2, 3]


def test_named_objects_and_conditions(session):
    ref = put_object(session, 1, name="n", if_version=0)
    assert ref.key == f"{session}/n"
    with pytest.raises(flamepy.VersionConflict) as caught:
        put_object(session, 2, name="n", if_version=0)
    assert caught.value.current_version == 1
    assert caught.value.outcome == "not_applied"
    assert update_object(ref, 2, if_version=1).version == 2
    for conditional in (
        lambda: update_object(ref, 3, if_version=1),
        lambda: update_object(ref, np.zeros(1_000_000), if_version=1),
        lambda: patch_object(ref, 3, if_version=1),
        lambda: flamepy.delete_objects(ref.key, if_version=1),
    ):
        with pytest.raises(flamepy.VersionConflict) as caught:
            conditional()
        assert caught.value.current_version == 2
        assert "flame:" not in str(caught.value)
    assert flamepy.delete_objects(ref.key, if_version=2) == 1
    with pytest.raises(ValueError, match="name="):
        put_object(session, 1, if_version=0)
    with pytest.raises(ValueError, match="full key"):
        flamepy.delete_objects(session, if_version=1)


def test_absent_objects(session, client):
    ref = ObjectRef(client.endpoint, f"{session}/absent", 1)
    for call in (
        lambda: get_object(ref),
        lambda: patch_object(ref, 1),
        lambda: flamepy.stat_object(ref),
        lambda: flamepy.download_object(ref, "/nonexistent/file"),
    ):
        with pytest.raises(KeyError) as caught:
            call()
        assert isinstance(caught.value, flamepy.NotFound)
        assert ref.key in str(caught.value)
    assert update_object(ref, 1).version == 1


def test_appending_rows(session):
    ref = put_object(session, TABLE)
    assert get_object(ref) == TABLE
    patch_object(ref, TABLE)
    patch_object(ref, TABLE.slice(0, 1).to_batches()[0])
    assert get_object(ref).equals(pa.concat_tables([TABLE, TABLE, TABLE.slice(0, 1)]))
    base, patches = get_object(ref, lambda *parts: parts)
    assert base == TABLE
    assert [patch.num_rows for patch in patches] == [2, 1]
    assert get_object(ObjectRef(ref.endpoint, ref.key)).num_rows == 5


def test_appending_many_rows_brings_only_the_new_ones(session):
    big = pa.table({"a": range(300_000)})
    ref = put_object(session, big)
    first = get_object(ref)
    patch_object(ref, big)
    second = get_object(ref)
    assert second.num_rows == 600_000
    assert second["a"].chunk(0).buffers()[1].address == first["a"].chunk(0).buffers()[1].address
    patch_object(ref, big.slice(0, 1))
    assert get_object(ref).num_rows == 600_001


@pytest.mark.parametrize("library", [pd, pl])
def test_appending_frames(session, library):
    ref = put_object(session, library.DataFrame({"a": [1, 2]}))
    patch_object(ref, library.DataFrame({"a": [3]}))
    result = get_object(ref)
    assert isinstance(result, library.DataFrame)
    assert list(result["a"]) == [1, 2, 3]


def test_what_cannot_be_appended_to_a_table(session):
    ref = put_object(session, TABLE)
    with pytest.raises(flamepy.WrongKind, match="schema"):
        patch_object(ref, pa.table({"b": [1]}))
    with pytest.raises(flamepy.WrongKind):
        patch_object(ref, {"no": "rows"})
    assert flamepy.stat_object(ref).version == 1


def test_rows_as_a_delta_of_an_opaque_object(session):
    ref = put_object(session, {"base": 1})
    for delta in (TABLE, TABLE.to_batches()[0], pd.DataFrame({"a": [1]})):
        patch_object(ref, delta)
    _, (table, batch, frame) = get_object(ref, lambda *parts: parts)
    assert table == TABLE
    assert isinstance(batch, pa.RecordBatch)
    assert isinstance(frame, pd.DataFrame)


def test_f4_results_belong_to_the_caller(session):
    ref = put_object(session, {"list": [1]})
    get_object(ref)["list"].append(2)
    assert get_object(ref) == {"list": [1]}


def test_f4_a_deserializer_that_mutates_the_base_is_applied_once(session):
    ref = put_object(session, [1])
    patch_object(ref, 2)

    def extend(base, patches):
        base.extend(patches)
        return base

    for _ in range(3):
        assert get_object(ref, extend) == [1, 2]
    assert get_object(ref) == [1]


def test_f4_a_frame_belongs_to_the_caller(session):
    ref = put_object(session, pd.DataFrame({"a": [1, 2]}))
    private, shared = get_object(ref, copy=True), get_object(ref)
    private.loc[0, "a"] = 9
    shared["b"] = 1
    pd.testing.assert_frame_equal(get_object(ref), pd.DataFrame({"a": [1, 2]}))


def test_f5_deserializers_are_not_remembered(session):
    ref = put_object(session, list(range(1000)))
    get_object(ref, lambda base, _: base)
    before = default_client()._session.cache.nbytes
    for _ in range(50):
        get_object(ref, lambda base, _: base)
    assert default_client()._session.cache.nbytes == before
    assert not default_client()._session.cache.get((ref.endpoint, ref.key)).memo


def test_f6_the_clients_cache_is_bounded_in_bytes(session):
    flamepy.configure_cache(max_bytes=1_000_000)
    try:
        refs = [put_object(session, bytes(300_000)) for _ in range(10)]
        for ref in refs:
            get_object(ref)
            assert default_client()._session.cache.nbytes <= 1_000_000
        assert len(default_client()._session.cache) >= 2
        assert all(len(get_object(ref)) == 300_000 for ref in refs)
    finally:
        flamepy.configure_cache(max_bytes=256 << 20)


def test_an_unchanged_object_is_not_sent_or_made_again(session):
    ref = put_object(session, TABLE)
    assert get_object(ref) is get_object(ref)
    ref = put_object(session, np.arange(1_000_000))
    one, other = get_object(ref), get_object(ref)
    assert one is not other
    assert np.shares_memory(one, other)


def test_version_0_bypasses_the_clients_cache(session):
    ref = put_object(session, TABLE)
    bypass = ObjectRef(ref.endpoint, ref.key, 0)
    assert get_object(bypass) is not get_object(bypass)
    assert default_client()._session.cache.get((ref.endpoint, ref.key)) is None


def test_a_version_of_an_object_that_was_put_again_is_not_mistaken(session):
    ref = put_object(session, [1], name="n")
    get_object(ref)
    flamepy.delete_objects(ref.key)
    put_object(session, [2], name="n")
    patch_object(ref, 3)
    assert get_object(ref, appended) == [2, 3]


def test_a_reply_that_does_not_fit_the_entry_is_not_merged(session):
    ref = put_object(session, [1])
    patch_object(ref, 2)
    cache = default_client()._session.cache
    slot = (ref.endpoint, ref.key)
    get_object(ref)
    entry = cache.get(slot)
    cache.put(slot, Entry(1, 7, entry.base))  # Another base than the server's.
    assert get_object(ref, appended) == [1, 2]


def test_the_kind_of_an_object_may_change(session):
    ref = put_object(session, TABLE)
    assert get_object(ref) == TABLE
    update_object(ref, [1])
    assert get_object(ref) == [1]
    update_object(ref, TABLE)
    assert get_object(ref) == TABLE


def test_threads_see_whole_objects(session):
    ref = put_object(session, [0])
    failures = []

    def write():
        for number in range(1, 40):
            patch_object(ref, number)

    def read():
        last = 0
        while last < 39:
            result = get_object(ref, appended)
            if result != list(range(len(result))) or result[-1] < last:
                failures.append(result)
                return
            last = result[-1]

    threads = [threading.Thread(target=target) for target in (write, read, read, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_deleting(session):
    refs = [put_object(session, number) for number in range(3)]
    get_object(refs[0])
    assert flamepy.delete_objects(refs[0].key) == 1
    assert default_client()._session.cache.get((refs[0].endpoint, refs[0].key)) is None
    assert flamepy.delete_objects(session) == 2
    assert flamepy.delete_objects(session) == 0
    with pytest.raises(KeyError):
        get_object(refs[0])


def test_stat_and_list(session):
    app = f"app-{uuid.uuid4()}"
    put_object(f"{app}/one", TABLE, name="table")
    put_object(f"{app}/one", b"x", name="x")
    put_object(f"{app}/one", b"x", name="xx")
    put_object(f"{app}/two", pd.DataFrame({"a": [1]}), name="frame")
    ref = patch_object(put_object(f"{app}/one11", [1], name="patched"), 2)

    info = flamepy.stat_object(ref)
    assert (info.ref, info.kind, info.patches, info.base_version) == (ref, "opaque", 1, 1)
    info = flamepy.stat_object(f"{app}/two/frame")
    assert info.logical_type == "pandas.dataframe"
    assert info.schema.names == ["a"]
    assert info.modified_ms > 1_600_000_000_000

    def names(prefix):
        return [info.key.partition("/")[2] for info in flamepy.list_objects(prefix)]

    assert names(f"{app}/*") == ["one/table", "one/x", "one/xx", "one11/patched", "two/frame"]
    assert names(f"{app}/one") == ["one/table", "one/x", "one/xx"]
    assert names(f"{app}/one/x") == ["one/x"]
    assert names(f"{app}/none") == []
    assert f"{app}/one/x" in {info.key for info in flamepy.list_objects()}


def test_listing_more_than_a_page(session, monkeypatch):
    monkeypatch.setattr(flamepy.core.listing, "_PAGE", 7)
    refs = [put_object(session, number) for number in range(20)]
    assert [info.ref for info in flamepy.list_objects(session)] == sorted(refs, key=lambda r: r.key)


def test_watching(session):
    feed = flamepy.watch_objects(session)
    assert feed.read(wait=0) == []
    ref = put_object(session, 1, name="n")
    put_object(f"{session}1", 1)
    patch_object(ref, 2)
    cursor = feed.cursor
    flamepy.delete_objects(ref.key)
    events = []
    while len(events) < 3:
        events += feed.read()
    assert [(e.event, e.key, e.kind) for e in events] == [
        (event, ref.key, "opaque") for event in ("put", "patch", "delete")
    ]
    assert [e.version for e in events[:2]] == [1, 2]
    again = flamepy.watch_objects(session, cursor=cursor)
    assert [e.event for e in again.read()] == ["put", "patch", "delete"]


def test_bytes_that_are_no_object(session, tmp_path):
    file = tmp_path / "raw"
    file.write_bytes(b"\x80\x05 no pickle")
    ref = flamepy.upload_object(session, str(file))
    with pytest.raises(flamepy.DecodeError, match="download_object") as caught:
        get_object(ref)
    assert ref.key in str(caught.value)
    file.write_bytes(b"plain bytes")
    assert get_object(flamepy.upload_object(session, str(file))) == b"plain bytes"


def test_objects_of_several_rows(session, monkeypatch):
    monkeypatch.setattr(flamepy.core.buffers, "MAX_CHUNK_BYTES", 1 << 20)
    array = np.random.default_rng(1).integers(0, 255, 5_000_001, "u1")
    obj = {"x": array, "y": [array[:70_000]] * 3, "z": "text" * 50_000}
    result = get_object(put_object(session, obj))
    np.testing.assert_array_equal(result["x"], obj["x"])
    np.testing.assert_array_equal(result["y"][2], obj["y"][2])
    assert result["z"] == obj["z"]


def test_a_stream_that_was_cut_short_is_not_an_object(session, monkeypatch):
    ref = put_object(session, [1], name="n")
    monkeypatch.setattr(flamepy.core.buffers, "MAX_CHUNK_BYTES", 1 << 20)
    original = flamepy.core.uploads._opaque_batch
    sent = []

    def interrupted(data):
        if len(sent) == 2:
            raise KeyboardInterrupt
        sent.append(data)
        return original(data)

    with monkeypatch.context() as patched:
        patched.setattr(flamepy.core.uploads, "_opaque_batch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            put_object(session, np.zeros(1_000_000), name="n")
    assert update_object(ref, [2]).version == 2
    assert get_object(ref) == [2]
