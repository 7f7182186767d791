"""One Ray actor: calls of its methods are what a session with one instance is compared with."""

from __future__ import annotations

import os

import ray

from task_clients import make_work

_STORE_BYTES = 2 << 30


class RayActor:
    def __init__(self) -> None:
        ray.init(
            num_cpus=1,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=_STORE_BYTES,
            logging_level="error",
            configure_logging=False,
            _temp_dir=os.environ["HOME"],  # Of this run: it is removed with all that is in it.
        )
        self._actor = None

    def open(self) -> int:
        self._actor = ray.remote(make_work()).remote()
        return self.add(0)

    def add(self, x: int) -> int:
        return ray.get(self._actor.add.remote(x))

    def start(self, x: int):
        return self._actor.add.remote(x)

    def result(self, ref) -> int:
        return ray.get(ref)

    def flip(self, array):
        return ray.get(self._actor.flip.remote(array))

    def chain(self, count: int) -> int:
        ref = self._actor.add.remote(0)
        for _ in range(count - 1):
            ref = self._actor.add.remote(ref)
        return ray.get(ref)

    def close(self) -> None:
        ray.kill(self._actor)
        self._actor = None

    def end(self) -> None:
        ray.shutdown()
