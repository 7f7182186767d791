"""Ctrl-C ends every wait: a real signal, sent to a real process that waits."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import flamepy
import pytest
from harness.wait import until

BOUND = 5  # Seconds; it takes milliseconds on an idle machine.

WAITS = {
    "get": "flamepy.get_object(ref)",
    "get_many": "flamepy.get_many([ref] * 600)",
    "put": "flamepy.put_object('a/b', 1)",
    "put a large object": "flamepy.put_object('a/b', bytes(200_000_000))",
    "put_many": "flamepy.put_many([('a/b', i) for i in range(3000)])",
    "update": "flamepy.update_object(ref, 1)",
    "patch": "flamepy.patch_object(ref, 1)",
    "delete": "flamepy.delete_objects('a/b')",
    "stat": "flamepy.stat_object(ref)",
    "list": "list(flamepy.list_objects())",
    "upload": "flamepy.upload_object('a/b', sys.argv[1])",
    "download": "flamepy.download_object(large, sys.argv[1] + '.copy')",
    "get a large object": "flamepy.get_object(large)",
    "watch": "flamepy.watch_objects()",
    "asyncio": "asyncio.run(flamepy.aio.get_object(ref))",
    "asyncio upload": "asyncio.run(flamepy.aio.upload_object('a/b', sys.argv[1]))",
}

PROGRAM = """
import asyncio, sys, time
import flamepy
endpoint = sys.argv[2]
ref = flamepy.ObjectRef(endpoint, "a/b/n", 1)
large = flamepy.ObjectRef(endpoint, "a/b/large", 1)
{before}
print("ready", flush=True)
sys.stdin.readline()
print("waiting", flush=True)
try:
    {wait}
except KeyboardInterrupt:
    print("interrupted", flush=True)
    {after}
    raise
print("not interrupted", flush=True)
"""


class Waiting:
    """A process that waits in a call, and is interrupted."""

    def __init__(self, endpoint: str, file: Path, wait: str, before="", after="pass") -> None:
        code = PROGRAM.format(before=before, wait=wait, after=after)
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(file), endpoint],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": str(Path(flamepy.__file__).parents[1]),
                "FLAME_CACHE_ENDPOINT": endpoint,
            },
        )
        assert self.process.stdout.readline() == "ready\n", self.process.stderr.read()

    def go(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "waiting\n"

    def until_it_waits(self) -> None:
        """Its threads sleep: it is in the call, and not merely on the way to it."""
        tasks = Path(f"/proc/{self.process.pid}/task")

        def asleep() -> bool:
            before = ticks()
            time.sleep(0.05)
            return "flamepy-call" in names() and before == ticks()

        def names() -> list[str]:
            found = []
            for task in tasks.iterdir():
                with contextlib.suppress(OSError):
                    found.append((task / "comm").read_text().strip())
            return [*found, *(["flamepy-call"] if len(found) > 3 else [])]

        def ticks() -> list[str]:
            stat = Path(f"/proc/{self.process.pid}/stat").read_text()
            return stat.rpartition(")")[2].split()[11:13]

        until(asleep, "the process waits")

    def interrupt(self) -> None:
        start = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        assert self.process.stdout.readline() == "interrupted\n", self.process.stderr.read()
        assert time.monotonic() - start < BOUND

    def end(self) -> str:
        """The rest of its output; it ends as an interrupted program does, and soon."""
        start = time.monotonic()
        output, errors = self.process.communicate(timeout=BOUND)
        assert self.process.returncode == -signal.SIGINT, errors
        assert errors.rstrip().endswith("KeyboardInterrupt"), errors
        assert time.monotonic() - start < BOUND
        return output


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "file"
    with open(path, "wb") as sparse:
        sparse.truncate(200_000_000)
    return path


@pytest.fixture
def black_hole():
    """An endpoint that neither accepts nor refuses."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):  # Fill its queue: further SYNs are dropped.
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"grpc://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("name", ["get", "put", "upload", "list", "watch", "asyncio"])
def test_a_connection_that_is_never_made(home, black_hole, file, name):
    waiting = Waiting(black_hole, file, WAITS[name])
    waiting.go()
    waiting.until_it_waits()
    waiting.interrupt()
    waiting.end()


@pytest.mark.parametrize("name", WAITS)
def test_a_server_that_says_nothing(start_server, home, monkeypatch, file, name):
    server = start_server()
    monkeypatch.setenv("FLAME_CACHE_ENDPOINT", server.endpoint)
    flamepy.put_object("a/b", [1], name="n")
    flamepy.put_object("a/b", bytes(50_000_000), name="large")
    waiting = Waiting(server.endpoint, file, WAITS[name], before="flamepy.stat_object(ref)")
    os.kill(server.pid, signal.SIGSTOP)
    os.waitpid(server.pid, os.WUNTRACED)
    try:
        waiting.go()
        waiting.until_it_waits()
        waiting.interrupt()
        waiting.end()
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert not file.with_suffix(".copy").exists()


def test_waiting_for_an_event(client, file):
    wait = "flamepy.watch_objects('nothing/here').read(wait=60)"
    waiting = Waiting(client.endpoint, file, wait)
    waiting.go()
    waiting.until_it_waits()
    waiting.interrupt()
    waiting.end()


def test_a_program_that_catches_it_goes_on(client, file):
    flamepy.put_object("a/b", [1], name="n")
    wait = "flamepy.watch_objects('nothing/here').read(wait=60)"
    after = "print(flamepy.get_object(ref), flush=True)"
    waiting = Waiting(client.endpoint, file, wait, after=after)
    waiting.go()
    waiting.until_it_waits()
    waiting.interrupt()
    assert waiting.end() == "[1]\n"


def test_an_interrupted_upload_leaves_what_was_there(start_server, home, monkeypatch, file):
    server = start_server()
    monkeypatch.setenv("FLAME_CACHE_ENDPOINT", server.endpoint)
    ref = flamepy.put_object("a/b", [1], name="n")
    waiting = Waiting(
        server.endpoint,
        file,
        "flamepy.upload_object('a/b/n', sys.argv[1])",
        before="flamepy.stat_object(ref)",
        after="while flamepy.core.waiting._left_behind: time.sleep(0.01)",
    )
    os.kill(server.pid, signal.SIGSTOP)
    os.waitpid(server.pid, os.WUNTRACED)
    try:
        waiting.go()
        waiting.until_it_waits()
        waiting.interrupt()
    finally:
        os.kill(server.pid, signal.SIGCONT)
    waiting.end()
    assert flamepy.get_object(ref) == [1]
    assert flamepy.stat_object(ref).version == 1
