"""Fixtures of the conformance tests: the published client, configured for a server under test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from harness.server import Server
from harness.stock import StockClient

MakeStock = Callable[..., StockClient]


@pytest.fixture(scope="session")
def make_stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeStock]:
    """Start processes of the published client with an environment; ended with the session."""
    clients = []

    def make(**env: str) -> StockClient:
        client = StockClient(tmp_path_factory.mktemp("stock"), **env)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture(scope="session")
def stock(server: Server, make_stock: MakeStock) -> StockClient:
    """The published client, configured for `server`."""
    return make_stock(FLAME_CACHE_ENDPOINT=server.endpoint)


@pytest.fixture
def endpoint(server: Server) -> str:
    return server.endpoint


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path)
