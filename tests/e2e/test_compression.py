"""Compressed uploads are understood; replies are sent as they are unless asked."""

import contextlib
import os
import socket
import threading

import pyarrow as pa
import pytest
from harness.documents import Documents
from harness.flight import OPAQUE_SCHEMA, Flight, opaque_batch
from pyarrow import flight as fl


def compressed(codec):
    return fl.FlightCallOptions(write_options=pa.ipc.IpcWriteOptions(compression=codec))


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_a_compressed_opaque_upload_is_understood(flight, app, codec):
    data = [bytes(300_000), os.urandom(1000), b""]
    batches = [opaque_batch(row) for row in data]
    ref = flight.put_stream(f"{app}/s/o", OPAQUE_SCHEMA, batches, compressed(codec))
    assert flight.get(ref.key).value == b"".join(data)
    patch = fl.FlightDescriptor.for_command(f"PATCH:{ref.key}")
    flight.put_stream(patch, OPAQUE_SCHEMA, [opaque_batch(bytes(100_000))], compressed(codec))
    assert flight.get(f"{ref.key}:1").rows == [(2, "patch", bytes(100_000))]


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_a_compressed_table_is_understood(flight, app, codec):
    table = pa.table({"x": [0] * 100_000, "d": pa.array(["a", "b"] * 50_000).dictionary_encode()})
    ref = flight.put_table(f"{app}/s/o", table, options=compressed(codec))
    assert flight.get(ref.key).table.replace_schema_metadata(None).equals(table)


class Counting:
    """Forwards one connection to a server and counts the bytes that come back."""

    def __init__(self, port: int):
        self.received = 0
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"grpc://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        client, _ = self._listener.accept()
        server = socket.create_connection(("127.0.0.1", self._port))
        threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
        self._pump(server, client, True)

    def _pump(self, source, sink, count):
        with contextlib.suppress(OSError):  # One side or the other hung up.
            while data := source.recv(1 << 16):
                self.received += len(data) if count else 0
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


def bytes_of_reply(server, key, compression):
    proxy = Counting(server.port)
    with Documents(proxy.endpoint) as client:
        client.stat(key)
        before = proxy.received
        reply = (
            client.fetch(key, compression=compression)
            if compression != "stock"
            else client.get(key)
        )
        assert reply.batches
    return proxy.received - before


@pytest.mark.parametrize("kind", ["opaque", "native"])
def test_e2_replies_are_compressed_only_when_asked(server, app, kind):
    key = f"{app}/s/o"
    with Flight(server.endpoint) as flight:
        if kind == "opaque":
            flight.put(key, bytes(1 << 20))
        else:
            flight.put_table(key, pa.table({"x": [0] * (1 << 17)}))
    sizes = {c: bytes_of_reply(server, key, c) for c in ("stock", None, "zstd", "lz4")}
    assert sizes["stock"] > 1 << 20
    assert sizes[None] > 1 << 20
    assert sizes["zstd"] < 100_000
    assert sizes["lz4"] < 100_000


def test_e2_a_table_that_came_compressed_goes_out_uncompressed(server, app):
    with Flight(server.endpoint) as flight:
        flight.put_table(f"{app}/s/o", pa.table({"x": [0] * (1 << 17)}), options=compressed("zstd"))
    assert bytes_of_reply(server, f"{app}/s/o", "stock") > 1 << 20
