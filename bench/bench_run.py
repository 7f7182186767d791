"""What every suite is given: the servers, the clients, the scale, the progress bar, and where figures go."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from clients import KINDS
from figures import Figures
from placement import Placement
from rich.progress import Progress
from scale import Scale
from servers import Server
from workers import Worker, workers


@dataclass
class Run:
    scale: Scale
    home: Path
    placement: Placement
    progress: Progress
    stores: Path  # Where storages that take long to build are kept.
    until_end: contextlib.ExitStack  # Of the run: then servers and clients stop.
    kinds: list[str] = field(default_factory=lambda: list(KINDS))  # Of clients that take part.
    figures: Figures = field(default_factory=Figures)
    notes: list[str] = field(default_factory=list)  # What was left out, and why.
    servers: dict[str, Server] = field(default_factory=dict)  # bare, memory, disk, redis
    _shared: dict[str, Worker] = field(default_factory=dict)
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])
    online_cpus: int = field(default_factory=lambda: os.cpu_count() or 1)

    def servers_of(self, kind: str) -> list[str]:
        """Those that this kind of client can speak to; the SDK needs one that knows its dialect."""
        if kind in ("ray", "memcpy"):
            return [kind]
        if kind == "redis":
            return ["redis"]
        known = ["memory", "disk"] if kind == "sdk" else ["bare", "memory", "disk"]
        return [name for name in known if name in self.servers]

    @contextlib.contextmanager
    def clients(self, kind: str, count: int = 1) -> Iterator[list[Worker]]:
        names = self.servers_of(kind)
        endpoints = {
            name: self.servers[name].endpoint if name in self.servers else "-" for name in names
        }
        with workers(kind, count, endpoints, self.home, self.placement) as started:
            yield started

    @contextlib.contextmanager
    def columns(self, *kinds: str) -> Iterator[list[Column]]:
        """A client of each of these kinds that are here, with each of its servers: one column each.

        They serve the whole run, but for Ray, whose own processes never rest.
        """
        with contextlib.ExitStack() as until_left:
            columns = []
            for kind in (kind for kind in self.kinds if kind in kinds):
                worker = self._shared.get(kind)
                if worker is None:
                    stack = until_left if kind == "ray" else self.until_end
                    [worker] = stack.enter_context(self.clients(kind))
                if kind != "ray":
                    self._shared[kind] = worker
                columns += [Column(kind, name, worker) for name in self.servers_of(kind)]
            yield columns

    def track(self, title: str, total: int) -> Iterator[int]:
        task = self.progress.add_task(title, total=total)
        for step in range(total):
            yield step
            self.progress.advance(task)


@dataclass(frozen=True)
class Column:
    """A client and the server it speaks to."""

    kind: str
    server: str
    worker: Worker

    @property
    def name(self) -> str:
        return self.kind if self.kind == self.server else f"{self.kind} > {self.server}"

    def call(self, do: str, **request) -> dict:
        return self.worker.call(do, server=self.server, **request)
