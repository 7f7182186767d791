"""Which CPU runs what: servers on CPU 0, clients on CPU 1, so that neither takes the other's time."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Placement:
    pinned: bool = True

    def server(self) -> list[str]:
        return ["taskset", "-c", "0"] if self._possible else []

    def client_cpus(self) -> list[int]:
        """Empty: wherever the kernel likes."""
        return [1] if self._possible else []

    @property
    def _possible(self) -> bool:
        return self.pinned and {0, 1} <= os.sched_getaffinity(0)

    def __str__(self) -> str:
        return "servers on CPU 0, clients on CPU 1" if self._possible else "not pinned"
