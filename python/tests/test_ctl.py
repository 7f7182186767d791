"""flmctl, as a process of its own, on a real session manager with the services that come with it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import flamepy
import pytest
from flamepy.core.sessions import Connection, connect
from harness.wait import until
from session_manager import PROGRAM, SessionManager

SDK = str(Path(flamepy.__file__).parents[1])


@pytest.fixture(scope="module")
def manager(tmp_path_factory) -> Iterator[SessionManager]:
    assert PROGRAM.exists(), f"no session manager at {PROGRAM}: build it"
    with SessionManager(tmp_path_factory.mktemp("ctl"), "grpc://127.0.0.1:1") as running:
        yield running


@pytest.fixture(scope="module")
def connection(manager: SessionManager) -> Iterator[Connection]:
    with connect(manager.address) as opened:
        yield opened


@pytest.fixture(scope="module")
def worked(connection: Connection) -> str:
    """A session with a task that succeeded and one that failed."""
    with_tasks = run_at(connection, "create", "session", "flmexec", "--id", "worked").strip()
    session = connection.get_session(with_tasks)
    script = {"language": "shell", "code": "echo hello"}
    session.invoke(json.dumps(script).encode())
    script["code"] = "echo oh no >&2; exit 3"
    with pytest.raises(flamepy.FlameError, match="ScriptFailed"):
        session.invoke(json.dumps(script).encode())
    return with_tasks


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": SDK, "COLUMNS": "160"}


def run_at(connection: Connection, *arguments: str, code: int = 0) -> str:
    """What it says: to standard output, or of a failure to standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "flamepy.ctl", *arguments, "--endpoint", connection.addr],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


@pytest.fixture
def flmctl(connection: Connection):
    return lambda *arguments, code=0: run_at(connection, *arguments, code=code)


@pytest.fixture
def documents(flmctl):
    return lambda *arguments: [
        json.loads(line) for line in flmctl(*arguments, "--json").split("\n") if line
    ]


def test_applications(flmctl, documents):
    assert [d["name"] for d in documents("list", "applications")] == [
        "flmexec",
        "flmping",
        "flmrun",
    ]
    table = flmctl("list", "applications").splitlines()
    assert table[0].split() == ["APPLICATION", "STATE", "MAX", "INSTANCES", "AGE", "COMMAND"]
    assert table[1].endswith("${FLAME_HOME}/bin/flmexec-service")
    (shown,) = documents("show", "application", "flmrun")
    assert shown["arguments"][:2] == ["run", "--python"]
    assert "idle time      60 s" in flmctl("show", "application", "flmrun")


def test_sessions_are_created_listed_shown_and_closed(flmctl, documents, tmp_path):
    common = tmp_path / "common"
    common.write_bytes(b"\x00\x01")
    (created,) = documents(
        *("create", "session", "flmping", "--id", "mine", "--common-data", f"@{common}"),
        *("--min-instances", "1", "--max-instances", "3", "--resreq", "cpu=1,mem=64m"),
    )
    assert created["id"] == "mine"
    assert created["common_data_bytes"] == 2
    assert created["resreq"] == {"cpu": 1, "memory": 64 << 20, "gpu": 0}
    drawn = flmctl("create", "session", "flmping").strip()
    assert re.fullmatch(r"flmping-[A-Za-z0-9]{6}", drawn)

    until(lambda: documents("show", "session", "mine")[0]["executors"], "it has an instance")
    assert "1 now, 1 to 3 wanted, each 1 CPU, 64.0 MiB" in flmctl("show", "session", "mine")
    opened = [d["id"] for d in documents("list", "sessions", "--open", "--application", "flmping")]
    assert opened == ["mine", drawn]

    assert flmctl("close", "session", "mine", drawn) == f"closed mine\nclosed {drawn}\n"
    assert documents("list", "sessions", "--open", "--application", "flmping") == []
    assert "no open sessions" in flmctl("list", "sessions", "--open", "--application", "flmping")
    line = next(x for x in flmctl("list", "sessions").splitlines() if x.startswith("mine "))
    assert line.split()[1:7] == ["flmping", "closed", "0", "0", "0", "0"]


def test_tasks(worked, flmctl, documents):
    first, second = documents("list", "tasks", worked)
    assert (first["state"], second["state"]) == ("succeed", "failed")
    assert first["output_bytes"] == len('{"data":[104,101,108,108,111,10]}')
    (only,) = documents("list", "tasks", worked, "--state", "failed")
    assert only["id"] == "2"
    assert "ScriptFailed: it exited with code 3" in flmctl("list", "tasks", worked)
    assert "no tasks" in flmctl("list", "tasks", worked, "--state", "cancelled")
    shown = flmctl("show", "task", worked, "2")
    assert "oh no" in shown
    assert '"language": "shell"' in shown


def test_executors_and_nodes(worked, flmctl, documents):
    mine = [d for d in documents("list", "executors") if d["session"] == worked]
    assert [(d["state"], d["application"]) for d in mine] == [("bound", "flmexec")]
    assert worked in flmctl("show", "executor", mine[0]["id"][:8])
    (node,) = documents("list", "nodes")
    assert node["state"] == "ready"
    assert mine[0]["id"] in documents("show", "node", node["name"])[0]["executors"]
    assert " CPU" in flmctl("list", "nodes")


def test_logs_of_a_session_and_of_an_executor(connection, flmctl, documents, tmp_path):
    """A service that writes: a shell that is no service, so its start fails, too."""
    connection.register_application(
        "talker",
        {
            "command": "/bin/sh",
            "arguments": ["-c", "echo to out; printf 'to err \\033[2J' >&2; exit 7"],
        },
    )
    flmctl("create", "session", "talker", "--id", "talks", "--min-instances", "1")
    until(lambda: "1002" in flmctl("show", "session", "talks"), "its starts have failed", 60)
    listed = documents("logs", "talks", "--list")
    assert {(d["stream"], d["bytes"]) for d in listed} == {("out", 7), ("err", 11)}
    assert all(d["ended"] for d in listed)
    first = listed[0]["executor"]
    shown = flmctl("logs", first[:13])
    assert shown == (
        f"==> executor {first}, standard output <==\nto out\n"
        f"==> executor {first}, standard error <==\nto err \x1b[2J\n"
    )
    assert "to out" not in flmctl("logs", "talks", "--err")
    assert flmctl("logs", "talks", "--out").count("to out") == len(listed) / 2
    assert flmctl("logs", first, "--out", "--tail", "4").endswith("\nout\n")
    assert documents("logs", first, "--out")[0]["text"] == "to out\n"
    _, coloured = on_a_terminal("logs", first, "--endpoint", connection.addr)
    assert "to err \ufffd[2J" in coloured
    flmctl("close", "session", "talks")


def test_logs_are_followed_until_the_session_is_closed(connection, flmctl):
    session = flmctl("create", "session", "flmping").strip()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "flamepy.ctl", "logs", "--follow", session),
            *("--endpoint", connection.addr),
        ],
        stdout=subprocess.PIPE,
        env=environment(),
    )
    opened = connection.get_session(session)
    opened.invoke(b"")
    assert process.poll() is None
    opened.close()
    assert process.wait(60) == 0
    process.stdout.close()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["show", "session", "nobody"], 3, "Session nobody not found"),
        (["list", "tasks", "nobody"], 3, "Session nobody not found"),
        (["show", "application", "nobody"], 3, "no application 'nobody'"),
        (["show", "executor", "nobody"], 3, "no executor 'nobody'"),
        (["show", "node", "nobody"], 3, "no node 'nobody'"),
        (["create", "session", "nobody"], 3, "nobody"),
        (["create", "session", "flmping", "--resreq", "cpu=many"], 1, "cpu=many"),
        (["create", "session", "flmping", "--common-data", "@/no/such"], 1, "/no/such"),
        (["logs", "nobody"], 3, "Session nobody not found"),
        (["top"], 1, "flmctl top --once"),
    ],
)
def test_an_error_is_one_clear_line(flmctl, arguments, code, words):
    said = flmctl(*arguments, code=code)
    assert said.startswith("flmctl: ")
    assert words in said
    assert said.count("\n") == 1
    document = json.loads(flmctl(*arguments, "--json", code=code)) if "top" not in arguments else 0
    assert document == 0 or words in document["message"]


def test_a_running_task_keeps_its_session_open(connection, flmctl, tmp_path):
    go = tmp_path / "go"
    session = flmctl("create", "session", "flmexec").strip()
    script = f"while ! [ -e {go} ]; do sleep 0.01; done"
    task = connection.get_session(session).run(
        json.dumps({"language": "shell", "code": script}).encode()
    )
    until(lambda: connection.get_session(session).running == 1, "the task runs")
    said = flmctl("close", "session", session, code=1)
    assert "Cannot close session with running tasks" in said
    go.touch()
    task.result(30)
    flmctl("close", "session", session)


def test_nobody_answers():
    done = subprocess.run(
        [
            *(sys.executable, "-m", "flamepy.ctl", "list", "nodes"),
            *("--endpoint", "http://127.0.0.1:1", "--timeout", "0.5"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
    )
    assert done.returncode == 4
    assert "nobody answers there" in done.stderr


def test_top_once_and_for_programs(worked, connection, flmctl, documents):
    shown = flmctl("top", "--once")
    assert "1 node" in shown.splitlines()[0]
    assert any(line.startswith(worked) for line in shown.splitlines())
    (sample,) = documents("top", "--once")
    (row,) = [row for row in sample["sessions"] if row["id"] == worked]
    assert (row["succeeded"], row["failed"]) == (1, 1)


def on_a_terminal(*arguments: str, until_seen: str = "") -> tuple[int, str]:
    """Run on a terminal; with `until_seen`, Ctrl-C is sent when that has appeared."""
    terminal, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "flamepy.ctl", *arguments],
        stdin=side,
        stdout=side,
        stderr=side,
        env={**environment(), "TERM": "xterm-256color"},
    )
    os.close(side)
    seen, end = b"", time.monotonic() + 60
    while time.monotonic() < end:
        try:
            seen += os.read(terminal, 65536)
        except OSError:  # It has ended.
            break
        if until_seen and until_seen.encode() in seen:
            process.send_signal(signal.SIGINT)
            until_seen = ""
    os.close(terminal)
    return process.wait(30), seen.decode()


def test_tables_on_a_terminal_have_colours(worked, connection):
    code, shown = on_a_terminal("list", "tasks", worked, "--endpoint", connection.addr)
    assert code == 0
    assert "\x1b[32msucceed" in shown
    assert "\x1b[1;31mfailed" in shown


def test_top_on_a_terminal_until_ctrl_c(worked, connection):
    code, shown = on_a_terminal("top", "--endpoint", connection.addr, until_seen=worked)
    assert code == 0
    assert "TASKS/S" in shown
    assert shown.rstrip().endswith("\x1b[?1049l")  # The screen is as it was.


def test_rich_is_not_needed(worked, connection):
    code = (
        "import sys; sys.modules['rich'] = None\n"
        "from flamepy.ctl import main\n"
        f"sys.exit(main(['list', 'tasks', {worked!r}, '--endpoint', {connection.addr!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment()
    )
    assert done.returncode == 0, done.stderr
    assert "failed" in done.stdout
