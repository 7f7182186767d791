"""A client process: it does what each line of JSON on standard input says, and answers with a line of JSON.

    worker.py KIND NAME=ENDPOINT...

Run by `workers.py`, which alternates between servers and kinds of clients. What is read is
compared with what was put, after the clock has stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from dataclasses import dataclass
from typing import Any, Callable

from clients import connect
from values import value_of


@dataclass
class Prepared:
    """An object that is on a server, ready to be read."""

    prefix: str
    value: Any
    ref: Any = None


class Worker:
    def __init__(self, kind: str, endpoints: dict[str, str]) -> None:
        self._clients = {name: connect(kind, endpoint) for name, endpoint in endpoints.items()}
        self._prepared: dict[tuple[str, str], Prepared] = {}
        self._values: dict[str, Any] = {}  # The latest one, and as each server's client sends it.

    def run(self, request: dict) -> dict:
        return getattr(self, f"do_{request.pop('do')}")(**request)

    def do_pin(self, cpus: list[int]) -> dict:
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), cpus)
        return {}

    def do_prepare(self, server: str, name: str) -> dict:
        """Puts the object and reads it: what comes then is warm."""
        client = self._clients[server]
        prefix = f"bench/{name}"
        if self._values.get("name") != name:
            # Only the latest: it may have hundreds of megabytes.
            self._values = {"name": name, "value": value_of(name)}
        if server not in self._values:
            self._values[server] = client.encode(self._values["value"])
        mine = Prepared(prefix, self._values[server])
        mine.ref = client.put(prefix, mine.value)
        client.get(mine.ref)
        if hasattr(client, "unchanged"):
            client.unchanged(mine.ref)
        self._prepared[server, name] = mine
        return {}

    def do_put(self, server: str, name: str, **bounds) -> dict:
        client, mine = self._clients[server], self._prepared[server, name]
        return {"seconds": timed(lambda: client.put(mine.prefix, mine.value), **bounds)}

    def do_get(self, server: str, name: str, **bounds) -> dict:
        client, mine = self._clients[server], self._prepared[server, name]
        got = None

        def get() -> None:
            nonlocal got
            got = None  # Its memory may be used again, as in an application that moves on.
            got = client.get(mine.ref)

        seconds = timed(get, **bounds)
        if not client.same(got, mine.value):
            raise SystemExit(f"{server} returned other bytes than were put ({name})")
        return {"seconds": seconds}

    def do_unchanged(self, server: str, name: str, **bounds) -> dict:
        client, mine = self._clients[server], self._prepared[server, name]
        return {"seconds": timed(lambda: client.unchanged(mine.ref), **bounds)}

    def do_forget(self, server: str, name: str) -> dict:
        mine = self._prepared.pop((server, name))
        self._clients[server].forget(mine.prefix)
        return {}

    def do_deltas(self, server: str, count: int, bytes_each: int) -> dict:
        """Appends to an object that the client holds, then fetches all that is new in one get."""
        client, prefix = self._clients[server], "bench/deltas"
        ref = client.put(prefix, client.encode(value_of("65536")))
        client.get(ref)
        delta = os.urandom(bytes_each)
        append = timed(lambda: client.append(ref, delta), calls=count)
        rows = 0

        def get_new() -> None:
            nonlocal rows
            rows = client.get_new(ref, 1)

        get = timed(get_new, calls=1)
        if rows != count:
            raise SystemExit(f"{server} returned {rows} deltas, expected {count}")
        client.forget(prefix)
        return {"append": append, "get": get}

    def do_get_new(self, server: str, key: str, count: int) -> dict:
        """For a server that cannot append but answers as if it had."""
        client = self._clients[server]
        return {"get": timed(lambda: client.get_new(key, count), calls=1)}

    def do_fill(self, server: str, prefix: str, count: int) -> dict:
        client, data = self._clients[server], os.urandom(100)
        return {"seconds": timed(lambda: client.fill(prefix, count, data), calls=1)}

    def do_list(self, server: str, prefix: str, expected: int) -> dict:
        found = 0

        def list_keys() -> None:
            nonlocal found
            found = self._clients[server].list_keys(prefix)

        seconds = timed(list_keys, calls=1)
        if found != expected:
            raise SystemExit(f"{server} listed {found} keys, expected {expected}")
        return {"seconds": seconds}

    def do_delete(self, server: str, prefix: str) -> dict:
        return {"seconds": timed(lambda: self._clients[server].forget(prefix), calls=1)}


def timed(work: Callable[[], Any], calls: int = 0, seconds: float = 0) -> list[float]:
    """Seconds of each call: so many calls, or as many as begin within so many seconds."""
    times = []
    now = time.perf_counter()
    end = now + seconds
    while len(times) < calls or now < end:
        work()
        start, now = now, time.perf_counter()
        times.append(now - start)
    return times


def main() -> None:
    kind, *servers = sys.argv[1:]
    worker = Worker(kind, dict(server.split("=", 1) for server in servers))
    print("{}", flush=True)
    for line in sys.stdin:
        print(json.dumps(worker.run(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
