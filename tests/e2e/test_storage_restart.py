"""With a storage folder a restart keeps everything, whichever way the server ended."""

import pyarrow as pa
import pytest
from harness.documents import Documents, Origin, ipc_stream
from harness.errors import refused
from harness.flight import OPAQUE_SCHEMA, opaque_batch

TABLE = pa.table({"x": list(range(1000)), "d": pa.array(["a", "b"] * 500).dictionary_encode()})
LARGE_TABLE = pa.table({"x": list(range(100_000))}).replace_schema_metadata({"mine": "kept"})


def fill(client):
    """Objects of every form: small and large, patched, replaced, appended, empty."""
    client.put("app/s/small", b"small")
    client.put("app/s/empty")
    client.put("app/s/large", b"L" * 300_000)
    client.put_stream(
        "app/s/chunks", OPAQUE_SCHEMA, [opaque_batch(bytes([i]) * 99_999) for i in range(5)]
    )
    client.put("app/s/replaced", b"old" * 50_000)
    client.put("app/s/replaced", b"new" * 50_000)
    client.put("app/s/shrunk", b"old" * 50_000)
    client.put("app/s/shrunk", b"small")
    for name, size in (("patched", 10), ("patched-large", 200_000)):
        client.put(f"app/s/{name}", b"b" * size)
        for i in range(3):
            client.patch(f"app/s/{name}", bytes([i]) * size)
    client.put_table("app/s/table", TABLE)
    client.put_table("app/s/table-large", LARGE_TABLE, "pandas.dataframe")
    client.put_item("app/s/appended", ipc_stream(TABLE), kind="native")
    client.command("append", "app/s/appended", schema=TABLE.schema, batches=TABLE.to_batches())
    client.command("append", "app/s/appended", schema=TABLE.schema, batches=TABLE.to_batches())
    client.put("app/s/with:colon and space*", b"x")
    client.put("app/s/" + "n" * 240, b"x" * 100_000)
    client.put("app/s/" + "ö" * 120, b"x")
    client.put("gone/s/small", b"x")
    client.put("gone/s/large", b"x" * 200_000)
    client.delete("gone/*")


def picture(client):
    """Everything that a client can see."""
    keys = client.keys()
    stats = {key: client.stat(key) for key in keys}
    contents = {}
    for key in keys:
        reply = client.get(key)
        batches = [batch.to_pydict() for batch in reply.batches]
        contents[key] = (reply.schema.to_string(show_schema_metadata=True), batches)
    known = {key: client.get(f"{key}:{stats[key]['version']}").not_modified for key in keys}
    news = {key: client.fetch(key, known=stats[key]["base_version"]).table.num_rows for key in keys}
    return keys, stats, contents, known, news


CONFIGURATIONS = {
    "default": (),
    "a file for each": ("--pack-below", "0"),
    "packed": ("--pack-below", "1M"),
    "synced": ("--sync", "always"),
}


@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_everything_is_there_after_a_restart(server_factory, configuration, end):
    server = server_factory("fs", args=CONFIGURATIONS[configuration])
    with Documents(server.endpoint) as client:
        fill(client)
        before = picture(client)
    assert len(before[0]) == 14
    for _ in range(2):
        getattr(server, end)()
        server.start()
        with Documents(server.endpoint) as client:
            assert picture(client) == before


def test_a_restart_with_another_way_of_packing_changes_nothing(server_factory):
    server = server_factory("fs")
    with Documents(server.endpoint) as client:
        fill(client)
        before = picture(client)
    for packing in ("0", "1M", "64K"):
        server.stop()
        server = server_factory(f"fs://{server.storage_dir}", args=("--pack-below", packing))
        with Documents(server.endpoint) as client:
            assert picture(client) == before
            client.put("app/s/small", b"small")
            client.put("app/s/large", b"L" * 300_000)
            before = picture(client)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a3_versions_go_on_after_a_restart(server_factory, end):
    server = server_factory("fs")
    with Documents(server.endpoint) as client:
        for _ in range(3):
            client.put("app/s/live", b"x")
            client.put("app/s/dead", b"x" * 100_000)
        client.delete("app/s/dead")
        client.put("app/s2/dead", b"x")
        client.delete("app/s2")
    getattr(server, end)()
    server.start()
    with Documents(server.endpoint) as client:
        assert client.keys() == ["app/s/live"]
        assert client.put("app/s/live", b"y").version == 4
        assert client.put("app/s/dead", b"y").version > 3
        assert client.put("app/s2/dead", b"y").version > 1
        assert client.get("app/s/dead:3").value == b"y"
        assert client.put("app/s/new", b"y").version == 1


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_an_op_id_is_remembered_over_a_restart(server_factory, end):
    server = server_factory("fs")
    origin = Origin()
    put, patch, delete = origin.next(), origin.next(), origin.next()
    with Documents(server.endpoint) as client:
        client.put_item("app/s/o", b"x", op_id=put)
        client.put_item("app/s/o", b"+", op="patch", op_id=patch)
        client.put("app/s/dead", b"x")
        client.erase("app/s/dead", op_id=delete)
    getattr(server, end)()
    server.start()
    with Documents(server.endpoint) as client:
        assert client.put_item("app/s/o", b"+", op="patch", op_id=patch, retry=True)["version"] == 2
        assert len(client.get("app/s/o").rows) == 2
        client.erase("app/s/dead", op_id=delete, retry=True)
        assert client.stat("app/s/dead") == {"found": False}


def test_a_feed_cursor_from_before_the_restart_is_a_gap_and_the_state(server_factory):
    server = server_factory("fs")
    with Documents(server.endpoint) as client:
        _, cursor = client.feed()
        client.put("app/s/a", b"x")
        client.put("app/s/b", b"x")
        client.patch("app/s/b", b"+")
    server.restart()
    with Documents(server.endpoint) as client:
        events, cursor = client.feed(cursor)
        assert events[0]["event"] == "gap"
        state = [(event["event"], event["key"], event["version"]) for event in events[1:]]
        assert state == [("state", "app/s/a", 1), ("state", "app/s/b", 2)]


def test_the_store_keeps_its_name(server_factory):
    server = server_factory("fs")
    names = []
    for _ in range(2):
        with Documents(server.endpoint) as client:
            names.append(client.call("flame.info")[0]["store_id"])
        server.restart()
    assert names[0] == names[1]


def test_conditions_hold_over_a_restart(server_factory):
    server = server_factory("fs")
    with Documents(server.endpoint) as client:
        client.put("app/s/o", b"1")
        client.put("app/s/o", b"2")
    server.restart()
    with Documents(server.endpoint) as client:
        with refused("conflict") as refusal:
            client.command("put", "app/s/o", b"3", if_version=1)
        assert refusal.values["version"] == "2"
        assert client.command("put", "app/s/o", b"3", if_version=2).version == 3


def test_a_stop_finishes_what_was_acknowledged_last(server_factory):
    """Twenty restarts, each right after a write."""
    server = server_factory("fs", args=("--pack-below", "0"))
    for i in range(1, 11):
        with Documents(server.endpoint) as client:
            assert client.put("app/s/o", b"%d" % i * 1000).version == i
        server.restart()
    with Documents(server.endpoint) as client:
        assert client.get("app/s/o").rows == [(10, "base", b"10" * 1000)]


@pytest.mark.slow
def test_e6_a_start_does_not_load_the_store(server_factory):
    server = server_factory("fs")
    with Documents(server.endpoint) as client:
        for i in range(48):
            client.put(f"app/s/{i}", bytes([i]) * (4 << 20))
    server.restart()
    assert server.resident_bytes() < 120 << 20
    with Documents(server.endpoint) as client:
        assert client.get("app/s/7").value == bytes([7]) * (4 << 20)
        assert len(client.keys()) == 48


def test_a_moved_storage_folder_is_the_same_store(server_factory):
    server = server_factory("fs")
    with Documents(server.endpoint) as client:
        fill(client)
        before = picture(client)
    server.stop()
    elsewhere = server.storage_dir.with_name("elsewhere")
    server.storage_dir.rename(elsewhere)
    moved = server_factory(f"fs://{elsewhere}")
    with Documents(moved.endpoint) as client:
        assert picture(client) == before


def test_a_copied_storage_folder_gives_out_no_version_twice(server_factory):
    """The copy cannot know what the original gave out since: it goes on far above."""
    import shutil

    server = server_factory("fs")
    with Documents(server.endpoint) as client:
        client.put("app/s/o", b"both have it")
    server.stop()
    copy = server.storage_dir.with_name("copy")
    shutil.copytree(server.storage_dir, copy)
    server.start()
    with Documents(server.endpoint) as client:
        original = [client.put("app/s/o", b"original").version for _ in range(5)]
    copied = server_factory(f"fs://{copy}")
    with Documents(copied.endpoint) as client:
        assert client.get("app/s/o").value == b"both have it"
        assert client.put("app/s/o", b"copy").version > original[-1]
