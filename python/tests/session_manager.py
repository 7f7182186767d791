"""A session manager whose workers have this checkout's SDK, on this Python."""

from __future__ import annotations

import sys
from pathlib import Path

import flamepy
from harness import session_manager
from harness.session_manager import BINARY as PROGRAM

__all__ = ["PROGRAM", "SessionManager"]

_SDK = str(Path(flamepy.__file__).parents[1])


class SessionManager(session_manager.SessionManager):
    """One process, in a home of its own; `with` starts and ends it."""

    def __init__(
        self, home: Path, cache_endpoint: str, *args: str, storage: str = "none", port: int = 0
    ) -> None:
        home.mkdir(parents=True, exist_ok=True)
        settings = ("--cache-endpoint", cache_endpoint, "--python", sys.executable, *args)
        environment = {"FLAME_PYTHON": sys.executable, "PYTHONPATH": _SDK, "FLAME_LOG": "info"}
        super().__init__(home, storage, settings, environment)
        self.port = port

    @property
    def address(self) -> str:
        """Where clients connect to."""
        return self.endpoint

    def __enter__(self) -> SessionManager:
        assert PROGRAM.exists(), f"no program at {PROGRAM}: run `make build`"
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self.process is not None and self.process.poll() is None:
                self.stop()
        finally:
            self.end()

    def sockets(self) -> list[str]:
        """Of instances that are there."""
        return [path.name for path in self.work.rglob("*.sock")]
