"""Reads with a version in hand: everything, only the news, or nothing new."""

import pyarrow as pa
import pytest
from harness.documents import reply_facts
from harness.errors import refused
from harness.flight import REPLY_SCHEMA


@pytest.fixture
def key(flight, app):
    """Versions: 1, 2 puts, 3 the base of now, 4..6 patches."""
    key = f"{app}/s/o"
    for data in (b"1", b"2", b"3"):
        flight.put(key, data)
    for data in (b"4", b"5", b"6"):
        flight.patch(key, data)
    return key


EVERYTHING = [(3, "base", b"3"), (4, "patch", b"4"), (5, "patch", b"5"), (6, "patch", b"6")]


@pytest.mark.parametrize(
    ("known", "rows"),
    [
        (0, EVERYTHING),
        (1, EVERYTHING),
        (2, EVERYTHING),
        (3, EVERYTHING[1:]),
        (4, EVERYTHING[2:]),
        (5, EVERYTHING[3:]),
        (6, []),
        (7, EVERYTHING),
        (10**12, EVERYTHING),
    ],
)
def test_a_reply_brings_what_the_client_lacks(flight, documents, key, known, rows):
    assert flight.get(f"{key}:{known}").rows == rows
    assert documents.fetch(key, known).rows == rows


def test_not_modified_is_a_schema_without_the_format_mark(flight, app):
    flight.put(f"{app}/s/opaque", b"x")
    flight.put_table(f"{app}/s/native", pa.table({"x": [1]}))
    for name in ("opaque", "native"):
        reply = flight.get(f"{app}/s/{name}:1")
        assert reply.schema.equals(REPLY_SCHEMA, check_metadata=True)
        assert reply.batches == []


def test_a_document_ticket_says_what_the_reply_is(documents, key):
    facts = {
        known: (f["reply"], f["version"])
        for known in (0, 3, 6)
        for f in [reply_facts(documents.fetch(key, known))]
    }
    assert facts == {0: ("full", "6"), 3: ("patches", "6"), 6: ("not-modified", "6")}
    assert reply_facts(documents.fetch(key))["base_version"] == "3"
    assert reply_facts(documents.fetch(key))["kind"] == "opaque"


def test_not_modified_by_document_ticket_names_the_kind(documents, app):
    documents.put_table(f"{app}/s/o", pa.table({"x": [1]}))
    facts = reply_facts(documents.fetch(f"{app}/s/o", 1))
    assert (facts["reply"], facts["kind"], facts["version"]) == ("not-modified", "native", "1")
    assert "format" not in facts


def test_a_deleted_object_is_not_found_whatever_the_client_knows(flight, key):
    flight.delete(key)
    for known in (0, 3, 6, 7):
        with refused("not_found"):
            flight.get(f"{key}:{known}")


def test_e4_small_rows_share_batches(documents, app):
    key = f"{app}/s/o"
    documents.put(key, b"base")
    for _ in range(10):
        documents.put_items(*[{"key": key, "op": "patch", "data": b"p" * 10} for _ in range(100)])
    reply = documents.get(f"{key}:0")
    assert len(reply.rows) == 1001
    assert len(reply.batches) <= 2
    assert [version for version, _, _ in reply.rows] == list(range(1, 1002))


def test_large_and_small_rows_stay_in_order(flight, app):
    key = f"{app}/s/o"
    sizes = [10, 100_000, 10, 10, 2_000_000, 10]
    rows = [bytes([i]) * size for i, size in enumerate(sizes)]
    flight.put(key, rows[0])
    for row in rows[1:]:
        flight.patch(key, row)
    assert [data for _, _, data in flight.get(key).rows] == rows
