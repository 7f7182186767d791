"""Fixtures of the session manager's tests: managers, and the published client that talks to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable

import pytest
from harness.session_manager import ManagerFactory, SessionManager, session_managers
from harness.stock import StockClient

MakeClient = Callable[[SessionManager], "Client"]


def _use(endpoint):
    import os

    os.environ["FLAME_ENDPOINT"] = endpoint


class Client:
    """The published client in a process of its own, told of one manager. What is called runs there."""

    def __init__(self, stock: StockClient, manager: SessionManager):
        self._stock = stock
        self._manager = manager

    def __call__(self, function: Callable, **arguments: object):
        self._stock.call(_use, endpoint=self._manager.endpoint)
        return self._stock.call(function, **arguments)


@pytest.fixture
def managers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManagerFactory]:
    """Start managers: `managers("none" | "fs", "--flag", "value", ...)`."""
    with session_managers(tmp_path_factory.mktemp) as factory:
        yield factory


@pytest.fixture(params=["none", "fs"])
def manager(request: pytest.FixtureRequest, managers: ManagerFactory) -> SessionManager:
    """What clients see must not depend on the storage."""
    return managers(request.param)


@pytest.fixture(scope="session")
def _stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StockClient]:
    client = StockClient(tmp_path_factory.mktemp("client"))  # Its imports take seconds.
    yield client
    client.close()


@pytest.fixture
def connect(_stock: StockClient) -> MakeClient:
    return lambda manager: Client(_stock, manager)
