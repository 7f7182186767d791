"""Connections that stall, break off, flood or lie: others are served meanwhile, and when they are gone the server has
as many threads and descriptors as before."""

import os
import resource
import struct
from pathlib import Path

import pytest
from harness import http2
from harness.documents import Documents
from harness.flight import OPAQUE_SCHEMA, opaque_batch
from harness.wait import until
from pyarrow import flight as fl

MI = 1 << 20


def descriptors(server):
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def threads(server):
    return len(os.listdir(f"/proc/{server.pid}/task"))


@pytest.fixture
def victim(server_factory):
    """A server of the test's own, warm, with an object that must survive."""
    server = server_factory("none")
    with Documents(server.endpoint) as client:
        client.put("good/s/o", b"precious")
    return server


@pytest.fixture
def unharmed(victim):
    """Others are served during the attack; afterwards nothing of it is left."""

    def served():
        with Documents(
            victim.endpoint, generic_options=[("grpc.use_local_subchannel_pool", 1)]
        ) as client:
            assert client.get("good/s/o").value == b"precious"
            assert client.put("good/s/new", b"x").version >= 1

    served()
    served()
    # gRPC keeps a few threads waiting for calls, and ends those that are too many after a while.
    few_threads, few_descriptors = threads(victim) + 8, descriptors(victim) + 4
    yield served
    served()
    until(lambda: descriptors(victim) <= few_descriptors, "descriptors are closed", 60)
    until(lambda: threads(victim) <= few_threads, "threads end", 120)
    assert victim.alive()
    victim.stop()


def upload_head(key: str) -> bytes:
    """The first message of a do_put: a descriptor, and a schema of which only the beginning comes."""
    path = b"\x08\x01\x1a" + bytes([len(key)]) + key.encode()
    return b"\x0a" + bytes([len(path)]) + path


STALLS = {
    "after the preface": b"",
    "in a frame header": b"\0\0",
    "in a header block": http2.call("DoGet")[:20],
    "before CONTINUATION": http2.call("DoGet", flags=0),
    "before the message": http2.call("DoGet"),
    "in a message": http2.call("DoGet")
    + http2.frame(http2.DATA, http2.message(b"x", claimed=100), stream=1),
    "in an upload": http2.call("DoPut")
    + http2.frame(http2.DATA, http2.message(upload_head("bad/s/o")), stream=1),
    "in an upload's message": http2.call("DoPut")
    + http2.frame(http2.DATA, http2.message(upload_head("bad/s/o"), claimed=MI), stream=1),
}


@pytest.mark.parametrize("stall", STALLS)
def test_a_stalled_connection_harms_nobody(victim, unharmed, stall):
    connections = [http2.Connection(victim.port) for _ in range(20)]
    for connection in connections:
        connection.send(STALLS[stall])
    unharmed()
    for connection in connections:
        connection.socket.close()


@pytest.mark.parametrize("stall", STALLS)
def test_a_half_closed_connection_ends(victim, unharmed, stall):
    """The client says that it has no more to say, in the middle of saying it."""
    for _ in range(20):
        with http2.Connection(victim.port) as connection:
            connection.send(STALLS[stall])
            connection.socket.shutdown(1)
            connection.read_until_quiet(0.05)
    unharmed()
    with Documents(victim.endpoint) as client:
        assert client.keys("bad/") == []


LIES = {
    "a frame of the largest length": b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + bytes(1000),
    "data without a call": http2.frame(http2.DATA, b"x" * 100, stream=1),
    "an even stream": http2.call("DoGet", stream=2),
    "a stream again": http2.call("DoGet", flags=5) + http2.call("DoGet", flags=5),
    "a header block of garbage": http2.frame(http2.HEADERS, b"\xff" * 200, flags=5, stream=1),
    "an index into nothing": http2.frame(http2.HEADERS, b"\xfe\xff\xff\x7f", flags=5, stream=1),
    "a window of zero": http2.frame(http2.SETTINGS, struct.pack(">HI", 4, 0)) + http2.call("DoGet"),
    "a window too large": http2.frame(http2.WINDOW_UPDATE, b"\x7f\xff\xff\xff") * 3,
    "no increment": http2.frame(http2.WINDOW_UPDATE, bytes(4)),
    "settings of an odd length": http2.frame(http2.SETTINGS, bytes(5)),
    "no such method": http2.call("DoEverything", flags=5),
    "a message compressed with nothing": http2.call("DoGet")
    + http2.frame(http2.DATA, http2.message(b"x" * 10, compressed=1), flags=1, stream=1),
    "a message of 4 GiB": http2.call("DoGet")
    + http2.frame(http2.DATA, http2.message(b"", claimed=2**32 - 1), stream=1),
    "headers of 64 KiB": http2.call("DoGet", flags=5, junk="j" * 10_000) * 6,
    "a goodbye": http2.frame(http2.GOAWAY, bytes(8)),
    "random protobuf": http2.call("DoAction")
    + http2.frame(http2.DATA, http2.message(b"\x0a\xff\xff\xff\xff\x0f"), flags=1, stream=1),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_connection_that_breaks_the_protocol_harms_nobody(victim, unharmed, lie):
    for _ in range(10):
        with http2.Connection(victim.port) as connection:
            connection.send(LIES[lie])
            connection.read_until_quiet(0.05)
    unharmed()


@pytest.mark.memory
def test_a_flood_of_pings_settings_and_resets_harms_nobody(victim, unharmed):
    """The floods of 2019 and "rapid reset": each frame costs the sender less than the server."""
    floods = [
        http2.frame(http2.PING, bytes(8)) * 5000,
        http2.frame(http2.SETTINGS, struct.pack(">HI", 3, 100)) * 5000,
        b"".join(
            http2.call("DoGet", stream=n)
            + http2.frame(http2.RST_STREAM, struct.pack(">I", 8), stream=n)
            for n in range(1, 4001, 2)
        ),
        http2.call("DoGet", flags=0) + http2.frame(http2.CONTINUATION, b"", stream=1) * 5000,
    ]
    before = victim.peak_bytes()
    for flood in floods:
        with http2.Connection(victim.port) as connection:
            connection.send(flood)
            connection.read_until_quiet(0.1)
        unharmed()
    assert victim.grown_since(before) < 100 * MI


@pytest.mark.memory
def test_uploads_that_are_left_lying_keep_nothing(victim, unharmed):
    """Real clients that send half and go, without a word or with one."""
    before = victim.peak_bytes()
    for n in range(10):
        with Documents(
            victim.endpoint, generic_options=[("grpc.use_local_subchannel_pool", 1)]
        ) as client:
            writer, _ = client.client.do_put(
                fl.FlightDescriptor.for_path(f"bad/s/{n}"), OPAQUE_SCHEMA
            )
            for _ in range(4):
                writer.write_batch(opaque_batch(bytes(MI)))
            del writer
    unharmed()
    with Documents(victim.endpoint) as client:
        until(
            lambda: not [k for k in client.keys("bad/") if len(client.get(k).value) != 4 * MI], ""
        )
        client.delete("bad/s")
    assert victim.grown_since(before) < 200 * MI


@pytest.mark.memory
def test_a_thousand_connections_harm_nobody(victim, unharmed):
    """Silent ones, ones that speak TLS or nonsense, ones that open calls; then all are closed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2500:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    server_limit = Path(f"/proc/{victim.pid}/limits").read_text()
    hellos = [
        b"",
        http2.PREFACE + http2.frame(http2.SETTINGS),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        http2.PREFACE + http2.frame(http2.SETTINGS) + http2.call("DoGet"),
    ]
    before = victim.peak_bytes()
    connections = [http2.Connection(victim.port, hellos[n % len(hellos)]) for n in range(1000)]
    try:
        unharmed()
        assert victim.grown_since(before) < 300 * MI, server_limit
    finally:
        for connection in connections:
            connection.socket.close()
