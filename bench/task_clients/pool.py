"""concurrent.futures.ProcessPoolExecutor with one process: what Python itself has. It knows no references."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor


def _add(x):
    return x + 1


def _flip(array):
    return array ^ 1


class Pool:
    def __init__(self) -> None:
        self._pool = None

    def open(self) -> int:
        # Its process where servers are, if this one is placed.
        where = {0} if os.sched_getaffinity(0) == {1} else os.sched_getaffinity(0)
        self._pool = ProcessPoolExecutor(1, initializer=os.sched_setaffinity, initargs=(0, where))
        return self.add(0)

    def add(self, x: int) -> int:
        return self._pool.submit(_add, x).result()

    def start(self, x: int):
        return self._pool.submit(_add, x)

    def result(self, future) -> int:
        return future.result()

    def flip(self, array):
        return self._pool.submit(_flip, array).result()

    def chain(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = self.add(value)
        return value

    def close(self) -> None:
        self._pool.shutdown()

    def end(self) -> None:
        pass
