"""Writes the seeds of the fuzz targets: one well-formed input of every form that a decoder knows, from which libFuzzer
goes on. `.venv/bin/python fuzz/make_corpus.py [folder]`; the default folder is fuzz/corpus. Files whose names do not
start with `seed-` are what fuzzing found; they are left alone."""

from __future__ import annotations

import base64
import io
import struct
import sys
from pathlib import Path

import bson
import pyarrow as pa

HERE = Path(__file__).resolve().parent
FORMAT = {b"flame.cache.format": b"arrow-table-v1", b"flame.cache.logical_type": b"pyarrow.table"}
OP_ID = bytes(range(16))


def document(**fields) -> bytes:
    return bson.encode({n: bson.Int64(v) if type(v) is int else v for n, v in fields.items()})


def tables() -> dict[str, pa.Table]:
    words = pa.array(["x", "y", "x", None]).dictionary_encode()
    flat = pa.table({"n": [1, None, 3, 4], "f": [0.5, float("nan"), 1.0, None]})
    nested = pa.table(
        {
            "l": pa.array([["a"], [], None, ["b", "c"]], pa.list_(pa.string())),
            "m": pa.array([[("k", 1)], [], None, []], pa.map_(pa.string(), pa.int32())),
            "t": pa.array([{"a": 1}, None, {"a": 2}, {}], pa.struct([("a", pa.int64())])),
            "u": pa.UnionArray.from_sparse(
                pa.array([0, 1, 0, 1], pa.int8()),
                [pa.array([1, 2, 3, 4]), pa.array(["a", "b", "c", "d"])],
            ),
        }
    )
    views = pa.table(
        {"v": pa.array(["view", None, "a long view, out of line", ""], pa.string_view())}
    )
    runs = pa.table({"r": pa.RunEndEncodedArray.from_arrays([2, 4], ["a", "b"])})
    return {
        "flat": flat,
        "strings": pa.table({"s": ["a", None, "", "long enough"], "b": [b"", b"\xff", None, b"x"]}),
        "dictionary": pa.table({"d": words}),
        "nested": nested,
        "views": views,
        "runs": runs,
        "empty": flat.slice(0, 0),
        "extension": pa.table({"x": pa.array([b"0123456789abcdef"], pa.uuid())}),
    }


def stream(table: pa.Table, compression=None, native=True, **options) -> bytes:
    if native:
        table = table.replace_schema_metadata(FORMAT)
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression, **options)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        for batch in table.to_batches() or [None]:
            if batch is not None:
                writer.write_batch(batch)
    return sink.getvalue()


def file(table: pa.Table, compression=None) -> bytes:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue()


def replaced_dictionary() -> bytes:
    """A stream in which the second batch brings a dictionary of its own, and the third adds to it."""
    batches = [
        pa.record_batch({"d": pa.array(words).dictionary_encode()})
        for words in (["a", "b"], ["c"], ["c", "d"])
    ]
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    schema = batches[0].schema.with_metadata(FORMAT)
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


def messages(whole: bytes) -> bytes:
    """The stream without its schema and end mark: the stored form."""
    reader = pa.BufferReader(whole)
    pa.ipc.read_message(reader)
    return whole[reader.tell() : -8]


def bomb() -> bytes:
    """4 MiB of zeros in a few hundred bytes."""
    return stream(pa.table({"n": pa.array([0] * (1 << 19), pa.int64())}), "zstd")


def documents():
    yield b"get", document(key="a/s/o", known=3, compression="zstd")
    yield (
        b"put",
        document(op="append", key="a/s/o", op_id=OP_ID, retry=True, if_version=1, batches=1),
    )
    items = [
        {
            "key": "a/s/o",
            "op": "patch",
            "data": b"xyz",
            "op_id": OP_ID,
            "if_version": bson.Int64(1),
        },
        {"key": "a/s", "data": b""},
        {"key": "a/s/t", "kind": "native", "data": stream(tables()["flat"])},
    ]
    yield b"items", document(items=items)
    yield (
        b"list",
        document(prefix="a/", after="a/s/o", limit=10, wait_ms=5, cursor=b"\1" + bytes(16)),
    )
    yield b"null", document(key=None, items=None)


def corpora() -> dict[str, list[bytes]]:
    streams = [stream(t) for t in tables().values()]
    streams += [stream(t, c) for t in tables().values() for c in ("zstd", "lz4")][:6]
    streams += [replaced_dictionary(), bomb()]
    docs = [body for _, body in documents()]
    ref = document(endpoint="grpc://127.0.0.1:9090", key="a/s/o", version=7)
    row = bytes.fromhex(  # Golden bytes of record_test.cc.
        "01341209000000000000000807060504030201"
        "0068E5CF8B01000007000000000000000E02"
        "AA0000000000000002000000000000000700000000000000"
        "BB0000000000000001000000000000000600000000000000"
        "030000000000000060"
        "52E6CF8B010000050000000000000001"
        "02000000E8030000000000001400000000000000"
        "044D0000000000000000040000000000000B612F732F6F2E6172726F77"
        "887766554433221106736368656D61"
    )
    tombstone = bytes.fromhex(
        "01010000000000000000000B000000000000000C00000000000000"
        "0D000000000000000101"
        "0E000000000000000F000000000000000D00000000000000"
    )
    slot = struct.pack("<BHqQQQq", 1, 0x3FFF, 1, 2, 3, 4, 5)
    value = struct.pack("<Bq", 1, 5) + b"stored"
    patch = struct.pack("<BBBQ", 1, 0, 1, 7) + b"stored"
    blob = struct.pack("<BBBQQ", 1, 1, 2, 7, 9)
    work = bytes([1, 1]) + struct.pack("<Q", 5) + b"\x05a/s/o" + b"\x01\x04a/s/"
    identity = (
        b"flame-store 1\nfeatures 0\nid 0c0ffee0-0000-4000-8000-000000000000\nsession 7\n"
        b"generation 0\nboot 7d9f9c1e-5f2c-4a51-9a8e-0a9b5f7f2d11\nsync never\nclean 4711\n"
    )
    anchor = (
        b"\x01\x24" + b"0c0ffee0-0000-4000-8000-000000000000" + struct.pack("<QQQQqQ", *range(6))
    )
    runtime = b"FLMRUN\r\n" + struct.pack("<II", 1, 16384) + b"store".ljust(48, b"\0")
    opaque = pa.table({"version": pa.array([3], pa.uint64()), "data": pa.array([b"bytes"])})
    native = tables()["dictionary"].replace_schema_metadata(
        {**FORMAT, b"flame.cache.version": b"9"}
    )
    actions = {
        0: [b"a/s/o", b"a/s", b"a/*"],
        1: [b"a/s:" + base64.b64encode(b"hello"), b"a/s/o:"],
        2: [b"a/s/o:" + base64.b64encode(b"hello")],
        3: [docs[2]],
        4: [document(items=[{"key": "a/s/o", "known": bson.Int64(1)}], inline_max=100)],
        5: [document(key="a/s/o")],
        6: [docs[3], b"\5\0\0\0\0"],
        7: [document(prefix="a/s/o", if_version=1, op_id=OP_ID, retry=True)],
        8: [docs[3], b"\5\0\0\0\0"],
        9: [b""],
    }
    return {
        "action": [bytes([n]) + body for n, bodies in actions.items() for body in bodies],
        "arrow_file": [
            file(opaque),
            file(opaque, "zstd"),
            file(opaque.slice(0, 0)),
            file(native),
            file(native, "lz4"),
            stream(native),
            replaced_dictionary(),
            stream(opaque, native=False),
        ],
        "bson": [*docs, ref],
        "cluster_file": [
            (HERE.parent / "deploy/flame-cluster.yaml").read_bytes(),
            b"cache:\n  endpoint: grpc://127.0.0.1:9090\n  storage: none\n",
            b'{"cache": {"limits": {"in_flight": "1G"}}}',
            b"cluster: {x: 1}\ncache: &a\n  log: *a\n",
            b"cache:\n  storage: |\n    fs:///tmp\n  ? [a]\n  : b\n",
            b"cache:\nexecutors:\n  - {a: b}\n",
        ],
        "feed_cursor": [
            b"\1" + struct.pack("<QQ", o, p) for o in (0, 1) for p in (0, 2, 6, 7, 2**64 - 1)
        ],
        "identity": [
            b"\0" + identity + b"xxh3 a677255bfd3a894f\n",
            b"\1" + identity,
            b"\2" + anchor,
            b"\3" + runtime,
        ],
        "key": [
            b"a/s/o",
            b"a/s",
            b"a/*",
            b"a/s/o:7",
            b"a/s/o:x:+07",
            "ä/{tag}s/ü".encode(),
            b"../s/o",
            b"a//o",
            b"a/s/o:18446744073709551615",
            b".flame/s/o",
            b"CON/nul/aux:0",
        ],
        "object_ref": [ref, bson.encode({"endpoint": "e", "key": "a/s/o", "version": 1})],
        "payload": streams,
        "record": [
            b"\0" + row,
            b"\0" + tombstone,
            b"\1" + slot,
            b"\2" + value,
            b"\3" + patch,
            b"\3" + blob,
            b"\4" + work,
        ],
        "session_text": [
            b"my-app_1.2",
            b"..",
            b"app-Ab12Cd",
            b"\xc3\xa9",
            b"17",
            b"${A}/bin/uv $B_1 python${NONE}",
            b"$ ${ ${} $$A",
        ],
        "setting_text": [
            b"grpc://127.0.0.1:9090",
            b"grpcs://[::1]:0/",
            b"http://host",
            b"fe80::1%eth0",
            b"10.0.0.1:80",
            b"fs://data/x",
            b"file:///a",
            b"none",
            b"rel/path",
            b"500ms",
            b"7d",
            b"9223372036854775807",
            b"1.5GiB",
            b"0.000001P",
            b"+12",
            b"info,flame_cache=debug",
            b"cpu=1,mem=1g,gpu=0",
        ],
        "shim_reply": [
            b"",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x12\x07refused",
            b"\x12\x03out",
            b"\x0a\x05\x12\x03out\x12\x00",
            b"\x0a\x00",
        ],
        "stored_payload": [
            bytes([n]) + messages(stream(table, compression, native=False))
            for n, table in enumerate(
                [
                    pa.table({"n": [1, None]}),
                    pa.table({"s": ["a", None]}),
                    tables()["dictionary"],
                    pa.table(
                        {
                            "l": pa.array(
                                [["a long view, out of line"], None], pa.list_(pa.string_view())
                            ),
                            "t": pa.StructArray.from_arrays(
                                [pa.array(["a", "b"]).dictionary_encode()], ["d"]
                            ),
                        }
                    ),
                ]
            )
            for compression in (None, "zstd", "lz4")
        ],
        "ticket": [
            b"\0a/s/o",
            b"\0a/s/o:3",
            *(b"\0" + d for d in docs),
            *(b"\1" + d for d in docs),
            b"\1PATCH:a/s/o",
            b"\2a/s/o",
            b"\2a\ns\no",
            b"\3" + OP_ID,
        ],
    }


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "corpus"
    for target, inputs in corpora().items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for old in (folder / target).glob("seed-*"):
            old.unlink()
        for number, data in enumerate(inputs):
            (folder / target / f"seed-{number:02}").write_bytes(data)


if __name__ == "__main__":
    main()
