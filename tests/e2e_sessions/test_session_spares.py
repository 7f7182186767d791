"""Workers of the Runner that are started in advance: fast, and in nothing else different from any other instance."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tarfile
import uuid
from pathlib import Path

import pytest
from flamepy import Client
from flamepy.core.sessions import SessionAttributes, connect
from flamepy.runner.payloads import dumps
from flamepy.runner.types import RunnerContext, RunnerRequest
from harness.session_manager import application
from harness.stock import PYTHON
from harness.wait import until

WORKER = {"command": sys.executable, "arguments": ["-m", "flamepy.runner.runpy"]}


# The line of the start-up application that runners copy.
RUNNER = {
    "command": "${FLAME_HOME}/bin/uv",
    "arguments": [
        *("run", "--python", "python${FLAME_PYTHON_VERSION}"),
        *("python", "-m", "flamepy.runner.runpy"),
    ],
    "installer": "python",
}


def _call(path):
    """Of a worker: what it can tell of itself."""
    import os
    import sys
    import tempfile

    found = __import__(path) if path else None
    return {
        "pid": os.getpid(),
        "group": os.getpgrp(),
        "cwd": os.getcwd(),
        "environment": dict(os.environ),
        "first": sys.path[0],
        "paths": sys.path[1:],
        "temporary": tempfile.gettempdir(),
        "argv": [os.path.basename(word) for word in sys.argv],
        "mark": getattr(found, "MARK", None),
        "out": os.readlink("/proc/self/fd/1"),
        "input": os.readlink("/proc/self/fd/0"),
    }


class Workers:
    """A manager with a cache, an application, and sessions of it."""

    def __init__(self, manager, server, cache: Client, **attributes: object):
        self.manager = manager
        self.server = server
        self._cache = cache
        self.connection = connect(manager.endpoint)
        self.connection.register_application("app", {**WORKER, **attributes})

    def session(self, application: str = "app"):
        name = f"{application}/{uuid.uuid4().hex}"
        _call.__module__ = "__main__"  # By value: workers do not have this file.
        reference = self._cache.put_object(name, dumps(RunnerContext(_call)))
        return self.connection.create_session(
            SessionAttributes(application, common_data=reference.encode())
        )

    def ask(self, session, module: str = "") -> dict:
        from flamepy.core.refs import ObjectRef

        request = RunnerRequest(None, (module,), None)
        return self._cache.get_object(ObjectRef.decode(session.invoke(dumps(request))))

    def spares(self) -> set[int]:
        """Processes that wait."""
        found = set()
        for pid in self.manager.instances():
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                where = os.readlink(f"/proc/{pid}/cwd")
            except OSError:
                continue
            if b"flamepy.runner.spare" in line and "/.spares/" in where:
                found.add(pid)
        return found

    def await_ready(self, count: int = 1) -> set[int]:
        """So many have said that they wait: their files are made, and what they import is there."""
        return until(
            lambda: (
                (ready := {p for p in self.spares() if _waits(p)}) and len(ready) >= count and ready
            ),
            f"{count} spares are ready",
            60,
        )


def _all_have(pids: set[int], variable: bytes) -> bool:
    try:
        return bool(pids) and all(
            variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") for pid in pids
        )
    except OSError:
        return False


def _waits(pid: int) -> bool:
    """In recv, which is the last thing that a spare does."""
    try:
        return Path(f"/proc/{pid}/syscall").read_text().split()[0] == "45"
    except (OSError, IndexError):
        return False


@pytest.fixture
def workers(managers, server_factory):
    opened = []

    def start(*flags: str, storage: str = "none", **attributes: object) -> Workers:
        cache = server_factory("none")
        manager = managers(
            storage, "--cache-endpoint", cache.endpoint, "--python", sys.executable, *flags
        )
        client = Client(cache.endpoint)
        opened.append(client)
        return Workers(manager, cache, client, **attributes)

    yield start
    for client in opened:
        client.close()


def test_a_session_gets_a_process_that_was_there_before(workers):
    running = workers("--spares", "1")
    first = running.session()
    cold = running.ask(first)
    spares = running.await_ready()
    second = running.session()
    warm = running.ask(second)
    assert cold["pid"] not in spares
    assert warm["pid"] in spares
    assert warm["group"] == warm["pid"]
    # Neither its own variables nor anything else is another's.
    own = {"FLAME_INSTANCE_ENDPOINT", "TMPDIR", "TEMP", "TMP"}
    assert warm["environment"].keys() == cold["environment"].keys()
    for name, value in cold["environment"].items():
        assert (warm["environment"][name] == value) is (name not in own), name
    for seen in (cold, warm):
        assert seen["first"] == seen["cwd"]
        assert seen["temporary"] == f"{seen['cwd']}/work/app/tmp"
        assert seen["out"] == f"{seen['cwd']}/{os.path.basename(seen['cwd'])}.out"
        assert seen["input"] == "/dev/null"
        assert seen["argv"] == ["runpy.py"]
    assert warm["paths"] == cold["paths"]
    # It serves this session only, and goes with it.
    second.close()
    until(lambda: not Path(f"/proc/{warm['pid']}").exists(), "it is gone")
    third = running.session()
    assert running.ask(third)["pid"] not in (cold["pid"], warm["pid"])
    running.manager.stop()
    assert not running.manager.instances()
    assert not running.manager.files()  # Nor a socket.


def test_spares_listen_before_they_are_needed(workers):
    running = workers("--spares", "1")
    running.ask(running.session())
    [pid] = running.await_ready()
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    [path] = [v.split(b"=", 1)[1] for v in variables if v.startswith(b"FLAME_INSTANCE_ENDPOINT=")]
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(os.fsdecode(path))


def test_a_cache_that_was_restarted_while_spares_waited_is_found_again(workers):
    running = workers("--spares", "1")
    running.ask(running.session())
    spares = running.await_ready()
    running.server.stop()
    running.server.restart()
    assert running.ask(running.session())["pid"] in spares


def test_spares_get_ready_without_the_cache(workers):
    running = workers("--spares", "1")
    running.server.stop()  # Before the first one, which takes its time, has come that far.
    spares = running.await_ready()
    running.server.restart()
    assert running.ask(running.session())["pid"] in spares


def test_the_first_session_of_an_application_that_was_registered_finds_one(workers):
    running = workers("--spares", "1", environments={"MARK": "first"})
    until(lambda: _all_have(running.spares(), b"MARK=first"), "there is one", 60)
    # The next registration is the better guess.
    running.connection.register_application("next", {**WORKER, "environments": {"MARK": "next"}})
    until(lambda: _all_have(running.spares(), b"MARK=next"), "there is another", 60)
    spares = running.await_ready()
    seen = running.ask(running.session("next"))
    assert (seen["pid"] in spares, seen["environment"]["MARK"]) == (True, "next")


def test_the_first_session_of_a_manager_finds_one_with_a_package_or_without(workers, tmp_path):
    running = workers("--spares", "1", storage="fs")
    running.connection.unregister_application("app")
    running.manager.stop()
    running.manager.start()
    spares = running.await_ready()  # Of flmrun: nothing else is known.
    source = tmp_path / "flame_mine.py"
    source.write_text("MARK = 'mine'")
    with tarfile.open(tmp_path / "mine.tar.gz", "w:gz") as tar:
        tar.add(source, source.name)
    running.connection.register_application(
        "runner", {**RUNNER, "url": f"file://{tmp_path}/mine.tar.gz"}
    )
    seen = running.ask(running.session("runner"), "flame_mine")
    assert (seen["mark"], seen["pid"] in spares) == ("mine", True)


def test_without_spares_there_are_none(workers):
    running = workers("--spares", "0")
    assert running.ask(running.session())["argv"] == ["runpy.py"]
    assert running.spares() == set()


def test_a_package_that_has_its_own_version_of_a_module_gets_it(workers, tmp_path):
    source = tmp_path / "uuid.py"  # Which every worker has imported when its package comes.
    source.write_text(Path(uuid.__file__).read_text() + "\nMARK = 'the package'\n")
    archive = tmp_path / "package.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(source, "uuid.py")
    running = workers("--spares", "1", **RUNNER, url=f"file://{archive}")
    assert running.ask(running.session(), "uuid")["mark"] == "the package"
    spares = running.await_ready()
    warm = running.ask(running.session(), "uuid")
    assert warm["pid"] in spares
    assert warm["mark"] == "the package"
    assert "/.python" not in warm["environment"]["PYTHONPATH"]


def test_runners_of_the_template_share_spares_whatever_their_packages(workers, tmp_path):
    archives = []
    for name in ("first", "second"):
        source = tmp_path / f"flame_{name}.py"
        source.write_text(f"MARK = {name!r}")
        archives.append(tmp_path / f"{name}.tar.gz")
        with tarfile.open(archives[-1], "w:gz") as tar:
            tar.add(source, source.name)
    running = workers("--spares", "1", **RUNNER, url=f"file://{archives[0]}")
    assert running.ask(running.session(), "flame_first")["mark"] == "first"
    spares = running.await_ready()
    running.connection.register_application("other", {**RUNNER, "url": f"file://{archives[1]}"})
    warm = running.ask(running.session("other"), "flame_second")
    assert (warm["mark"], warm["pid"] in spares) == ("second", True)
    assert not any("first" in path for path in [warm["first"], *warm["paths"]])


def test_spares_that_die_cost_nothing_but_time(workers):
    running = workers("--spares", "2")
    running.ask(running.session())
    for pid in running.await_ready(2):
        os.kill(pid, signal.SIGKILL)
    session = running.session()
    assert running.ask(session)["pid"]
    assert session.events in (None, [])


def test_spares_die_with_a_manager_that_is_killed(workers):
    running = workers("--spares", "2")
    running.ask(running.session())
    spares = running.await_ready(2)
    running.manager.kill()
    until(lambda: not spares & set(running.manager.instances()), "they are gone")


def test_a_python_without_our_sdk_has_none(workers):
    running = workers("--spares", "1", command=str(PYTHON))
    assert running.ask(running.session())["pid"]
    until(lambda: "a spare instance of" in running.manager.log(), "it was tried", 90)
    assert "No module named flamepy.runner.spare" in running.manager.log()
    assert running.ask(running.session())["pid"]
    assert running.manager.log().count("a spare instance of") == 1


def test_other_services_have_none(workers):
    running = workers("--spares", "1", **application())
    spares = running.await_ready()  # Of flmrun, as a guess.
    session = running.connection.create_session(SessionAttributes("app"))
    assert session.invoke(b"echo x") == b"x"
    assert running.spares() == spares
