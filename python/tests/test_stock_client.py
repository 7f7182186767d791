"""The published client, flamepy 0.6: it reads what we write, and we read what it writes."""

from __future__ import annotations

import os
import pickle
import uuid

import flamepy
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from flamepy import ObjectKey, ObjectRef
from flamepy.core import payload

TABLE = pa.table({"a": [1, None], "s": ["x", "y"]}, metadata={"user": "data"})

# Built alike on both sides, so that either can check the other's work.
OBJECTS = """
import numpy as np, pandas as pd, polars as pl, pyarrow as pa
TABLE = pa.table({"a": [1, None], "s": ["x", "y"]}, metadata={"user": "data"})
BOTH = {
    "dict": {"a": [1, (2.5, None)], "b": "text"},
    "bytes": b"b" * 200_000,
    "float array": np.arange(100_000.0),
    "fortran array": np.asfortranarray(np.arange(60_000).reshape(200, 300)),
    "scalar array": np.array(2.5, "f4"),
    "nested arrays": {"x": np.arange(100_000), "y": [np.zeros(5000, "c16")] * 2},
    "array of dates in a list": [np.arange(10_000).astype("M8[s]")],
    "arrow array": pa.array(["x", None]),
    "nested table": {"t": TABLE, "slice": TABLE.slice(1), "c": TABLE["s"]},
    "chunked array": pa.chunked_array([[1], [2]]),
    "pandas series": pd.Series([1.5, None], name="s"),
    "large series": pd.Series(range(10_000)),
    "polars series": pl.Series("p", [1, None]),
    "table": TABLE,
    "batch": TABLE.to_batches()[0],
    "pandas frame": pd.DataFrame({"a": [1, 2], "s": ["x", None]}, index=["i", "j"]),
    "polars frame": pl.DataFrame({"a": [1, None], "s": ["x", "y"]}),
}
OURS = {  # What the stock client cannot write, or corrupts.
    "bool array": np.arange(10_000) % 3 == 0,
    "big-endian array": np.arange(10_000, dtype=">i4"),
    "date array": np.arange(10_000).astype(">M8[s]"),
    "complex array": np.arange(10_000) * 1j,
    "structured array": np.zeros(3000, [("a", "i4"), ("b", "U3")]),
    "object array": np.array([None, "x"], object),
    "masked array": np.ma.masked_array(np.arange(5000.0), np.arange(5000) < 3),
    "categories": pd.DataFrame({"c": pd.Categorical(["a", None])}),
}

def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ma.MaskedArray):
        return np.array_equal(a.mask, b.mask) and np.array_equal(a.filled(), b.filled())
    if isinstance(a, np.ndarray):
        return type(a) is type(b) and a.dtype == b.dtype and np.array_equal(a, b)
    if hasattr(a, "equals"):
        return type(a) is type(b) and a.equals(b)
    return a == b
"""
exec(OBJECTS)
NAMES = [*BOTH, *OURS]  # noqa: F821
ALL = {**BOTH, **OURS}  # noqa: F821

PRELUDE = OBJECTS + "import sys, pickle, flamepy, flamepy.core.cache as cache\n"


@pytest.fixture
def online(stock_online, client):
    """The stock client beside ours, both using the same server."""
    return lambda code, data=b"": stock_online(PRELUDE + code, data)


def opaque(name) -> bool:
    return not isinstance(ALL[name], (pa.Table, pa.RecordBatch, pd.DataFrame, pl.DataFrame))


@pytest.mark.parametrize("name", [*filter(opaque, NAMES)])
def test_the_stock_client_decodes_our_bytes(stock, name):
    code = f"""
result = cache._deserialize_object_data(data)
assert same({{**BOTH, **OURS}}[{name!r}], result), result
"""
    stock(PRELUDE + code, b"".join(payload.encode(ALL[name])))


@pytest.mark.parametrize("name", [*filter(opaque, BOTH)])  # noqa: F821
def test_we_decode_the_stock_clients_bytes(stock, name):
    data = stock(PRELUDE + f"output = cache._serialize_object_data(BOTH[{name!r}])")
    assert same(ALL[name], payload.decode(data))  # noqa: F821


@pytest.mark.parametrize("delta", [TABLE, TABLE.to_batches()[0], {"a": 1}], ids=type)
def test_deltas_are_exchanged(stock, delta):
    code = (
        PRELUDE
        + """
delta = cache._deserialize_object_data(data)
output = cache._serialize_object_data(delta)
"""
    )
    result = payload.decode(stock(code, b"".join(payload.encode(delta))))
    assert type(result) is type(delta)
    assert result == delta


@pytest.mark.parametrize("name", NAMES)
def test_the_stock_client_gets_what_we_put(online, name):
    ref = flamepy.put_object(f"stock/{uuid.uuid4()}", ALL[name])
    online(
        f"""
ref = flamepy.ObjectRef.decode(data)
assert same({{**BOTH, **OURS}}[{name!r}], flamepy.get_object(ref)), flamepy.get_object(ref)
""",
        ref.encode(),
    )


@pytest.mark.parametrize("name", BOTH)  # noqa: F821
def test_we_get_what_the_stock_client_puts(online, name):
    session = f"stock/{uuid.uuid4()}"
    code = f"output = flamepy.put_object({session!r}, BOTH[{name!r}]).encode()"
    assert same(ALL[name], flamepy.get_object(ObjectRef.decode(online(code))))  # noqa: F821


def test_patches_are_exchanged(online):
    ref = flamepy.put_object(f"stock/{uuid.uuid4()}", [1])
    flamepy.patch_object(ref, 2)
    online(
        """
ref = flamepy.ObjectRef.decode(data)
assert flamepy.get_object(ref, lambda base, deltas: base + deltas) == [1, 2]
ref = cache.patch_object(ref, 3)
assert ref.version == 3
""",
        ref.encode(),
    )
    assert flamepy.get_object(ref, lambda base, deltas: base + deltas) == [1, 2, 3]


def test_the_stock_client_sees_appended_rows_as_one_longer_table(online):
    ref = flamepy.put_object(f"stock/{uuid.uuid4()}", pa.table({"a": [1, 2]}))
    flamepy.patch_object(ref, pa.table({"a": [3]}))
    online(
        """
ref = flamepy.ObjectRef.decode(data)
assert flamepy.get_object(ref).to_pydict() == {"a": [1, 2, 3]}
""",
        ref.encode(),
    )


def test_files_are_exchanged(online, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(os.urandom(3_000_000))
    code = f"output = cache.upload_object('stock/files', {str(file)!r}).encode()"
    target = tmp_path / "target"
    flamepy.download_object(ObjectRef.decode(online(code)), target)
    assert target.read_bytes() == file.read_bytes()


def test_references_are_exchanged(stock):
    ref = ObjectRef("grpc://h:1", "a/b/c", 2**40)
    code = """
import sys, flamepy
ref = flamepy.ObjectRef.decode(data)
assert (ref.endpoint, ref.key, ref.version) == ("grpc://h:1", "a/b/c", 2**40)
output = flamepy.ObjectRef(ref.endpoint, ref.key, 7).encode()
"""
    assert ObjectRef.decode(stock(code, ref.encode())) == ObjectRef("grpc://h:1", "a/b/c", 7)


def test_keys_mean_the_same(stock):
    code = """
import sys, pickle
from flamepy.core.cache import ObjectKey
def read(text):
    try:
        key = ObjectKey.from_path(text)
        return (str(key), key.to_prefix(), key.to_key(), key.is_all_sessions())
    except ValueError:
        return None
output = (pickle.dumps(
    [read(text) for text in pickle.loads(data)]
))
"""
    texts = [
        "a/b",
        "a/b/c",
        "a/*",
        "a*/b",
        "a/b c",
        "a",
        "",
        "a//b",
        "a/..",
        "*/b",
        "a/*/c",
        "a/b/*",
    ]

    def read(text):
        try:
            key = ObjectKey.from_path(text)
        except ValueError:
            return None
        return (str(key), key.to_prefix(), key.to_key(), key.is_all_sessions())

    assert [read(text) for text in texts] == pickle.loads(stock(code, pickle.dumps(texts)))


NAMES_AND_SIGNATURES = """
import importlib, inspect, pickle, sys
result = {}
for module, names in pickle.loads(data).items():
    loaded = importlib.import_module(module)
    for name in names:
        member = getattr(loaded, name)
        parameters = None
        if inspect.isroutine(member):
            signature = inspect.signature(member)
            parameters = [(p.name, p.kind.name) for p in signature.parameters.values()]
        result[module, name] = parameters
output = pickle.dumps(result)
"""


def test_our_functions_take_what_the_stock_ones_take(stock):
    """Ours may have more keyword-only parameters."""
    wanted = {
        "flamepy": [
            *("ObjectRef", "get_object", "put_object", "update_object", "FlameContext"),
            *("FlameContextRunner", "FlamePackage", "FlameError", "FlameErrorCode"),
            *("DEFAULT_FLAME_CONF", "DEFAULT_FLAME_ENDPOINT", "DEFAULT_FLAME_CACHE_ENDPOINT"),
        ],
        "flamepy.core": [
            *("ObjectKey", "WILDCARD_SESSION", "patch_object", "upload_object"),
            *("download_object", "short_name"),
        ],
        "flamepy.cache": [
            *("ObjectRef", "delete_objects", "get_object", "patch_object", "put_object"),
            "update_object",
        ],
        "flamepy.core.cache": ["delete_objects", "upload_object", "download_object", "ObjectKey"],
    }
    request = pickle.dumps(wanted)
    theirs = pickle.loads(stock(NAMES_AND_SIGNATURES, request))
    names = {"data": request}
    exec(NAMES_AND_SIGNATURES, names)
    ours = pickle.loads(names["output"])
    for member, parameters in theirs.items():
        if parameters is None:
            continue
        positional = [name for name, kind in ours[member] if kind == "POSITIONAL_OR_KEYWORD"]
        assert positional == [name for name, _ in parameters], member
