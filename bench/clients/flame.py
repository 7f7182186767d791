"""The calls that an application makes, through the published `flamepy` or through the checkout's."""

from __future__ import annotations

import os

import numpy as np


def _patches(base, patches: list) -> int:
    """A deserializer that only counts."""
    return len(patches)


class _FlamepyClient:
    """What both offer in the same words."""

    def __init__(self, api) -> None:
        self._api = api

    def encode(self, value):
        return value

    def put(self, prefix: str, value):
        return self._api.put_object(prefix, value)

    def get(self, ref):
        """Version 0 passes over the client's own copy."""
        return self._api.get_object(type(ref)(ref.endpoint, ref.key, 0))

    def unchanged(self, ref) -> None:
        self._api.get_object(ref)

    def same(self, got, value) -> bool:
        return got == value if isinstance(value, dict) else np.array_equal(got, value)

    def forget(self, prefix: str) -> None:
        self._api.delete_objects(prefix)

    def append(self, ref, data: bytes) -> None:
        self._api.patch_object(ref, data)

    def get_new(self, ref, known: int) -> int:
        """The client holds what it got last and asks for what is newer: how many patches it holds then."""
        return self._api.get_object(ref, deserializer=_patches)


class StockClient(_FlamepyClient):
    def __init__(self, endpoint: str) -> None:
        from flamepy.core import cache

        super().__init__(cache)
        self._endpoint = endpoint

    def put(self, prefix: str, value):
        # The published client reads its endpoint once per process: read it again when
        # this process measures another server.
        if os.environ.get("FLAME_CACHE_ENDPOINT") != self._endpoint:
            os.environ["FLAME_CACHE_ENDPOINT"] = self._endpoint
            self._api._context_cache = None
        return super().put(prefix, value)

    def forget(self, prefix: str) -> None:
        os.environ["FLAME_CACHE_ENDPOINT"] = self._endpoint
        self._api._context_cache = None
        super().forget(prefix)


class SdkClient(_FlamepyClient):
    def __init__(self, endpoint: str) -> None:
        import flamepy

        super().__init__(flamepy.Client(endpoint))

    def fill(self, prefix: str, count: int, data: bytes) -> None:
        self._api.put_many((f"{prefix}/{i:07}", data) for i in range(count))

    def list_keys(self, prefix: str) -> int:
        return sum(1 for _ in self._api.list_objects(prefix))
