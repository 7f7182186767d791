"""Logs: every kind of event at debug, and never a payload."""

import base64
import json
import re

import pyarrow as pa
import pytest
from harness.documents import Documents, ipc_stream

CANARY = "c4n4ry-payload-7f3a9e"
LINE = re.compile(
    r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (TRACE|DEBUG|INFO|WARN|ERROR) +flame\.\w+: "
)


def use_everything(client):
    """Each kind of call once, all with payloads that hold the canary."""
    canary = CANARY.encode()
    table = pa.table({"x": [CANARY]})
    client.put("app/s/stock", canary)
    client.put("app/s/stock", canary * 2000)
    client.patch("app/s/stock", canary)
    client.put_table("app/s/table", table)
    client.command("append", "app/s/table", schema=table.schema, batches=table.to_batches())
    client.put_item("app/s/item", canary)
    client.put_item("app/s/item-table", ipc_stream(table), kind="native")
    client.action("PUT", b"app/s/text:" + base64.b64encode(canary))
    client.get("app/s/stock")
    client.fetch("app/s/table")
    client.get_items({"key": "app/s/item"}, {"key": "app/s/item-table"})
    client.list("app/")
    client.info("app/s/table")
    client.schema("app/s/table")
    client.stat("app/s/table")
    client.feed()
    with pytest.raises(pa.ArrowInvalid):
        client.put("bad key", canary)
    with pytest.raises(pa.ArrowInvalid):
        client.patch("app/s/table", canary)
    assert "error" in client.put_item("app/s/bad", canary, kind="native")
    client.delete("app/s/stock")
    client.erase("app/*")


@pytest.fixture(scope="module", params=["memory", "fs"])
def log(request, make_servers):
    """The log of one server, at the most talkative, in which everything happened."""
    storage = "none" if request.param == "memory" else "fs"
    with make_servers() as server_factory:
        server = server_factory(storage, args=("--log-level", "trace"))
        with Documents(server.endpoint) as client:
            use_everything(client)
            client.put("app/s/kept", CANARY.encode() * 5000)
        if request.param == "fs":
            server.restart()
            with Documents(server.endpoint) as client:
                client.get("app/s/kept")
        server.stop()
        yield server.log()


def test_no_payload_is_ever_logged(log):
    assert CANARY not in log
    assert base64.b64encode(CANARY.encode()).decode() not in log


@pytest.mark.parametrize(
    "event",
    [
        r"DEBUG flame\.flight: do_put app/s/stock",
        r"DEBUG flame\.flight: do_get app/s/stock",
        r"DEBUG flame\.flight: do_action DELETE",
        r"DEBUG flame\.flight: get_flight_info app/s/table",
        r"DEBUG flame\.flight: get_schema app/s/table",
        r"DEBUG flame\.flight: list_flights",
        r"DEBUG flame\.cache: commit put key=app/s/stock version=1",
        r"DEBUG flame\.cache: commit put key=app/s/stock version=2",
        r"DEBUG flame\.cache: commit patch key=app/s/stock version=3",
        r"DEBUG flame\.cache: commit delete key=app/s/stock",
        r"DEBUG flame\.\w+: .*bad key.*fewer than three parts",
    ],
)
def test_puts_gets_updates_deletes_calls_and_keys_are_logged(log, event):
    assert re.search(event, log), event


def test_document_calls_are_logged_with_their_keys(log):
    """A document ticket or command names its key as a stock one does."""
    assert re.search(r"DEBUG flame\.flight: do_get app/s/table", log)
    assert re.search(r"DEBUG flame\.cache: commit put key=app/s/item version=1", log)


def test_lines_have_a_date_a_level_and_a_target(log):
    lines = log.splitlines()
    assert lines
    for line in lines:
        assert LINE.match(line) or line.startswith((" ", "WARNING: All log messages", "E0000")), (
            line
        )


def test_disk_and_loading_are_logged_with_storage(server_factory):
    server = server_factory("fs", args=("--log-level", "debug"))
    with Documents(server.endpoint) as client:
        client.put("app/s/large", bytes(1 << 20))
    server.restart()
    with Documents(server.endpoint) as client:
        client.get("app/s/large")
    server.stop()
    assert re.search(r"DEBUG flame\.storage: ", server.log())
    assert re.search(r"DEBUG flame\.cache: load key=app/s/large version=1", server.log())


def test_at_info_single_requests_are_not_logged(server_factory):
    server = server_factory()
    with Documents(server.endpoint) as client:
        use_everything(client)
    server.stop()
    assert "app/s/" not in server.log()


def test_a_target_can_be_chosen(server_factory):
    server = server_factory(env={"FLAME_LOG": "warn,flame.cache=debug"})
    with Documents(server.endpoint) as client:
        client.put("app/s/o", b"x")
    server.stop()
    assert "flame.cache" in server.log()
    assert "flame.flight" not in server.log()


def test_json_lines_are_json(server_factory):
    server = server_factory(args=("--log-format", "json", "--log-level", "debug"))
    with Documents(server.endpoint) as client:
        client.put('app/s/"quoted"', b"x")
    server.stop()
    lines = [json.loads(line) for line in server.log().splitlines()]
    assert any('app/s/"quoted"' in str(line) for line in lines)


def test_a_log_file_gets_the_same_lines(server_factory, tmp_path):
    server = server_factory(args=("--log-file", str(tmp_path / "cache.log")))
    server.stop()
    assert (tmp_path / "cache.log").read_text() == server.log()


def test_rust_log_of_existing_deployments_is_understood(server_factory):
    server = server_factory(env={"RUST_LOG": "debug"})
    with Documents(server.endpoint) as client:
        client.put("app/s/o", b"x")
    server.stop()
    assert "DEBUG" in server.log()
