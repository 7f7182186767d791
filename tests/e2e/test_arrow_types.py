"""Every Arrow type goes in and comes out the same."""

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pytest
from harness.flight import native

NOW = datetime.datetime(2024, 2, 29, 12, 30, 1, 5)
UNION_TYPES = pa.array([0, 1, 0], pa.int8())


class Unregistered(pa.ExtensionType):
    def __init__(self):
        super().__init__(pa.binary(3), "tests.unregistered")

    def __arrow_ext_serialize__(self):
        return b"parameters"

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type, serialized):
        return cls()


ARRAYS = {
    "null": pa.nulls(3),
    "bool": pa.array([True, None, False]),
    "int8": pa.array([1, None, -3], pa.int8()),
    "uint64": pa.array([0, None, 2**64 - 1], pa.uint64()),
    "float16": pa.array([np.float16(1.5), None, np.float16("inf")], pa.float16()),
    "float64": pa.array([1.5, None, float("nan")]),
    "decimal32": pa.array([decimal.Decimal("1.23"), None], pa.decimal32(5, 2)),
    "decimal128": pa.array([decimal.Decimal("1.23"), None], pa.decimal128(38, 2)),
    "decimal256": pa.array([decimal.Decimal("-9.99"), None], pa.decimal256(76, 2)),
    "string": pa.array(["a", None, "ü" * 50]),
    "large_string": pa.array(["a", None, "b"], pa.large_string()),
    "string_view": pa.array(["a", None, "long enough to be no inline value"], pa.string_view()),
    "binary_view": pa.array([b"a", None, b"long enough to be no inline value"], pa.binary_view()),
    "binary": pa.array([b"", None, b"\0\xff"]),
    "large_binary": pa.array([b"", None, b"x"], pa.large_binary()),
    "fixed_size_binary": pa.array([b"abc", None], pa.binary(3)),
    "date32": pa.array([NOW.date(), None], pa.date32()),
    "time64": pa.array([NOW.time(), None], pa.time64("us")),
    "timestamp": pa.array([NOW, None], pa.timestamp("ns", "Europe/Berlin")),
    "duration": pa.array([datetime.timedelta(1), None], pa.duration("ms")),
    "month_day_nano": pa.array([pa.MonthDayNano([1, 2, 3]), None]),
    "list": pa.array([[1, None], None, []], pa.list_(pa.int32())),
    "large_list": pa.array([[1], None, []], pa.large_list(pa.int32())),
    "list_view": pa.array([[1], None, []], pa.list_view(pa.int32())),
    "fixed_size_list": pa.array([[1, 2], None], pa.list_(pa.int32(), 2)),
    "struct": pa.array([{"a": 1, "b": {"c": "x"}}, None, {"a": None, "b": None}]),
    "map": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int32())),
    "sparse_union": pa.UnionArray.from_sparse(
        UNION_TYPES, [pa.array([1, 2, 3]), pa.array(list("abc"))]
    ),
    "dense_union": pa.UnionArray.from_dense(
        UNION_TYPES, pa.array([0, 0, 1], pa.int32()), [pa.array([1, 2]), pa.array(["x"])]
    ),
    "run_end_encoded": pa.RunEndEncodedArray.from_arrays(
        pa.array([2, 5], pa.int32()), pa.array(["a", None])
    ),
    "dictionary": pa.array(["a", None, "b", "a"]).dictionary_encode(),
    "ordered dictionary": pa.DictionaryArray.from_arrays(
        [0, 1, None], ["low", "high"], ordered=True
    ),
    "list of dictionary": pa.ListArray.from_arrays(
        [0, 1, 3], pa.array(["x", "y", "x"]).dictionary_encode()
    ),
    "struct of dictionary": pa.StructArray.from_arrays(
        [pa.array(["x", "y"]).dictionary_encode(), pa.array([1, 2])], ["d", "i"]
    ),
    "dictionary of struct": pa.DictionaryArray.from_arrays(
        pa.array([0, 0, 1]), pa.array([{"a": 1}, {"a": 2}])
    ),
    "registered extension": pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([b"0" * 16], pa.binary(16))
    ),
    "fixed shape tensor": pa.FixedShapeTensorArray.from_numpy_ndarray(
        np.arange(12).reshape(3, 2, 2)
    ),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_survives_every_way_in_and_out(flight, documents, app, name):
    table = pa.table({"x": ARRAYS[name]})
    key = f"{app}/s/o"
    flight.put_table(key, table)
    for reply in (flight.get(key), documents.fetch(key), documents.fetch(key, compression="zstd")):
        back = reply.table.replace_schema_metadata(None)
        back.validate(full=True)
        assert back.schema.field("x").type == table.schema.field("x").type
        assert str(back.column("x")) == str(table.column("x"))  # NaN equals NaN in text only.
    assert flight.schema(key).field("x").type == table.schema.field("x").type


def test_an_extension_that_nobody_registered_is_kept_by_its_metadata(flight, app):
    values = pa.ExtensionArray.from_storage(Unregistered(), pa.array([b"abc"], pa.binary(3)))
    flight.put_table(f"{app}/s/o", pa.table({"x": values}))
    field = flight.get(f"{app}/s/o:0").schema.field("x")
    assert field.type == pa.binary(3)
    assert field.metadata == {
        b"ARROW:extension:name": b"tests.unregistered",
        b"ARROW:extension:metadata": b"parameters",
    }


def test_c6_a_dictionary_column_of_many_batches_is_kept(flight, app):
    batches = [pa.record_batch({"x": pa.array(["a", "b", "a"]).dictionary_encode()})] * 5
    table = pa.Table.from_batches(batches)
    flight.put_table(f"{app}/s/o", table)
    assert flight.get(f"{app}/s/o:0").table.replace_schema_metadata(None).equals(table)


def test_c6_a_dictionary_that_is_replaced_between_batches_is_kept(flight, app):
    batches = [
        pa.record_batch({"x": pa.array(words).dictionary_encode()})
        for words in (["a", "b"], ["c", "d", "c"], ["a", "b"], ["e"])
    ]
    dressed = [native(batch) for batch in batches]
    flight.put_stream(f"{app}/s/o", dressed[0].schema, dressed)
    words = [batch.column(0).to_pylist() for batch in flight.get(f"{app}/s/o:0").batches]
    assert words == [["a", "b"], ["c", "d", "c"], ["a", "b"], ["e"]]


def test_c6_a_dictionary_that_grows_between_batches_is_kept(flight, app):
    def batch(indices, words):
        return native(
            pa.record_batch({"x": pa.DictionaryArray.from_arrays(pa.array(indices), words)})
        )

    batches = [
        batch([0, 1], ["a", "b"]),
        batch([2, 0], ["a", "b", "c"]),
        batch([3], ["a", "b", "c", "d"]),
    ]
    flight.put_stream(f"{app}/s/o", batches[0].schema, batches)
    words = [batch.column(0).to_pylist() for batch in flight.get(f"{app}/s/o:0").batches]
    assert words == [["a", "b"], ["c", "a"], ["d"]]


def test_c6_nested_dictionaries_that_change_are_kept(flight, app):
    inner = [pa.array(["x", "y"]).dictionary_encode(), pa.array(["z", "z"]).dictionary_encode()]
    batches = [
        native(
            pa.record_batch({"l": pa.ListArray.from_arrays([0, 2], words), "d": words.slice(0, 1)})
        )
        for words in inner
    ]
    flight.put_stream(f"{app}/s/o", batches[0].schema, batches)
    assert flight.get(f"{app}/s/o:0").table.to_pydict() == {
        "l": [["x", "y"], ["z", "z"]],
        "d": ["x", "z"],
    }


def test_c6_an_opaque_object_may_come_with_a_dictionary_column_beside_it(flight, app):
    batch = pa.record_batch(
        {
            "version": pa.array([0], pa.uint64()),
            "data": pa.array([b"x"], pa.binary()),
            "label": pa.array(["l"]).dictionary_encode(),
        }
    )
    flight.put_stream(f"{app}/s/o", batch.schema, [batch])
    assert flight.get(f"{app}/s/o:0").value == b"x"
