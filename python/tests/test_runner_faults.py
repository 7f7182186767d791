"""What users see when something dies under them: instances, and the session manager itself."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import flamepy
import pytest
from fake_manager import until
from flamepy.core.errors import NoInstance, TaskFailed
from flamepy.core.server_program import is_running
from flamepy.runner import Runner, SessionContext
from harness.server import port_for_restarts
from session_manager import SessionManager

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def manager(client, home, tmp_path, monkeypatch) -> Iterator[SessionManager]:
    """A durable session manager of the test's own, on a port that it gets again."""
    storage = f"fs://{tmp_path / 'sessions'}"
    with SessionManager(
        tmp_path / "sm", client.endpoint, storage=storage, port=port_for_restarts()
    ) as running:
        monkeypatch.setenv("FLAME_ENDPOINT", running.address)
        template = flamepy.get_application("flmrun")
        flamepy.register_application(
            "here", {"command": template.command, "arguments": template.arguments}
        )
        (home / ".flame").mkdir()
        (home / ".flame/flame.yaml").write_text(
            "current-context: test\ncontexts:\n  - name: test\n    runner: {template: here}\n"
        )
        project = tmp_path / "project"
        project.mkdir()
        (project / "readme.md").write_text("")
        monkeypatch.chdir(project)
        yield running


def test_an_instance_that_is_killed_in_a_task_fails_it_clearly(manager):
    with Runner("killed") as rr:
        service = rr.service(lambda kill: __import__("os").kill(__import__("os").getpid(), kill))
        with pytest.raises(TaskFailed) as caught:
            service(int(signal.SIGKILL)).get(60)
        assert str(caught.value) not in ("", "Task failed without error message")
        assert service(0).get(60) is None


def test_a_small_result_outlives_the_instance_that_had_not_published_it(manager):
    """It rode along with the answer; its reference is good all the same."""
    with Runner("answered") as rr:
        service = rr.service(lambda: __import__("os").getpid())
        future = service()
        pid = future.get(60)
        os.kill(pid, signal.SIGKILL)
        assert flamepy.get_object(future.ref(60)) == pid
        until(lambda: not flamepy.list_executors(), "the manager has noticed")
        assert service().get(60) != pid


def test_a_function_that_exits_fails_its_call_and_no_more(manager):
    with Runner("exits") as rr:
        service = rr.service(lambda code: sys.exit(code) if code else os.getpid())
        before = service(0).get(60)
        with pytest.raises(TaskFailed, match="no licence") as failed:
            service("no licence").get(60)
        assert "SystemExit" in failed.value.remote_traceback
        assert service(0).get(60) == before


def test_large_tasks_and_results(manager):
    """Of the size that messages may have, through the pipe of an instance."""
    with Runner("large") as rr:
        app = rr.service(lambda data: data)
        session = app.session
        request = flamepy.runner.payloads.dumps(
            flamepy.runner.RunnerRequest(None, (bytes(50 << 20),))
        )
        ref = flamepy.ObjectRef.decode(session.invoke(request, timeout=60))
        assert flamepy.get_object(ref) == bytes(50 << 20)


def test_recursion_five_deep(manager):
    """Each level waits for the next in an instance of its own, however few CPUs there are."""
    with Runner("deep") as rr:

        class Deep:
            _session_context = SessionContext(session_id="deep-session")

            def compute(self, depth):
                if depth == 0:
                    return 0
                with Runner("deep") as inner:
                    service = inner.service(type(self), autoscale=True)
                    return 1 + service.compute(depth - 1).get(100)

        assert rr.service(Deep, autoscale=True).compute(5).get(110) == 5


def test_the_state_of_an_object_outlives_its_instance(manager):
    class Counter:
        def __init__(self):
            self.count = 0

        def add(self):
            import os

            self.count += 1
            return self.count, os.getpid()

    with Runner("outlives") as rr:
        counter = rr.service(Counter())
        count, pid = counter.add().get(60)
        assert count == 1
        os.kill(pid, signal.SIGKILL)
        until(lambda: not is_running(pid), "the instance is dead")
        # The executor may notice only now: that call may fail, but the state stays.
        try:
            count, other = counter.add().get(60)
        except TaskFailed:
            count, other = counter.add().get(60)
        assert (count, other != pid) == (2, True)


def test_a_service_that_never_starts_is_an_error(manager):
    flamepy.register_application("broken", {"command": sys.executable, "arguments": ["-c", "oops"]})
    session = flamepy.create_session("broken")
    futures = [session.run(b"x"), session.run(b"y")]
    for future in futures:
        with pytest.raises(NoInstance, match="no instance could be started: ") as caught:
            future.result(100)
    assert "NameError" in str(caught.value)  # The end of what it said.
    session.close()


def test_a_session_that_cannot_be_entered_says_why(manager):
    class Broken:
        def __init__(self):
            raise ValueError("the object cannot be made")

    with Runner("entering") as rr:
        service = rr.service(type("Broken", (Broken,), {"call": lambda self: 1}))
        with pytest.raises(NoInstance, match="the object cannot be made"):
            service.call("call").get(100)


def test_a_session_manager_that_is_killed_loses_no_task(manager, tmp_path):
    """kill -9 while tasks run and wait; it is started again; every future gets its result."""
    marks = tmp_path / "marks"
    marks.mkdir()
    with Runner("restarted") as rr:

        def work(number, folder):
            import pathlib
            import time

            pathlib.Path(folder, f"{number}-{time.monotonic_ns()}").touch()
            time.sleep(0.05)
            return number

        service = rr.service(work, autoscale=False, warmup=2)
        futures = [service(i, str(marks)) for i in range(40)]
        futures[3].wait(60)
        os.kill(manager.process.pid, signal.SIGKILL)
        manager.process.wait()
        restarted = threading.Thread(target=manager.__enter__)
        time.sleep(0.2)
        restarted.start()
        assert rr.get(futures, timeout=100) == list(range(40))
        restarted.join()
        done_again = len(list(marks.iterdir())) - 40
        assert 0 <= done_again <= 2  # Those that ran in the instances that died.
        assert service(99, str(marks)).get(60) == 99


def test_nothing_is_left_behind(manager, tmp_path):
    with Runner("left") as rr:
        pids = rr.get([rr.service(lambda: __import__("os").getpid())() for _ in range(3)], 60)
    until(lambda: not any(map(is_running, pids)), "the instances are gone")
    work = Path(manager.home / "work")
    until(lambda: not list(work.rglob("extracted_*")), "unpacked packages are gone")
    until(lambda: not manager.sockets(), f"no socket is left: {manager.sockets()}")
