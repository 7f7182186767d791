"""Nothing configured, nothing running: a runner starts what it needs, and cleans up after itself."""

from __future__ import annotations

import signal
from pathlib import Path

import flamepy
import pytest
from flamepy.core.errors import InvalidConfig, Unavailable
from flamepy.core.server_program import is_running
from flamepy.runner import Runner, embedded
from private import User, until
from session_manager import PROGRAM

pytestmark = pytest.mark.timeout(120)


def test_a_runner_of_its_own_session_manager(client, tmp_path, monkeypatch):
    monkeypatch.setenv("FLAME_SESSION_MANAGER", str(PROGRAM))
    (tmp_path / "module_of_mine.py").write_text("ANSWER = 42\n")

    def answer():
        import os

        import module_of_mine

        return module_of_mine.ANSWER, os.getpid()

    with Runner("first", engine="embedded", directory=tmp_path) as first:
        with Runner("second", engine="embedded", directory=tmp_path) as second:
            assert second.connection is first.connection
            assert second.service(lambda x: x + 1)(1).get(60) == 2
        number, pid = first.service(answer)().get(60)
        assert number == 42
        manager = embedded._running
    assert not is_running(pid)
    assert not is_running(manager._process.pid)
    assert not Path(manager._folder).exists()
    assert list(flamepy.list_objects("first/*")) == []


def test_without_the_program_there_is_a_clear_error(client, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("FLAME_SESSION_MANAGER", raising=False)
    with pytest.raises(InvalidConfig, match="flame-session-manager is not installed"):
        Runner("x", engine="embedded")


def test_a_program_that_does_not_start_says_why(client, tmp_path, monkeypatch):
    program = tmp_path / "flame-session-manager"
    program.write_text("#!/bin/sh\necho it is broken on purpose >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("FLAME_SESSION_MANAGER", str(program))
    with pytest.raises(Unavailable, match="broken on purpose"):
        Runner("x", engine="embedded")


@pytest.fixture
def user(binary):
    someone = User(binary)
    someone.env["FLAME_SESSION_MANAGER"] = str(PROGRAM)
    yield someone
    someone.leave()


CODE = """
import os, sys
os.chdir(os.environ["HOME"])
open("m.py", "w").write("X = 1\\n")
from flamepy.runner import Runner, embedded
def work(x):
    import os, m
    return x + m.X, os.getpid()
rr = Runner("app")
result, pid = rr.service(work)(41).get(60)
print(result, pid, embedded._running._process.pid, embedded._running._folder, flush=True)
"""


def test_nothing_is_configured(user):
    out, _ = user.run(CODE + "rr.close()\n")
    result, pid, manager, folder = out.split()
    assert result == "42"
    until(lambda: not is_running(int(manager)), "the session manager is gone")
    assert not is_running(int(pid))
    assert not Path(folder).exists()


def test_a_process_that_is_killed_takes_its_session_manager_along(user):
    process = user.start(CODE + "sys.stdin.read()\n")
    result, pid, manager, _ = process.stdout.readline().split()
    assert result == "42"
    process.send_signal(signal.SIGKILL)
    process.wait()
    until(lambda: not is_running(int(manager)), "the session manager is gone")
    until(lambda: not is_running(int(pid)), "its instance is gone")
