"""Fixtures: a real server, a configuration of one's own, and the stock client."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

import pytest

_BINARY = Path(
    os.environ.get("FLAME_CACHE_BINARY")
    or Path(__file__).parents[2] / "build" / "bin" / "flame-object-cache"
)
_STOCK_PYTHON = os.environ.get("FLAME_STOCK_PYTHON")


@dataclass
class Server:
    """A running flame-object-cache."""

    endpoint: str
    storage: Optional[Path]
    process: subprocess.Popen


StartServer = Callable[..., Server]


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Start servers; all of them are stopped at the end of the session."""
    if not _BINARY.exists():
        pytest.skip(f"no server at {_BINARY}: build it, or set FLAME_CACHE_BINARY")
    processes = []

    def start(storage: Optional[Path] = None, port: Optional[int] = None) -> Server:
        port = port or _free_port()
        endpoint = f"grpc://127.0.0.1:{port}"
        home = tmp_path_factory.mktemp("server")
        with open(home / "log", "wb") as log:
            process = subprocess.Popen(
                [_BINARY, "--endpoint", endpoint, "--storage", str(storage or "none")],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "FLAME_HOME": str(home), "HOME": str(home)},
            )
        processes.append(process)
        _wait_for(port, process, home / "log")
        return Server(endpoint, storage, process)

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def server(start_server: StartServer) -> Server:
    """One server in memory, shared by all tests."""
    return start_server()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory, and no configuration in the environment."""
    for variable in [name for name in os.environ if name.startswith("FLAME_")]:
        monkeypatch.delenv(variable)
    directory = tmp_path / "home"
    directory.mkdir()
    monkeypatch.setenv("HOME", str(directory))
    return directory


@pytest.fixture
def client(server: Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A client that is configured to use `server`."""
    monkeypatch.setenv("FLAME_CACHE_ENDPOINT", server.endpoint)
    return server


@pytest.fixture(scope="session")
def stock() -> Callable[[str, bytes], bytes]:
    """Run code in the interpreter that has flamepy 0.6: stdin in, stdout out."""
    if not _STOCK_PYTHON:
        pytest.skip("FLAME_STOCK_PYTHON names no interpreter with flamepy 0.6")

    def run(code: str, data: bytes = b"") -> bytes:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            [_STOCK_PYTHON, "-c", code], input=data, capture_output=True, env=environment
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return run


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(port: int, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"the server ended with {process.returncode}: {log.read_text()}")
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.02)
    pytest.fail(f"the server does not listen: {log.read_text()}")
