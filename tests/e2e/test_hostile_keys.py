"""Keys that try to leave the storage, to alias another key, or to upset a file system: refused, or kept under exactly
that name; nothing outside the storage changes."""

import contextlib

import pyarrow as pa
import pytest
from harness.documents import Documents, encode
from harness.flight import OPAQUE_SCHEMA, opaque_batch
from pyarrow import flight as fl

ESCAPES = [
    "../s/o", "a/../o", "a/s/..", "../../etc/passwd", "a/../../o", "a/s/../../../x", "/a/s/o", "//a/s/o",
    "a//o", "a/s/", "/etc/passwd", "./s/o", "a/./o", "a/s/.", "a/s/o/", "a/s/o/p", ".flame/db/CURRENT",
    ".flame/s/o", "a/s/*", "*/s/o", "a/*/o", "a\\s\\o", "a/s/..\\o", "a/s/o\0", "a/s\0/o", "\0", "", "/",
    "a", "...", "a/s/..o", "a/s..t/o",
]  # fmt: skip
ODD = [
    "%2e%2e/s/o", "a/%2e%2e/%2fetc", "a/s/%00", "~/s/o", "$HOME/s/o", "`id`/s/o", "a/s/;rm", "-rf/s/o",
    "CON/nul/COM1", "aux/s/LPT1.arrow", "a/.flame/o", "a/s/.flame", "a/s/o.arrow", "a/s/o.deltas",
    "a/s/o.deltas.arrow", "a/s/1.arrow", "A/S/O", "a/S/o", "a/s/o.", "a/s/o ", " a/s/o", "a/s/ ", "a/s/~",
    "\uff0e\uff0e/s/o", "a/\u2024\u2024/o", "a\u2215b/s/o", "a/s/\u202egnp.exe", "\ufeffa/s/o", "é/s/o", "e\u0301/s/o",
    "a/s/\U0001f525", "a/s/\u200b", "a/s/:", "a/s/o:0", "a/s/o:9", "a/s/:1", "{t}/s/o", "a/{}/o",
    "default/s/o", "s/o/default", "a/s/" + "x" * 240, "y" * 240 + "/s/o", "a/s/" + "é" * 120,
]  # fmt: skip
TOO_LONG = ["a/s/" + "x" * 241, "a/s/" + "x" * 256, "a/s/" + "x" * 65536, "x" * 65536, "a/" * 32768]
NOT_UTF8 = [
    b"a/s/\xff",
    b"a/s/\xc0\xae\xc0\xae",
    b"a/s/\xed\xa0\x80",
    b"\xfe/s/o",
    b"a/s/\xf5\x80\x80\x80",
]
CONTROL = ["a/s/\n", "a/s/\x1b[2J", "a/s/\x7f", "a\r/s/o", "a/\t/o"]


def outside(server):
    """Everything in the server's home but its storage and log."""
    storage = server.storage_dir
    return {
        p
        for p in server.home.rglob("*")
        if storage is None or (p != storage and storage not in p.parents)
    }


@pytest.fixture(params=["fs", "none"])
def own_server(request, server_factory):
    """Small objects as files, so that every key becomes a name on the disk."""
    return server_factory(
        request.param, args=("--pack-below", "0") if request.param == "fs" else ()
    )


def each_way_in(client, key):
    yield lambda: client.put(key, b"x")
    yield lambda: client.put(key.split("/"), b"x")
    yield lambda: client.patch(key, b"x")
    yield lambda: client.command("put", key, b"x")
    yield lambda: client.action("PUT", key.encode() + b":eA==")
    yield lambda: client.action("UPDATE", key.encode() + b":eA==")


def refused(call):
    try:
        call()
    except (pa.ArrowException, ValueError):
        return True
    return False


def test_keys_that_lead_elsewhere_are_refused(own_server):
    before = outside(own_server)
    with Documents(own_server.endpoint) as client:
        client.put("a/s/o", b"precious")
        for key in [*ESCAPES, *TOO_LONG, *CONTROL]:
            for number, way in enumerate(each_way_in(client, key)):
                if key in ("a/s/o/p", "a/s/") or (number == 1 and key == ""):
                    with contextlib.suppress(pa.ArrowException, ValueError):
                        way()
                    continue
                assert refused(way), f"{key[:80]!r} was taken by way {number}"
            if "\0" not in key and key:
                answer = client.put_item(key, b"x")
                assert answer["error"]["code"] == "invalid", (key[:80], answer)
            with contextlib.suppress(KeyError, pa.ArrowException, ValueError):
                assert client.get(key).value == b"never"
        assert client.keys() == ["a/s/o"]
        assert client.get("a/s/o").value == b"precious"
    assert outside(own_server) == before
    if own_server.storage_dir:
        files = [p for p in own_server.storage_dir.rglob("*.arrow") if ".flame" not in p.parts]
        assert files == [own_server.storage_dir / "a/s/o.arrow"]


def test_keys_that_are_not_utf8_are_refused(own_server):
    with Documents(own_server.endpoint) as client:
        for key in NOT_UTF8:
            calls = [
                lambda key=key: client.get(key),
                lambda key=key: client.action("DELETE", key),
                lambda key=key: client.action("PUT", key + b":eA=="),
                lambda key=key: client.put_stream(
                    fl.FlightDescriptor.for_path(key), OPAQUE_SCHEMA, [opaque_batch(b"x")]
                ),
                lambda key=key: client.put_stream(
                    fl.FlightDescriptor.for_command(b"PATCH:" + key),
                    OPAQUE_SCHEMA,
                    [opaque_batch(b"x")],
                ),
            ]
            for number, call in enumerate(calls):
                assert refused(call), f"{key!r} was taken by way {number}"
        assert client.keys() == []


def test_odd_keys_are_kept_under_exactly_their_names(own_server):
    """None is another's alias, whatever a file system or a careless program would make of it."""
    before = outside(own_server)
    with Documents(own_server.endpoint) as client:
        kept = {}
        for number, key in enumerate(ODD):
            data = f"{number} {key}".encode()
            assert client.put(key, data).key == key
            client.command("patch", key, b" and more")
            kept[key] = data + b" and more"
        assert sorted(client.keys()) == sorted(kept)
        if own_server.storage_dir:
            own_server.restart()
    with Documents(own_server.endpoint) as client:
        for key, data in kept.items() if own_server.storage_dir else []:
            reply = client.fetch(key)
            assert b"".join(d for _, _, d in reply.rows) == data, key
        for key in list(kept):
            if own_server.storage_dir or client.keys():
                assert client.erase(key) == 1, key
        assert client.keys() == []
    assert outside(own_server) == before


def test_a_document_ticket_names_its_key_exactly(own_server):
    with Documents(own_server.endpoint) as client:
        client.put("a/s/o", b"x")
        client.put("a/s/o:7", b"y")
        assert client.get(encode(key="a/s/o:7")).value == b"y"
        assert client.get("a/s/o:0").value == b"x"
        assert client.get("a/s/o:7:0").value == b"y"
