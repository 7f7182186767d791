"""A user of one's own for tests of the embedded default: folders, processes, what is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, Optional

import flamepy
from flamepy.core.private_place import Place
from flamepy.core.server_program import is_running

_PYTHON = str(Path(flamepy.__file__).parents[1])
_PRELUDE = """
import os, pickle, signal, sys, threading, time
import flamepy
from flamepy import get_object, put_object
from flamepy.core import context, embedded
"""


def until(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.01)


class User:
    """A home and a runtime folder, and the processes that work there.

    The private server is used whatever listens at the default endpoint of this machine.
    """

    def __init__(self, server: Path) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="flame-", dir="/tmp"))  # Sockets: short paths.
        self.home = self.root / "home"
        self.runtime = self.root / "run"
        for folder in (self.home, self.runtime):
            folder.mkdir(mode=0o700)
        self.env = {
            name: os.environ[name]
            for name in ("PATH", "ASAN_OPTIONS", "LD_LIBRARY_PATH")
            if name in os.environ
        }
        self.env.update(
            HOME=str(self.home),
            XDG_RUNTIME_DIR=str(self.runtime),
            TMPDIR=str(self.root),
            PYTHONPATH=_PYTHON,
            FLAME_SERVER=str(server),
            FLAME_EMBEDDED="always",
            FLAME_EMBEDDED_IDLE="60s",
        )

    def start(self, code: str, **env: Optional[str]) -> subprocess.Popen:
        """Run a piece of code in a process of its own; an environment value of None is unset."""
        merged = {k: v for k, v in {**self.env, **env}.items() if v is not None}
        return subprocess.Popen(
            [sys.executable, "-c", _PRELUDE + code],
            env=merged,
            cwd=self.root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str, **env: Optional[str]) -> tuple[str, str]:
        """The same, to its end: what it printed, and what it wrote to standard error."""
        process = self.start(code, **env)
        out, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
        return out.strip(), err

    def fails(self, code: str, **env: Optional[str]) -> str:
        """The class and message of the error that the code ends in."""
        process = self.start(code, **env)
        out, err = process.communicate(timeout=100)
        assert process.returncode == 1, out + err
        return err.strip().splitlines()[-1]

    @property
    def folder(self) -> Path:
        """What the private server's files lie in."""
        return self.runtime / "flame"

    @property
    def place(self) -> Place:
        """The private server's names, as its config file tells them."""
        [config] = self.folder.glob("*.yaml")
        storage = self.home / ".local/share/flame/cache"
        return Place(str(self.folder), str(storage), config.stem)

    def servers(self) -> list[int]:
        """The servers that run in this user's folders."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    line = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                mine = b"\0--config\0" in line and str(self.root).encode() in line
                if mine and is_running(int(entry.name)):
                    found.append(int(entry.name))
        return found

    def server(self) -> int:
        """The one server that runs."""
        [pid] = self.servers()
        return pid

    def kill(self) -> None:
        """kill -9 the server."""
        pid = self.server()
        os.kill(pid, signal.SIGKILL)
        until(lambda: not is_running(pid), "the server is dead")

    def starts(self) -> int:
        """How often a server became ready."""
        return Path(self.place.log).read_text().count(" ready on ")

    def leave(self) -> None:
        """No process and no file stays."""
        for pid in self.servers():
            os.kill(pid, signal.SIGKILL)
            until(lambda pid=pid: not is_running(pid), "the server is dead")
        shutil.rmtree(self.root)
