"""The servers that are compared: ours with each storage, the bare Flight server, redis-server."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import redis
from placement import Placement
from values import stored_form, value_of

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / "build/bin"
OURS = Path(os.environ.get("FLAME_SERVER") or BIN / "flame-object-cache").resolve()
MANAGER = Path(os.environ.get("FLAME_SESSION_MANAGER") or BIN / "flame-session-manager").resolve()
BARE = BIN / "bare_flight_server"
_SPARES = "--spares"


class Server:
    """A running server process."""

    def __init__(self, name: str, endpoint: str, process: subprocess.Popen) -> None:
        self.name, self.endpoint, self.process = name, endpoint, process
        self.metrics_url = ""

    def cpu_seconds(self) -> float:
        """User and system time of all its threads, dead ones included; to the nanosecond.

        The number is that of clock_getcpuclockid(3): utime + stime of /proc/PID/stat
        would be the same in steps of 10 ms.
        """
        return time.clock_gettime_ns(~self.process.pid << 3 | 2) / 1e9

    def resident_bytes(self) -> int:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+) kB", text, re.M)[1]) * 1024


class StartFailed(Exception):
    """A server ended before it was ready."""


@cache
def _has_http() -> bool:
    return (
        "--http-endpoint" in subprocess.run([OURS, "--help"], capture_output=True, text=True).stdout
    )


@contextlib.contextmanager
def ours(
    storage: str, home: Path, placement: Placement, *more: str, http: bool = True
) -> Iterator[Server]:
    """flame-object-cache as shipped, but for its ports. `http=False`: without metrics."""
    port, http_port = free_port(), free_port()
    command = [
        *placement.server(),
        str(OURS),
        *("--endpoint", f"grpc://127.0.0.1:{port}"),
        *("--storage", storage),
        *("--log-level", "error"),
        *("--runtime-dir", str(home)),
        *more,
    ]
    if _has_http():
        command += ["--http-endpoint", f"http://127.0.0.1:{http_port}" if http else "off"]
    with _process(command, home) as process:
        line = process.stdout.readline()
        if "ready" not in line:
            raise StartFailed(f"{OURS.name} did not start; its error is above")
        server = Server("ours", f"grpc://127.0.0.1:{port}", process)
        if _has_http() and http:
            server.metrics_url = f"http://127.0.0.1:{http_port}/metrics"
        yield server


@cache
def has_spares() -> bool:
    """Whether this build keeps processes ready for sessions to come."""
    return _SPARES in subprocess.run([MANAGER, "--help"], capture_output=True, text=True).stdout


@contextlib.contextmanager
def session_manager(
    cache_endpoint: str, kind: str, home: Path, placement: Placement, spares: int
) -> Iterator[Server]:
    """flame-session-manager, whose template runs workers of the SDK that the client has."""
    python = ROOT / (".venv/conformance" if kind == "stock" else ".venv") / "bin/python"
    (home / ".flame").mkdir()
    (home / ".flame/flame.yaml").write_text(
        "current-context: b\ncontexts:\n  - name: b\n    runner: {template: bench}\n"
    )
    port = free_port()
    command = [
        *placement.server(),
        str(MANAGER),
        *("--endpoint", f"http://127.0.0.1:{port}", "--storage", "none", "--log", "error"),
        *("--cache-endpoint", cache_endpoint, "--work-dir", str(home / "work")),
        *((_SPARES, str(spares)) if has_spares() else ()),
    ]
    with _process(command, home) as process:
        if "ready" not in process.stdout.readline():
            raise StartFailed(f"{MANAGER.name} did not start; its error is above")
        endpoint = f"http://127.0.0.1:{port}"
        register = (
            "import flamepy.core.sessions as s, sys\n"
            "c = s.connect(sys.argv[1])\n"
            "c.register_application('bench', {'command': sys.argv[2],"
            " 'arguments': ['-m', 'flamepy.runner.runpy']})"
        )
        subprocess.run(
            [ROOT / ".venv/bin/python", "-c", register, endpoint, str(python)], check=True
        )
        yield Server("manager", endpoint, process)


def has_metrics() -> bool:
    """Whether this build serves metrics at all."""
    return _has_http()


@contextlib.contextmanager
def bare(objects: list[str], deltas: int, home: Path, placement: Placement) -> Iterator[Server]:
    """The control: it stores nothing and answers with replies that are prepared here."""
    replies = home / "bare"
    replies.mkdir()
    for name in objects:
        (replies / name).write_bytes(stored_form(value_of(name)))
    (replies / f"deltas-{deltas}").write_bytes(os.urandom(100))
    port = free_port()
    command = [*placement.server(), str(BARE), str(port), str(replies)]
    with _process(command, home) as process:
        if "ready" not in process.stdout.readline():
            raise StartFailed(f"{BARE.name} did not start; its error is above")
        yield Server("bare", f"grpc://127.0.0.1:{port}", process)


def redis_program() -> list[str] | None:
    """Debian keeps it in redis-tools, as redis-check-rdb: one program that goes by the name it is called.

    (The package redis-server adds a link, and starts a service.)
    """
    for name in ("redis-server", "redis-check-rdb"):
        if found := shutil.which(name):
            return [found]
    return None


@contextlib.contextmanager
def redis_server(home: Path, placement: Placement) -> Iterator[Server]:
    """redis-server that keeps nothing on disk."""
    port = free_port()
    [program] = redis_program()
    link = home / "redis-server"
    link.symlink_to(program)
    command = [
        *placement.server(),
        str(link),
        *("--port", str(port)),
        *("--bind", "127.0.0.1"),
        *("--save", ""),
        *("--appendonly", "no"),
        *("--dir", str(home)),
        *("--loglevel", "warning"),
    ]
    with _process(command, home) as process:
        client = redis.Redis("127.0.0.1", port)
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(redis.ConnectionError):
                client.ping()
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise StartFailed("redis-server did not start")
            time.sleep(0.01)
        client.close()
        yield Server("redis", f"127.0.0.1:{port}", process)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def _process(command: list[str], home: Path) -> Iterator[subprocess.Popen]:
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(home)}
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, env=environment) as child:
        try:
            yield child
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(60)
            except subprocess.TimeoutExpired:
                child.kill()


@contextlib.contextmanager
def home_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="flame-bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
