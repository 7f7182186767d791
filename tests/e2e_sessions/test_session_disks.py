"""A disk that is full or fails under the session manager, and comes back: nothing is lost, and no restart is needed."""

from __future__ import annotations

import errno
import json

import pytest
from flamepy.core.errors import FlameError, ResourceExhausted
from flamepy.core.sessions.client import connect
from flamepy.core.types import SessionAttributes, TaskState
from harness.faulty_disk import NAMES, WRITES, FaultyDisk
from harness.wait import until


@pytest.fixture
def disk(tmp_path):
    disk = FaultyDisk(tmp_path)
    yield disk
    disk.heal()


@pytest.mark.parametrize(
    ("error", "refusal"), [(errno.ENOSPC, ResourceExhausted), (errno.EIO, FlameError)]
)
def test_what_ends_meanwhile_is_stored_when_the_disk_is_back(
    disk, managers, tmp_path, error, refusal
):
    manager = managers(f"fs://{disk.storage}", env=disk.env)
    gate = tmp_path / "gate"
    code = f"while ! [ -e {gate} ]; do sleep 0.01; done; echo through"
    script = json.dumps({"language": "shell", "code": code}).encode()
    with connect(manager.endpoint) as connection:
        session = connection.create_session(SessionAttributes("flmexec", id="s"))
        waits = session.create_task(script).id
        until(lambda: session.get_task(waits).state == TaskState.RUNNING, "it runs")

        disk.fail(error, WRITES | NAMES)
        with pytest.raises(refusal):
            session.create_task(script, timeout=30)
        with pytest.raises(refusal):
            connection.create_session(SessionAttributes("flmexec", id="t"), timeout=30)
        gate.touch()
        # Reads go on, and a task has not ended before that is stored.
        assert connection.get_session("s").id == "s"
        assert session.get_task(waits).state == TaskState.RUNNING

        disk.heal()
        until(lambda: session.get_task(waits).is_completed(), "its end is stored", 60)
        assert bytes(json.loads(session.get_task(waits).output)["data"]) == b"through\n"
        (again,) = [session.run(script)]
        assert bytes(json.loads(again.result(60))["data"]) == b"through\n"
        before = [(task.id, task.state) for task in session.list_tasks()]

    manager.kill()
    manager.start()
    with connect(manager.endpoint) as connection:
        found = connection.open_session("s").list_tasks()
        assert [(task.id, task.state) for task in found] == before
