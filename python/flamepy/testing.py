"""A server for tests: started in a moment, in memory, gone afterwards.

With pytest, use the fixtures of the plugin that comes with this package (``flame_server``,
``flame_prefix``...); elsewhere, or for several servers, `LocalServer`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Optional

from flamepy.core.errors import Unavailable
from flamepy.core.server_program import find_server

__all__ = ["LocalServer"]

_READY_SECONDS = 60
_STOP_SECONDS = 15
_ABANDONED = "12h"
"""A server whose test process was killed goes away by itself after this."""


class LocalServer:
    """A flame-object-cache of one's own on a free port of this host.

    Nothing that is configured outside of it matters to it. Use it in a ``with`` statement,
    or call `start` and `stop`.

    Parameters
    ----------
    *arguments : str
        Further flags of the server, ``"--patches-max", "10"`` for example.
    storage : str
        ``"none"`` keeps objects in memory; a folder lets them outlive the server.

    Attributes
    ----------
    endpoint : str
        For ``FLAME_CACHE_ENDPOINT``; empty before it was started.

    Examples
    --------
    >>> with LocalServer() as server:  # doctest: +SKIP
    ...     os.environ["FLAME_CACHE_ENDPOINT"] = server.endpoint
    """

    def __init__(self, *arguments: str, storage: str = "none") -> None:
        self.endpoint = ""
        self._arguments = arguments
        self._storage = storage
        self._process: Optional[subprocess.Popen] = None
        self._home: Optional[tempfile.TemporaryDirectory] = None

    def start(self) -> LocalServer:
        """Start it and return when it serves.

        Raises
        ------
        Unavailable
            There is no program to start, or it ended; the message has what it said.
        """
        program = find_server()
        if program is None:
            raise Unavailable(
                "there is no server program: pip install flamepy-server, or set FLAME_SERVER"
            )
        self._home = tempfile.TemporaryDirectory(prefix="flame-test-")
        home = self._home.name
        environment = {k: v for k, v in os.environ.items() if not k.startswith("FLAME_")}
        environment.update(HOME=home, XDG_RUNTIME_DIR=home, FLAME_CACHE_HTTP_ENDPOINT="off")
        endpoint = self.endpoint or "grpc://127.0.0.1:0"  # After a stop, where it was before.
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [
                    *(program, "--endpoint", endpoint, "--storage", self._storage),
                    *("--exit-when-idle", _ABANDONED, *self._arguments),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                # Ctrl-C is for the tests, which then stop it.
                start_new_session=True,
            )
        try:
            self.endpoint = self._await_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End it; what was in memory is gone."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        if self._home is not None:
            self._home.cleanup()
            self._home = None

    def log(self) -> str:
        """What the running server has logged."""
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        return self._process.pid

    def __enter__(self) -> LocalServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _log(self) -> Path:
        return Path(self._home.name) / "log"

    def _await_ready(self) -> str:
        line, end = b"", time.monotonic() + _READY_SECONDS
        out = self._process.stdout.fileno()
        while not line.endswith(b"\n"):
            if not select.select([out], [], [], max(0, end - time.monotonic()))[0]:
                raise Unavailable(f"the server is not ready after {_READY_SECONDS} s")
            read = os.read(out, 4096)
            if not read:
                raise Unavailable(f"the server ended: {self.log().strip()}")
            line += read
        return line.decode().partition(" ready on ")[2].split()[0]
