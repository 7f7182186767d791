"""--exit-when-idle: the server ends when nobody calls it, and only then."""

import itertools
import threading
import time

import pytest
from harness.documents import Documents
from harness.errors import tag_of
from harness.flight import OPAQUE_SCHEMA, Flight, Ref, opaque_batch
from harness.wait import until
from pyarrow import flight as fl


def test_a_server_that_nobody_calls_ends_with_0(server_factory):
    server = server_factory(args=("--exit-when-idle", "200ms"))
    assert server.wait() == 0
    assert "no call for 200ms" in server.log()
    assert "stopped" in server.log()


def test_a_connection_without_calls_is_nobody(server_factory):
    server = server_factory(args=("--exit-when-idle", "2s"))
    with Flight(server.endpoint) as client:
        client.put("app/s/o", b"x")
        assert server.wait() == 0


def test_every_call_puts_the_end_off(server_factory):
    server = server_factory(args=("--exit-when-idle", "2s"))
    end = time.monotonic() + 5
    with Flight(server.endpoint) as client:
        while time.monotonic() < end:
            client.put("app/s/o", b"x")
            assert server.alive()
    assert server.wait() == 0


def test_a_call_that_takes_longer_than_that_is_not_cut_off(server_factory):
    server = server_factory(args=("--exit-when-idle", "2s"))
    with Documents(server.endpoint) as watcher:
        _, cursor = watcher.feed()
        events, _ = watcher.feed(cursor, wait_ms=4000)  # Nothing happens; it waits.
        assert events == []
    assert server.wait() == 0


def test_an_upload_that_takes_longer_than_that_is_not_cut_off(server_factory):
    server = server_factory(args=("--exit-when-idle", "2s"))
    with Flight(server.endpoint) as client:
        writer, reader = client.client.do_put(
            fl.FlightDescriptor.for_path("app/s/o"), OPAQUE_SCHEMA
        )
        writer.write_batch(opaque_batch(b"x"))
        waited = threading.Event()
        waited.wait(4)  # The time is the subject here.
        assert server.alive()
        writer.done_writing()
        assert Ref.decode(reader.read().to_pybytes()).version == 1
        writer.close()
    assert server.wait() == 0


def test_both_listeners_count(server_factory, tmp_path_factory):
    path = f"/tmp/flame-idle-{time.monotonic_ns()}.sock"
    server = server_factory(args=("--exit-when-idle", "2s", "--unix-socket", path))
    end = time.monotonic() + 5
    with Flight(f"grpc+unix://{path}") as client:
        while time.monotonic() < end:
            client.put("app/s/o", b"x")
            assert server.alive()
    assert server.wait() == 0


# Goal: a call that meets the end is answered, or refused before anything was done.
# Method: clients write as the server ends; after a restart the versions tell what was done.
@pytest.mark.parametrize("round_", range(5))
def test_a_call_that_meets_the_end_is_answered_or_not_begun(server_factory, round_):
    server = server_factory("fs", args=("--exit-when-idle", "50ms"))
    acknowledged = 0
    pause = threading.Event()
    # Each pause is a little longer than the last, so that on a machine of any speed one of them ends
    # where the server ends.
    pauses = itertools.count(0.040 + 0.0002 * round_, 0.001)
    refusals = []
    with Flight(server.endpoint) as client:
        while server.alive() and not refusals:
            try:
                acknowledged = client.put("app/s/o", b"x").version
            except (fl.FlightUnavailableError, fl.FlightCancelledError) as error:
                # Cancelled: it reached a door that gRPC was closing. The client cannot know that
                # nothing was done; the version below tells.
                refusals.append(str(error))
            pause.wait(next(pauses))
    assert server.wait() == 0
    for refusal in refusals:
        if "[flame:" in refusal:
            assert tag_of(refusal) == ("unavailable", {"outcome": "not_applied"})
    server._args = ()
    server.start()
    with Flight(server.endpoint) as client:
        assert client.put("app/s/o", b"x").version == acknowledged + 1


def test_sigterm_ends_a_server_that_would_end_when_idle(server_factory):
    server = server_factory(args=("--exit-when-idle", "1h"))
    with Flight(server.endpoint) as client:
        client.put("app/s/o", b"x")
    server.stop()
    until(lambda: "stopped" in server.log(), "the last line")
