"""One thread that copies memory into memory that it has touched before: what no transport can beat without sharing."""

from __future__ import annotations

import numpy as np


class MemcpyClient:
    def __init__(self, endpoint: str) -> None:
        self._target = np.empty(0, np.uint8)

    def encode(self, value) -> np.ndarray:
        value = value if isinstance(value, np.ndarray) else np.zeros(64, np.uint8)
        if self._target.size != value.size:
            self._target = np.ones_like(value)
        return value

    def put(self, prefix: str, value: np.ndarray) -> np.ndarray:
        np.copyto(self._target, value)
        return value

    def get(self, value: np.ndarray) -> np.ndarray:
        np.copyto(self._target, value)
        return self._target

    def same(self, got: np.ndarray, value: np.ndarray) -> bool:
        return np.array_equal(got, value)

    def forget(self, prefix: str) -> None:
        pass
