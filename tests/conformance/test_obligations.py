"""What one server owes to all existing clients: fourteen obligations, a test each.

These speak through pyarrow.flight alone, as the Rust client and the package downloader do.
"""

import uuid

import bson
import pyarrow as pa
import pytest
from harness.errors import refused
from harness.flight import OPAQUE_SCHEMA, REPLY_SCHEMA, Flight, native, opaque_batch
from pyarrow import flight as fl


def test_obligation_01_tickets_with_and_without_version_and_incremental_replies(flight, app):
    key = f"{app}/s/o"
    flight.put(key, b"base")
    flight.patch(key, b"one")
    flight.patch(key, b"two")
    for ticket in (key, f"{key}:0", f"{key}:99"):
        assert flight.get(ticket).rows == [
            (1, "base", b"base"),
            (2, "patch", b"one"),
            (3, "patch", b"two"),
        ]
    assert flight.get(f"{key}:1").rows == [(2, "patch", b"one"), (3, "patch", b"two")]
    assert flight.get(f"{key}:2").rows == [(3, "patch", b"two")]
    assert flight.get(f"{key}:3").not_modified


def test_obligation_02_versions_start_at_1_and_rise_by_1(flight, app):
    key = f"{app}/s/o"
    writes = [flight.put, flight.patch, flight.put, flight.patch, flight.patch]
    assert [write(key, b"x").version for write in writes] == [1, 2, 3, 4, 5]


def test_obligation_03_generated_ids_are_uuids_and_replies_name_the_same_object(
    flight, server, app
):
    put = flight.put(f"{app}/session", b"x")
    assert put.key == f"{app}/session/{uuid.UUID(put.key.rpartition('/')[2])}"
    update, patch = flight.put(put.key, b"y"), flight.patch(put.key, b"z")
    assert {put.key, update.key, patch.key} == {put.key}
    assert {put.endpoint, update.endpoint, patch.endpoint} == {server.endpoint}


def test_obligation_04_a_reference_is_three_bson_elements_with_an_int64_version(flight, app):
    raw = flight.put(f"{app}/s/o", b"x").raw
    document = bson.decode(raw)
    assert list(document) == ["endpoint", "key", "version"]
    assert type(document["version"]) is bson.Int64
    assert b"\x12version\0" in raw
    assert bson.encode(document) == raw


def test_obligation_05_exactly_one_base_row_and_it_is_first(flight, app):
    chunks = [opaque_batch(b"x" * 100_000, b"y"), opaque_batch(b"z" * 300_000)]
    key = flight.put_stream(f"{app}/s/o", OPAQUE_SCHEMA, chunks).key
    for i in range(10):
        flight.patch(key, b"p" * (1 << i))
    kinds = [kind for _, kind, _ in flight.get(key).rows]
    assert kinds == ["base"] + ["patch"] * 10


def test_obligation_06_data_is_binary_and_kind_is_utf8(flight, app):
    large = pa.record_batch([pa.array([b"x"], pa.large_binary())], names=["data"])
    flight.put_stream(f"{app}/s/o", large.schema, [large])
    reply = flight.get(f"{app}/s/o")
    assert reply.schema.equals(REPLY_SCHEMA, check_metadata=True)
    assert [field.nullable for field in reply.schema] == [False] * 3
    assert reply.batches[0].schema.field("data").type == pa.binary()


def test_obligation_07_not_modified_is_a_schema_only_stream(flight, app):
    flight.put_table(f"{app}/s/o", pa.table({"x": [1]}))
    reply = flight.get(f"{app}/s/o:1")
    assert reply.batches == []
    assert reply.schema.metadata is None


def test_obligation_08_native_replies_carry_the_metadata_and_the_current_version(flight, app):
    table = pa.table({"x": [1]}).replace_schema_metadata({"user": "data"})
    flight.put_table(f"{app}/s/o", table)
    flight.put_table(f"{app}/s/o", table, "polars.dataframe")
    assert flight.get(f"{app}/s/o:1").schema.metadata == {
        b"user": b"data",
        b"flame.cache.format": b"arrow-table-v1",
        b"flame.cache.version": b"2",
        b"flame.cache.logical_type": b"polars.dataframe",
    }


def test_obligation_09_a_delete_answers_one_result(flight, app):
    assert len(flight.action("DELETE", f"{app}/s".encode())) == 1
    flight.put(f"{app}/s/o", b"x")
    assert len(flight.action("DELETE", f"{app}/*".encode())) == 1


def test_obligation_10_flight_info_of_an_unknown_key_has_one_endpoint_and_location(
    flight, server, app
):
    info = flight.info(f"{app}/s/never-seen")
    assert len(info.endpoints) == 1
    [location] = info.endpoints[0].locations
    assert location.uri.decode() == server.endpoint
    assert location == fl.Location(server.endpoint)


def test_obligation_11_messages_have_no_size_limit(server, app):
    """A payload is one message: 80 MiB, far over every usual default."""
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with Flight(server.endpoint, generic_options=options) as flight:
        data = b"0123456789abcdef" * (5 << 20)
        flight.put(f"{app}/s/o", data)
        assert flight.get(f"{app}/s/o").value == data


def test_obligation_12_the_advertised_scheme_is_one_that_all_clients_parse(flight, app):
    ref = flight.put(f"{app}/s/o", b"x")
    assert ref.endpoint.startswith("grpc://")
    with Flight(ref.endpoint) as again:
        assert again.get(ref.key).value == b"x"


def test_obligation_13_the_answer_comes_after_the_end_and_errors_at_close(flight, app):
    writer, reader = flight.client.do_put(fl.FlightDescriptor.for_path(f"{app}/s/o"), OPAQUE_SCHEMA)
    writer.write_batch(opaque_batch(b"x"))
    assert flight.keys(f"{app}/") == []
    writer.done_writing()
    assert bson.decode(reader.read().to_pybytes())["version"] == 1
    assert reader.read() is None
    writer.close()

    writer, reader = flight.client.do_put(fl.FlightDescriptor.for_path("bad"), OPAQUE_SCHEMA)
    writer.done_writing()
    assert reader.read() is None
    with pytest.raises(pa.ArrowInvalid):
        writer.close()


def test_obligation_14_more_than_upstream_took_is_accepted(flight, app):
    dictionary = native(pa.record_batch({"d": pa.array(["a"]).dictionary_encode()}))
    empty = native(pa.record_batch({"x": pa.array([], pa.int64())}))
    assert flight.put_stream(f"{app}/s/dictionary", dictionary.schema, [dictionary]).version == 1
    assert flight.put_stream(f"{app}/s/empty", empty.schema, [empty]).version == 1
    assert flight.put_stream(f"{app}/s/no-batch", OPAQUE_SCHEMA, []).version == 1
    assert (
        flight.put_stream([app, "s", "path"], OPAQUE_SCHEMA, [opaque_batch(b"x")]).key
        == f"{app}/s/path"
    )
    assert flight.schema(f"{app}/s/dictionary").field("d").type == dictionary.schema.field("d").type
    assert all(info.descriptor.path for info in flight.list(f"{app}/"))


def test_the_package_downloader_reads_a_package(flight, app):
    """It asks for `key:0` and joins every row of the column `data`, whatever its kind."""
    blocks = [bytes([i]) * (1 << 20) for i in range(5)]
    flight.put_stream(
        f"{app}/pkg/name.tar.gz", OPAQUE_SCHEMA, [opaque_batch(block) for block in blocks]
    )
    table = flight.get(f"{app}/pkg/name.tar.gz:0").table
    assert b"".join(table.column("data").to_pylist()) == b"".join(blocks)


def test_the_rust_client_sees_errors_by_code(flight, app):
    with refused("not_found"):
        flight.get(f"{app}/s/absent:0")
    with refused("invalid"):
        flight.put("only-one-part", b"x")
