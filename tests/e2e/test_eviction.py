"""Limits of memory: just enough leaves, nothing that was acknowledged last, nothing from a disk."""

import pyarrow as pa
import pytest
from harness.documents import Documents
from harness.errors import refused


@pytest.fixture(params=["none", "fs"])
def storage(request):
    return request.param


@pytest.mark.parametrize("policy", ["lru", "s3fifo"])
def test_a4_one_more_than_the_limit_evicts_one_and_not_the_newest(server_factory, storage, policy):
    server = server_factory(storage, args=("--max-objects", "3", "--eviction-policy", policy))
    with Documents(server.endpoint) as flight:
        for i in range(4):
            flight.put(f"app/s/{i}", b"x%d" % i)
        left = {f"app/s/{i}" for i in range(4)} - set(flight.keys("app/"))
        assert flight.get("app/s/3").value == b"x3"
        if storage == "fs":
            assert left == set()
            assert all(flight.get(f"app/s/{i}").value == b"x%d" % i for i in range(4))
        else:
            assert left == {"app/s/0"}
            with refused("not_found"):
                flight.get("app/s/0")
            # The version is not forgotten with the object.
            assert flight.put("app/s/0", b"y").version == 2


def test_a5_an_object_that_never_fits_is_refused_or_lives_on_the_disk(server_factory, storage):
    server = server_factory(storage, args=("--max-memory", "1M"))
    with Documents(server.endpoint) as flight:
        flight.put("app/s/small", b"small")
        big = bytes(range(256)) * 8192  # 2 MiB
        if storage == "fs":
            flight.put("app/s/big", big)
            assert flight.get("app/s/big").value == big
        else:
            with refused("too_large") as refusal:
                flight.put("app/s/big", big)
            assert "cache.eviction.max_memory" in refusal.message
            with refused("not_found"):
                flight.get("app/s/big")
        assert flight.get("app/s/small").value == b"small"


def test_b2_deletes_puts_and_gets_of_evicted_keys_leave_no_traces(server_factory, storage):
    """What left in one way must not be counted in another, or the limit would fill up with nothing."""
    server = server_factory(storage, args=("--max-objects", "5"))
    with Documents(server.endpoint) as flight:
        for round_ in range(20):
            for i in range(8):
                flight.put(f"app/s/{i}", b"%d" % round_)
            for i in range(8):
                if storage == "fs":
                    assert flight.get(f"app/s/{i}").value == b"%d" % round_
                flight.delete(f"app/s/{i}")
        for i in range(5):
            flight.put(f"app/s/{i}", b"now")
        assert flight.keys("app/") == [f"app/s/{i}" for i in range(5)]


def test_d2_a_table_of_many_columns_counts_once(server_factory):
    table = pa.table({f"c{i}": pa.array(range(1000), pa.int64()) for i in range(10)})  # 80 KB
    server = server_factory("none", args=("--max-memory", "1M"))
    with Documents(server.endpoint) as flight:
        for i in range(11):
            flight.put_table(f"app/s/{i}", table)
        assert len(flight.keys("app/")) == 11


def test_watchers_are_told_of_what_is_lost(server_factory):
    server = server_factory("none", args=("--max-objects", "1"))
    with Documents(server.endpoint) as documents:
        documents.put("app/s/1", b"x")
        _, cursor = documents.feed(prefix="app/")
        documents.put("app/s/2", b"x")
        events, _ = documents.feed(cursor, "app/")
    assert [(event["event"], event["key"]) for event in events] == [
        ("put", "app/s/2"),
        ("evict", "app/s/1"),
    ]
