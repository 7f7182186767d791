"""Stock pyarrow.flight in the published client's own environment, without any of our code."""

from harness.stock import in_stock_client


@in_stock_client
def test_every_flight_call_works_from_that_environment(app, endpoint):
    import bson
    import pyarrow as pa
    import pyarrow.flight as flight

    client = flight.connect(endpoint)
    path = flight.FlightDescriptor.for_path(f"{app}/s/t")
    table = pa.table({"x": [1, 2], "d": pa.array(["a", "b"]).dictionary_encode()})
    table = table.replace_schema_metadata({"flame.cache.format": "arrow-table-v1"})
    writer, reader = client.do_put(path, table.schema)
    with writer:
        writer.write_table(table)
        writer.done_writing()
        assert bson.decode(reader.read().to_pybytes())["version"] == 1

    assert client.do_get(flight.Ticket(f"{app}/s/t")).read_all().to_pydict() == table.to_pydict()
    [info] = client.list_flights(f"{app}/".encode())
    assert info.descriptor == path
    assert info.schema.names == ["x", "d"]
    assert client.get_flight_info(path).schema.names == ["x", "d"]
    assert client.get_schema(path).schema.names == ["x", "d"]
    assert "DELETE" in [action.type for action in client.list_actions()]
    [result] = client.do_action(flight.Action("DELETE", f"{app}/*".encode()))
    assert result.body.to_pybytes() == b"OK"
    assert list(client.list_flights(f"{app}/".encode())) == []


@in_stock_client
def test_uploads_compressed_by_that_environment_are_understood(app, endpoint):
    import pyarrow as pa
    import pyarrow.flight as flight

    client = flight.connect(endpoint)
    table = pa.table({"version": pa.array([0], pa.uint64()), "data": [b"x" * 100_000]})
    for codec in ("zstd", "lz4"):
        options = flight.FlightCallOptions(write_options=pa.ipc.IpcWriteOptions(compression=codec))
        writer, reader = client.do_put(
            flight.FlightDescriptor.for_path(f"{app}/s/{codec}"), table.schema, options
        )
        writer.write_table(table)
        writer.done_writing()
        assert reader.read() is not None
        writer.close()
        rows = client.do_get(flight.Ticket(f"{app}/s/{codec}:0")).read_all().to_pylist()
        assert rows == [{"version": 1, "kind": "base", "data": b"x" * 100_000}]
