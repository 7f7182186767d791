"""Arrow tables in the stock dialect: kept as sent, marked with the cache's metadata."""

import pyarrow as pa
import pytest
from harness.errors import refused
from harness.flight import NATIVE, native
from pyarrow import flight as fl


def test_a_table_comes_back_with_the_three_metadata_keys_and_the_users(flight, app):
    table = pa.table({"x": [1, 2, 3]}).replace_schema_metadata({"mine": "kept", "ü": "ö"})
    ref = flight.put_table(f"{app}/s/o", table, "pandas.dataframe")
    reply = flight.get(f"{ref.key}:0")
    assert reply.schema.metadata == {
        b"mine": b"kept",
        "ü".encode(): "ö".encode(),
        b"flame.cache.format": b"arrow-table-v1",
        b"flame.cache.version": b"1",
        b"flame.cache.logical_type": b"pandas.dataframe",
    }
    assert reply.table.replace_schema_metadata(None).equals(pa.table({"x": [1, 2, 3]}))


def test_the_version_in_the_metadata_is_the_current_one(flight, app):
    for version in (1, 2, 3):
        ref = flight.put_table(f"{app}/s/o", pa.table({"x": [version]}))
        assert ref.version == version
        reply = flight.get(f"{ref.key}:0")
        assert reply.schema.metadata[b"flame.cache.version"] == b"%d" % version


def test_reserved_metadata_of_a_client_is_not_kept(flight, app):
    table = native(pa.table({"x": [1]}))
    forged = {
        **table.schema.metadata,
        b"flame.cache.version": b"77",
        b"flame.cache.reply": b"patches",
    }
    table = table.replace_schema_metadata(forged)
    flight.put_stream(f"{app}/s/o", table.schema, table.to_batches())
    metadata = flight.get(f"{app}/s/o:0").schema.metadata
    assert metadata[b"flame.cache.version"] == b"1"
    assert b"flame.cache.reply" not in metadata


def test_a_table_without_a_logical_type_has_none(flight, app):
    table = pa.table({"x": [1]}).replace_schema_metadata(NATIVE)
    flight.put_stream(f"{app}/s/o", table.schema, table.to_batches())
    assert set(flight.get(f"{app}/s/o:0").schema.metadata) == {
        b"flame.cache.format",
        b"flame.cache.version",
    }


def test_metadata_of_fields_is_kept(flight, app):
    field = pa.field("x", pa.int32(), nullable=False, metadata={"unit": "m"})
    table = pa.table([pa.array([1], pa.int32())], schema=pa.schema([field]))
    flight.put_table(f"{app}/s/o", table)
    back = flight.get(f"{app}/s/o:0").schema.field("x")
    assert back.equals(field, check_metadata=True)


def test_batches_are_kept_as_sent(flight, app):
    schema = pa.schema([("x", pa.int64())])
    sizes = [1, 5, 0, 1000, 0, 2]
    batches = [pa.record_batch([list(range(n))], schema=schema) for n in sizes]
    flight.put_table(f"{app}/s/o", pa.Table.from_batches(batches))
    reply = flight.get(f"{app}/s/o:0")
    assert [batch.num_rows for batch in reply.batches] == sizes


def test_sliced_batches_bring_only_their_rows(flight, app):
    whole = pa.table({"x": list(range(100_000)), "s": [str(i) for i in range(100_000)]})
    part = whole.slice(50_000, 10)
    flight.put_table(f"{app}/s/o", part)
    assert flight.get(f"{app}/s/o:0").table.replace_schema_metadata(None).equals(part)
    assert flight.list(f"{app}/")[0].total_bytes < 10_000


EMPTY = {
    "fixed width": pa.table({"x": pa.array([], pa.int64())}),
    "string": pa.table({"x": pa.array([], pa.string())}),
    "null": pa.table({"x": pa.nulls(0)}),
    "null rows": pa.table({"x": pa.nulls(3)}),
    "dictionary": pa.table({"x": pa.array([], pa.string()).dictionary_encode()}),
}


@pytest.mark.parametrize("name", EMPTY)
def test_c5_an_empty_table_is_a_table(flight, app, name):
    flight.put_table(f"{app}/s/o", EMPTY[name])
    back = flight.get(f"{app}/s/o:0").table.replace_schema_metadata(None)
    assert back.equals(EMPTY[name])


def test_c5_a_table_without_columns_is_a_table(flight, app):
    schema = pa.schema([], metadata=NATIVE)
    assert flight.put_stream(f"{app}/s/o", schema, []).version == 1
    reply = flight.get(f"{app}/s/o:0")
    assert reply.schema.names == []
    assert reply.schema.metadata[b"flame.cache.format"] == b"arrow-table-v1"


def test_c5_rows_without_columns_are_counted(flight, app):
    rows = pa.record_batch([pa.nulls(7)], names=["x"]).select([])
    assert rows.num_rows == 7
    flight.put_stream(
        f"{app}/s/o", rows.schema.with_metadata(NATIVE), [rows.replace_schema_metadata(NATIVE)]
    )
    [batch] = flight.get(f"{app}/s/o:0").batches
    assert (batch.num_rows, batch.num_columns) == (7, 0)


def test_c5_a_table_without_batches_is_a_table(flight, app):
    schema = pa.schema([("x", pa.int64())], metadata=NATIVE)
    flight.put_stream(f"{app}/s/o", schema, [])
    assert flight.get(f"{app}/s/o:0").table.num_rows == 0


def test_a11_an_opaque_patch_of_a_table_is_refused_and_changes_nothing(flight, app):
    key = f"{app}/s/o"
    flight.put_table(key, pa.table({"x": [1]}))
    with refused("wrong_kind") as refusal:
        flight.patch(key, b"delta")
    assert refusal.values["outcome"] == "not_applied"
    assert flight.get(f"{key}:1").not_modified
    assert flight.get(f"{key}:0").table.num_rows == 1


def test_a_native_schema_under_a_patch_command_is_read_as_opaque(flight, app):
    key = f"{app}/s/o"
    flight.put(key, b"base")
    table = native(
        pa.table({"version": pa.array([0], pa.uint64()), "data": pa.array([b"x"], pa.binary())})
    )
    command = fl.FlightDescriptor.for_command(f"PATCH:{key}")
    assert flight.put_stream(command, table.schema, table.to_batches()).version == 2
    assert flight.get(f"{key}:1").rows == [(2, "patch", b"x")]


def test_d2_a_table_counts_with_its_own_size(flight, app):
    table = pa.table({f"c{i}": list(range(1000)) for i in range(10)})
    flight.put_table(f"{app}/s/o", table)
    [info] = flight.list(f"{app}/")
    assert 80_000 <= info.total_bytes < 85_000
