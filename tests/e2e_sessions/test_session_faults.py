"""What happens when instances or the manager die, hang or misbehave: a clear error, and nothing left behind."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter

import pytest
from harness import remote
from harness.server import PATIENCE, ROOT, clean_environment
from harness.session_manager import SERVICE, application, gone
from harness.wait import until


def _registered(client, **more):
    client(remote.register, name="app", attributes=application(**more))


def test_a_session_that_is_refused_says_why(managers, connect):
    client = connect(managers("fs", "--retry-limit", "2"))
    _registered(client)
    client(remote.create, session="s", app="app", data=b"refuse there is no model")
    client(remote.submit, session="s", texts=["echo x"])
    until(lambda: len(client(remote.look, session="s")["events"]) == 3, "all attempts failed", 60)
    seen = client(remote.look, session="s")
    assert [code for code, _ in seen["events"]] == [1001, 1001, 1002]
    text = seen["events"][0][1]
    assert "failed to bind session with return_code 12: there is no model" in text
    assert "Session retry limit reached after 2/2 failed attempts" in seen["events"][2][1]
    assert (seen["state"], seen["pending"]) == ("OPEN", 1)


@pytest.mark.parametrize(
    ("arguments", "data", "code", "reason"),
    [
        (["ends-at-once"], b"", 11, "cannot find my licence"),
        (["never-listens"], b"", 11, "did not listen on its socket within 1 s"),
        ([], b"die-on-enter", 12, "it exited with code 7"),
    ],
)
def test_a_service_that_does_not_start_says_why(managers, connect, arguments, data, code, reason):
    limit = "1" if "never-listens" in arguments else "60"
    manager = managers("none", "--start-timeout", limit, "--retry-limit", "1")
    client = connect(manager)
    _registered(client, arguments=[str(SERVICE), *arguments])
    client(remote.create, session="s", app="app", data=data)
    client(remote.submit, session="s", texts=["echo x"])
    until(lambda: client(remote.look, session="s")["events"], "there is an event", 60)
    (_, text), (last, _) = client(remote.look, session="s")["events"]
    assert f"return_code {code}: " in text
    assert reason in text
    assert last == 1002
    manager.await_nothing_left()


@pytest.mark.parametrize(
    ("attributes", "code", "reason"),
    [
        ({"command": "/no/such/program"}, 11, "execute /no/such/program: No such file"),
        ({"command": "no-such-program"}, 11, "there is no program 'no-such-program'"),
        ({"installer": "rpm"}, 10, "unknown installer 'rpm'"),
    ],
)
def test_an_application_that_cannot_be_started_says_why(
    managers, connect, attributes, code, reason
):
    manager = managers("none", "--retry-limit", "1")
    client = connect(manager)
    _registered(client, **attributes)
    client(remote.create, session="s", app="app", min_instances=1)
    until(lambda: client(remote.look, session="s")["events"], "there is an event")
    text = client(remote.look, session="s")["events"][0][1]
    assert f"return_code {code}: " in text
    assert reason in text


def test_an_instance_killed_in_a_task_fails_that_task_only(managers, connect):
    manager = managers("fs")
    client = connect(manager)
    _registered(client)
    client(remote.create, session="s", app="app")
    texts = ["pid", "die", "pid"]
    before, died, after = client(remote.outcomes, session="s", texts=texts)
    assert "the service process died in task 2: it was killed by signal 9 (Killed)" in died
    assert "last words" in died
    assert before != after
    assert client(remote.look, session="s")["events"] == []


def test_an_idle_instance_that_is_killed_is_replaced(managers, connect):
    manager = managers()
    client = connect(manager)
    _registered(client)
    client(remote.create, session="s", app="app")
    (before,) = client(remote.outcomes, session="s", texts=["pid"])
    os.kill(int(before), signal.SIGKILL)
    until(lambda: not client(remote.executors), "the manager has noticed")
    (after,) = client(remote.outcomes, session="s", texts=["pid"])
    assert after != before


def test_what_a_service_leaves_behind_is_ended(managers, connect):
    manager = managers()
    client = connect(manager)
    _registered(client)
    client(remote.create, session="s", app="app")
    (child,) = client(remote.outcomes, session="s", texts=["fork"])
    assert not gone(int(child))
    client(remote.close, session="s")
    until(lambda: gone(int(child)), "the child of the service is gone")
    manager.await_nothing_left()


def test_an_instance_killed_after_its_answer_takes_nothing_with_it(managers, connect):
    """Its answer is on record; the next task finds another instance."""
    manager = managers("fs")
    client = connect(manager)
    _registered(client)
    client(remote.create, session="s", app="app")
    for number in range(1, 4):
        (pid,) = client(remote.outcomes, session="s", texts=["pid"])
        os.kill(int(pid), signal.SIGKILL)
        until(lambda: not client(remote.executors), "the manager has noticed")
        assert client(remote.tasks, session="s")[-1] == (str(number), "SUCCEED", pid)
    seen = client(remote.look, session="s")
    assert (seen["succeed"], seen["failed"]) == (3, 0)


def test_a_service_that_hangs_when_it_enters_says_so(managers, connect):
    manager = managers("none", "--enter-timeout", "500ms", "--retry-limit", "1")
    client = connect(manager)
    _registered(client)
    client(remote.create, session="s", app="app", data=b"hang-on-enter", min_instances=1)
    until(lambda: client(remote.look, session="s")["events"], "there is an event", 60)
    text = client(remote.look, session="s")["events"][0][1]
    assert "return_code 12: OnSessionEnter took too long" in text
    manager.await_nothing_left()


def test_a_service_that_hangs_when_it_leaves_is_killed(managers, connect):
    """It ignores SIGTERM, too."""
    manager = managers()
    client = connect(manager)
    _registered(client, arguments=[str(SERVICE), "ignores-sigterm"])
    client(remote.create, session="s", app="app", data=b"hang-on-leave")
    (pid,) = client(remote.outcomes, session="s", texts=["pid"])
    client(remote.close, session="s")
    assert client(remote.look, session="s")["state"] == "CLOSED"  # Nobody waits for it.
    until(lambda: gone(int(pid)), "it is killed", 30)
    manager.await_nothing_left()


def test_a_service_that_forks_again_and_again_is_ended_whole(managers, connect):
    manager = managers()
    client = connect(manager)
    _registered(client)
    client(remote.create, session="s", app="app")
    assert client(remote.outcomes, session="s", texts=["fork-many 40"]) == ["forked"]
    until(lambda: len(manager.instances()) >= 80, "all its children run")
    client(remote.close, session="s")
    manager.await_nothing_left()


def test_a_task_that_exhausts_memory_fails_and_the_next_one_is_done(managers, connect):
    manager = managers()
    client = connect(manager)
    _registered(client)
    client(remote.create, session="s", app="app")
    texts = [f"exhaust-memory {2 << 30}", "echo on"]
    failed, after = client(remote.outcomes, session="s", texts=texts)
    assert failed != after == "on"
    seen = client(remote.look, session="s")
    assert (seen["succeed"], seen["failed"], seen["events"]) == (1, 1, [])


def test_a_package_that_leads_out_of_its_folder_is_refused(managers, connect, tmp_path):
    escaped = tmp_path / "escaped"
    archive = tmp_path / "package.tar.gz"
    with tarfile.open(archive, "w:gz") as writing:
        for name in (f"../../../../../../../..{escaped}", "pyproject.toml"):
            member = tarfile.TarInfo(name)
            member.size = 4
            writing.addfile(member, io.BytesIO(b"evil"))
    manager = managers(
        *("none", "--retry-limit", "1"),
        env={"FLAME_PYTHON": sys.executable, "PYTHONPATH": str(ROOT / "python")},
    )
    client = connect(manager)
    _registered(client, installer="python", url=f"file://{archive}")
    client(remote.create, session="s", app="app", min_instances=1)
    until(lambda: client(remote.look, session="s")["events"], "there is an event", 60)
    assert "return_code 10: " in client(remote.look, session="s")["events"][0][1]
    assert not escaped.exists()
    manager.await_nothing_left()


def test_output_without_end_is_cut(managers, connect):
    manager = managers()
    client = connect(manager)
    _registered(client)
    client(remote.create, session="s", app="app")
    client(remote.outcomes, session="s", texts=[f"print {1 << 30}"])
    until(lambda: "cut " in manager.log(), "the file is cut")
    # It is looked at ten times a second; what comes in between is on the disk for so long.
    sizes = lambda: [file.stat().st_size for file in manager.work.rglob("*.err")]  # noqa: E731
    until(lambda: max(sizes()) <= 64 << 20, "all of it is cut")
    assert client(remote.outcomes, session="s", texts=["echo on"]) == ["on"]


# Goal: no acknowledged task is lost, none that was done runs again.
# Method: tasks write a line when they start and when they end; the manager is killed while some have
# ended, some run and some wait; after a start all of them end.
def test_tasks_survive_the_death_of_the_manager(managers, connect, tmp_path):
    manager = managers("fs", "--max-executors", "2")
    client = connect(manager)
    _registered(client)
    notes, gate = tmp_path / "notes", tmp_path / "gate"
    client(remote.create, session="s", app="app", data=f"notes {notes}".encode())
    texts = [f"note {i}" for i in range(1, 11)] + [f"wait-for {gate}"] * 2
    texts += [f"note {i}" for i in range(13, 51)]
    assert client(remote.submit, session="s", texts=texts) == [str(i) for i in range(1, 51)]
    until(lambda: client(remote.look, session="s")["running"] == 2, "two tasks run", 60)
    until(lambda: notes.read_text().count("waiting") == 2, "both have begun", 60)
    instances = manager.instances()

    manager.kill()

    until(lambda: all(gone(pid) for pid in instances), "instances die with their manager")
    manager.start()
    seen = client(remote.look, session="s")
    assert (seen["succeed"], seen["pending"] + seen["running"]) == (10, 40)
    gate.touch()
    until(lambda: client(remote.look, session="s")["succeed"] == 50, "all tasks have ended", 60)
    lines = Counter(notes.read_text().split("\n"))
    assert all(lines[str(i)] == 1 for i in [*range(1, 11), *range(13, 51)])
    # Their instances died: these two ran again.
    assert [lines[f"waiting {i}"] for i in (11, 12)] == [2, 2]
    assert [lines[f"done {i}"] for i in (11, 12)] == [1, 1]
    states = client(remote.tasks, session="s")
    assert [task[0] for task in states] == [str(i) for i in range(1, 51)]
    assert {task[1] for task in states} == {"SUCCEED"}


def test_a_closed_session_stays_closed_over_a_restart(managers, connect):
    manager = managers("fs")
    client = connect(manager)
    _registered(client)
    client(remote.create, session="s", app="app")
    client(remote.close, session="s")
    manager.kill()
    manager.start()
    assert client(remote.look, session="s")["state"] == "CLOSED"


def test_a_stop_lets_tasks_end_and_leaves_nothing(managers, connect, tmp_path):
    manager = managers("fs")
    client = connect(manager)
    _registered(client)
    notes, gate = tmp_path / "notes", tmp_path / "gate"
    client(remote.create, session="s", app="app", data=f"notes {notes}".encode())
    client(remote.submit, session="s", texts=[f"wait-for {gate}"])
    until(lambda: notes.exists() and "waiting" in notes.read_text(), "the task runs")
    manager.process.send_signal(signal.SIGTERM)
    until(lambda: "stopping" in manager.log(), "the manager stops")
    gate.touch()
    assert manager.process.wait(PATIENCE) == 0
    assert "leave" in notes.read_text()
    assert not manager.instances()
    assert not (manager.work / "w").exists()
    manager.start()
    assert client(remote.tasks, session="s") == [("1", "SUCCEED", "waited")]


def test_a_stop_does_not_wait_for_ever(managers, connect, tmp_path):
    manager = managers("fs", "--drain-timeout", "200ms")
    client = connect(manager)
    _registered(client)
    notes, gate = tmp_path / "notes", tmp_path / "gate"
    client(remote.create, session="s", app="app", data=f"notes {notes}".encode())
    client(remote.submit, session="s", texts=[f"wait-for {gate}"])
    until(lambda: notes.exists() and "waiting" in notes.read_text(), "the task runs")
    manager.stop()
    assert not manager.instances()
    gate.touch()
    manager.start()
    until(lambda: client(remote.look, session="s")["succeed"] == 1, "the task ran again")


def test_a_second_manager_on_the_same_port_or_storage_does_not_start(managers, tmp_path):
    manager = managers("fs")
    for flag, value, reason in (
        ("--storage", manager.storage, "is in use by another process"),
        ("--work-dir", f"{manager.work}/w", "another session manager uses"),
        ("--endpoint", manager.endpoint, "cannot listen on"),
    ):
        command = [*manager.command(), "--endpoint", "http://127.0.0.1:0"]
        command += ["--storage", "none", "--work-dir", str(tmp_path), flag, value]
        started = time.monotonic()
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=clean_environment(tmp_path),
        )
        assert ended.returncode == 1, ended.stderr
        assert ended.stderr.splitlines()[-1].startswith("Error: "), ended.stderr
        assert reason in ended.stderr
        assert time.monotonic() - started < PATIENCE
