"""Opaque objects in the stock dialect: what an upload may look like and what comes back."""

import pyarrow as pa
import pytest
from harness.errors import refused
from harness.flight import OPAQUE_SCHEMA, REPLY_SCHEMA, opaque_batch


def batch(**columns):
    return pa.record_batch(list(columns.values()), names=list(columns))


def test_an_object_comes_back_as_one_base_row(flight, app):
    ref = flight.put(f"{app}/s/o", b"payload")
    assert (ref.key, ref.version) == (f"{app}/s/o", 1)
    reply = flight.get(f"{ref.key}:0")
    assert reply.schema.equals(REPLY_SCHEMA, check_metadata=True)
    assert reply.rows == [(1, "base", b"payload")]


def test_a_reference_is_bson_with_three_elements_in_order(flight, server, app):
    ref = flight.put(f"{app}/s/o", b"x")
    endpoint, key = server.endpoint.encode() + b"\0", f"{app}/s/o".encode() + b"\0"
    body = b"\x02endpoint\0" + len(endpoint).to_bytes(4, "little") + endpoint
    body += b"\x02key\0" + len(key).to_bytes(4, "little") + key
    body += b"\x12version\0" + (1).to_bytes(8, "little") + b"\0"
    assert ref.raw == (len(body) + 4).to_bytes(4, "little") + body


def test_a_replacement_is_the_next_version_and_forgets_patches(flight, app):
    key = f"{app}/s/o"
    flight.put(key, b"one")
    assert flight.patch(key, b"+").version == 2
    assert flight.put(key, b"three").version == 3
    assert flight.get(f"{key}:0").rows == [(3, "base", b"three")]


def test_patches_follow_the_base_in_order(flight, app):
    key = f"{app}/s/o"
    flight.put(key, b"base")
    for i in range(20):
        assert flight.patch(key, b"%d" % i).version == i + 2
    rows = flight.get(key).rows
    assert rows[0] == (1, "base", b"base")
    assert rows[1:] == [(i + 2, "patch", b"%d" % i) for i in range(20)]


def test_rows_and_batches_are_joined(flight, app):
    batches = [opaque_batch(b"a", b"", b"b"), opaque_batch(), opaque_batch(b"c", None, b"d")]
    ref = flight.put_stream(f"{app}/s/o", OPAQUE_SCHEMA, batches)
    assert flight.get(f"{ref.key}:0").value == b"abcd"


def test_a_patch_of_several_batches_is_one_patch(flight, app):
    ref = flight.put(f"{app}/s/o", b"base")
    assert flight.patch(ref.key, b"a", None, b"b").version == 2
    assert flight.get(f"{ref.key}:0").rows[1:] == [(2, "patch", b"ab")]


def test_unaligned_chunks_are_joined_exactly(flight, app):
    chunks = [bytes([i]) * (70_001 + i) for i in range(9)]
    ref = flight.put_stream(f"{app}/s/o", OPAQUE_SCHEMA, [opaque_batch(c) for c in chunks])
    assert flight.get(f"{ref.key}:0").value == b"".join(chunks)


def test_a_chunk_of_mebibytes_comes_back_in_one_row(flight, app):
    chunk = bytes(range(256)) * 4096
    ref = flight.put_stream(f"{app}/s/o", OPAQUE_SCHEMA, [opaque_batch(chunk)] * 8)
    assert flight.get(f"{ref.key}:0").rows == [(1, "base", chunk * 8)]


@pytest.mark.parametrize("rows", [[b""], [None], [b"", None], []])
def test_an_empty_object_is_an_object(flight, app, rows):
    ref = flight.put(f"{app}/s/o", *rows)
    assert flight.get(f"{ref.key}:0").rows == [(1, "base", b"")]


def test_c7_an_upload_without_any_batch_is_an_empty_object(flight, app):
    ref = flight.put_stream(f"{app}/s/o", OPAQUE_SCHEMA, [])
    assert ref.version == 1
    assert flight.get(f"{ref.key}:0").rows == [(1, "base", b"")]


def test_an_empty_patch_is_a_patch(flight, app):
    ref = flight.put(f"{app}/s/o", b"x")
    assert flight.patch(ref.key, b"").version == 2
    assert flight.get(f"{ref.key}:1").rows == [(2, "patch", b"")]


def test_c8_the_column_named_data_is_the_object_wherever_it_is(flight, app):
    first = batch(data=pa.array([b"x"], pa.binary()), version=pa.array([0], pa.uint64()))
    last = batch(
        version=pa.array([0], pa.uint64()),
        other=pa.array([b"no"], pa.binary()),
        data=pa.array([b"yes"], pa.large_binary()),
    )
    flight.put_stream(f"{app}/s/first", first.schema, [first])
    flight.put_stream(f"{app}/s/last", last.schema, [last])
    assert flight.get(f"{app}/s/first:0").value == b"x"
    assert flight.get(f"{app}/s/last:0").value == b"yes"


def test_without_a_column_named_data_it_is_the_second(flight, app):
    old = batch(v=pa.array([7], pa.uint64()), payload=pa.array([b"x"], pa.binary()))
    ref = flight.put_stream(f"{app}/s/o", old.schema, [old])
    assert flight.get(f"{ref.key}:0").value == b"x"


def test_versions_that_a_client_sends_do_not_matter(flight, app):
    sent = batch(version=pa.array([99], pa.uint64()), data=pa.array([b"x"], pa.binary()))
    assert flight.put_stream(f"{app}/s/o", sent.schema, [sent]).version == 1


def test_a12_a_payload_of_one_wrong_column_is_refused(flight, app):
    for column in (pa.array([1], pa.uint64()), pa.array(["x"]), pa.array([[b"x"]])):
        only = batch(version=column)
        with refused("invalid"):
            flight.put_stream(f"{app}/s/o", only.schema, [only])
    assert flight.keys(f"{app}/") == []


def test_a12_a_payload_of_no_columns_is_refused(flight, app):
    with refused("invalid"):
        flight.put_stream(f"{app}/s/o", pa.schema([]), [])


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["text"]),
        pa.array([1]),
        pa.array([[b"x"]]),
        pa.array([b"ab"], pa.binary(2)),
        pa.nulls(1),
    ],
    ids=lambda column: str(column.type),
)
def test_a_data_column_of_another_type_is_refused_by_name_and_by_position(flight, app, column):
    versions = pa.array([0], pa.uint64())
    for name in ("data", "payload"):
        wrong = batch(version=versions, **{name: column})
        with refused("invalid"):
            flight.put_stream(f"{app}/s/o", wrong.schema, [wrong])
    assert flight.keys(f"{app}/") == []


def test_c9_a_bad_key_is_reported_before_the_upload_is_read(flight):
    """The client writes until it hears of the refusal: far less than it would have sent."""
    block = opaque_batch(bytes(1 << 20))
    sent = 0

    def blocks():
        nonlocal sent
        for _ in range(2000):
            sent += 1
            yield block

    with refused("invalid"):
        flight.put_stream("no-key", OPAQUE_SCHEMA, blocks())
    assert sent < 1000


def test_c9_a_bad_shape_is_reported_before_the_upload_is_read(flight, app):
    block = batch(text=pa.array(["x" * (1 << 20)]))
    sent = 0

    def blocks():
        nonlocal sent
        for _ in range(2000):
            sent += 1
            yield block

    with refused("invalid"):
        flight.put_stream(f"{app}/s/o", block.schema, blocks())
    assert sent < 1000


def test_a_patch_of_nothing_is_not_found(flight, app):
    with refused("not_found") as refusal:
        flight.patch(f"{app}/s/absent", b"x")
    assert refusal.values["outcome"] == "not_applied"
    assert flight.keys(f"{app}/") == []


def test_c11_an_object_takes_a_thousand_patches_and_no_more(documents, app):
    key = f"{app}/s/o"
    documents.put(key, b"base")
    for _ in range(10):
        documents.put_items(*[{"key": key, "op": "patch", "data": b"p"} for _ in range(100)])
    assert documents.stat(key)["patches"] == 1000
    with refused("too_many_patches"):
        documents.patch(key, b"one more")
    assert documents.stat(key)["version"] == 1001
    assert documents.put(key, b"anew").version == 1002
    assert documents.patch(key, b"+").version == 1003


def test_a_put_may_change_the_kind(flight, app):
    key = f"{app}/s/o"
    table = pa.table({"x": [1, 2]})
    assert flight.put(key, b"bytes").version == 1
    assert flight.put_table(key, table).version == 2
    assert flight.get(f"{key}:0").table.equals(table)
    assert flight.put(key, b"again").version == 3
    assert flight.get(f"{key}:0").value == b"again"
