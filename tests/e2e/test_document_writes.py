"""Writes in the document dialect: options, conditions, batches of items, appends."""

import pyarrow as pa
import pytest
from harness.documents import encode, ipc_stream, reply_facts
from harness.errors import refused
from harness.flight import OPAQUE_SCHEMA, opaque_batch
from pyarrow import flight as fl


def test_a_command_document_puts_patches_and_draws_keys(documents, app):
    key = f"{app}/s/o"
    assert documents.command("put", key, b"base").version == 1
    assert documents.command("patch", key, b"+").version == 2
    assert documents.get(key).rows == [(1, "base", b"base"), (2, "patch", b"+")]
    assert documents.command("put", f"{app}/s", b"x").key.startswith(f"{app}/s/")


def test_if_version_writes_only_on_that_version(documents, app):
    key = f"{app}/s/o"
    assert documents.command("put", key, b"1", if_version=0).version == 1
    assert documents.command("put", key, b"2", if_version=1).version == 2
    with refused("conflict") as refusal:
        documents.command("put", key, b"3", if_version=1)
    assert refusal.values == {"version": "2", "outcome": "not_applied"}
    with refused("conflict") as refusal:
        documents.command("put", key, b"3", if_version=0)
    assert refusal.values["version"] == "2"
    assert documents.get(key).value == b"2"


def test_if_version_of_an_absent_key_conflicts_with_version_0(documents, app):
    with refused("conflict") as refusal:
        documents.command("put", f"{app}/s/o", b"x", if_version=3)
    assert refusal.values["version"] == "0"


def test_if_version_0_means_absent_also_after_a_delete(documents, app):
    key = f"{app}/s/o"
    documents.put(key, b"old")
    documents.delete(key)
    assert documents.command("put", key, b"new", if_version=0).version > 1


def test_if_version_guards_patches_and_appends(documents, app):
    opaque, table = f"{app}/s/o", f"{app}/s/t"
    rows = pa.record_batch({"x": [1]})
    documents.put(opaque, b"x")
    documents.put_table(table, pa.Table.from_batches([rows]))
    assert documents.command("patch", opaque, b"+", if_version=1).version == 2
    assert (
        documents.command("append", table, schema=rows.schema, batches=[rows], if_version=1).version
        == 2
    )
    with refused("conflict"):
        documents.command("patch", opaque, b"+", if_version=1)
    with refused("conflict"):
        documents.command("append", table, schema=rows.schema, batches=[rows], if_version=1)


def test_appended_batches_are_news_for_those_who_have_the_rest(documents, app):
    key = f"{app}/s/t"
    parts = [pa.table({"x": [i], "s": [f"part {i}"]}) for i in range(4)]
    documents.put_table(key, parts[0])
    for i, part in enumerate(parts[1:], 2):
        ref = documents.command("append", key, schema=part.schema, batches=part.to_batches())
        assert ref.version == i
    everything, news = documents.fetch(key), documents.fetch(key, known=2)
    assert reply_facts(everything)["reply"] == "full"
    assert everything.table.replace_schema_metadata(None).equals(pa.concat_tables(parts))
    assert everything.metadata == [v.to_bytes(8, "little") for v in (1, 2, 3, 4)]
    assert (reply_facts(news)["reply"], reply_facts(news)["version"]) == ("patches", "4")
    assert news.table.replace_schema_metadata(None).equals(pa.concat_tables(parts[2:]))
    assert news.metadata == [v.to_bytes(8, "little") for v in (3, 4)]


def test_a_stock_client_sees_a_table_with_appends_as_one_longer_table(documents, app):
    key = f"{app}/s/t"
    part = pa.table({"x": [1, 2]})
    documents.put_table(key, part)
    documents.command("append", key, schema=part.schema, batches=part.to_batches())
    for known in (0, 1):
        reply = documents.get(f"{key}:{known}")
        assert reply.table["x"].to_pylist() == [1, 2, 1, 2]
        assert reply.schema.metadata[b"flame.cache.version"] == b"2"
        assert b"flame.cache.reply" not in reply.schema.metadata
    assert documents.get(f"{key}:2").not_modified


def test_appends_may_bring_dictionaries_of_their_own(documents, app):
    key = f"{app}/s/t"
    parts = [
        pa.table({"x": pa.array(w).dictionary_encode()}) for w in (["a", "b"], ["c"], ["b", "d"])
    ]
    documents.put_table(key, parts[0])
    for part in parts[1:]:
        documents.command("append", key, schema=part.schema, batches=part.to_batches())
    assert documents.fetch(key).table["x"].to_pylist() == ["a", "b", "c", "b", "d"]
    assert documents.get(key).table["x"].to_pylist() == ["a", "b", "c", "b", "d"]
    assert documents.fetch(key, known=1).table["x"].to_pylist() == ["c", "b", "d"]
    assert documents.fetch(key, known=2).table["x"].to_pylist() == ["b", "d"]


def test_an_append_must_have_the_tables_schema_and_kind(documents, app):
    rows = pa.record_batch({"x": [1]})
    other = pa.record_batch({"y": ["text"]})
    documents.put_table(f"{app}/s/t", pa.Table.from_batches([rows]))
    documents.put(f"{app}/s/o", b"x")
    with refused("wrong_kind"):
        documents.command("append", f"{app}/s/t", schema=other.schema, batches=[other])
    with refused("wrong_kind"):
        documents.command("append", f"{app}/s/o", schema=rows.schema, batches=[rows])
    with refused("wrong_kind"):
        documents.command("patch", f"{app}/s/t", b"x")
    with refused("not_found"):
        documents.command("append", f"{app}/s/absent", schema=rows.schema, batches=[rows])


def test_items_are_answered_in_order_with_an_error_each(documents, server, app):
    key = f"{app}/s/o"
    first, second, bad, conflict, patch, drawn = documents.put_items(
        {"key": key, "data": b"1"},
        {"key": key, "data": b"2"},
        {"key": "no-key", "data": b"x"},
        {"key": key, "data": b"x", "if_version": 1},
        {"key": key, "op": "patch", "data": b"+"},
        {"key": f"{app}/s", "data": b"x"},
    )
    assert first == {"index": 0, "endpoint": server.endpoint, "key": key, "version": 1}
    assert (second["index"], second["version"]) == (1, 2)
    assert (bad["index"], bad["error"]["code"]) == (2, "invalid")
    assert conflict["error"]["code"] == "conflict"
    assert (conflict["error"]["version"], conflict["error"]["outcome"]) == (2, "not_applied")
    assert (patch["version"], drawn["version"]) == (3, 1)
    assert documents.get(key).rows == [(2, "base", b"2"), (3, "patch", b"+")]


def test_items_bring_tables_as_ipc_streams(documents, app):
    key = f"{app}/s/t"
    table = pa.table({"x": pa.array(["a", "b"]).dictionary_encode()})
    table = table.replace_schema_metadata(
        {"flame.cache.logical_type": "polars.dataframe", "u": "v"}
    )
    assert documents.put_item(key, ipc_stream(table), kind="native")["version"] == 1
    assert documents.put_item(key, ipc_stream(table), op="append", kind="native")["version"] == 2
    reply = documents.get(key)
    assert reply.table["x"].to_pylist() == ["a", "b", "a", "b"]
    assert reply.schema.metadata[b"flame.cache.logical_type"] == b"polars.dataframe"
    assert reply.schema.metadata[b"u"] == b"v"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"op": "patch", "kind": "native"}, "invalid"),
        ({"op": "append", "kind": "opaque"}, "invalid"),
        ({"op": "replace"}, "invalid"),
        ({"kind": "table"}, "invalid"),
        ({"kind": "native"}, "invalid"),  # The data is no IPC stream.
        ({"retry": True}, "invalid"),  # A retry needs an op id.
        ({"op_id": b"short"}, "invalid"),
        ({"op": "patch", "key": "{app}/s/absent"}, "not_found"),
        ({"op": "patch", "key": "{app}/s"}, "invalid"),
    ],
)
def test_a_bad_item_is_refused(documents, app, fields, code):
    fields = {"key": f"{app}/s/o", **fields}
    fields["key"] = fields["key"].format(app=app)
    [answer] = documents.put_items({"data": b"data", **fields})
    assert answer["error"]["code"] == code
    assert documents.keys(f"{app}/") == []


@pytest.mark.parametrize("op", ["", "delete", "PUT", "get"])
def test_an_unknown_command_is_refused(documents, app, op):
    with refused("invalid"):
        documents.command(op, f"{app}/s/o", b"x")


@pytest.mark.parametrize(
    "document",
    [
        {"key": "a/s/o"},
        {"op": "put"},
        {"op": "put", "key": 5},
        {"op": 1, "key": "a/s/o"},
        {"op": "put", "key": "a/s/o", "retry": True},
        {"op": "put", "key": "a/s/o", "op_id": b"x" * 15},
        {"op": "put", "key": "a/s/o", "if_version": "1"},
        {"op": "patch", "key": "a/s"},
        {"op": "append", "key": "a/s"},
    ],
)
def test_a_bad_command_document_is_refused(documents, document):
    command = fl.FlightDescriptor.for_command(encode(**document))
    with refused("invalid"):
        documents.put_stream(command, OPAQUE_SCHEMA, [opaque_batch(b"x")])


def test_a_request_over_64_mib_is_too_large_and_changes_nothing(documents, app):
    with refused("too_large"):
        documents.put_item(f"{app}/s/o", bytes(65 << 20))
    assert documents.keys(f"{app}/") == []
