"""list_flights, get_flight_info and get_schema: readable by pyarrow, true about the objects."""

import threading

import pyarrow as pa
import pytest
from harness.errors import refused
from harness.flight import REPLY_SCHEMA, Flight
from pyarrow import flight as fl


def test_c1_a_listing_has_descriptors_tickets_locations_and_sizes(flight, server, app):
    table = pa.table({"x": [1, 2, 3]})
    flight.put(f"{app}/s/opaque", b"12345")
    flight.patch(f"{app}/s/opaque", b"678")
    flight.put_table(f"{app}/s/native", table)
    native, opaque = flight.list(f"{app}/")
    for info, name in ((native, "native"), (opaque, "opaque")):
        assert info.descriptor.descriptor_type == fl.DescriptorType.PATH
        assert info.descriptor.path == [f"{app}/s/{name}".encode()]
        [endpoint] = info.endpoints
        assert [location.uri.decode() for location in endpoint.locations] == [server.endpoint]
        assert flight.get(endpoint.ticket.ticket).batches
        assert info.total_records == -1
    assert opaque.total_bytes == 8
    assert native.total_bytes >= 24
    assert native.schema.equals(table.schema)


def test_c1_criteria_select_by_prefix_of_the_key(flight, app):
    for name in ("s1/a", "s1/ab", "s11/a", "s2/a"):
        flight.put(f"{app}/{name}", b"x")
    assert flight.keys(f"{app}/s1/") == [f"{app}/s1/a", f"{app}/s1/ab"]
    assert flight.keys(f"{app}/s1") == [f"{app}/s1/a", f"{app}/s1/ab", f"{app}/s11/a"]
    assert flight.keys(f"{app}/s1/ab") == [f"{app}/s1/ab"]
    assert flight.keys(f"{app}/none") == []
    assert set(flight.keys(f"{app}/")) <= set(flight.keys(""))


def test_c1_a_listing_is_in_key_order_over_many_pages(flight, documents, app):
    names = [f"{i:04}" for i in range(1000)]
    documents.put_items(*[{"key": f"{app}/s/{name}", "data": b"x"} for name in reversed(names)])
    assert flight.keys(f"{app}/") == [f"{app}/s/{name}" for name in names]


def test_c1_deleted_objects_are_not_listed(flight, app):
    for name in "abc":
        flight.put(f"{app}/s/{name}", b"x")
    flight.delete(f"{app}/s/b")
    assert flight.keys(f"{app}/") == [f"{app}/s/a", f"{app}/s/c"]


def test_key_order_is_the_order_of_bytes(flight, app):
    names = ["s-/o", "s/o", "s/o-", "s/o.", "s/ö", "s0/o", "Z/o"]
    for name in names:
        flight.put(f"{app}/{name}", b"x")
    assert flight.keys(f"{app}/") == sorted((f"{app}/{name}" for name in names), key=str.encode)


def test_c2_the_schema_of_a_table_is_readable(flight, app):
    table = pa.table({"d": pa.array(["a"]).dictionary_encode(), "x": [1]}).replace_schema_metadata(
        {"k": "v"}
    )
    flight.put_table(f"{app}/s/o", table)
    for schema in (
        flight.schema(f"{app}/s/o"),
        flight.info(f"{app}/s/o").schema,
        flight.schema(app, "s", "o"),
    ):
        assert schema.equals(table.schema)
        assert schema.metadata[b"k"] == b"v"


def test_c2_the_schema_of_an_opaque_object_is_that_of_its_replies(flight, app):
    flight.put(f"{app}/s/o", b"x")
    assert flight.schema(f"{app}/s/o").equals(REPLY_SCHEMA)
    assert flight.info(f"{app}/s/o").schema is None


def test_c2_the_schema_of_nothing_is_not_found(flight, app):
    with refused("not_found"):
        flight.schema(f"{app}/s/absent")
    with refused("invalid"):
        flight.schema("no-key")


def test_c10_flight_info_of_an_unknown_key_says_where_it_would_be(flight, server, app):
    info = flight.info(f"{app}/s/absent")
    assert info.descriptor.path == [f"{app}/s/absent".encode()]
    [endpoint] = info.endpoints
    assert [location.uri.decode() for location in endpoint.locations] == [server.endpoint]
    assert (info.total_records, info.total_bytes, info.schema) == (-1, -1, None)


@pytest.mark.parametrize("path", ["", "a", "a/../b", "a/s/.", "*/s/o"])
def test_c10_flight_info_of_an_invalid_key_is_refused(flight, path):
    with refused("invalid"):
        flight.info(path)


def test_flight_info_needs_a_path(flight):
    for descriptor in (fl.FlightDescriptor.for_command(b"a/s/o"), fl.FlightDescriptor.for_path()):
        with refused("invalid"):
            flight.client.get_flight_info(descriptor)


def test_b3_the_schema_stays_readable_while_the_table_is_rewritten(flight, server, app):
    table = pa.table({"x": [1]})
    flight.put_table(f"{app}/s/o", table)
    stop = threading.Event()

    def rewrite():
        with Flight(server.endpoint) as writer:
            while not stop.is_set():
                writer.put_table(f"{app}/s/o", table)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        for _ in range(300):
            assert flight.info(f"{app}/s/o").schema.equals(table.schema)
    finally:
        stop.set()
        writer.join()
