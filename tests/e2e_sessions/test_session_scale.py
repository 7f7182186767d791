"""Many of everything at once: nothing is lost, and what is waiting costs little.

The service is flmping: a process that is there within milliseconds.
"""

from __future__ import annotations

import json

import psutil
import pytest
from flamepy.core.sessions.client import connect
from flamepy.core.types import SessionAttributes, SessionState, Shim, TaskState
from harness.wait import until

MI = 1 << 20


@pytest.mark.slow  # And a sanitizer's allocator would be what is measured.
@pytest.mark.timeout(300)
def test_ten_thousand_tasks_wait_their_turn(managers):
    """All are accepted and done in order; a waiting one takes less than a KiB of the manager's memory."""
    manager = managers("fs")
    with connect(manager.endpoint) as connection:
        # No instance takes these: they wait.
        connection.register_application("wasm", {"shim": Shim.WASM, "command": "x"})
        session = connection.create_session(SessionAttributes("wasm", id="many"))
        before = psutil.Process(manager.process.pid).memory_info().rss
        ids = [session.create_task(b"x" * 4096).id for _ in range(10_000)]
        assert ids == [str(n) for n in range(1, 10_001)]
        grown = psutil.Process(manager.process.pid).memory_info().rss - before
        # RocksDB's write buffers are part of it, and have a bound of their own.
        assert grown < 10_000 * 1024 + 96 * MI, f"{grown / MI:.1f} MiB"
        assert connection.get_session("many").pending == 10_000
        session.close()
        closed = connection.get_session("many")
        assert (closed.state, closed.pending) == (SessionState.CLOSED, 0)
        assert session.get_task("10000").state == TaskState.CANCELLED


@pytest.mark.timeout(300)
def test_a_thousand_tasks_of_one_instance_are_done_in_order(managers):
    manager = managers("fs")
    with connect(manager.endpoint) as connection:
        session = connection.create_session(SessionAttributes("flmping", id="s", max_instances=1))
        futures = [session.run(b"") for _ in range(1000)]
        answers = [json.loads(future.result(120)) for future in futures]
        assert [answer["task"] for answer in answers] == [str(n) for n in range(1, 1001)]
        assert len({answer["pid"] for answer in answers}) == 1
        ended = [task.completion_time for task in session.list_tasks()]
        assert ended == sorted(ended)


@pytest.mark.timeout(300)
def test_a_hundred_sessions_at_once(managers):
    """More than may run at a time: each has its turn, and an instance of its own."""
    manager = managers("none", "--max-executors", "8")
    with connect(manager.endpoint) as connection:
        sessions = [
            connection.create_session(SessionAttributes("flmping", id=f"s-{n}")) for n in range(100)
        ]
        futures = [session.run(b"") for session in sessions for _ in range(3)]
        answers = [json.loads(future.result(120)) for future in futures]
        assert [answer["session"] for answer in answers] == [
            f"s-{n}" for n in range(100) for _ in range(3)
        ]
        owner: dict[int, str] = {}
        for answer in answers:
            assert owner.setdefault(int(answer["pid"]), answer["session"]) == answer["session"]
        for session in sessions:
            session.close()
    until(lambda: not manager.instances(), "no instance is left")
    manager.await_nothing_left()
