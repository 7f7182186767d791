"""Fixtures: a real server, a configuration of one's own, and the stock client."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

import pytest

_ROOT = Path(__file__).parents[2]
_BINARY = Path(os.environ.get("FLAME_SERVER") or _ROOT / "build/bin/flame-object-cache").resolve()
_STOCK_PYTHON = Path(os.environ.get("FLAME_STOCK_PYTHON") or _ROOT / ".venv/conformance/bin/python")


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
        pytest.fail(f"no server at {_BINARY}: build it, or set FLAME_SERVER")
    processes = []

    def start(
        *arguments: str,
        storage: Optional[Path] = None,
        port: Optional[int] = None,
        scheme: str = "grpc",
    ) -> Server:
        port = port or _free_port()
        endpoint = f"{scheme}://127.0.0.1:{port}"
        home = tmp_path_factory.mktemp("server")
        with open(home / "log", "wb") as log:
            process = subprocess.Popen(
                [_BINARY, "--endpoint", endpoint, "--storage", str(storage or "none"), *arguments],
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


class StockPython:
    """An interpreter with flamepy 0.6 that runs pieces of code, one after the other."""

    _LOOP = """
import pickle, sys, traceback
requests, replies = sys.stdin.buffer, sys.stdout.buffer
while True:
    try:
        code, data = pickle.load(requests)
    except EOFError:
        break
    names = {"data": data, "output": b""}
    try:
        exec(code, names)
        reply = None, names["output"]
    except BaseException:
        reply = traceback.format_exc(), b""
    pickle.dump(reply, replies)
    replies.flush()
"""

    def __init__(self, environment: dict[str, str]) -> None:
        inherited = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        self._process = subprocess.Popen(
            [_STOCK_PYTHON, "-c", self._LOOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**inherited, **environment},
        )

    def __call__(self, code: str, data: bytes = b"") -> bytes:
        """Run `code` with `data`; what it leaves in `output`."""
        pickle.dump((code, data), self._process.stdin)
        self._process.stdin.flush()
        error, output = pickle.load(self._process.stdout)
        assert error is None, error
        return output

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StockPython]:
    """The stock client, without a server."""
    yield from _stock(tmp_path_factory, {})


@pytest.fixture(scope="session")
def stock_online(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[StockPython]:
    """The stock client, configured to use `server`."""
    yield from _stock(tmp_path_factory, {"FLAME_CACHE_ENDPOINT": server.endpoint})


def _stock(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]
) -> Iterator[StockPython]:
    if not _STOCK_PYTHON.exists():
        pytest.fail(
            f"no flamepy 0.6 at {_STOCK_PYTHON}: run tools/setup, or set FLAME_STOCK_PYTHON"
        )
    interpreter = StockPython({"HOME": str(tmp_path_factory.mktemp("stock")), **environment})
    yield interpreter
    interpreter.close()


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
