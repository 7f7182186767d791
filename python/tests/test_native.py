"""Native objects: which objects are, and that they come back exactly."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from flamepy.core import native
from flamepy.core.native import NativeData
from pandas.testing import assert_frame_equal


def round_trip(obj, *patches, copy=False):
    parts = [native.classify(part) for part in (obj, *patches)]
    base, *rest = [NativeData.from_stream(part.to_stream()) for part in parts]
    return native.decode(base, rest, copy=copy)


TABLE = pa.table({"a": [1, 2, 3], "s": ["x", None, "z"]}, metadata={"user": "data"})
NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 678)


@pytest.mark.parametrize(
    "table",
    [
        TABLE,
        TABLE.slice(1, 1),
        TABLE.schema.empty_table(),
        pa.table({}),
        pa.table({"n": pa.nulls(4)}),
        pa.concat_tables([TABLE, TABLE]),
        pa.table({"d": pa.array(["a", "b", "a"]).dictionary_encode()}),
        pa.table({"d": pa.chunked_array([pa.array([c]).dictionary_encode() for c in "ab"])}),
        pa.table({"l": [[1], []], "st": [{"x": 1}, None], "t": [NOW, None]}),
        pa.table({"v": pa.array(["x", "long enough to be out of line"], pa.string_view())}),
    ],
    ids=lambda table: str(table.schema.names),
)
def test_tables(table):
    result = round_trip(table)
    assert result.equals(table)
    assert result.schema.equals(table.schema, check_metadata=True)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_f8_a_record_batch_stays_one(rows):
    batch = pa.RecordBatch.from_arrays(
        [pa.array(range(rows), pa.int64())], schema=pa.schema({"a": pa.int64()}, {"k": "v"})
    )
    result = round_trip(batch)
    assert isinstance(result, pa.RecordBatch)
    assert result.equals(batch, check_metadata=True)


def test_f8_a_record_batch_of_which_no_message_arrived_is_empty():
    data = native.classify(pa.record_batch({"a": pa.array([], pa.int8())}))
    result = native.decode(NativeData(data.schema, ()))
    assert isinstance(result, pa.RecordBatch)
    assert result.num_rows == 0


def test_f8_a_record_batch_without_columns_keeps_its_rows():
    batch = pa.RecordBatch.from_struct_array(pa.array([{}, {}], pa.struct([])))
    assert round_trip(batch).num_rows == batch.num_rows == 2


def test_a_batch_that_was_cut_for_the_wire_is_joined(monkeypatch):
    monkeypatch.setattr(native, "MAX_CHUNK_BYTES", 1000)
    batch = pa.record_batch({"a": range(1000), "s": ["x"] * 1000})
    assert len(native.classify(batch).batches) > 5
    assert round_trip(batch).equals(batch)


def test_appended_rows_make_a_longer_table():
    more = pa.table({"a": [4], "s": ["w"]})
    assert round_trip(TABLE, more, more).to_pydict() == {
        "a": [1, 2, 3, 4, 4],
        "s": ["x", None, "z", "w", "w"],
    }
    assert isinstance(round_trip(TABLE.to_batches()[0], more), pa.Table)


FRAMES = {
    "default": pd.DataFrame({"i": [1, 2], "f": [0.5, None], "s": ["x", None]}),
    "empty": pd.DataFrame(),
    "no rows": pd.DataFrame({"a": pd.Series([], dtype="int8")}),
    "categories": pd.DataFrame(
        {"c": pd.Categorical(["b", "a", None], ["b", "a", "c"], ordered=True)}
    ),
    "index": pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="key")),
    "range": pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(10, 14, 2, name="r")),
    "multi": pd.DataFrame(
        {"a": [1, 2]}, index=pd.MultiIndex.from_tuples([(1, "x"), (2, "y")], names=["n", "s"])
    ),
    "dates": pd.DataFrame({"t": pd.to_datetime(["2026-01-01", None]).tz_localize("Asia/Tokyo")}),
    "nullable": pd.DataFrame(
        {"i": pd.array([1, None], "Int64"), "b": pd.array([True, None], "boolean")}
    ),
    "int columns": pd.DataFrame({0: [1], 1: [2]}),
    "arrow": pd.DataFrame({"a": pd.array([1, None], "int64[pyarrow]")}),
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("copy", [False, True])
def test_pandas_frames(name, copy):
    frame = FRAMES[name]
    assert_frame_equal(round_trip(frame, copy=copy), frame)


def test_frames_of_one_object_are_independent():
    data = NativeData.from_stream(native.classify(FRAMES["default"]).to_stream())
    first = native.decode(data, copy=True)
    first.loc[0, "i"] = 99
    assert_frame_equal(native.decode(data), FRAMES["default"])


def test_rows_appended_to_a_pandas_frame():
    result = round_trip(pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [3]}))
    assert_frame_equal(result, pd.DataFrame({"a": [1, 2, 3]}))


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"mixed": [1, "x", None]}),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        type("Sub", (pd.DataFrame,), {})({"a": [1]}),
        pl.DataFrame({"o": [object()]}),
    ],
    ids=["mixed", "duplicate columns", "subclass", "polars objects"],
)
def test_frames_that_arrow_cannot_carry_are_not_native(frame):
    assert native.classify(frame) is None


POLARS = pl.DataFrame(
    {
        "i": [1, None],
        "s": ["x", None],
        "l": [[1], []],
        "e": pl.Series(["a", None], dtype=pl.Enum(["a", "b"])),
        "c": pl.Series(["y", "z"], dtype=pl.Categorical),
        "t": [NOW, None],
        "d": pl.Series([1, 2], dtype=pl.Decimal(10, 2)),
        "n": pl.Series([None, None], dtype=pl.Null),
    }
)


@pytest.mark.parametrize(
    "frame", [POLARS, POLARS.clear(), pl.DataFrame()], ids=["rows", "no rows", "empty"]
)
def test_polars_frames(frame):
    result = round_trip(frame)
    assert result.schema == frame.schema
    assert result.equals(frame)


def test_lazy_frames_are_collected():
    assert round_trip(POLARS.lazy().select("i")).equals(POLARS.select("i"))


class Dataset:
    def __init__(self, data):
        self.data = data

    def to_arrow(self):
        return self.data


class Stream:
    def __init__(self, data):
        self.data = data

    def __arrow_c_stream__(self, requested_schema=None):
        return self.data.__arrow_c_stream__(requested_schema)


def test_objects_that_say_they_are_tables():
    assert round_trip(Dataset(TABLE)).equals(TABLE)
    assert round_trip(Dataset(TABLE.to_batches()[0])).equals(TABLE)
    assert round_trip(Stream(TABLE)).equals(TABLE)
    assert round_trip(TABLE.to_reader()).equals(TABLE)


@pytest.mark.parametrize(
    "obj",
    [
        1,
        "x",
        {},
        np.arange(3),
        pa.array([1]),
        pa.chunked_array([[1]]),
        pd.Series([1]),
        pd.Index([1]),
        pl.Series([1]),
        Dataset("no table"),
        Stream(pa.chunked_array([[1]])),
        Stream,
    ],
    ids=repr,
)
def test_everything_else_is_opaque(obj):
    assert native.classify(obj) is None


def test_reserved_metadata_is_taken_off_and_the_rest_kept():
    data = native.classify(TABLE)
    assert data.schema.metadata[b"flame.cache.format"] == b"arrow-table-v1"
    assert native.logical_type(data.schema) == "pyarrow.table"
    assert round_trip(TABLE).schema.metadata == {b"user": b"data"}
    assert round_trip(TABLE.replace_schema_metadata(None)).schema.metadata is None
