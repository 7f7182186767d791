"""The Runner, of the published `flamepy` or of the checkout's: which one is this process's."""

from __future__ import annotations

import os

from flamepy.runner import Runner

from task_clients import make_work


class FlameTasks:
    def __init__(self) -> None:
        self._runner = Runner(f"bench-{os.getpid()}")
        self._service = None

    def open(self) -> int:
        self._service = self._runner.service(make_work(), autoscale=False, warmup=1)
        return self.add(0)

    def add(self, x: int) -> int:
        return self._service.add(x).get()

    def start(self, x: int):
        return self._service.add(x)

    def result(self, future) -> int:
        return future.get()

    def flip(self, array):
        return self._service.flip(array).get()

    def chain(self, count: int) -> int:
        future = self._service.add(0)
        for _ in range(count - 1):
            future = self._service.add(future)
        return future.get()

    def close(self) -> None:
        self._service.close()

    def end(self) -> None:
        self._runner.close()


class StockTasks(FlameTasks):
    def flip(self, array):
        # Messages do not carry that much: the published client's users put it into the cache themselves.
        return self._service.flip(self._runner.put_object(array)).get()
