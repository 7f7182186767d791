"""redis-py: SET and GET of the same bytes, RPUSH and LRANGE for deltas, SCAN and UNLINK for many keys."""

from __future__ import annotations

import itertools

import numpy as np
import redis
from values import stored_form

_PAGE = 1000


class RedisClient:
    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.rpartition(":")
        self._redis = redis.Redis(host, int(port), protocol=2)
        self._number = itertools.count()

    def encode(self, value) -> memoryview:
        """Once, before the clock runs."""
        return memoryview(stored_form(value))

    def put(self, prefix: str, data: memoryview) -> str:
        key = f"{prefix}/{next(self._number)}"
        self._redis.set(key, data)
        return key

    def get(self, key: str) -> bytes:
        return self._redis.get(key)

    def same(self, got: bytes, data: memoryview) -> bool:
        return np.array_equal(np.frombuffer(got, np.uint8), np.frombuffer(data, np.uint8))

    def forget(self, prefix: str) -> None:
        keys = self._redis.scan_iter(f"{prefix}/*", count=_PAGE)
        while page := list(itertools.islice(keys, _PAGE)):
            self._redis.unlink(*page)

    def append(self, key: str, data: bytes) -> None:
        self._redis.rpush(f"{key}/list", data)

    def get_new(self, key: str, known: int) -> int:
        return len(self._redis.lrange(f"{key}/list", known - 1, -1))

    def fill(self, prefix: str, count: int, data: bytes) -> None:
        for start in range(0, count, _PAGE):
            end = min(count, start + _PAGE)
            self._redis.mset({f"{prefix}/{i:07}": data for i in range(start, end)})

    def list_keys(self, prefix: str) -> int:
        return sum(1 for _ in self._redis.scan_iter(f"{prefix}/*", count=_PAGE))
