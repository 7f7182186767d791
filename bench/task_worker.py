"""A client process of the suite `tasks`: it does what each line of JSON says, and answers with a line of JSON.

task_worker.py KIND
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time

import numpy as np
from task_clients import connect


class TaskWorker:
    def __init__(self, kind: str) -> None:
        self._client = connect(kind)
        self._array = None

    def run(self, request: dict) -> dict:
        return getattr(self, f"do_{request.pop('do')}")(**request)

    def do_pin(self, cpus: list[int]) -> dict:
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), cpus)
        return {}

    def do_open(self) -> dict:
        start = time.perf_counter()
        _check(self._client.open(), 1)
        return {"seconds": [time.perf_counter() - start]}

    def do_calls(self, count: int) -> dict:
        times = []
        for x in range(count):
            start = time.perf_counter()
            found = self._client.add(x)
            times.append(time.perf_counter() - start)
            _check(found, x + 1)
        return {"seconds": times}

    def do_in_flight(self, count: int) -> dict:
        start = time.perf_counter()
        handles = [self._client.start(x) for x in range(count)]
        found = [self._client.result(handle) for handle in handles]
        seconds = time.perf_counter() - start
        _check(found, list(range(1, count + 1)))
        return {"seconds": [seconds]}

    def do_large(self, size: int) -> dict:
        if self._array is None or self._array.size != size:
            self._array = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
        start = time.perf_counter()
        found = self._client.flip(self._array)
        seconds = time.perf_counter() - start
        if not np.array_equal(found, self._array ^ 1):
            raise SystemExit("the array came back changed")
        return {"seconds": [seconds]}

    def do_chain(self, count: int) -> dict:
        start = time.perf_counter()
        found = self._client.chain(count)
        seconds = time.perf_counter() - start
        _check(found, count)
        return {"seconds": [seconds]}

    def do_close(self) -> dict:
        self._client.close()
        return {}

    def do_end(self) -> dict:
        self._client.end()
        return {}


def _check(found, expected) -> None:
    if found != expected:
        raise SystemExit(f"a call returned {found!r}, expected {expected!r}")


def main() -> None:
    worker = TaskWorker(sys.argv[1])
    print("{}", flush=True)
    for line in sys.stdin:
        print(json.dumps(worker.run(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
