"""A session manager of this process's own, where nothing is configured and none answers.

The first runner starts it, all runners of the process share it, the last one ends it; it also ends
when this process dies. It works with the cache that this process uses.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Optional
from urllib.parse import urlsplit

import flamepy
from flamepy.core import transport
from flamepy.core.context import DEFAULT_FLAME_ENDPOINT, current_context
from flamepy.core.errors import InvalidConfig, Unavailable
from flamepy.core.server_program import find_program
from flamepy.core.sessions.client import Connection, connect

__all__ = ["TEMPLATE", "Embedded", "is_wanted"]

TEMPLATE = "flmrun-embedded"
"""Its workers are this Python, and unpack packages themselves."""

_PROGRAM = "flame-session-manager"
_READY = re.compile(rf"{_PROGRAM} \S+ ready on (\S+)")
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_GUARD = '"$@" & pid=$!; exec >/dev/null; trap "" TERM INT; cat; kill $pid; wait $pid'
"""The program, ended when our end of the pipe is closed: by us, or by our death."""


def is_wanted() -> bool:
    """Whether nothing is configured, and nobody listens at the default endpoint."""
    if not current_context().cache.embedded:
        return False
    if os.environ.get("FLAME_EMBEDDED", "").lower() == "always":
        return True
    parts = urlsplit(DEFAULT_FLAME_ENDPOINT)
    try:
        with socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=1):
            return False
    except OSError:
        return True


class Embedded:
    """A share in the session manager of this process. Thread-safe.

    Raises
    ------
    InvalidConfig
        The program is not installed.
    Unavailable
        It does not start.
    """

    def __init__(self) -> None:
        global _running
        with _lock:
            if _running is None:
                _running = _Manager()
            _running.users += 1
            self._manager: Optional[_Manager] = _running

    @property
    def connection(self) -> Connection:
        """To the session manager."""
        assert self._manager is not None, "not closed"
        return self._manager.connection

    def close(self) -> None:
        """Give the share back; the last one ends the session manager."""
        global _running
        with _lock:
            manager, self._manager = self._manager, None
            if manager is None:
                return
            manager.users -= 1
            if manager.users == 0:
                _running = None
                manager.close()


class _Manager:
    def __init__(self) -> None:
        self.users = 0
        self._process: Optional[subprocess.Popen] = None
        program = _find()
        self._folder = tempfile.mkdtemp(prefix="flame-sm-")
        try:
            self._start(program)
        except BaseException:
            self.close()
            raise

    def _start(self, program: str) -> None:
        sdk = str(Path(flamepy.__file__).parents[1])
        paths = [sdk, *filter(None, [os.environ.get("PYTHONPATH")])]
        command = [
            *(program, "--endpoint", "http://127.0.0.1:0", "--storage", "none"),
            *("--cache-endpoint", transport.connect().endpoint),
            *("--work-dir", f"{self._folder}/work", "--socket-dir", f"{self._folder}/s"),
        ]
        with open(f"{self._folder}/log", "wb") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                start_new_session=True,
            )
        self.connection = connect(self._await_ready())
        self.connection.register_application(
            TEMPLATE,
            {"command": sys.executable, "arguments": ["-m", "flamepy.runner.runpy"]},
        )

    def _await_ready(self) -> str:
        assert self._process is not None, "started"
        assert self._process.stdout is not None, "a pipe"
        out = self._process.stdout.fileno()
        end = time.monotonic() + _START_SECONDS
        line = b""
        while not line.endswith(b"\n"):
            left = end - time.monotonic()
            ready = left > 0 and select.select([out], [], [], left)[0]
            read = os.read(out, 4096) if ready else b""
            line += read
            if not read:
                break
        match = _READY.search(line.decode(errors="replace"))
        if match:
            return match[1]
        log = Path(f"{self._folder}/log").read_text(errors="replace")
        raise Unavailable(
            f"the private session manager did not start; the end of its log: {log[-1000:]}"
        )

    def close(self) -> None:
        """End it, and remove what it worked with."""
        connection = getattr(self, "connection", None)
        if connection is not None:
            connection.close()
        process = self._process
        if process is not None:
            assert process.stdin is not None, "a pipe"
            assert process.stdout is not None, "a pipe"
            process.stdin.close()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            process.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _find() -> str:
    found = find_program(_PROGRAM, "FLAME_SESSION_MANAGER")
    if found is None:
        raise InvalidConfig(
            f"no session manager answers at {DEFAULT_FLAME_ENDPOINT}, and {_PROGRAM} is not "
            "installed: pip install flamepy-server, set FLAME_SESSION_MANAGER to the program, or "
            "FLAME_ENDPOINT to one that runs"
        )
    return os.path.abspath(found)


_lock = threading.Lock()
_running: Optional[_Manager] = None
