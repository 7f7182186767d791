"""Valid requests with a few bytes changed: whatever the server makes of them, it lives, others' objects are whole, and
memory stays bounded."""

import contextlib
import random

import pyarrow as pa
import pytest
from harness.documents import Documents, encode, ipc_stream
from harness.flight import NATIVE, OPAQUE_SCHEMA, opaque_batch
from pyarrow import flight as fl

MI = 1 << 20


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few edits, each of a kind that upsets parsers."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        edit = rng.randrange(6)
        if edit == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif edit == 1:
            data[at:at] = rng.randbytes(rng.randint(1, 8))
        elif edit == 2:
            del data[at : at + rng.randint(1, 8)]
        elif edit == 3:
            data[at : at + 4] = rng.choice(
                [b"\xff\xff\xff\x7f", b"\xff" * 4, bytes(4), b"\0\0\0\x80"]
            )
        elif edit == 4:
            data[at:at] = data[: rng.randint(1, 16)]
        else:
            del data[at:]
    return bytes(data)


TABLE = pa.table(
    {
        "i": [1, None, 3],
        "s": ["a", "bb", None],
        "d": pa.array(["x", "y", "x"]).dictionary_encode(),
        "l": [[1], [], None],
    }
)
NATIVE_STREAM = ipc_stream(TABLE)
ITEM = {"key": "mut/s/i", "op": "put", "kind": "native", "data": NATIVE_STREAM}


def requests(client):
    """Valid requests, each as bytes and what sends them."""

    def act(name):
        return lambda body: client.action(name, body)

    def put(descriptor):
        client.put_stream(descriptor, OPAQUE_SCHEMA, [opaque_batch(b"x")])

    yield b"mut/s/o:3", client.get
    yield encode(key="mut/s/o", known=3, compression="zstd"), client.get
    yield b"mut/s/p", lambda b: put(fl.FlightDescriptor.for_path(b))
    yield b"PATCH:mut/s/o", lambda b: put(fl.FlightDescriptor.for_command(b))
    yield (
        encode(op="put", key="mut/s/c", op_id=bytes(16), batches=1, if_version=0),
        lambda b: put(fl.FlightDescriptor.for_command(b)),
    )
    yield b"mut/s/x:aGVsbG8=", act("PUT")
    yield b"mut/s/x:aGVsbG8=", act("UPDATE")
    yield encode(items=[ITEM, {"key": "mut/s/j", "data": b"abc"}]), act("flame.put")
    yield encode(items=[{"key": "mut/s/o", "known": 1}], inline_max=1000), act("flame.get")
    yield encode(key="mut/s/o"), act("flame.stat")
    yield encode(prefix="mut/", after="mut/s/a", limit=5), act("flame.list")
    yield encode(prefix="mut/s/o", if_version=1, op_id=bytes(16)), act("flame.delete")
    yield encode(prefix="mut/", limit=5, wait_ms=0), act("flame.feed")
    yield b"mut/", lambda b: list(client.client.list_flights(b))
    yield b"mut/s/o", lambda b: client.client.get_flight_info(fl.FlightDescriptor.for_path(b))


@pytest.mark.parametrize("storage", ["none", "fs"])
@pytest.mark.memory
def test_mutated_requests_do_no_harm(server_factory, rng, storage):
    server = server_factory(storage)
    with Documents(server.endpoint) as client, Documents(server.endpoint) as other:
        kept = {f"good/s/{n}": rng.randbytes(rng.choice([10, 5000, 100_000])) for n in range(10)}
        for key, data in kept.items():
            other.put(key, data)
        other.put_table("good/s/table", TABLE)
        client.put("mut/s/o", b"x")
        before = server.peak_bytes()
        taken = 0
        for _ in range(150):
            for valid, send in requests(client):
                request = mutated(valid, rng)
                # A DELETE of `good` is what any client may ask for; it is not what is tested.
                if b"good" in request:
                    continue
                with contextlib.suppress(pa.ArrowException, ValueError, KeyError):
                    send(request)
                    taken += 1
        assert taken > 0
        assert server.alive()
        for key, data in kept.items():
            assert other.get(key).value == data
        assert (
            other.get("good/s/table")
            .table.drop_columns([])
            .equals(TABLE.replace_schema_metadata(None))
        )
        assert server.grown_since(before) < 300 * MI
    server.stop()


@pytest.mark.memory
def test_mutated_tables_do_no_harm(server_factory, rng):
    """What is taken is whole: every reader can validate it."""
    server = server_factory("fs", args=("--pack-below", "0"))
    with Documents(server.endpoint) as client:
        streams = [NATIVE_STREAM]
        for codec in ("zstd", "lz4"):
            sink = pa.BufferOutputStream()
            options = pa.ipc.IpcWriteOptions(compression=codec)
            with pa.ipc.new_stream(sink, TABLE.schema, options=options) as writer:
                writer.write_table(TABLE)
            streams.append(sink.getvalue().to_pybytes())
        before = server.peak_bytes()
        for n in range(600):
            answer = client.put_item(f"mut/s/{n}", mutated(rng.choice(streams), rng), kind="native")
            if "error" in answer:
                assert answer["error"]["code"] in ("invalid", "too_large"), answer
                continue
            for batch in client.fetch(f"mut/s/{n}").batches:
                batch.validate(full=True)
        assert server.grown_since(before) < 300 * MI
        assert NATIVE  # The dialect's mark is not needed in items: the field `kind` says it.
    server.stop()
