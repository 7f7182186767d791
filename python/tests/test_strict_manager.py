"""The SDK's sessions against a manager that answers as the existing server does: nothing hangs, nothing is lost."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import flamepy
import pytest
from flamepy.core.errors import NotFound, TaskFailed, Timeout
from flamepy.core.sessions import (
    ApplicationAttributes,
    Connection,
    SessionAttributes,
    TaskState,
    connect,
)
from session_manager import SessionManager

pytestmark = pytest.mark.timeout(120)

_SERVICE = """
import time
from flamepy.core.sessions.service import FlameService, run

class Echo(FlameService):
    def on_task_invoke(self, context):
        if context.input == b"fail":
            raise ValueError("it went wrong")
        if context.input == b"wait":
            time.sleep(1)
        return context.input

run(Echo())
"""


@pytest.fixture(scope="module", params=["strict", "ours"])
def connection(request, server, tmp_path_factory) -> Iterator[Connection]:
    home = tmp_path_factory.mktemp("sm")
    arguments = ["--strict-upstream"] if request.param == "strict" else []
    with (
        SessionManager(home, server.endpoint, *arguments) as manager,
        connect(manager.address) as connected,
    ):
        connected.register_application(
            "echo",
            ApplicationAttributes(
                command=sys.executable,
                arguments=["-c", _SERVICE],
                environments={"PYTHONPATH": str(Path(flamepy.__file__).parents[1])},
            ),
        )
        yield connected


def test_tasks_are_done(connection):
    session = connection.create_session(SessionAttributes("echo"))
    assert session.invoke(b"hello") == b"hello"
    futures = [session.run(str(i).encode()) for i in range(50)]
    assert [future.result(60) for future in futures] == [str(i).encode() for i in range(50)]
    session.close()


def test_a_failure_has_the_services_words(connection):
    session = connection.create_session(SessionAttributes("echo"))
    with pytest.raises(TaskFailed, match=r"^it went wrong$"):
        session.invoke(b"fail")
    future = session.run(b"fail")
    with pytest.raises(TaskFailed, match=r"^it went wrong$"):
        future.result(60)
    session.close()


def test_an_unknown_task_is_an_error_and_never_silence(connection):
    session = connection.create_session(SessionAttributes("echo"))
    with pytest.raises(NotFound):
        next(session.watch_task("77"))
    session.close()


def test_watching_a_task(connection):
    session = connection.create_session(SessionAttributes("echo"))
    assert session.invoke(b"hello") == b"hello"  # There is an instance.
    task = session.create_task(b"wait")
    with pytest.raises(Timeout):
        list(session.watch_task(task.id, timeout=0.2))
    states = [each.state for each in session.watch_task(task.id, timeout=60)]
    assert states[-1] is TaskState.SUCCEED
    session.close()


def test_lists_by_whichever_name(connection):
    session = connection.create_session(SessionAttributes("echo"))
    session.invoke(b"x")
    assert session.id in [each.id for each in connection.list_sessions()]
    assert "echo" in [each.name for each in connection.list_applications()]
    assert [task.id for task in session.list_tasks()] == ["1"]
    session.close()
