"""Errors: one code, one exception, and a message that names the key and the next step."""

import pyarrow as pa
import pytest
from harness.errors import refused, tag_of
from pyarrow import flight as fl


def test_not_found_is_a_key_error(flight, app):
    with pytest.raises(KeyError, match=f"{app}/s/absent"):
        flight.get(f"{app}/s/absent:0")


def test_invalid_is_a_value_error(flight):
    with pytest.raises(ValueError, match="app/session/object"):
        flight.get("bad")


def test_a_conflict_names_both_versions(documents, app):
    documents.put(f"{app}/s/o", b"x")
    with refused("conflict") as refusal:
        documents.command("put", f"{app}/s/o", b"y", if_version=7)
    assert "v7" in refusal.message
    assert "v1" in refusal.message


def test_the_wrong_kind_says_what_to_do(flight, app):
    flight.put_table(f"{app}/s/o", pa.table({"x": [1]}))
    with refused("wrong_kind") as refusal:
        flight.patch(f"{app}/s/o", b"x")
    assert f"{app}/s/o" in refusal.message
    assert "append" in refusal.message


@pytest.mark.parametrize("write", ["missing", "wrong_kind", "conflict"])
def test_a_failed_write_tells_that_it_was_not_applied(documents, app, write):
    """By do_put and by item: a client decides by this whether it may try again."""
    key = f"{app}/s/o"
    if write == "wrong_kind":
        documents.put_table(key, pa.table({"x": [1]}))
    fields = {"if_version": 9} if write == "conflict" else {}
    op = "put" if write == "conflict" else "patch"
    with pytest.raises(pa.ArrowException) as caught:
        documents.command(op, key, b"x", **fields)
    assert tag_of(str(caught.value))[1].get("outcome") == "not_applied"
    assert documents.put_item(key, b"x", op=op, **fields)["error"].get("outcome") == "not_applied"


def test_a_bad_key_is_shown_short_and_printable(flight):
    with refused("invalid") as refusal:
        flight.get(b"\x01\x02" * 5000)
    assert "\x01" not in refusal.message
    assert len(refusal.message) < 2000


def test_errors_leave_the_connection_usable(flight, app):
    for _ in range(50):
        with refused("invalid"):
            flight.put("bad", b"x")
        with refused("not_found"):
            flight.get(f"{app}/s/absent")
    assert flight.put(f"{app}/s/o", b"x").version == 1


def test_a_deadline_ends_a_wait(documents):
    """A client's own deadline, while the server waits for news."""
    from harness.documents import encode

    _, cursor = documents.feed()
    action = fl.Action("flame.feed", encode(cursor=cursor, prefix="never/", wait_ms=60_000))
    with pytest.raises(fl.FlightTimedOutError):
        list(documents.client.do_action(action, fl.FlightCallOptions(timeout=0.2)))
    assert documents.call("flame.info")
