"""Measures one client against one server, a round per line on standard input; a line of JSON answers each.

    client_worker.py raw|flamepy ENDPOINT

`flamepy` is whichever one this Python imports: the published client or the checkout's. `raw` is pyarrow.flight alone.
Values that are read are compared with what was put. Run by flight_bench.py, which alternates between servers.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time

import numpy as np

SMALL = {"test": "data", "value": 123}
LARGE_BYTES = 64 << 20
SMALL_CALLS = 300
LARGE_CALLS = 3


def median_seconds(work, calls: int) -> float:
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


class RawClient:
    """The calls of the stock client's wire, with nothing around them."""

    def __init__(self, endpoint: str, array: np.ndarray) -> None:
        import pyarrow as pa
        import pyarrow.flight as flight

        self.pa, self.flight = pa, flight
        self.schema = pa.schema([("version", pa.uint64()), ("data", pa.binary())])
        self.client = flight.connect(endpoint)
        self.small = json.dumps(SMALL).encode()
        self.large = memoryview(array).cast("B")
        self._put("bench/small/object", self.small)

    def _put(self, path: str, data) -> None:
        pa = self.pa
        # One value that shares the data's memory.
        offsets = pa.py_buffer(np.array([0, len(data)], np.int32))
        value = pa.Array.from_buffers(pa.binary(), 1, [None, offsets, pa.py_buffer(data)])
        batch = pa.RecordBatch.from_arrays([pa.array([0], pa.uint64()), value], schema=self.schema)
        descriptor = self.flight.FlightDescriptor.for_path(path)
        writer, reader = self.client.do_put(descriptor, self.schema)
        with writer:
            writer.write_batch(batch)
            writer.done_writing()
            reader.read().to_pybytes()

    def _get(self, ticket: str):
        return self.client.do_get(self.flight.Ticket(ticket)).read_all()

    def put_small(self) -> None:
        self._put("bench/small", self.small)

    def get_small(self) -> None:
        self._get("bench/small/object:0")

    def get_unchanged(self) -> None:
        assert self._get("bench/small/object:1").num_rows == 0

    def put_large(self) -> None:
        self._put("bench/large/object", self.large)

    def get_large(self) -> None:
        self.table = self._get("bench/large/object:0")

    def check(self) -> None:
        data = self.table.column("data").chunk(0).buffers()[-1]
        assert data.size >= LARGE_BYTES
        assert bytes(data[-64:]) == bytes(self.large[-64:])

    def clean(self) -> None:
        self.table = None


class FlamepyClient:
    """The calls that an application makes."""

    def __init__(self, endpoint: str, array: np.ndarray) -> None:
        os.environ["FLAME_CACHE_ENDPOINT"] = endpoint
        from flamepy.core import cache

        self.cache, self.array = cache, array
        self.small = cache.put_object("bench/small", SMALL)
        assert cache.get_object(self.small) == SMALL

    def _anew(self, ref):
        """Version 0 passes over the client's own copy."""
        return self.cache.get_object(type(ref)(ref.endpoint, ref.key, 0))

    def put_small(self) -> None:
        self.cache.put_object("bench/small", SMALL)

    def get_small(self) -> None:
        self._anew(self.small)

    def get_unchanged(self) -> None:
        self.cache.get_object(self.small)

    def put_large(self) -> None:
        self.large = self.cache.put_object("bench/large", self.array)

    def get_large(self) -> None:
        self.value = self._anew(self.large)

    def check(self) -> None:
        assert np.array_equal(self.value, self.array)

    def clean(self) -> None:
        self.value = None
        self.cache.delete_objects("bench/large")


def main() -> None:
    kind, endpoint = sys.argv[1:]
    # Random bytes: zeros would flatter whoever compresses or shares pages.
    array = np.random.default_rng(7).random(LARGE_BYTES // 8)
    client = {"raw": RawClient, "flamepy": FlamepyClient}[kind](endpoint, array)
    for _ in sys.stdin:
        result = {
            "put small dict": median_seconds(client.put_small, SMALL_CALLS),
            "get small dict": median_seconds(client.get_small, SMALL_CALLS),
            "get small dict, unchanged": median_seconds(client.get_unchanged, SMALL_CALLS),
            "put 64 MiB": median_seconds(client.put_large, LARGE_CALLS),
            "get 64 MiB": median_seconds(client.get_large, LARGE_CALLS),
        }
        client.check()
        client.clean()
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
