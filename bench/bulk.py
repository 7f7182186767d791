"""Many small objects of random bytes, in batches: put them, read them all and compare."""

from __future__ import annotations

from collections.abc import Iterator

import bson
import numpy as np
from pyarrow import flight

OBJECT_BYTES = 100
BATCH = 1000


def steps(count: int) -> int:
    """Batches of so many objects."""
    return -(-count // BATCH)


def put_all(endpoint: str, count: int) -> Iterator[None]:
    """Yields after each batch."""
    with flight.connect(endpoint) as client:
        for start in range(0, count, BATCH):
            items = [
                {"key": key, "data": data} for key, data in zip(_keys(start, count), _data(start))
            ]
            for result in _act(client, "flame.put", items):
                assert "error" not in result, result
            yield


def check_all(endpoint: str, count: int) -> Iterator[None]:
    """Reads every object, which makes it resident, and compares; yields after each batch."""
    with flight.connect(endpoint) as client:
        for start in range(0, count, BATCH):
            keys = _keys(start, count)
            results = _act(client, "flame.get", [{"key": key, "known": 0} for key in keys])
            if [bytes(result["base"]) for result in results] != _data(start)[: len(keys)]:
                raise ValueError(f"other bytes than were put, in {keys[0]} to {keys[-1]}")
            yield


def _keys(start: int, count: int) -> list[str]:
    return [f"bench/objects/{i:07}" for i in range(start, min(count, start + BATCH))]


def _data(start: int) -> list[bytes]:
    data = np.random.default_rng(start).bytes(BATCH * OBJECT_BYTES)
    return [data[i : i + OBJECT_BYTES] for i in range(0, len(data), OBJECT_BYTES)]


def _act(client: flight.FlightClient, name: str, items: list[dict]) -> list[dict]:
    action = flight.Action(name, bson.encode({"items": items}))
    return [bson.decode(result.body.to_pybytes()) for result in client.do_action(action)]
