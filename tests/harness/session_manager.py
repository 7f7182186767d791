"""A flame-session-manager process under test: start, stop, kill, restart on the same port."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, Optional

from harness.server import PATIENCE, ROOT, clean_environment
from harness.stock import PYTHON
from harness.wait import until

BINARY = Path(
    os.environ.get("FLAME_SESSION_MANAGER") or ROOT / "build/bin/flame-session-manager"
).resolve()
SERVICE = Path(__file__).parents[1] / "e2e_sessions" / "service.py"
_READY = re.compile(r"flame-session-manager \S+ ready on (https?://127\.0\.0\.1:(\d+)) \(.*\)\n")

ManagerFactory = Callable[..., "SessionManager"]


class SessionManager:
    """One manager with its home, storage, folder for instances and log.

    It starts nothing in advance, unless the test asks for it: `--spares`.
    """

    def __init__(self, home: Path, storage: str, args: tuple[str, ...], env: dict[str, str]):
        self.home = home
        self.storage = f"fs://{home}/storage" if storage == "fs" else storage
        # The paths of sockets are short.
        self.work = Path(tempfile.mkdtemp(prefix="flame-sm-", dir="/tmp"))
        self.scheme = "http"
        self.port = 0
        self.endpoint = ""
        self.cache = ""  # Of the cache that it hosts.
        self._args = args
        self._env = env
        self._log_path = home / "manager.log"
        self.process: Optional[subprocess.Popen] = None

    def command(self) -> list[str]:
        return [
            str(BINARY),
            *("--endpoint", f"{self.scheme}://127.0.0.1:{self.port}"),
            *("--storage", self.storage, "--work-dir", str(self.work / "w")),
            *self._args,
        ]

    def start(self) -> SessionManager:
        with open(self._log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self.home,
                env=clean_environment(self.home, **{"FLAME_SESSION_SPARES": "0", **self._env}),
            )
        line = self.process.stdout.readline().decode()
        match = _READY.fullmatch(line)
        assert match, f"not a ready line: {line!r}\n{self.log()}"
        self.endpoint, self.port = match[1], int(match[2])
        hosted = re.search(r"; cache on (\S+),", line)
        self.cache = hosted[1] if hosted else ""
        return self

    def log(self) -> str:
        return self._log_path.read_text(errors="backslashreplace")

    def stop(self) -> None:
        """SIGTERM, and all must have gone well."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        self.process.stdout.close()
        assert code == 0, f"the manager ended with {code}:\n{self.log()}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def end(self) -> None:
        """For the factory: whatever state it is in, it is gone afterwards."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        for pid in self.instances():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.work, ignore_errors=True)

    def instances(self) -> list[int]:
        """Every process that was started for an instance of this manager, and has not ended."""
        mark = f"FLAME_INSTANCE_ENDPOINT={self.work}".encode()
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    if mark in (folder / "environ").read_bytes():
                        found.append(int(folder.name))
        return found

    def files(self) -> list[str]:
        """What lies in the folder of the instances."""
        return sorted(p.name for p in (self.work / "w").glob("*") if not p.name.startswith("."))

    def await_nothing_left(self) -> None:
        until(lambda: not self.instances() and not self.files(), "no process and no file is left")


@contextlib.contextmanager
def session_managers(make_home: Callable[[str], Path]) -> Iterator[ManagerFactory]:
    """`with session_managers(tmp_path_factory.mktemp) as factory:` ends what it made."""
    assert BINARY.exists(), f"no program at {BINARY}: run `make build`"
    mine: list[SessionManager] = []

    def factory(
        storage: str = "none", *args: str, env: Optional[dict[str, str]] = None, start: bool = True
    ) -> SessionManager:
        manager = SessionManager(make_home(f"manager-{len(mine)}-"), storage, args, env or {})
        mine.append(manager)
        return manager.start() if start else manager

    try:
        yield factory
    finally:
        for manager in mine:
            manager.end()


def gone(pid: int) -> bool:
    """Whether a process has ended, be it reaped or not."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def application(**more: object) -> dict[str, object]:
    """The attributes of an application whose instances run service.py with the published client."""
    return {"command": str(PYTHON), "arguments": [str(SERVICE)], **more}
