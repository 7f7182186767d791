"""Reads in the document dialect: items, stat, pages, counted deletes."""

import bson
import pyarrow as pa
import pytest
from harness.documents import encode, reply_facts
from harness.errors import refused
from harness.flight import native


def test_items_answer_full_patches_not_modified_and_absent(documents, app):
    key = f"{app}/s/o"
    documents.put(key, b"base")
    documents.patch(key, b"two")
    documents.patch(key, b"three")
    full, news, same, older, absent, bad = documents.get_items(
        {"key": key},
        {"key": key, "known": 2},
        {"key": key, "known": 3},
        {"key": key, "known": 99},
        {"key": f"{app}/s/absent"},
        {"key": "no-key"},
    )
    patches = [{"version": 2, "data": b"two"}, {"version": 3, "data": b"three"}]
    head = {"found": True, "version": 3, "base_version": 1, "kind": "opaque"}
    assert full == {"index": 0, **head, "reply": "full", "base": b"base", "patches": patches}
    assert news == {"index": 1, **head, "reply": "patches", "patches": patches[1:]}
    assert same == {
        "index": 2,
        "found": True,
        "version": 3,
        "kind": "opaque",
        "reply": "not-modified",
    } or (same == {"index": 2, **head, "reply": "not-modified"})
    assert older["reply"] == "full"
    assert absent == {"index": 4, "found": False}
    assert (bad["index"], bad["error"]["code"]) == (5, "invalid")


def test_integers_of_an_answer_are_int64_but_for_the_index(documents, app):
    documents.put(f"{app}/s/o", b"x")
    [raw] = documents.action("flame.get", encode(items=[{"key": f"{app}/s/o"}]))
    assert b"\x10index\0" in raw
    assert b"\x12version\0" in raw
    assert b"\x12base_version\0" in raw


def test_a_table_comes_inline_as_a_complete_ipc_stream(documents, app):
    table = pa.table({"d": pa.array(["a", "b"]).dictionary_encode(), "x": [1, 2]})
    table = table.replace_schema_metadata({"mine": "kept"})
    documents.put_table(f"{app}/s/t", table, "pandas.dataframe")
    documents.command("append", f"{app}/s/t", schema=table.schema, batches=table.to_batches())
    [answer] = documents.get_items({"key": f"{app}/s/t"})
    assert (answer["kind"], answer["reply"], answer["version"]) == ("native", "full", 2)
    base = pa.ipc.open_stream(answer["base"]).read_all()
    [patch] = answer["patches"]
    assert base.to_pydict() == table.to_pydict()
    assert pa.ipc.open_stream(patch["data"]).read_all().to_pydict() == table.to_pydict()
    assert patch["version"] == 2
    metadata = base.schema.metadata
    assert metadata[b"mine"] == b"kept"
    assert metadata[b"flame.cache.format"] == b"arrow-table-v1"
    assert metadata[b"flame.cache.logical_type"] == b"pandas.dataframe"


@pytest.mark.parametrize(("inline_max", "reply"), [(99, "stream"), (100, "full"), (None, "full")])
def test_inline_max_decides_what_comes_inline(documents, app, inline_max, reply):
    documents.put(f"{app}/s/o", b"x" * 100)
    [answer] = documents.get_items({"key": f"{app}/s/o"}, inline_max=inline_max)
    assert answer["reply"] == reply
    assert ("base" in answer) == (reply == "full")


def test_without_inline_max_64_kib_come_inline(documents, app):
    documents.put(f"{app}/s/fits", bytes(65536))
    documents.put(f"{app}/s/over", bytes(65537))
    fits, over = documents.get_items({"key": f"{app}/s/fits"}, {"key": f"{app}/s/over"})
    assert (fits["reply"], over["reply"]) == ("full", "stream")


def test_the_replies_of_one_call_are_bounded(documents, app):
    """Many large objects in one call: the later ones say `stream` rather than fill the memory."""
    documents.put(f"{app}/s/o", bytes(8 << 20))
    answers = documents.get_items(*[{"key": f"{app}/s/o"}] * 20, inline_max=1 << 30)
    inline = sum(len(answer.get("base", b"")) for answer in answers)
    assert 8 << 20 <= inline <= 72 << 20
    assert {answer["reply"] for answer in answers} == {"full", "stream"}


def test_stat_says_what_is_known_of_an_object(documents, app):
    key = f"{app}/s/o"
    documents.put(key, b"12345")
    documents.patch(key, b"678")
    stat = documents.stat(key)
    assert stat.pop("modified_ms") > 1_600_000_000_000
    assert stat == {
        "found": True,
        "key": key,
        "version": 2,
        "base_version": 1,
        "kind": "opaque",
        "bytes": 8,
        "patches": 1,
        "expires_at_ms": 0,
    }
    assert documents.stat(f"{app}/s/absent") == {"found": False}


def test_stat_of_a_table_has_its_schema_and_logical_type(documents, app):
    table = pa.table({"d": pa.array(["a"]).dictionary_encode(), "x": [1]}).replace_schema_metadata(
        {"k": "v"}
    )
    documents.put_table(f"{app}/s/t", table, "polars.dataframe")
    stat = documents.stat(f"{app}/s/t")
    assert (stat["kind"], stat["logical_type"]) == ("native", "polars.dataframe")
    schema = pa.ipc.read_schema(pa.BufferReader(stat["schema"]))
    assert schema.equals(table.schema)
    assert schema.metadata[b"k"] == b"v"
    [listed], end = documents.page(f"{app}/")
    assert "schema" not in listed
    assert end


def test_pages_run_through_all_keys_in_order(documents, app):
    keys = sorted(f"{app}/s{i % 3}/{i:03}" for i in range(25))
    for key in keys:
        documents.put(key, b"x")
    seen, after, pages = [], "", 0
    while True:
        objects, end = documents.page(f"{app}/", after, limit=10)
        seen += [stat["key"] for stat in objects]
        pages += 1
        if end:
            break
        after = seen[-1]
    assert seen == keys
    assert pages == 3
    assert all(stat["found"] for stat in documents.page(f"{app}/")[0])


def test_a_prefix_of_a_list_may_end_anywhere(documents, app):
    for name in ("ab", "abc", "b"):
        documents.put(f"{app}/s/{name}", b"x")
    names = [stat["key"].rpartition("/")[2] for stat in documents.page(f"{app}/s/a")[0]]
    assert names == ["ab", "abc"]
    assert documents.page(f"{app}/none") == ([], True)


def test_a_page_after_a_deleted_key_goes_on(documents, app):
    for name in "abcd":
        documents.put(f"{app}/s/{name}", b"x")
    documents.delete(f"{app}/s/b")
    objects, _ = documents.page(f"{app}/", after=f"{app}/s/b")
    assert [stat["key"][-1] for stat in objects] == ["c", "d"]


@pytest.mark.parametrize(("limit", "code"), [(0, "invalid"), (-1, "invalid"), (10**9, "too_large")])
def test_a_page_of_no_size_is_refused(documents, limit, code):
    with refused(code):
        documents.page("a/", limit=limit)


def test_deletes_are_counted(documents, app):
    for session in ("s1", "s11"):
        for i in range(3):
            documents.put(f"{app}/{session}/{i}", b"x")
    assert documents.erase(f"{app}/s1/0") == 1
    assert documents.erase(f"{app}/s1/0") == 0
    assert documents.erase(f"{app}/s1") == 2
    assert documents.erase(f"{app}/*") == 3
    assert documents.erase(f"{app}/*") == 0


def test_a_delete_may_ask_for_a_version(documents, app):
    key = f"{app}/s/o"
    documents.put(key, b"1")
    documents.put(key, b"2")
    with refused("conflict") as refusal:
        documents.erase(key, if_version=1)
    assert refusal.values["version"] == "2"
    assert documents.erase(key, if_version=2) == 1


def test_a_delete_of_a_prefix_with_a_version_is_refused(documents, app):
    documents.put(f"{app}/s/o", b"x")
    with refused("invalid"):
        documents.erase(f"{app}/s", if_version=1)
    assert documents.keys(f"{app}/") == [f"{app}/s/o"]


def test_a_delete_of_more_than_a_page_deletes_all(documents, app):
    for first in range(0, 1200, 100):
        documents.put_items(*[{"key": f"{app}/s/{first + i}", "data": b"x"} for i in range(100)])
    assert documents.erase(f"{app}/s") == 1200
    assert documents.keys(f"{app}/") == []


def test_info_tells_about_the_server(documents, server):
    [info] = documents.call("flame.info")
    assert info["program"] == "flame-object-cache"
    assert info["endpoint"] == server.endpoint
    assert info["started_ms"] > 1_600_000_000_000
    assert len(info["store_id"]) == 36
    assert info["storage"] == (f"fs://{server.storage_dir}" if server.storage_dir else "none")
    assert f" {info['version']} " in server.ready_line


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_ticket_may_ask_for_compression(documents, app, compression):
    """The batches are compressed; pyarrow decodes them without being asked to."""
    documents.put(f"{app}/s/o", bytes(1 << 20))
    documents.put_table(f"{app}/s/t", pa.table({"x": [0] * 100_000}))
    assert documents.fetch(f"{app}/s/o", compression=compression).value == bytes(1 << 20)
    assert (
        documents.fetch(f"{app}/s/t", compression=compression).table["x"].to_pylist()
        == [0] * 100_000
    )


@pytest.mark.parametrize(
    "ticket", [{"compression": "gzip"}, {"known": -1}, {"known": "1"}, {"key": 1}]
)
def test_a_bad_ticket_document_is_refused(documents, ticket):
    with refused("invalid"):
        documents.get(encode(**{"key": "a/s/o", **ticket}))


def test_an_unknown_version_by_document_ticket_gets_everything(documents, app):
    documents.put_table(f"{app}/s/t", native(pa.table({"x": [1]})))
    assert reply_facts(documents.fetch(f"{app}/s/t", known=50))["reply"] == "full"


def test_a_document_of_int32_is_understood(documents, app):
    """pymongo writes a small int as int32."""
    documents.put(f"{app}/s/o", b"x")
    assert documents.get(bson.encode({"key": f"{app}/s/o", "known": 1})).not_modified
