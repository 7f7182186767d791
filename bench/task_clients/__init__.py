"""Who has work done by another process: the same steps, timed the same way.

A client offers `open` (a worker that has answered one call), `add` (a call and its result), `start`
and `result` (a call under way), `flip` (an array there and back), `chain` (each call takes the
one before), `close`. `Work` is made within a function, so that it travels by value.
"""

from __future__ import annotations

import importlib

KINDS = {
    "stock": "task_clients.flame:StockTasks",
    "sdk": "task_clients.flame:FlameTasks",
    "ray": "task_clients.ray_actor:RayActor",
    "pool": "task_clients.pool:Pool",
}


def connect(kind: str):
    """A client of this kind; only its own libraries are imported."""
    module, _, name = KINDS[kind].partition(":")
    return getattr(importlib.import_module(module), name)()


def make_work() -> type:
    class Work:
        def add(self, x):
            return x + 1

        def flip(self, array):
            return array ^ 1

    return Work
