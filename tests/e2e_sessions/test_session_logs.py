"""What instances write can be read over gRPC, while they run and afterwards; and a service that leaves a task ends."""

from __future__ import annotations

import threading

import grpc
import pytest
from harness import remote
from harness.manager_logs import Logs
from harness.session_manager import application
from harness.wait import until


@pytest.fixture
def logs():
    opened = []

    def connect(manager):
        opened.append(Logs(manager.endpoint))
        return opened[-1]

    yield connect
    for each in opened:
        each.close()


def _session(client, name="s"):
    client(remote.register, name="app", attributes=application())
    client(remote.create, session=name, app="app")


@pytest.mark.parametrize("code", ["3", "no licence"])
def test_a_service_that_exits_in_a_task_fails_that_task_only(managers, connect, code):
    client = connect(managers())
    _session(client)
    before, died, after = client(remote.outcomes, session="s", texts=["pid", f"exit {code}", "pid"])
    assert "the service process died in task 2: it exited with code" in died
    assert ("code 3" if code == "3" else "no licence") in died
    assert "SystemExit" in died
    assert before != after


def test_a_service_does_not_see_how_that_is_done(managers, connect):
    client = connect(managers("none", env={"PYTHONPATH": "/somewhere"}))
    _session(client)
    assert client(remote.outcomes, session="s", texts=["env PYTHONPATH"]) == ["/somewhere"]
    plain = connect(managers())
    _session(plain)
    assert plain(remote.outcomes, session="s", texts=["env PYTHONPATH"]) == ["(not set)"]


def test_output_is_listed_and_read_while_and_after_an_instance_runs(managers, connect, logs):
    manager = managers()
    client = connect(manager)
    _session(client)
    assert client(remote.outcomes, session="s", texts=["write hello"]) == ["hello"]
    reading = logs(manager)
    out, err = reading.list(session_id="s")
    assert (out.stream, err.stream) == ("OUT", "ERR")
    assert (out.application, out.size, out.end_time) == ("app", 6, None)
    assert reading.read(session_id="s", stream="OUT") == b"hello\n"
    assert b"HELLO" in reading.read(instance_id=out.instance_id)
    assert reading.read(instance_id=out.instance_id, stream="OUT", tail_bytes=3) == b"lo\n"
    client(remote.close, session="s")
    until(lambda: reading.list(session_id="s")[0].end_time, "the instance has ended")
    assert not manager.instances()
    assert reading.read(session_id="s", stream="OUT") == b"hello\n"
    assert reading.list(session_id="other") == []


def test_following_a_session_ends_with_it(managers, connect, logs):
    manager = managers()
    client = connect(manager)
    _session(client)
    reading = logs(manager)
    seen = []

    def follow():
        seen.extend(
            chunk.data for chunk in reading.chunks(session_id="s", stream="OUT", follow=True)
        )

    thread = threading.Thread(target=follow)
    thread.start()
    client(remote.outcomes, session="s", texts=["write one"])
    until(lambda: b"".join(seen) == b"one\n", "the line came")
    client(remote.outcomes, session="s", texts=["die", "write two"])  # Of the next instance.
    until(lambda: b"".join(seen) == b"one\ntwo\n", "so did that of the next instance")
    assert thread.is_alive()
    client(remote.close, session="s")
    thread.join(60)
    assert not thread.is_alive()


def test_what_is_unknown_or_malformed_is_an_error(managers, logs):
    reading = logs(managers())
    for request, code in (
        ({"session_id": "gone"}, grpc.StatusCode.NOT_FOUND),
        ({"instance_id": "gone", "follow": True}, grpc.StatusCode.NOT_FOUND),
        ({}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"session_id": "s", "instance_id": "i"}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"session_id": "s", "tail_bytes": -1}, grpc.StatusCode.INVALID_ARGUMENT),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            reading.read(**request)
        assert refused.value.code() is code, request


def test_only_the_last_instances_of_a_session_are_kept(managers, connect, logs):
    manager = managers("none", "--keep-logs", "2")
    client = connect(manager)
    _session(client)
    died = client(remote.outcomes, session="s", texts=["die"] * 3)
    assert all("it was killed by signal 9" in text for text in died), died
    client(remote.close, session="s")
    manager_logs = logs(manager)
    until(lambda: not manager.instances(), "all instances have ended")
    until(lambda: len(manager_logs.list(session_id="s")) == 4, "two instances are kept")
    assert b"last words" in manager_logs.read(session_id="s", stream="ERR")


def test_a_client_that_goes_away_while_it_follows(managers, connect, logs):
    manager = managers()
    client = connect(manager)
    _session(client)
    reading = logs(manager)
    for _ in range(20):
        call = reading.call(session_id="s", follow=True)
        call.cancel()
    assert client(remote.outcomes, session="s", texts=["write hello"]) == ["hello"]
    assert reading.read(session_id="s", stream="OUT") == b"hello\n"
    manager.stop()
