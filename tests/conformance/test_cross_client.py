"""What the published client writes our SDK reads, and the reverse."""

import decimal

import flamepy
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

VALUES = {
    "none": None,
    "text": "ü" * 1000,
    "bytes": b"\0\xff" * 1000,
    "large bytes": bytes(3 << 20),
    "dict": {"a": [1, {"b": (2, None)}], "c": {3}},
    "decimal": decimal.Decimal("1.50"),
    "array": np.arange(24.0).reshape(2, 3, 4),
    "fortran array": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "strided array": np.arange(10)[::2],
    "large array": np.arange(500_000),
    "array in a dict": {"w": np.arange(200_000), "b": bytearray(b"x" * 100_000)},
    "arrow array": pa.array(["a", None]),
    "table": pa.table({"x": [1, None], "d": pa.array(["a", "b"]).dictionary_encode()}),
    "table with metadata": pa.table({"x": [1]}, metadata={"mine": "kept"}),
    "empty table": pa.table({"x": pa.array([], pa.string())}),
    "batch": pa.record_batch({"x": [1, 2]}),
    "data frame": pd.DataFrame({"x": [1, 2], "c": pd.Categorical(["a", "b"])}, index=["r", "s"]),
    "polars": pl.DataFrame({"x": [1, None], "l": [[1], []]}),
}


def same(one, other):
    """Equal and of the same type, whatever the type."""
    if isinstance(one, np.ndarray):
        return type(one) is type(other) and one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other)
        return True
    if isinstance(one, dict) and any(isinstance(v, np.ndarray) for v in one.values()):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if hasattr(one, "equals"):
        return type(one) is type(other) and one.equals(other)
    return type(one) is type(other) and one == other


@pytest.fixture(autouse=True)
def our_sdk(server, tmp_path, monkeypatch):
    """Our SDK in this process, configured for the server under test."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FLAME_CACHE_ENDPOINT", server.endpoint)
    monkeypatch.delenv("FLAME_CACHE_STORAGE", raising=False)
    flamepy.reload_context()
    yield
    monkeypatch.undo()
    flamepy.reload_context()


def ours(ref):
    return flamepy.ObjectRef(ref["endpoint"], ref["key"], ref["version"])


def theirs_put(prefix, value):
    from flamepy.core.cache import put_object

    return vars(put_object(prefix, value))


def theirs_get(ref, fold=False):
    from flamepy.core.cache import ObjectRef, get_object

    return get_object(ObjectRef(**ref), (lambda base, deltas: [base, *deltas]) if fold else None)


def theirs_patch(ref, value):
    from flamepy.core.cache import ObjectRef, patch_object

    return vars(patch_object(ObjectRef(**ref), value))


def theirs_update(ref, value):
    from flamepy.core.cache import ObjectRef, update_object

    return vars(update_object(ObjectRef(**ref), value))


def as_dict(ref):
    return {"endpoint": ref.endpoint, "key": ref.key, "version": ref.version}


@pytest.mark.parametrize("name", VALUES)
def test_our_sdk_reads_what_the_published_client_wrote(stock, app, name):
    ref = stock.call(theirs_put, prefix=f"{app}/s", value=VALUES[name])
    assert same(VALUES[name], flamepy.get_object(ours(ref)))


@pytest.mark.parametrize("name", VALUES)
def test_the_published_client_reads_what_our_sdk_wrote(stock, app, name):
    ref = flamepy.put_object(f"{app}/s", VALUES[name])
    assert ref.version == 1
    assert same(VALUES[name], stock.call(theirs_get, ref=as_dict(ref)))


@pytest.mark.parametrize(
    "delta", ["text", "array", "table", "batch", "arrow array", "array in a dict"]
)
def test_patches_of_either_client_reach_the_other(stock, app, delta):
    value = VALUES[delta]
    ref = flamepy.put_object(f"{app}/s", ["base"])
    stock.call(theirs_patch, ref=as_dict(ref), value=value)
    flamepy.patch_object(ref, value)

    found = flamepy.get_object(ref, lambda base, deltas: [base, *deltas])
    assert found[0] == ["base"]
    assert same(value, found[1])
    assert same(value, found[2])
    found = stock.call(theirs_get, ref=as_dict(ref), fold=True)
    assert found[0] == ["base"]
    assert same(value, found[1])
    assert same(value, found[2])


def test_versions_count_on_across_the_clients(stock, app):
    ref = stock.call(theirs_put, prefix=f"{app}/s", value=0)
    for i in range(1, 6):
        assert flamepy.update_object(ours(ref), i).version == 2 * i
        assert stock.call(theirs_get, ref=ref) == i
        assert stock.call(theirs_update, ref=ref, value=-i)["version"] == 2 * i + 1
        assert flamepy.get_object(ours(ref)) == -i


def test_rows_that_our_sdk_appends_are_rows_for_the_published_client(stock, app):
    table = pa.table({"x": [1, 2]})
    ref = flamepy.put_object(f"{app}/s", table)
    assert stock.call(theirs_get, ref=as_dict(ref)).num_rows == 2
    flamepy.patch_object(ref, table)
    assert stock.call(theirs_get, ref=as_dict(ref))["x"].to_pylist() == [1, 2, 1, 2]


def test_a_reference_travels_encoded_between_the_clients(stock, app):
    def recode(encoded):
        from flamepy.core.cache import ObjectRef, get_object

        ref = ObjectRef.decode(encoded)
        return get_object(ref), ref.encode()

    ref = flamepy.put_object(f"{app}/s", "value")
    value, encoded = stock.call(recode, encoded=ref.encode())
    assert value == "value"
    assert flamepy.ObjectRef.decode(encoded) == ref


def test_a_file_of_the_published_client_is_downloaded_by_our_sdk(stock, app, tmp_path):
    def upload(key, path):
        from flamepy.core.cache import upload_object

        return vars(upload_object(key, path))

    path = tmp_path / "file"
    for content in (b"", b"content" * 500_000):
        path.write_bytes(content)
        ref = stock.call(upload, key=f"{app}/pkg/file", path=str(path))
        flamepy.download_object(ours(ref), str(tmp_path / "back"))
        assert (tmp_path / "back").read_bytes() == content


def test_a_delete_of_either_client_is_seen_by_the_other(stock, app):
    def delete(selection):
        from flamepy.core.cache import delete_objects

        delete_objects(selection)

    ref = stock.call(theirs_put, prefix=f"{app}/s", value=1)
    assert flamepy.get_object(ours(ref)) == 1
    stock.call(delete, selection=f"{app}/*")
    with pytest.raises(KeyError):
        flamepy.get_object(ours(ref))
    second = flamepy.put_object(f"{app}/s", 2)
    assert flamepy.delete_objects(f"{app}/s") == 1
    with pytest.raises(AssertionError, match="KeyError"):
        stock.call(theirs_get, ref=as_dict(second))
