"""Uploads that never end well leave nothing behind."""

import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest
from harness.flight import OPAQUE_SCHEMA, Flight, native, opaque_batch
from harness.wait import until
from pyarrow import flight as fl

UPLOADER = Path(__file__).parents[1] / "harness" / "uploader.py"


def uploading_process(server, target, command=""):
    process = subprocess.Popen(
        [sys.executable, UPLOADER, server.endpoint, target, command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"uploading\n"
    return process


def end(process):
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def open_connections(server):
    """Established connections to the server's port, as the kernel lists them."""
    port = f"{server.port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(
        1 for line in lines if line.split()[1].endswith(":" + port) and line.split()[3] == "01"
    )


def test_a_client_killed_in_an_upload_leaves_nothing(flight, server, app):
    before = open_connections(server)
    for i in range(8):
        end(uploading_process(server, f"{app}/s/{i}"))
    until(lambda: open_connections(server) <= before, "the dead clients' connections are gone")
    assert flight.keys(f"{app}/") == []
    assert flight.put(f"{app}/s/0", b"x").version == 1


def test_a_client_killed_in_a_replacement_leaves_the_old_object(flight, server, app):
    before = open_connections(server)
    flight.put(f"{app}/s/o", b"old")
    end(uploading_process(server, f"{app}/s/o"))
    end(uploading_process(server, f"{app}/s/o", "PATCH:"))
    until(lambda: open_connections(server) <= before, "the dead clients' connections are gone")
    assert [(version, kind) for version, kind, _ in flight.get(f"{app}/s/o").rows] == [(1, "base")]
    assert flight.put(f"{app}/s/o", b"new").version == 2


def test_half_an_upload_shows_nothing_while_it_lasts(flight, server, app):
    flight.put(f"{app}/s/o", b"old")
    process = uploading_process(server, f"{app}/s/o")
    try:
        assert flight.get(f"{app}/s/o").value == b"old"
        assert flight.patch(f"{app}/s/o", b"+").version == 2
    finally:
        end(process)


def test_an_upload_past_its_deadline_leaves_nothing(flight, app):
    """The client's side cancels the call; the server hears of it while it waits for more."""
    for i in range(8):
        options = fl.FlightCallOptions(timeout=0.05)
        target = fl.FlightDescriptor.for_path(f"{app}/s/{i}")
        writer, reader = flight.client.do_put(target, OPAQUE_SCHEMA, options)
        writer.write_batch(opaque_batch(b"x"))
        assert reader.read() is None
        with pytest.raises(fl.FlightTimedOutError):
            writer.close()
    assert flight.keys(f"{app}/") == []
    assert flight.put(f"{app}/s/0", b"x").version == 1


def test_a_table_that_turns_bad_half_way_leaves_nothing(flight, app):
    good = native(pa.record_batch({"s": ["fine"]}))
    bad = native(pa.record_batch({"s": pa.array([b"\xff"], pa.binary()).view(pa.string())}))
    with pytest.raises(pa.ArrowInvalid):
        flight.put_stream(f"{app}/s/o", good.schema, [good, good, bad])
    assert flight.keys(f"{app}/") == []


def test_readers_that_disappear_do_no_harm(flight, server, app):
    flight.put(f"{app}/s/o", bytes(32 << 20))
    for _ in range(20):
        leaver = Flight(server.endpoint)
        stream = leaver.client.do_get(fl.Ticket(f"{app}/s/o"))
        del stream
        leaver.client.close()
    for _ in range(5):
        cancelled = flight.client.do_get(fl.Ticket(f"{app}/s/o"))
        cancelled.cancel()
    assert len(flight.get(f"{app}/s/o").value) == 32 << 20


def test_connections_of_clients_that_leave_are_given_back(server, app):
    before = open_connections(server)

    def visit(i):
        with Flight(
            server.endpoint, generic_options=[("grpc.use_local_subchannel_pool", 1)]
        ) as visitor:
            visitor.put(f"{app}/s/{i}", b"x")

    threads = [threading.Thread(target=visit, args=(i,)) for i in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: open_connections(server) <= before, "all 30 connections are closed")
