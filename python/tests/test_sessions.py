"""The session client, against a server that does to it what servers do."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, as_completed, wait
from typing import Callable

import flamepy
import pytest
from fake_manager import FakeManager, until
from flamepy.core.errors import (
    AlreadyExists,
    Cancelled,
    FlameError,
    FlameErrorCode,
    InvalidArgument,
    InvalidConfig,
    InvalidState,
    NotFound,
    TaskCancelled,
    TaskFailed,
    Timeout,
    Unavailable,
)
from flamepy.core.sessions import (
    ApplicationAttributes,
    ApplicationSchema,
    Connection,
    ExecutorState,
    ResourceRequirement,
    SessionAttributes,
    SessionState,
    Shim,
    TaskState,
    connect,
)
from flamepy.core.sessions.rpc import Target
from flamepy.core.sessions.service import FlameService


class Echo(FlameService):
    """Says what it is told; waits, or fails, when told so."""

    gate = threading.Event()

    def on_task_invoke(self, context):
        if context.input == b"wait":
            self.gate.wait(30)
        if context.input == b"fail":
            raise ValueError("it went wrong")
        return context.input


@pytest.fixture
def start() -> Iterator[Callable[..., tuple[FakeManager, Connection]]]:
    """Start a manager, and connect to it."""
    Echo.gate = threading.Event()
    opened = []

    def make(**options) -> tuple[FakeManager, Connection]:
        manager = FakeManager(Echo, **options)
        connection = connect(manager.address)
        opened.extend((connection, manager))
        connection.register_application("echo", ApplicationAttributes(command="echo"))
        return manager, connection

    yield make
    Echo.gate.set()
    for thing in opened:
        thing.close()


MODES = {
    "one stream": {},
    "a stream per task": {"multiplexed": False},
    "as upstream": {"multiplexed": False, "events_in_watch": False},
    "ends without a word": {"multiplexed": False, "silent_ends": 3},
    "one stream, without events": {"events_in_watch": False},
}


@pytest.fixture(params=MODES, ids=MODES)
def mode(request) -> dict:
    return MODES[request.param]


def test_tasks_are_done(start, mode):
    _, connection = start(**mode)
    session = connection.create_session(SessionAttributes("echo"))
    assert session.invoke(b"hello") == b"hello"
    assert session.invoke(None) is None
    assert session.invoke(b"") == b""
    futures = [session.run(str(i).encode()) for i in range(50)]
    assert [future.result(30) for future in futures] == [str(i).encode() for i in range(50)]
    assert [future.task_id for future in futures] == [str(i) for i in range(4, 54)]


def test_a_failure_has_the_services_words(start, mode):
    _, connection = start(**mode)
    session = connection.create_session(SessionAttributes("echo"))
    with pytest.raises(TaskFailed, match=r"^it went wrong$") as caught:
        session.invoke(b"fail")
    assert (caught.value.session_id, caught.value.task_id) == (session.id, "1")
    assert caught.value.code == FlameErrorCode.INTERNAL
    assert session.invoke(b"still works") == b"still works"


def watchers() -> set:
    return {t for t in threading.enumerate() if t.name.startswith("flamepy-watch")}


def test_a_thousand_tasks_are_watched_by_one_thread(start):
    manager, connection = start()
    session = connection.create_session(SessionAttributes("echo"))
    before = watchers()
    futures = [session.run(b"wait") for _ in range(1000)]
    assert len(watchers() - before) == 1
    assert not any(future.done() for future in futures)
    last = connection.create_session(SessionAttributes("echo")).run(b"quick")
    assert last.result(30) == b"quick"  # Nobody waits for those before it.
    Echo.gate.set()
    assert all(future.result(60) == b"wait" for future in as_completed(futures))
    assert manager.calls.count("WatchTasks") == 1


def test_a_task_is_watched_that_comes_before_the_thread_is_ready(start):
    """It was a future that never got an answer."""
    import asyncio
    from concurrent.futures import Future

    from flamepy.core.sessions.watching import _Loop

    _, connection = start()
    session = connection.create_session(SessionAttributes("echo"))
    task = session.create_task(b"early")
    loop = asyncio.new_event_loop()
    inner = _Loop(Target(connection.addr, None), loop)
    future: Future = Future()
    loop.call_soon(inner.add, (session.id, task.id), future)
    thread = threading.Thread(target=inner.run, daemon=True)
    thread.start()
    assert future.result(30).spec.output == b"early"
    loop.call_soon_threadsafe(inner.close)
    thread.join(30)


def test_times_out_and_goes_on(start, mode):
    _, connection = start(**mode)
    session = connection.create_session(SessionAttributes("echo"))
    future = session.run(b"wait")
    with pytest.raises(Timeout, match=f"task 1 of session {session.id} has not ended after 0.05 s"):
        future.result(0.05)
    with pytest.raises(Timeout):
        future.exception(0.05)
    with pytest.raises(TimeoutError):
        session.invoke(b"wait", timeout=0.2)
    Echo.gate.set()
    assert future.result(30) == b"wait"


def test_closing_cancels_what_waits(start, mode):
    _, connection = start(instances=1, **mode)
    session = connection.create_session(SessionAttributes("echo"))
    running = session.run(b"wait")
    waiting = [session.run(b"x") for _ in range(3)]
    until(lambda: session.get_task("1").state == TaskState.RUNNING, "the first runs")
    with pytest.raises(
        FlameError, match="failed to close session: Cannot close session with running"
    ):
        session.close()
    Echo.gate.set()
    assert running.result(30) == b"wait"
    for future in waiting:
        wait([future], 30)
    Echo.gate.clear()
    blocked = session.run(b"wait")
    late = session.run(b"x")
    until(lambda: session.get_task(blocked.task_id).state == TaskState.RUNNING, "it runs")
    manager_session = connection.get_session(session.id)
    assert (manager_session.running, manager_session.pending) == (1, 1)
    Echo.gate.set()
    assert blocked.result(30) == b"wait"
    assert late.result(30) == b"x"
    session.close()
    closed = connection.get_session(session.id)
    assert closed.state is SessionState.CLOSED
    assert closed.completion_time is not None
    with pytest.raises(InvalidState, match="not open"):
        session.run(b"x")


def test_cancelled_tasks_are_told_apart(start, mode):
    manager, connection = start(instances=0, **mode)
    session = connection.create_session(SessionAttributes("echo"))
    future = session.run(b"never")
    session.close()
    with pytest.raises(TaskCancelled, match="closed before it ran"):
        future.result(30)
    assert session.get_task("1").state is TaskState.CANCELLED
    assert [task.state for task in session.list_tasks()] == [TaskState.CANCELLED]
    assert connection.get_session(session.id).cancelled == 1
    assert manager.sessions[session.id].tasks["1"].status.state == 4


def test_an_unknown_task_is_an_error_and_never_silence(start, mode):
    manager, connection = start(**mode)
    session = connection.create_session(SessionAttributes("echo"))
    future = session.run(b"wait")
    del manager.sessions[session.id].tasks["1"]  # As when somebody deletes the session.
    manager.stop()
    manager.start(manager.port)
    with pytest.raises(NotFound, match="watch task 1"):
        future.result(30)


def test_a_restart_of_the_service_loses_nothing(start, mode):
    manager, connection = start(**mode)
    session = connection.create_session(SessionAttributes("echo"))
    futures = [session.run(b"wait") for _ in range(20)]
    manager.stop()
    Echo.gate.set()
    time.sleep(0.3)  # The tasks end while nobody can be told.
    manager.start(manager.port)
    assert [future.result(30) for future in futures] == [b"wait"] * 20
    assert session.invoke(b"again") == b"again"


def test_a_service_that_is_gone_is_an_error(start, monkeypatch):
    from flamepy.core.sessions import watching

    monkeypatch.setattr(watching, "_PATIENCE_SECONDS", 0.5)
    manager, connection = start()
    session = connection.create_session(SessionAttributes("echo"))
    future = session.run(b"wait")
    manager.stop()
    with pytest.raises(Unavailable, match="is the session manager at"):
        future.result(30)
    with pytest.raises(Timeout, match="failed to get session: no answer"):
        connection.get_session(session.id, timeout=0.5)
    with pytest.raises(Unavailable, match="timeout connecting to"):
        connect(manager.address, timeout=0.5)


def test_closing_the_connection_answers_every_future(start):
    _, connection = start()
    session = connection.create_session(SessionAttributes("echo"))
    future = session.run(b"wait")
    connection.close()
    with pytest.raises(Cancelled, match="connection was closed"):
        future.result(30)
    with pytest.raises(Unavailable):
        session.run(b"x")


def test_giving_a_future_up(start):
    _, connection = start()
    session = connection.create_session(SessionAttributes("echo"))
    future = session.run(b"wait")
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result()
    Echo.gate.set()
    assert session.invoke(b"x") == b"x"


def test_sessions_and_their_errors(start):
    _, connection = start()
    spec = SessionAttributes(
        "echo",
        id="mine",
        common_data=b"c",
        min_instances=1,
        max_instances=2,
        resreq=ResourceRequirement(1, 2, 0),
    )
    session = connection.open_session("mine", spec)
    assert session.id == "mine"
    assert session.common_data() == b"c"
    assert session.creation_time.year == 2023
    assert session.creation_time.microsecond == 123_000
    assert connection.open_session("mine").application == "echo"
    assert [s.id for s in connection.list_sessions()] == ["mine"]
    with pytest.raises(AlreadyExists, match="failed to create session: Session 'mine' already"):
        connection.create_session(spec)
    with pytest.raises(NotFound, match="failed to open session: Session gone not found"):
        connection.open_session("gone")
    with pytest.raises(NotFound, match="failed to create session: application"):
        connection.create_session(SessionAttributes("gone"))
    connection.close_session("mine")
    with pytest.raises(InvalidState, match="not open; open another one") as caught:
        connection.open_session("mine")
    assert caught.value.code == FlameErrorCode.INVALID_STATE
    for bad in (
        {"min_instances": -1},
        {"min_instances": 2, "max_instances": 1},
        {"max_instances": 0},
    ):
        with pytest.raises(InvalidArgument, match="min_instances"):
            connection.create_session(SessionAttributes("echo", **bad))
    with pytest.raises(InvalidArgument, match="common_data must be bytes"):
        connection.create_session(SessionAttributes("echo", common_data="text"))
    with pytest.raises(InvalidArgument, match="input_data must be bytes in core API"):
        session.create_task("text")
    name = connection.create_session(SessionAttributes("echo")).id
    assert name.startswith("echo-")
    assert len(name) == len("echo-") + 6


def test_applications(start):
    _, connection = start()
    attributes = ApplicationAttributes(
        shim=Shim.HOST,
        image="i",
        description="d",
        labels=["l"],
        command="c",
        arguments=["a"],
        environments={"A": "1"},
        working_directory="/w",
        max_instances=3,
        delay_release=0,
        schema=ApplicationSchema(input="{}"),
        url="file:///x.zip",
        installer="python",
    )
    connection.register_application("app", attributes)
    found = connection.get_application("app")
    assert {name: getattr(found, name) for name in vars(attributes)} == vars(attributes)
    assert connection.get_application("gone") is None
    connection.register_application("dict", {"command": "c"})
    assert {a.name for a in connection.list_applications()} == {"echo", "app", "dict"}
    with pytest.raises(FlameError, match=r"^Application 'app' already exists$") as caught:
        connection.register_application("app", attributes)
    assert caught.value.code == FlameErrorCode.INTERNAL
    with pytest.raises(InvalidArgument, match="no comand"):
        connection.register_application("x", {"comand": "c"})
    connection.create_session(SessionAttributes("app"))
    with pytest.raises(FlameError, match="open sessions"):
        connection.unregister_application("app")
    connection.unregister_application("dict")


def test_executors_and_nodes(start):
    _, connection = start()
    (executor,) = connection.list_executors()
    assert executor.status.state == ExecutorState.BOUND
    assert (executor.status.session_id, executor.spec.resreq.cpu) == ("s", 1)
    (node,) = connection.list_nodes()
    assert (node.spec.hostname, node.status.capacity.memory) == ("h", 1 << 33)


def test_newer_names_are_tried(start):
    """Newer servers know the plural names only."""
    manager, connection = start()
    import fake_manager

    moved = {"ListApplication": "ListApplications", "ListSession": "ListSessions"}
    for old, new in moved.items():
        fake_manager._UNARY[new] = fake_manager._UNARY.pop(old)
    manager.list_applications, manager.list_sessions = (
        manager.list_application,
        manager.list_session,
    )
    try:
        assert connection.list_sessions() == []
        assert len(connection.list_applications()) == 1
        assert len(connection.list_applications()) == 1
    finally:
        for old, new in moved.items():
            fake_manager._UNARY[old] = fake_manager._UNARY.pop(new)
    assert manager.calls.count("ListApplication") == 1


def test_watching_a_task(start, mode):
    _, connection = start(instances=1, **{**mode, "silent_ends": 0})
    session = connection.create_session(SessionAttributes("echo"))
    task = session.create_task(b"wait")
    watcher = session.watch_task(task.id, timeout=0.2)
    with pytest.raises(Timeout, match=r"has not changed for 0\.2 s"):
        list(watcher)
    Echo.gate.set()
    states = [task.state for task in session.watch_task(task.id, timeout=10)]
    assert states[-1] is TaskState.SUCCEED
    failing = session.create_task(b"fail")
    last = list(session.watch_task(failing.id))[-1]
    assert last.failure() == "it went wrong"
    with pytest.raises(NotFound):
        next(session.watch_task("77"))


def test_informers_are_told(start):
    _, connection = start()
    session = connection.create_session(SessionAttributes("echo"))
    told = []

    class Informer(flamepy.TaskInformer):
        def on_update(self, task):
            told.append(task.state)

    session.run(b"x", Informer()).result(30)
    until(lambda: told == [TaskState.SUCCEED], "the informer is told")


def test_the_functions_follow_the_context(start, home, monkeypatch):
    manager, _ = start()
    monkeypatch.setenv("FLAME_ENDPOINT", manager.address)
    with flamepy.create_session("echo", b"c") as session:
        assert session.invoke(b"x") == b"x"
        assert flamepy.get_session(session.id).succeed == 1
        assert flamepy.open_session(session.id).common_data() == b"c"
    assert [s.state for s in flamepy.list_sessions()] == [SessionState.CLOSED]
    flamepy.register_application("b", {"command": "c"})
    assert len(flamepy.list_applications()) == 2
    flamepy.unregister_application("b")
    assert flamepy.get_application("b") is None
    assert len(flamepy.list_nodes()) == len(flamepy.list_executors()) == 1
    with FakeManager(Echo) as other:
        other.applications["other"] = None
        monkeypatch.setenv("FLAME_ENDPOINT", other.address)
        assert flamepy.list_sessions() == []


def test_addresses():
    assert Target("http://h", None).name == "h:8080"
    assert Target("h:1", None).name == "h:1"
    assert Target("https://[::1]:5", None).name == "[::1]:5"
    assert Target("unix:///run/x.sock", None).name == "unix:/run/x.sock"
    for bad in ("", "ftp://h", "http://h:99999999", "http://"):
        with pytest.raises(InvalidConfig):
            Target(bad, None)


def test_without_grpcio_there_is_a_clear_error_and_the_cache_works():
    code = """
import sys
sys.modules["grpc"] = None
import flamepy
from flamepy.core.sessions import connect
try:
    connect("http://127.0.0.1:1")
except flamepy.InvalidConfig as error:
    assert "pip install 'flamepy[runner]'" in str(error), error
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("cpu=1,mem=1g,gpu=0", (1, 1 << 30, 0)),
        ("cpu=2", (2, 0, 0)),
        ("memory=10kb, gpu=3", (0, 10240, 3)),
        ("mem=7", (0, 7, 0)),
        ("mem=1TiB", (0, 1 << 40, 0)),
        ("mem=2p", (0, 2 << 50, 0)),
    ],
)
def test_resources(text, wanted):
    assert ResourceRequirement.from_string(text) == ResourceRequirement(*wanted)


@pytest.mark.parametrize("text", ["", "cpu=x", "cpu=1k", "foo=1", "mem=1.5g", "mem=-1", "cpu"])
def test_resources_that_make_no_sense(text):
    with pytest.raises(ValueError):
        ResourceRequirement.from_string(text)
