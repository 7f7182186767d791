"""The feed: every change under a prefix, from a cursor on, with gaps made explicit."""

import threading

import pytest
from harness.documents import Documents
from harness.errors import refused


def changes(events):
    return [(event["event"], event["key"].rpartition("/")[2], event["version"]) for event in events]


def test_a_new_cursor_means_from_now_on(documents, app):
    documents.put(f"{app}/s/before", b"x")
    events, cursor = documents.feed(prefix=f"{app}/")
    assert events == []
    assert documents.feed(cursor, f"{app}/")[0] == []


def test_changes_come_in_order_with_version_and_kind(documents, app):
    _, cursor = documents.feed(prefix=f"{app}/")
    documents.put(f"{app}/s/o", b"x")
    documents.patch(f"{app}/s/o", b"+")
    documents.put(f"{app}/s/p", b"x")
    documents.delete(f"{app}/s/o")
    events, cursor = documents.feed(cursor, f"{app}/")
    assert changes(events)[:3] == [("put", "o", 1), ("patch", "o", 2), ("put", "p", 1)]
    assert changes(events)[3][:2] == ("delete", "o")
    assert {event["kind"] for event in events[:3]} == {"opaque"}
    assert documents.feed(cursor, f"{app}/")[0] == []


def test_a_cursor_can_be_used_again(documents, app):
    _, cursor = documents.feed(prefix=f"{app}/")
    documents.put(f"{app}/s/o", b"x")
    first, second = (documents.feed(cursor, f"{app}/")[0] for _ in range(2))
    assert first == second
    assert changes(first) == [("put", "o", 1)]


def test_only_keys_under_the_prefix_are_told(documents, app):
    _, cursor = documents.feed(prefix=f"{app}/s1/")
    documents.put(f"{app}/s1/o", b"x")
    documents.put(f"{app}/s11/o", b"x")
    assert [event["key"] for event in documents.feed(cursor, f"{app}/s1/")[0]] == [f"{app}/s1/o"]


def test_pages_lose_and_repeat_nothing(documents, app):
    _, cursor = documents.feed(prefix=f"{app}/")
    for i in range(25):
        documents.put(f"{app}/s/{i:02}", b"x")
    names = []
    while True:
        events, cursor = documents.feed(cursor, f"{app}/", limit=10)
        assert len(events) <= 10
        if not events:
            break
        names += [event["key"][-2:] for event in events]
    assert names == [f"{i:02}" for i in range(25)]


def test_a_wait_ends_when_something_happens(documents, server, app):
    _, cursor = documents.feed(prefix=f"{app}/")
    answers = []

    def wait():
        with Documents(server.endpoint) as watcher:
            answers.append(watcher.feed(cursor, f"{app}/", wait_ms=60_000)[0])

    watcher = threading.Thread(target=wait)
    watcher.start()
    documents.put(f"{app}/s/o", b"x")
    watcher.join(30)
    assert not watcher.is_alive()
    assert changes(answers[0]) == [("put", "o", 1)]


def test_a_wait_ends_without_news_after_its_time(documents, app):
    _, cursor = documents.feed(prefix=f"{app}/")
    assert documents.feed(cursor, f"{app}/", wait_ms=50)[0] == []


def test_a_cursor_of_another_life_is_a_gap_and_the_present_state(documents, server_factory):
    with Documents(server_factory().endpoint) as other:
        _, foreign = other.feed()
        app = "app"
        other.put(f"{app}/s/x", b"x")
    server = server_factory()
    with Documents(server.endpoint) as client:
        client.put(f"{app}/s/a", b"x")
        client.patch(f"{app}/s/a", b"+")
        client.put(f"{app}/s/b", b"x")
        client.put("elsewhere/s/c", b"x")
        events, cursor = client.feed(foreign, f"{app}/")
        assert events[0]["event"] == "gap"
        assert changes(events[1:]) == [("state", "a", 2), ("state", "b", 1)]
        client.put(f"{app}/s/d", b"x")
        assert changes(client.feed(cursor, f"{app}/")[0]) == [("put", "d", 1)]


def test_a_state_longer_than_a_page_comes_in_pages(documents, server_factory):
    with Documents(server_factory().endpoint) as other:
        _, foreign = other.feed()
    with Documents(server_factory().endpoint) as client:
        client.put_items(*[{"key": f"app/s/{i:03}", "data": b"x"} for i in range(250)])
        events, cursor = client.feed(foreign, limit=100)
        names = []
        while events:
            assert events[0]["event"] != "gap" or not names
            names += [event["key"][-3:] for event in events if event["event"] == "state"]
            events, cursor = client.feed(cursor, limit=100)
        assert names == [f"{i:03}" for i in range(250)]


@pytest.mark.parametrize("cursor", [b"x", b"\0" * 8, b"\xff" * 64, b"\xff" * 1000])
def test_a_cursor_that_is_none_is_refused_or_a_gap(documents, app, cursor):
    documents.put(f"{app}/s/o", b"x")
    try:
        events, _ = documents.feed(cursor, f"{app}/")
    except ValueError:
        with refused("invalid"):
            documents.feed(cursor, f"{app}/")
    else:
        assert events[0]["event"] == "gap"


def test_every_change_of_many_writers_is_told_once(documents, server, app):
    _, cursor = documents.feed(prefix=f"{app}/")

    def write(i):
        with Documents(server.endpoint) as writer:
            for n in range(50):
                writer.put(f"{app}/s/{(i + n) % 5}", b"x")

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    seen = []
    while len(seen) < 200:
        events, cursor = documents.feed(cursor, f"{app}/", wait_ms=10_000)
        assert events, f"only {len(seen)} of 200 changes"
        seen += [(event["key"], event["version"]) for event in events]
    for thread in threads:
        thread.join()
    assert sorted(seen) == [(f"{app}/s/{k}", v) for k in range(5) for v in range(1, 41)]
    for key in {key for key, _ in seen}:
        versions = [version for k, version in seen if k == key]
        assert versions == sorted(versions)
