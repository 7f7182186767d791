"""do_action: DELETE in all its forms, the older PUT and UPDATE, and what does not exist."""

import base64
import json

import pyarrow as pa
import pytest
from harness.errors import refused
from pyarrow import flight as fl

ACTIONS = ["DELETE", "PUT", "UPDATE"]
DOCUMENT_ACTIONS = ["put", "get", "stat", "list", "delete", "feed", "info"]


def test_list_actions_names_every_action(flight):
    actions = {action.type: action.description for action in flight.client.list_actions()}
    assert set(actions) == {*ACTIONS, *(f"flame.{name}" for name in DOCUMENT_ACTIONS)}
    assert all(actions.values())


def test_delete_of_a_key_deletes_only_it(flight, app):
    for name in ("o", "oo", "p"):
        flight.put(f"{app}/s/{name}", b"x")
    assert flight.action("DELETE", f"{app}/s/o".encode()) == [b"OK"]
    assert flight.keys(f"{app}/") == [f"{app}/s/oo", f"{app}/s/p"]


def test_delete_of_a_session_ends_at_the_slash(flight, app):
    for session in ("s1", "s11", "s"):
        flight.put(f"{app}/{session}/o", b"x")
    flight.delete(f"{app}/s1")
    assert flight.keys(f"{app}/") == [f"{app}/s/o", f"{app}/s11/o"]


def test_delete_of_a_wildcard_deletes_the_application_only(flight, app):
    for name in (f"{app}/s1/o", f"{app}/s2/o", f"{app}2/s/o"):
        flight.put(name, b"x")
    flight.delete(f"{app}/*")
    assert flight.keys(app) == [f"{app}2/s/o"]


@pytest.mark.parametrize("selection", ["/s/o", "/s", "/*"])
def test_delete_of_nothing_is_ok(flight, app, selection):
    assert flight.action("DELETE", f"{app}{selection}".encode()) == [b"OK"]


def test_an_asterisk_in_a_longer_name_is_a_letter(flight, app):
    for name in ("a*", "ab"):
        flight.put(f"{app}/{name}/o", b"x")
    flight.delete(f"{app}/a*")
    assert flight.keys(f"{app}/") == [f"{app}/ab/o"]


def test_put_and_update_actions_answer_json(flight, server, app):
    def send(action, target, data):
        body = target.encode() + b":" + base64.b64encode(data)
        [answer] = flight.action(action, body)
        return json.loads(answer)

    key = f"{app}/s/o"
    assert send("PUT", key, b"one") == {"endpoint": server.endpoint, "key": key, "version": 1}
    assert send("UPDATE", key, b"\0two\xff")["version"] == 2
    assert flight.get(key).value == b"\0two\xff"
    drawn = send("PUT", f"{app}/s", b"x")
    assert drawn["key"].startswith(f"{app}/s/")
    assert flight.get(drawn["key"]).value == b"x"
    assert send("PUT", f"{app}/s/with:colon", b"y")["key"] == f"{app}/s/with:colon"
    assert send("PUT", f'{app}/s/with"quote', b"y")["key"] == f'{app}/s/with"quote'
    assert send("UPDATE", f"{app}/s/empty", b"")["version"] == 1
    assert flight.get(f"{app}/s/empty").value == b""


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("PUT", b""),
        ("PUT", b"a/s/o"),
        ("PUT", b"a/s/o:***"),
        ("PUT", b"nokey:AAAA"),
        ("UPDATE", b"a/s:AAAA"),
        ("UPDATE", b"a/*:AAAA"),
    ],
)
def test_a_bad_put_or_update_body_is_refused(flight, action, body):
    with refused("invalid"):
        flight.action(action, body)


@pytest.mark.parametrize(
    "name", ["", "delete", "Delete", "GET", "PATCH", "flame.", "flame.nothing", "FLAME.INFO"]
)
def test_an_unknown_action_is_refused_and_the_known_ones_named(flight, name):
    with refused("invalid") as refusal:
        flight.action(name)
    assert "DELETE" in refusal.message


def test_what_the_cache_does_not_do_is_unimplemented(flight):
    client = flight.client
    with pytest.raises(pa.ArrowNotImplementedError):
        client.authenticate_basic_token("user", "password")
    writer, reader = client.do_exchange(fl.FlightDescriptor.for_path("a/s/o"))
    writer.done_writing()
    with pytest.raises(pa.ArrowNotImplementedError):
        reader.read_all()
