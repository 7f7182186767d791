"""The client of each kind: the same calls, timed the same way, whatever the server behind them.

A client offers what its server can: `put`, `get`, `same`, `forget`, and, where it applies,
`unchanged`, `append`, `get_new`, `list_keys`. `get` always fetches the whole object, past
any copy that the client keeps.
"""

from __future__ import annotations

import importlib

KINDS = {
    "raw": "clients.raw:RawClient",
    "stock": "clients.flame:StockClient",
    "sdk": "clients.flame:SdkClient",
    "redis": "clients.redis_py:RedisClient",
    "ray": "clients.ray_store:RayClient",
    "memcpy": "clients.memcpy:MemcpyClient",
}


def connect(kind: str, endpoint: str):
    """A client of this kind; only its own libraries are imported."""
    module, _, name = KINDS[kind].partition(":")
    return getattr(importlib.import_module(module), name)(endpoint)
