"""Objects that live for a time: absent on the dot, gone from the disk soon, versions going on."""

import pytest
from harness.documents import Documents
from harness.errors import refused
from harness.wait import until


def test_an_object_is_there_until_its_time_is_up(documents, app):
    key = f"{app}/s/o"
    documents.command("put", key, b"x", ttl_ms=60_000)
    stat = documents.stat(key)
    assert (
        59_000 <= stat["expires_at_ms"] - stat["modified_ms"] <= 60_002
    )  # Two clocks, in whole milliseconds.
    documents.command("put", f"{app}/s/short", b"x", ttl_ms=1)
    until(lambda: not documents.stat(f"{app}/s/short")["found"], "it has expired")
    with refused("not_found"):
        documents.get(f"{app}/s/short")
    assert documents.keys(f"{app}/") == [key]
    assert documents.get(key).value == b"x"
    assert documents.command("put", f"{app}/s/short", b"y", if_version=0).version == 2


def test_a_put_without_a_time_stays_and_batches_have_times_too(documents, app):
    documents.command("put", f"{app}/s/o", b"x", ttl_ms=1)
    documents.command("put", f"{app}/s/o", b"y")
    answer = documents.put_item(f"{app}/s/batch", b"x", ttl_ms=1)
    assert answer["version"] == 1
    until(lambda: not documents.stat(f"{app}/s/batch")["found"], "it has expired")
    assert documents.get(f"{app}/s/o").value == b"y"
    assert documents.stat(f"{app}/s/o")["expires_at_ms"] == 0


@pytest.mark.parametrize("ttl_ms", [0, -5])
def test_a_time_that_is_none_is_refused(documents, app, ttl_ms):
    with refused("invalid") as refusal:
        documents.command("put", f"{app}/s/o", b"x", ttl_ms=ttl_ms)
    assert "ttl_ms" in refusal.message
    answer = documents.put_item(f"{app}/s/o", b"x", ttl_ms=ttl_ms)
    assert answer["error"]["code"] == "invalid"


def test_watchers_see_what_expires_without_anybody_asking(documents, app):
    _, cursor = documents.feed(prefix=f"{app}/")
    documents.command("put", f"{app}/s/o", b"x", ttl_ms=20)
    events = []
    while len(events) < 2:
        more, cursor = documents.feed(cursor, f"{app}/", wait_ms=5_000)
        assert more, "no event within five seconds"
        events += more
    assert [event["event"] for event in events] == ["put", "expire"]


def test_times_and_their_end_survive_a_kill(server_factory):
    server = server_factory("fs")
    with Documents(server.endpoint) as documents:
        documents.command("put", "app/s/short", b"x", ttl_ms=1_500)
        documents.command("put", "app/s/long", b"x", ttl_ms=600_000)
    server.kill()
    server.start()
    with Documents(server.endpoint) as documents:
        assert documents.stat("app/s/long")["expires_at_ms"] > 0
        until(lambda: not documents.stat("app/s/short")["found"], "it has expired")
        assert documents.command("put", "app/s/short", b"x").version == 2
