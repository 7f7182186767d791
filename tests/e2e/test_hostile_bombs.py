"""Few bytes that stand for many: refused before they are unpacked, so that memory stays where it was."""

import io
import struct

import numpy as np
import pyarrow as pa
import pytest
from harness.documents import Documents
from harness.flight import NATIVE
from pyarrow import flight as fl

MI = 1 << 20


def compressed(mebibytes: int, codec: str, columns: int = 1) -> bytes:
    """An IPC stream of zeros that are never touched on this side."""
    zeros = pa.array(np.zeros(mebibytes * MI // 8, np.int64))
    table = pa.table({f"c{i}": zeros for i in range(columns)})
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue()


def growing_dictionaries(count: int, word: int) -> bytes:
    """Each batch adds one word to the dictionary, and would keep the whole of it."""
    sink = io.BytesIO()
    words = [f"{n}".ljust(word, "x") for n in range(count)]
    schema = pa.schema([("d", pa.dictionary(pa.int32(), pa.string()))])
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        for n in range(count):
            array = pa.DictionaryArray.from_arrays(
                pa.array([n], pa.int32()), pa.array(words[: n + 1])
            )
            writer.write_batch(pa.record_batch([array], schema=schema))
    return sink.getvalue()


@pytest.fixture
def victim(server_factory):
    server = server_factory("none")
    with Documents(server.endpoint) as client:
        client.put("good/s/o", b"precious")
        yield server, client
        assert client.get("good/s/o").value == b"precious"
        assert client.keys() == ["good/s/o"]
    assert server.alive()


@pytest.mark.parametrize(("codec", "ratio"), [("zstd", 1000), ("lz4", 200)])
@pytest.mark.memory
def test_a_compression_bomb_in_an_item_is_refused_unopened(victim, codec, ratio):
    server, client = victim
    bomb = compressed(1024, codec)
    assert len(bomb) * ratio < 1024 * MI
    before = server.peak_bytes()
    for _ in range(3):
        answer = client.put_item("bad/s/o", bomb, kind="native")
        assert answer["error"]["code"] == "too_large", answer
        assert answer["error"]["outcome"] == "not_applied"
    assert server.grown_since(before) < 100 * MI


@pytest.mark.memory
def test_a_bomb_of_many_columns_and_batches_is_refused_unopened(victim):
    server, client = victim
    bomb = compressed(16, "zstd", columns=40)
    before = server.peak_bytes()
    answer = client.put_item("bad/s/o", bomb, kind="native")
    assert answer["error"]["code"] == "too_large", answer
    assert server.grown_since(before) < 100 * MI


@pytest.mark.memory
def test_dictionaries_that_grow_batch_by_batch_are_refused_unopened(victim):
    """Two megabytes that would become some two gigabytes."""
    server, client = victim
    bomb = growing_dictionaries(2000, 1000)
    assert len(bomb) < 4 * MI
    before = server.peak_bytes()
    answer = client.put_item("bad/s/o", bomb, kind="native")
    assert answer["error"]["code"] == "too_large", answer
    assert server.grown_since(before) < 100 * MI


@pytest.mark.memory
def test_dictionaries_that_grow_in_an_upload_count_against_what_is_in_flight(server_factory):
    server = server_factory("none", args=("--limits-in-flight", "200M"))
    bomb = growing_dictionaries(1500, 1000)
    schema = pa.schema([("d", pa.dictionary(pa.int32(), pa.string()))]).with_metadata(NATIVE)
    options = fl.FlightCallOptions(
        write_options=pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    )
    with Documents(server.endpoint) as client:
        before = server.peak_bytes()
        reader = pa.ipc.open_stream(bomb)
        with pytest.raises(pa.ArrowException, match=r"flame:(exhausted|too_large)"):
            client.put_stream("bad/s/o", schema, reader, options)
        assert client.keys() == []
        assert server.grown_since(before) < 500 * MI
    assert server.alive()


def test_honest_compressed_items_are_taken(victim):
    _, client = victim
    answer = client.put_item("good/s/o2", compressed(32, "zstd"), kind="native")
    assert answer["version"] >= 1
    assert client.get("good/s/o2").table.num_rows == 4 * MI
    client.delete("good/s/o2")


def test_a_dictionary_that_is_replaced_by_one_that_is_too_short_is_refused(victim):
    """Indices are checked against the dictionary of their own batch."""
    _, client = victim
    sink = io.BytesIO()
    schema = pa.schema([("d", pa.dictionary(pa.int32(), pa.string()))])
    long, short = pa.array(["a", "b", "c"]), pa.array(["d"])
    with pa.ipc.new_stream(sink, schema) as writer:
        for words in (long, short):
            column = pa.DictionaryArray.from_arrays(pa.array([2], pa.int32()), words, safe=False)
            writer.write_batch(pa.record_batch([column], schema=schema))
    answer = client.put_item("bad/s/o", sink.getvalue(), kind="native")
    assert answer["error"]["code"] == "invalid", answer


@pytest.mark.parametrize("length", [2**31 - 1, 2**40, 2**62, -1])
def test_a_batch_that_claims_more_rows_than_it_has_is_refused(victim, length):
    """Of a type that needs no bytes for its rows, so that nothing contradicts the claim but the list around it."""
    _, client = victim
    sink = io.BytesIO()
    table = pa.table({"x": pa.array([7] * 12_345, pa.int64())})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    stream = sink.getvalue()
    true = struct.pack("<q", 12_345)
    assert stream.count(true) == 2  # Of the batch, and of its one column.
    answer = client.put_item(
        "bad/s/o", stream.replace(true, struct.pack("<q", length)), kind="native"
    )
    assert answer["error"]["code"] in ("invalid", "too_large"), answer
