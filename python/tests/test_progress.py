"""Progress bars, on a real pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import uuid
from contextlib import contextmanager
from pathlib import Path

import flamepy
import pytest
from flamepy.core import progress

PRELUDE = "import flamepy, sys, os; print('before', flush=True)\n"
TRANSFER = """
ref = flamepy.upload_object(sys.argv[1], sys.argv[2]{more})
flamepy.download_object(ref, sys.argv[2] + '.copy'{more})
"""


def screen(code: str, *arguments: str, until_seen: bytes = b"", **env: str) -> str:
    """What a program writes to its terminal; Ctrl-C is typed when `until_seen` was."""
    child, terminal = pty.fork()
    if child == 0:
        env = {**os.environ, "TERM": "xterm", "COLUMNS": "100", **env}
        env["PYTHONPATH"] = str(Path(flamepy.__file__).parents[1])
        os.execve(sys.executable, [sys.executable, "-c", PRELUDE + code, *arguments], env)
    output = b""
    while select.select([terminal], [], [], 60)[0]:
        try:
            output += os.read(terminal, 65536)
        except OSError:  # The program has ended.
            break
        if until_seen and until_seen in output:
            os.write(terminal, b"\x03")
            until_seen = b""
    os.waitpid(child, 0)
    os.close(terminal)
    return output.decode()


def remains(output: str) -> str:
    """What a terminal shows at last: carriage returns and erased lines are gone."""
    lines = re.sub(r"\x1b\[\?25[lh]", "", output).split("\n")
    shown = []
    for line in lines:
        line = line.rpartition("\x1b[2K")[2]
        shown.append(re.sub(r"\x1b\[[0-9;]*m", "", line).replace("\r", ""))
    return "\n".join(shown)


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "file"
    with open(path, "wb") as sparse:
        sparse.truncate(300_000_000)
    return path


@pytest.fixture
def session(client) -> str:
    return f"progress/{uuid.uuid4()}"


def test_bars_are_shown_and_vanish(session, file):
    output = screen(TRANSFER.format(more="") + "print('after')", session, str(file))
    assert "put …" in output
    assert "get …" in output
    assert "286.1 MiB" in output
    assert output.count("\x1b[?25l") == output.count("\x1b[?25h") == 2
    assert remains(output) == "before\nafter\n"


@pytest.mark.parametrize("how", ["argument", "environment", "small", "no rich", "client"])
def test_no_bars(session, file, how):
    code, env = TRANSFER.format(more=", progress=False" if how == "argument" else ""), {}
    if how == "environment":
        env["FLAME_PROGRESS"] = "0"
    elif how == "small":
        os.truncate(file, 1_000_000)
    elif how == "no rich":
        code = "sys.modules['rich'] = sys.modules['rich.progress'] = None\n" + code
    elif how == "client":
        code = "flamepy = flamepy.Client(progress=False)\n" + code
    assert screen(code, session, str(file), **env) == "before\r\n"


def test_large_objects_have_bars_too(session):
    code = "flamepy.get_object(flamepy.put_object(sys.argv[1], bytes(60_000_000)))"
    output = screen(code, session)
    assert "put …" in output
    assert "get …" in output
    assert remains(output) == "before\n"


@pytest.fixture
def bars(monkeypatch) -> list:
    """What bars are told: label, bytes in all, and the steps; they are shown to nobody."""
    told = []

    @contextmanager
    def task(label, total):
        steps = []
        told.append((label, total, steps))
        yield steps.clear, steps.append

    monkeypatch.setattr(progress.Transfers, "visible", lambda _: True)
    monkeypatch.setattr(progress._display, "task", task)
    return told


def test_files_move_a_bar_in_small_steps(session, file, bars):
    """The server sends rows of up to 1 GiB: a bar that counted rows stood still, then was full."""
    ref = flamepy.upload_object(f"{session}/file", file)
    flamepy.download_object(ref, file.with_suffix(".copy"))
    assert [label for label, _, _ in bars] == [f"put {ref.key}", f"get {ref.key}"]
    for _, total, steps in bars:
        assert total == 300_000_000
        assert len(steps) == 72  # Of 4 MiB.
    assert sum(bars[1][2]) == 300_000_000


def test_an_error_leaves_a_tidy_screen(start_server, home, monkeypatch, file):
    server = start_server()
    monkeypatch.setenv("FLAME_CACHE_ENDPOINT", server.endpoint)
    code = f"""
os.kill({server.pid}, {signal.SIGSTOP})
try:
    flamepy.upload_object('a/b', sys.argv[1], timeout=1)
except flamepy.Timeout:
    print('timeout')
"""
    try:
        output = screen("flamepy.put_object('a/b', 1)\n" + code, str(file))
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert "put a/b" in output
    assert remains(output) == "before\ntimeout\n"


def test_ctrl_c_leaves_a_tidy_screen(session, file):
    code = """
try:
    while True:
        flamepy.upload_object(sys.argv[1] + '/n', sys.argv[2])
except KeyboardInterrupt:
    print('interrupted')
"""
    output = screen(code, session, str(file), until_seen=b"MiB")
    assert output.count("\x1b[?25l") == output.count("\x1b[?25h")
    assert re.fullmatch(r"before\n(\^C)?interrupted\n", remains(output)), output


def test_no_bars_without_a_terminal(session, file, capfd):
    flamepy.download_object(flamepy.upload_object(session, file), file.with_suffix(".copy"))
    assert capfd.readouterr() == ("", "")
