"""A write with an op id is applied once, however often it is tried."""

import pyarrow as pa
import pytest
from harness.documents import Origin, ipc_stream
from harness.errors import refused


@pytest.fixture
def origin():
    return Origin()


def test_a_retried_put_is_applied_once_and_answers_the_same(documents, origin, app):
    op = origin.next()
    first = documents.command("put", f"{app}/s/o", b"x", op_id=op)
    again = documents.command("put", f"{app}/s/o", b"x", op_id=op, retry=True)
    assert again == first
    assert documents.stat(f"{app}/s/o")["version"] == 1


def test_a_retried_patch_is_applied_once(documents, origin, app):
    key = f"{app}/s/o"
    documents.put(key, b"base")
    op = origin.next()
    for retry in (False, True, True):
        assert documents.command("patch", key, b"+", op_id=op, retry=retry).version == 2
    assert len(documents.get(key).rows) == 2


def test_a_retried_append_is_applied_once(documents, origin, app):
    key, table, op = f"{app}/s/t", pa.table({"x": [1]}), origin.next()
    documents.put_table(key, table)
    for retry in (False, True):
        answer = documents.put_item(
            key, ipc_stream(table), op="append", kind="native", op_id=op, retry=retry
        )
        assert answer["version"] == 2
    assert documents.fetch(key).table.num_rows == 2


def test_a_retried_delete_is_applied_once(documents, origin, app):
    key = f"{app}/s/o"
    documents.put(key, b"x")
    op = origin.next()
    assert documents.erase(key, op_id=op) == 1
    documents.erase(key, op_id=op, retry=True)
    documents.put(key, b"later")
    documents.erase(key, op_id=op, retry=True)
    assert documents.get(key).value == b"later"


def test_a_first_try_that_was_not_applied_is_applied_by_the_retry(documents, origin, app):
    answer = documents.put_item(f"{app}/s/o", b"x", op_id=origin.next(), retry=True)
    assert answer["version"] == 1


def test_a_retry_that_others_have_overtaken_still_answers_its_own_version(documents, origin, app):
    key, op = f"{app}/s/o", origin.next()
    documents.put_item(key, b"mine", op_id=op)
    for _ in range(3):
        documents.put_item(key, b"others", op_id=Origin().next())
    assert documents.put_item(key, b"mine", op_id=op, retry=True)["version"] == 1
    assert documents.get(key).value == b"others"


def test_a_retry_beyond_memory_is_an_unknown_outcome_and_never_applied(documents, origin, app):
    """A key remembers the last four origins."""
    key, op = f"{app}/s/o", origin.next()
    documents.put_item(key, b"mine", op_id=op)
    for _ in range(4):
        documents.put_item(key, b"others", op_id=Origin().next())
    answer = documents.put_item(key, b"mine", op_id=op, retry=True)
    assert answer["error"]["code"] == "unknown_outcome"
    assert answer["error"]["outcome"] == "unknown"
    with refused("unknown_outcome"):
        documents.command("put", key, b"mine", op_id=op, retry=True)
    assert documents.get(key).value == b"others"


def test_an_older_op_of_the_same_origin_is_an_unknown_outcome(documents, origin, app):
    key = f"{app}/s/o"
    old, new = origin.next(), origin.next()
    documents.put_item(key, b"old", op_id=old)
    documents.put_item(key, b"new", op_id=new)
    answer = documents.put_item(key, b"old", op_id=old, retry=True)
    assert answer["error"]["code"] == "unknown_outcome"
    assert documents.get(key).value == b"new"


def test_an_op_id_belongs_to_its_key(documents, origin, app):
    op = origin.next()
    assert documents.put_item(f"{app}/s/one", b"1", op_id=op)["version"] == 1
    assert documents.put_item(f"{app}/s/two", b"2", op_id=op)["version"] == 1


def test_op_ids_outlive_a_delete_of_the_key(documents, origin, app):
    key, op = f"{app}/s/o", origin.next()
    first = documents.put_item(key, b"x", op_id=op)["version"]
    documents.delete(key)
    assert documents.put_item(key, b"x", op_id=op, retry=True)["version"] == first
    assert documents.stat(key) == {"found": False}


def test_a_conflict_of_a_retried_conditional_write_is_no_conflict_with_itself(
    documents, origin, app
):
    key, op = f"{app}/s/o", origin.next()
    documents.put_item(key, b"x", op_id=op, if_version=0)
    assert documents.put_item(key, b"x", op_id=op, if_version=0, retry=True)["version"] == 1
