"""The client's cache: bounded in bytes, least recently used first."""

from __future__ import annotations

import threading

from flamepy.core.object_cache import Entry, ObjectCache


def entry(size, version=1):
    return Entry(version, version, bytes(size))


def test_f6_the_bound_is_in_bytes():
    cache = ObjectCache(1_000_000)
    for number in range(100):
        cache.put(number, entry(200_000))
        assert cache.nbytes <= cache.max_bytes
    assert 2 <= len(cache) <= 4
    assert cache.get(99) is not None
    assert cache.get(0) is None


def test_the_least_recently_used_goes_first():
    cache = ObjectCache(1_000_000)
    for key in "abc":
        cache.put(key, entry(200_000))
    cache.get("a")
    cache.put("d", entry(200_000))
    assert [key for key in "abcd" if cache.get(key)] == ["a", "c", "d"]


def test_what_does_not_fit_pushes_nothing_out():
    cache = ObjectCache(1_000_000)
    cache.put("small", entry(10))
    cache.put("huge", entry(2_000_000))
    assert cache.get("small")
    assert cache.get("huge") is None
    cache.put("small", entry(2_000_000, version=2))
    assert cache.get("small") is None
    assert cache.nbytes == 0


def test_replacing_discarding_and_resizing_keep_the_account():
    cache = ObjectCache(1_000_000)
    cache.put(("e", "a/b/c"), entry(10))
    cache.put(("e", "a/b/c"), entry(10, version=2))
    cache.put(("e", "a/b/d"), entry(10))
    assert len(cache) == 2
    cache.discard_where(lambda slot: slot[1] == "a/b/c")
    assert len(cache) == 1
    cache.discard("absent")
    cache.resize(0)
    assert (len(cache), cache.nbytes) == (0, 0)


def test_an_entry_is_never_changed_by_what_is_derived_from_it():
    first = entry(10)
    first.memo.append("result")
    second = first.extended(2, [b"patch"])
    assert (first.version, first.patches, first.memo) == (1, (), ["result"])
    assert (second.version, second.patches, second.memo) == (2, (b"patch",), [])
    assert second.base is first.base


def test_threads_leave_the_account_right():
    cache = ObjectCache(50_000)

    def work(seed):
        for i in range(2000):
            key = (seed * i) % 37
            cache.put(key, entry(i % 5000))
            cache.get(key)
            if i % 5 == 0:
                cache.discard(key)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.nbytes == sum(e.nbytes for e in cache._entries.values()) <= 50_000
