"""Fixtures: real servers, clients in both dialects, and what decides which tests run."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Callable

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness.documents import Documents
from harness.flight import Flight
from harness.server import Server
from harness.servers import ServerFactory, running, servers

MakeServers = Callable[[], AbstractContextManager[ServerFactory]]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "nightly: too long for CI; needs FLAME_NIGHTLY=1; see NIGHTLY.md"
    )
    config.addinivalue_line("markers", "slow: more than a few seconds; not run under sanitizers")
    config.addinivalue_line("markers", "memory: of a server; a sanitizer changes what it measures")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--but-sanitized",
        action="store_true",
        help="leave out what `make asan-e2e` runs, and what a build without sanitizers adds nothing to",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    nightly = os.environ.get("FLAME_NIGHTLY") == "1"
    rest = config.getoption("--but-sanitized")

    def runs(item: pytest.Item) -> bool:
        if not nightly and item.get_closest_marker("nightly"):
            return False
        if not rest or item.path.parent.name not in ("e2e", "e2e_sessions"):
            return True
        return any(item.get_closest_marker(name) for name in ("slow", "nightly", "memory"))

    chosen = [item for item in items if runs(item)]
    if len(chosen) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if not runs(item)])
        items[:] = chosen


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """A failure shows the end of the log of every server that is running or ran in this test."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for server in running:
            report.sections.append((f"server {server.home.name}", server.log()[-3000:]))


@pytest.fixture(scope="session")
def make_servers(tmp_path_factory: pytest.TempPathFactory) -> MakeServers:
    """`with make_servers() as factory:` ends the servers that the factory made, come what may."""
    return lambda: servers(tmp_path_factory.mktemp)


@pytest.fixture
def server_factory(make_servers: MakeServers) -> Iterator[ServerFactory]:
    """Start servers: `server_factory("none" | "fs" | "fs:///path", config=, args=, env=)`."""
    with make_servers() as factory:
        yield factory


@pytest.fixture(scope="session")
def _session_servers(make_servers: MakeServers) -> Iterator[ServerFactory]:
    with make_servers() as factory:
        yield factory


@pytest.fixture(scope="session")
def memory_server(_session_servers: ServerFactory) -> Iterator[Server]:
    """A server without storage for tests that share well: each uses its own application."""
    server = _session_servers("none")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def fs_server(_session_servers: ServerFactory) -> Iterator[Server]:
    """The same with a storage folder."""
    server = _session_servers("fs")
    yield server
    server.stop()


@pytest.fixture(scope="session", params=["memory", "fs"])
def server(request: pytest.FixtureRequest) -> Server:
    """What clients see must not depend on the storage: a test of this fixture runs on both."""
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture
def app(request: pytest.FixtureRequest) -> str:
    """An application name of the test's own."""
    _serial[0] += 1
    return f"{request.node.originalname[:60]}-{_serial[0]}"


_serial = [0]


@pytest.fixture
def rng() -> random.Random:
    """Random numbers; FLAME_SEED=... repeats those of a failure, which shows its seed."""
    seed = int(os.environ.get("FLAME_SEED") or random.randrange(2**32))
    print(f"FLAME_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def flight(server: Server) -> Iterator[Flight]:
    """The stock dialect, spoken to the shared server."""
    with Flight(server.endpoint) as client:
        yield client


@pytest.fixture
def documents(server: Server) -> Iterator[Documents]:
    """The document dialect, spoken to the shared server."""
    with Documents(server.endpoint) as client:
        yield client
