"""The factory of servers under test: one for the SDK's tests and for those of the programs."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, Optional

from harness.server import BINARY, Server

ServerFactory = Callable[..., Server]
running: list[Server] = []
"""Servers whose factory has not ended: a failing test shows their logs."""


@contextlib.contextmanager
def servers(make_home: Callable[[str], Path]) -> Iterator[ServerFactory]:
    """`with servers(tmp_path_factory.mktemp) as factory:` ends what it made, come what may."""
    assert BINARY.exists(), f"no server at {BINARY}: run `make build`, or set FLAME_SERVER"
    number = itertools.count()
    mine: list[Server] = []

    def factory(
        storage: Optional[str] = "none",
        config: Optional[str] = None,
        args: tuple[str, ...] = (),
        env: Optional[dict[str, str]] = None,
        *,
        port: int = 0,
        home: Optional[Path] = None,
        start: bool = True,
    ) -> Server:
        home = home or make_home(f"server-{next(number)}-")
        server = Server(home, storage, config, tuple(args), env, port)
        mine.append(server)
        running.append(server)
        return server.start() if start else server

    try:
        yield factory
    finally:
        for server in mine:
            server.end()
            running.remove(server)
