"""Tasks through the socket for clients of the same machine: as by gRPC, only cheaper."""

from __future__ import annotations

import json
import os
import stat

import pytest
from flamepy.core.errors import InvalidArgument, NotFound, ResourceExhausted, TaskFailed
from flamepy.core.sessions.client import connect
from flamepy.core.types import SessionAttributes
from harness.server import port_for_restarts
from harness.wait import until


def script(code: str) -> bytes:
    return json.dumps({"language": "shell", "code": code}).encode()


def said(output: bytes) -> str:
    return bytes(json.loads(output)["data"]).decode()


@pytest.fixture
def connection(manager):
    with connect(manager.endpoint) as connection:
        yield connection


@pytest.fixture
def session(connection):
    session = connection.create_session(SessionAttributes("flmexec", max_instances=1))
    assert connection._tasks is not None, "the manager offers a socket"
    assert connection._tasks.usable
    return session


def through_grpc(session) -> int:
    """How many tasks of the session were made by gRPC, by a client that counts them."""
    return session.made_by_grpc


@pytest.fixture
def counted(session, monkeypatch):
    """The session, with a count of the calls of gRPC that make tasks."""
    session.made_by_grpc = 0
    create = type(session).create_task

    def create_task(self, *args, **kwargs):
        self.made_by_grpc = getattr(self, "made_by_grpc", 0) + 1
        return create(self, *args, **kwargs)

    monkeypatch.setattr(type(session), "create_task", create_task)
    return session


def test_tasks_go_through_the_socket(counted):
    futures = [counted.run(script(f"echo {number}")) for number in range(20)]
    assert [future.task_id for future in futures] == [str(number + 1) for number in range(20)]
    assert [said(future.result(30)) for future in futures] == [f"{n}\n" for n in range(20)]
    assert through_grpc(counted) == 0
    task = counted.get_task("20")
    assert task.input == script("echo 19")
    assert task.output == futures[19].result()


def test_large_tasks_as_well(counted):
    code = f"echo large # {'x' * (5 << 20)}"
    assert said(counted.run(script(code)).result(30)) == "large\n"
    assert through_grpc(counted) == 0


def test_a_task_that_is_too_large_is_refused_as_by_grpc(session):
    with pytest.raises(ResourceExhausted, match="larger than max"):
        session.run(bytes(66 << 20))
    with pytest.raises(ResourceExhausted, match="larger than max"):
        session.create_task(bytes(66 << 20))
    assert said(session.run(script("echo next")).result(30)) == "next\n"


def test_large_outputs_come_whole(session):
    output = session.run(script("head -c 900000 /dev/zero | tr '\\0' x")).result(60)
    assert said(output) == "x" * 900_000


def test_failed_tasks_say_why(session):
    with pytest.raises(TaskFailed, match=r"JSON|json") as failed:
        session.run(b"no script").result(30)
    assert failed.value.task_id == "1"


def test_a_closed_session_takes_none(session):
    session.close()
    with pytest.raises(InvalidArgument, match="closed"):
        session.run(script("echo"))


def test_an_unknown_session_is_not_found(connection, session):
    connection.close_session(session.id)
    session.id = "another"
    with pytest.raises(NotFound):
        session.run(script("echo"))


def test_the_socket_is_its_users_alone(manager, session):
    path = manager.work / "w" / ".tasks"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_uid == os.geteuid()
    manager.stop()
    assert not path.exists()


def test_accepted_tasks_are_waited_for_over_a_restart(managers):
    manager = managers("fs", start=False)
    manager.port = port_for_restarts()
    manager.start()
    with connect(manager.endpoint) as connection:
        session = connection.create_session(SessionAttributes("flmexec", max_instances=1))
        first = connection._tasks
        futures = [session.run(script(f"sleep 0.1; echo {number}")) for number in range(5)]
        manager.kill()
        manager.start()
        assert [said(future.result(60)) for future in futures] == [f"{n}\n" for n in range(5)]
        # The old socket is no more; the next call tells of the new one.
        until(lambda: not first.usable, "the end of the connection was seen")
        assert said(session.run(script("echo again")).result(30)) == "again\n"
        assert connection._tasks is not first
        assert connection._tasks.usable


def test_a_strict_manager_offers_none(managers):
    manager = managers("none", "--strict-upstream")
    with connect(manager.endpoint) as connection:
        session = connection.create_session(SessionAttributes("flmexec"))
        assert connection._tasks is None
        assert said(session.run(script("echo by gRPC")).result(30)) == "by gRPC\n"
