"""Bytes that no honest client sends: refused one by one, and the server goes on."""

import contextlib
import socket
import struct

import bson
import pyarrow as pa
import pytest
from harness.documents import Documents, encode
from harness.errors import refused
from harness.flight import OPAQUE_SCHEMA, native, opaque_batch
from pyarrow import flight as fl

DOCUMENT_ACTIONS = ["put", "get", "stat", "list", "delete", "feed"]


@pytest.fixture
def hostile(server, documents):
    """The server must be the same process, and well, after the test."""
    pid = server.pid
    yield documents
    assert server.alive()
    assert server.pid == pid
    with Documents(server.endpoint) as fresh:
        assert fresh.put_item("hostile/s/alive", b"x")["version"] >= 1


def broken_documents():
    whole = encode(key="a/s/o", known=1, items=[{"key": "a/s/o", "data": b"xyz"}])
    yield from (whole[:n] + b"\0" for n in range(4, len(whole) - 1))
    for size in (0, 4, 5, len(whole) - 1, len(whole) + 1, 2**31 - 1, 2**32 - 1):
        yield struct.pack("<I", size) + whole[4:]
    for kind in (0x00, 0x06, 0x0B, 0x13, 0x7F, 0xFF, 0x42):
        yield bytes([*struct.pack("<I", 12), kind]) + b"x\0abcd\0"
    yield struct.pack("<I", 20) + b"\x02key\0" + struct.pack("<I", 2**31 - 1) + b"a/s\0\0\0\0"[:7]
    yield struct.pack("<I", 20) + b"\x02key\0" + struct.pack("<i", -1) + b"a/s\0\0\0\0"[:7]
    yield struct.pack("<I", 18) + b"\x05op_id\0" + struct.pack("<I", 2**31) + b"\0\0\0"


def test_broken_documents_are_refused_as_tickets_and_commands(hostile):
    for document in broken_documents():
        with pytest.raises(pa.ArrowException):
            hostile.get(document)
        command = fl.FlightDescriptor.for_command(document)
        with pytest.raises(pa.ArrowException):
            hostile.put_stream(command, OPAQUE_SCHEMA, [opaque_batch(b"x")])


@pytest.mark.parametrize(
    "action", [name for name in DOCUMENT_ACTIONS if name not in ("list", "feed")]
)
def test_broken_documents_are_refused_as_action_bodies(hostile, action):
    for document in [b"", b"\0", b"text", *broken_documents()]:
        with pytest.raises(pa.ArrowException):
            hostile.action(f"flame.{action}", document)


@pytest.mark.parametrize("action", ["put", "get", "stat", "delete"])
def test_a_document_without_its_required_fields_is_refused(hostile, action):
    for document in (encode(), encode(other=1), encode(Items=[], Key="a/s/o", Prefix="a/s")):
        with refused("invalid"):
            hostile.action(f"flame.{action}", document)


def test_a_document_nested_two_thousand_deep_is_harmless(hostile):
    nested = b"\x05\0\0\0\0"
    for _ in range(2000):
        nested = struct.pack("<I", len(nested) + 8) + b"\x03k\0" + nested + b"\0"
    for action in ("stat", "delete"):
        with refused("invalid"):
            hostile.action(f"flame.{action}", nested)
    with refused("invalid"):
        hostile.get(nested)


def test_random_bytes_are_refused_everywhere(hostile, rng):
    for _ in range(200):
        data = rng.randbytes(rng.randrange(200))
        if rng.random() < 0.5 and len(data) > 5:  # A frame that looks like a document.
            data = struct.pack("<I", len(data)) + data[4:-1] + b"\0"
        calls = [
            lambda data=data: hostile.get(data),
            lambda data=data: hostile.put(fl.FlightDescriptor.for_command(data), b"x"),
            *(
                lambda n=n, data=data: hostile.action(n, data)
                for n in ("DELETE", "PUT", "UPDATE", "flame.put", "flame.get")
                # Three bytes suffice for a DELETE that is in order: `a/b`.
                if n != "DELETE" or b"/" not in data
            ),
        ]
        for call in calls:
            with pytest.raises(pa.ArrowException):
                call()


def test_wrong_types_in_documents_are_refused(hostile):
    wrong = [5, 1.5, None, True, [1], {"a": 1}, b"bytes"]
    for value in [v for v in wrong if v is not None]:
        with refused("invalid"):
            hostile.get(bson.encode({"key": value}))
        with refused("invalid"):
            hostile.action("flame.stat", bson.encode({"key": value}))
        with refused("invalid"):
            hostile.action("flame.delete", bson.encode({"prefix": value}))
    for items in ("text", 5, {"key": "a"}, [1], ["a/s/o"], [[{"key": "a/s/o"}]]):
        if items == {"key": "a"}:
            continue  # An array is a document, too.
        for action in ("flame.get", "flame.put"):
            with refused("invalid"):
                hostile.action(action, bson.encode({"items": items}))


def test_huge_numbers_in_documents_are_harmless(hostile, app):
    hostile.put(f"{app}/s/o", b"x")
    for number in (2**63 - 1, -(2**63)):
        for request in (
            lambda n=number: hostile.get_items({"key": f"{app}/s/o", "known": n}, inline_max=n),
            lambda n=number: hostile.page(f"{app}/", limit=n),
            lambda n=number: hostile.put_item(f"{app}/s/o", b"x", if_version=n),
        ):
            with contextlib.suppress(ValueError):
                request()
    assert hostile.get(f"{app}/s/o").value == b"x"


def corrupt(buffer, rng):
    data = bytearray(buffer)
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def test_corrupted_arrow_streams_in_items_are_refused_or_harmless(hostile, rng, app):
    table = pa.table(
        {
            "i": [1, None, 3],
            "s": ["a", "bb", None],
            "l": [[1], [], None],
            "d": pa.array(["x", "y", "x"]).dictionary_encode(),
            "v": pa.array(["view", None, "a long view, out of line"], pa.string_view()),
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    stream = sink.getvalue().to_pybytes()
    kept = 0
    for i in range(400):
        key = f"{app}/s/{i}"
        answer = hostile.put_item(key, corrupt(stream, rng), kind="native")
        if "error" in answer:
            assert answer["error"]["code"] in ("invalid", "too_large")
        else:
            kept += 1
            for reply in (hostile.get(key), hostile.fetch(key)):
                for batch in reply.batches:
                    batch.validate(full=True)
    assert kept < 400


@pytest.mark.parametrize("claimed", [1 << 40, 1 << 48, 1 << 62, -5])
def test_a_compressed_buffer_that_claims_to_be_huge_is_refused(hostile, app, claimed):
    """The true size stands in front of each compressed buffer: the server must not believe it."""
    sink = pa.BufferOutputStream()
    table = pa.table({"x": [0] * 12_345})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    true = struct.pack("<q", 8 * 12_345)
    stream = sink.getvalue().to_pybytes()
    assert stream.count(true) == 1
    answer = hostile.put_item(
        f"{app}/s/o", stream.replace(true, struct.pack("<q", claimed)), kind="native"
    )
    assert answer["error"]["code"] in ("invalid", "too_large"), answer
    assert hostile.keys(f"{app}/") == []


def lying_batch():
    """Offsets that point far outside the data and come back, so that a quick look finds nothing."""
    offsets = pa.py_buffer(struct.pack("<iii", 0, 1 << 30, 5))
    column = pa.Array.from_buffers(pa.binary(), 2, [None, offsets, pa.py_buffer(b"short")])
    return pa.record_batch([pa.array([0, 0], pa.uint64()), column], schema=OPAQUE_SCHEMA)


def test_offsets_outside_the_data_are_refused(hostile, app):
    bad = lying_batch()
    with refused("invalid"):
        hostile.put_stream(f"{app}/s/o", OPAQUE_SCHEMA, [bad])
    with refused("invalid"):
        hostile.put_stream(f"{app}/s/t", native(bad).schema, [native(bad)])
    assert hostile.keys(f"{app}/") == []


def test_dictionary_indices_outside_the_dictionary_are_refused(hostile, app):
    indices, words = pa.array([0, 7], pa.int32()), pa.array(["a"])
    column = pa.DictionaryArray.from_arrays(indices, words, safe=False)
    batch = native(pa.record_batch({"d": column}))
    with refused("invalid"):
        hostile.put_stream(f"{app}/s/t", batch.schema, [batch])


def test_strings_that_are_not_utf8_are_refused_in_tables(hostile, app):
    column = pa.array([b"\xff\xfe"], pa.binary()).view(pa.string())
    batch = native(pa.record_batch({"s": column}))
    with refused("invalid"):
        hostile.put_stream(f"{app}/s/t", batch.schema, [batch])


def test_deeply_nested_schemas_do_no_harm(hostile, app):
    kind = pa.int32()
    for _ in range(60):
        kind = pa.list_(kind)
    table = pa.table({"x": pa.nulls(1, kind)})
    hostile.put_table(f"{app}/s/o", table)
    assert hostile.get(f"{app}/s/o").table.num_rows == 1
    for _ in range(400):
        kind = pa.list_(kind)
    with contextlib.suppress(pa.ArrowException):  # Arrow's own limit, on either side.
        hostile.put_table(f"{app}/s/deep", pa.table({"x": pa.nulls(1, kind)}))
        hostile.get(f"{app}/s/deep")


@pytest.mark.parametrize(
    "greeting",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        bytes(1000),
        b"",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff\xff\xff" + b"\xff" * 100,
    ],
)
def test_other_protocols_on_the_port_do_no_harm(hostile, server, greeting):
    with socket.create_connection(("127.0.0.1", server.port), 10) as stranger:
        stranger.sendall(greeting)
        stranger.shutdown(socket.SHUT_WR)
        stranger.settimeout(30)
        try:
            while stranger.recv(4096):
                pass
        except ConnectionResetError:
            pass
