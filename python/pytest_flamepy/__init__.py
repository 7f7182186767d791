"""Fixtures for tests of programs that use the Flame object cache.

================  =========  ===============================================================
fixture           scope      what it is
================  =========  ===============================================================
``flame_server``  session    a `flamepy.testing.LocalServer`, in memory; the client uses it
``flame_noproc``  session    the server that ``--flame-endpoint`` names; the client uses it
``flame_endpoint``  session  of ``flame_noproc`` if one is named, else of ``flame_server``
``flame_app``     function   a new application name; its objects are deleted afterwards
``flame_prefix``  function   ``app/session`` below it, to put objects under
================  =========  ===============================================================

A module of its own, and flamepy is imported only where it is used: so test runs that have
nothing to do with it do not pay for it.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from flamepy.testing import LocalServer

__all__ = ["flame_app", "flame_endpoint", "flame_noproc", "flame_prefix", "flame_server"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options, each also a line of the ini file."""
    group = parser.getgroup("flamepy", "Flame object cache")
    group.addoption(
        "--flame-endpoint",
        metavar="URL",
        help="use this running server instead of starting one (ini: flame_endpoint)",
    )
    parser.addini("flame_endpoint", "a running server to use instead of starting one")
    parser.addini("flame_server_args", "more flags for the server that is started", type="args")


@pytest.fixture(scope="session")
def flame_server(pytestconfig: pytest.Config) -> Iterator[LocalServer]:
    """A server in memory for the session; with pytest-xdist, one for each worker."""
    from flamepy.testing import LocalServer

    with (
        LocalServer(*pytestconfig.getini("flame_server_args")) as server,
        _client_of(server.endpoint),
    ):
        yield server


@pytest.fixture(scope="session")
def flame_noproc(pytestconfig: pytest.Config) -> Iterator[str]:
    """The endpoint of a server that runs already, as ``--flame-endpoint`` names it."""
    endpoint = _external(pytestconfig)
    if not endpoint:
        raise pytest.UsageError(
            "flame_noproc needs a server: give --flame-endpoint, or flame_endpoint in the ini file"
        )
    with _client_of(endpoint):
        yield endpoint


@pytest.fixture(scope="session")
def flame_endpoint(request: pytest.FixtureRequest) -> str:
    """The endpoint that the client uses: an external server's if one is named."""
    if _external(request.config):
        return request.getfixturevalue("flame_noproc")
    return request.getfixturevalue("flame_server").endpoint


@pytest.fixture
def flame_app(request: pytest.FixtureRequest, flame_endpoint: str) -> Iterator[str]:
    """A new application name; what the test puts under it is deleted afterwards."""
    import flamepy

    name = re.sub(r"[^A-Za-z0-9_-]+", "-", request.node.name)[:60]
    app = f"{name}-{uuid.uuid4().hex[:12]}"
    yield app
    flamepy.delete_objects(f"{app}/*")


@pytest.fixture
def flame_prefix(flame_app: str) -> str:
    """``app/session`` of the test's own, to put objects under."""
    return f"{flame_app}/test"


def _external(config: pytest.Config) -> str:
    return config.getoption("--flame-endpoint") or config.getini("flame_endpoint") or ""


@contextmanager
def _client_of(endpoint: str) -> Iterator[None]:
    """Point the client here, and the processes that tests start; whatever is configured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLAME_CACHE_ENDPOINT", endpoint)
        patch.delenv("FLAME_CACHE_STORAGE", raising=False)
        yield
