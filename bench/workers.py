"""Client processes, seen from the driver: start them, ask them, count the server's CPU meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from placement import Placement

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
PYTHONS = {
    "raw": ROOT / ".venv/bin/python",
    "stock": ROOT / ".venv/conformance/bin/python",
    "sdk": ROOT / ".venv/bin/python",
    "redis": ROOT / ".venv/bin/python",
    "pool": ROOT / ".venv/bin/python",
    "memcpy": ROOT / ".venv/bin/python",
    "ray": ROOT / "build/bench-ray/bin/python",
}


class WorkerFailed(Exception):
    """A client process ended; what it said is on standard error."""


class Worker:
    """One client process that knows several servers by name."""

    def __init__(
        self,
        kind: str,
        endpoints: dict[str, str],
        home: Path,
        *,
        script: str = "worker.py",
        environment: Mapping[str, str] = MappingProxyType({}),
        directory: Path | None = None,
    ) -> None:
        self.kind = kind
        servers = [f"{name}={endpoint}" for name, endpoint in endpoints.items()]
        self._child = subprocess.Popen(
            [PYTHONS[kind], BENCH / script, kind, *servers],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                "HOME": str(home),
                "PATH": os.environ["PATH"],
                "RAY_AUTH_MODE": "disabled",
                **environment,
            },
            cwd=directory,
        )

    def ask(self, do: str, **request) -> None:
        """Sends a request; `answer` waits for its result."""
        try:
            self._child.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self._child.stdin.flush()
        except BrokenPipeError as error:
            raise WorkerFailed(f"the {self.kind} client ended") from error

    def answer(self) -> dict:
        line = self._child.stdout.readline()
        if not line.startswith("{"):
            self._child.wait()
            raise WorkerFailed(f"the {self.kind} client failed; its error is above")
        return json.loads(line)

    def call(self, do: str, **request) -> dict:
        self.ask(do, **request)
        return self.answer()

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.close()
        try:
            self._child.wait(20)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child.stdout.close()


@contextlib.contextmanager
def workers(
    kind: str, count: int, endpoints: dict[str, str], home: Path, placement: Placement
) -> Iterator[list[Worker]]:
    """So many client processes of a kind, all ready."""
    started: list[Worker] = []
    try:
        for _ in range(count):
            started.append(Worker(kind, endpoints, home))
        for worker in started:
            worker.answer()
        # Only now: sixteen that start on one CPU would take half a minute.
        if cpus := placement.client_cpus():
            for worker in started:
                worker.call("pin", cpus=cpus)
        yield started
    finally:
        for worker in started:
            worker.close()
