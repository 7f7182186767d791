"""A real session manager for tests: its own home, any free port, services of this checkout."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Optional

import flamepy
from harness.server import ROOT, clean_environment

PROGRAM = Path(os.environ.get("FLAME_SESSION_MANAGER") or ROOT / "build/bin/flame-session-manager")
_READY = re.compile(r"flame-session-manager \S+ ready on (\S+)")
_SDK = str(Path(flamepy.__file__).parents[1])


class SessionManager:
    """One process; `with` starts and ends it."""

    def __init__(
        self, home: Path, cache_endpoint: str, *args: str, storage: str = "none", port: int = 0
    ) -> None:
        self.home = home
        self._sockets = tempfile.TemporaryDirectory(prefix="flame-", dir="/tmp")  # Short paths.
        self._command = [
            *(str(PROGRAM), "--endpoint", f"http://127.0.0.1:{port}", "--storage", storage),
            *("--cache-endpoint", cache_endpoint, "--work-dir", str(home / "work")),
            *("--socket-dir", self._sockets.name, "--python", sys.executable),
            *args,
        ]
        self.process: Optional[subprocess.Popen] = None
        self.address = ""

    def __enter__(self) -> SessionManager:
        assert PROGRAM.exists(), f"no program at {PROGRAM}: run `make build`"
        self.home.mkdir(parents=True, exist_ok=True)
        environment = clean_environment(
            self.home, FLAME_PYTHON=sys.executable, PYTHONPATH=_SDK, FLAME_LOG="info"
        )
        with open(self.home / "manager.log", "ab") as log:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self.home,
                env=environment,
            )
        self.address = self._await_ready()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None, "started"
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()
        self._sockets.cleanup()

    def sockets(self) -> list[str]:
        """Of instances that are there."""
        return [name for name in os.listdir(self._sockets.name) if name.endswith(".sock")]

    def log(self) -> str:
        """What it has said."""
        return (self.home / "manager.log").read_text(errors="replace")

    def _await_ready(self) -> str:
        assert self.process is not None, "started"
        end = time.monotonic() + 30
        line = b""
        while not line.endswith(b"\n"):
            left = end - time.monotonic()
            ready = left > 0 and select.select([self.process.stdout], [], [], left)[0]
            read = os.read(self.process.stdout.fileno(), 1) if ready else b""
            if not read:
                self.process.kill()
                raise AssertionError(f"the session manager did not start:\n{self.log()}")
            line += read
        match = _READY.match(line.decode())
        assert match, line
        return match[1]
