"""Fixtures: a real server, a configuration of one's own, and the stock client."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))  # What all tests share.
os.environ["FLAME_EMBEDDED"] = "0"  # No test starts a server on the folders of who runs it.

from harness.server import BINARY, ROOT, Server
from harness.servers import ServerFactory, servers

_STOCK_PYTHON = Path(os.environ.get("FLAME_STOCK_PYTHON") or ROOT / ".venv/conformance/bin/python")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: more than a few seconds; not part of `make fast`")


@pytest.fixture(scope="session")
def binary() -> Path:
    """The server program."""
    assert BINARY.exists(), f"no server at {BINARY}: run `make build`, or set FLAME_SERVER"
    return BINARY


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFactory]:
    """Start servers; all of them are ended at the end of the session."""
    with servers(tmp_path_factory.mktemp) as factory:
        yield factory


@pytest.fixture(scope="session")
def server(start_server: ServerFactory) -> Server:
    """One server in memory, shared by all tests."""
    return start_server()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory, and no configuration in the environment."""
    for variable in [name for name in os.environ if name.startswith("FLAME_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("FLAME_EMBEDDED", "0")
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
