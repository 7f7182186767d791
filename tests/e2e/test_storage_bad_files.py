"""Bad files in a directory stop nothing: they are moved aside, and the rest is served."""

import os
import struct

import pyarrow as pa
import pytest
from harness.documents import Documents
from harness.errors import refused
from harness.flight import OPAQUE_SCHEMA
from harness.upstream_store import base, delta, native_file, opaque_file


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


def truncated(path):
    path.write_bytes(path.read_bytes()[:-40])


def emptied(path):
    path.write_bytes(b"")


def garbage(path):
    path.write_bytes(b"no arrow here" * 100)


def magic_only(path):
    path.write_bytes(b"ARROW1\0\0ARROW1")


def zeroed(path):
    path.write_bytes(bytes(path.stat().st_size))


BAD = [truncated, emptied, garbage, magic_only, zeroed]


def two_row_file(path):
    batch = pa.record_batch(
        [pa.array([1, 2], pa.uint64()), pa.array([b"a", b"b"])], schema=OPAQUE_SCHEMA
    )
    with pa.ipc.new_file(str(path), OPAQUE_SCHEMA) as writer:
        writer.write_batch(batch)


@pytest.mark.parametrize("spoil", BAD)
def test_a7_a_bad_file_prevents_neither_the_start_nor_other_objects(root, server_factory, spoil):
    for name in ("bad", "good"):
        opaque_file(base(root, f"app/s/{name}"), name.encode(), 3)
    spoil(base(root, "app/s/bad"))
    server = server_factory(f"fs://{root}")
    with Documents(server.endpoint) as client:
        assert client.get("app/s/good").value == b"good"
        with refused("not_found"):
            client.get("app/s/bad")
        assert client.keys() == ["app/s/good"]
        assert client.put("app/s/bad", b"new").version > 1
        assert client.get("app/s/bad").value == b"new"
    assert "app/s/bad.arrow" in server.log()
    server.restart()
    with Documents(server.endpoint) as client:
        assert client.get("app/s/bad").value == b"new"


def test_a7_a_bad_file_is_kept_for_people(root, server_factory):
    opaque_file(base(root, "app/s/bad"), b"x", 3)
    garbage(base(root, "app/s/bad"))
    with Documents(server_factory(f"fs://{root}").endpoint) as client, refused("not_found"):
        client.get("app/s/bad")
    kept = [
        path
        for path in (root / ".flame").rglob("*.arrow")
        if path.read_bytes().startswith(b"no arrow")
    ]
    assert len(kept) == 1
    assert not base(root, "app/s/bad").exists()


def test_a7_names_that_are_not_utf8_prevent_nothing(root, server_factory):
    opaque_file(base(root, "app/s/good"), b"good", 1)
    for folder in (b"\xff\xfe", b"app/\xff"):
        path = os.path.join(os.fsencode(root), folder)
        os.makedirs(os.path.join(path, b"s"), exist_ok=True)
        with open(os.path.join(path, b"x.arrow"), "wb") as file:
            file.write(b"x")
    with open(os.path.join(os.fsencode(root), b"app/s/\xff.arrow"), "wb") as file:
        file.write(b"x")
    with Documents(server_factory(f"fs://{root}").endpoint) as client:
        assert client.keys() == ["app/s/good"]
        assert client.get("app/s/good").value == b"good"


def test_a8_patches_that_the_base_includes_are_dropped(root, server_factory):
    """A crash of the existing server between the new base and the removal of the old patches."""
    key = "app/s/o"
    opaque_file(base(root, key), b"base 5", 5)
    for number, version in enumerate((3, 4, 5, 6, 7)):
        opaque_file(delta(root, key, number), b"%d" % version, version)
    with Documents(server_factory(f"fs://{root}").endpoint) as client:
        assert client.get(key).rows == [
            (5, "base", b"base 5"),
            (6, "patch", b"6"),
            (7, "patch", b"7"),
        ]
        assert client.put(key, b"x").version == 8


def test_a8_only_stale_patches_leave_the_base(root, server_factory):
    opaque_file(base(root, "app/s/o"), b"base", 9)
    opaque_file(delta(root, "app/s/o", 0), b"stale", 2)
    with Documents(server_factory(f"fs://{root}").endpoint) as client:
        assert client.get("app/s/o").rows == [(9, "base", b"base")]
        assert client.patch("app/s/o", b"+").version == 10


@pytest.mark.parametrize("spoil", BAD)
def test_a6_a_half_written_patch_does_not_poison_the_object(root, server_factory, spoil):
    key = "app/s/o"
    opaque_file(base(root, key), b"base", 1)
    opaque_file(delta(root, key, 0), b"whole", 2)
    spoil(opaque_file(delta(root, key, 1), b"half", 3))
    with Documents(server_factory(f"fs://{root}").endpoint) as client:
        assert [data for _, _, data in client.get(key).rows] == [b"base", b"whole"]
        assert client.patch(key, b"next").version >= 3


def test_patches_without_a_base_are_no_object(root, server_factory):
    opaque_file(delta(root, "app/s/orphan", 0), b"x", 2)
    with Documents(server_factory(f"fs://{root}").endpoint) as client:
        assert client.keys() == []
        with refused("not_found"):
            client.get("app/s/orphan")


def test_patches_of_a_table_are_dropped(root, server_factory):
    """The existing server accepted them and never showed them."""
    native_file(base(root, "app/s/t"), pa.table({"x": [1]}), 1)
    opaque_file(delta(root, "app/s/t", 0), b"lost", 2)
    with Documents(server_factory(f"fs://{root}").endpoint) as client:
        assert client.get("app/s/t").table["x"].to_pylist() == [1]
        assert client.put("app/s/t", b"x").version >= 2


def test_a10_a_file_with_lying_offsets_is_not_believed(root, server_factory):
    path = base(root, "app/s/evil")
    path.parent.mkdir(parents=True)
    offsets = pa.py_buffer(struct.pack("<iii", 0, 1 << 30, 5))
    column = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"short")])
    batch = pa.record_batch([column], names=["s"])
    native_file(path, pa.Table.from_batches([batch]), 1, None)
    opaque_file(base(root, "app/s/good"), b"good", 1)
    with Documents(server_factory(f"fs://{root}").endpoint) as client:
        with refused("not_found"):
            client.get("app/s/evil")
        assert client.get("app/s/good").value == b"good"


@pytest.mark.parametrize("claimed", [1 << 40, 1 << 48, -5])
def test_a10_a_compressed_buffer_that_claims_to_be_huge_is_bad(root, server_factory, claimed):
    """The true size stands in front of each compressed buffer."""
    path = native_file(base(root, "app/s/bomb"), pa.table({"x": [0] * 12_345}), 1, "zstd")
    true = struct.pack("<q", 8 * 12_345)
    content = path.read_bytes()
    assert content.count(true) == 1
    path.write_bytes(content.replace(true, struct.pack("<q", claimed)))
    with Documents(server_factory(f"fs://{root}").endpoint) as client:
        with refused("not_found"):
            client.get("app/s/bomb")
        assert client.put("app/s/bomb", b"new").version > 1


def test_a10_files_with_random_damage_never_harm_the_server(root, server_factory, rng):
    table = pa.table(
        {
            "s": ["a", "bb", None] * 20,
            "l": [[1], [], None] * 20,
            "d": pa.array(["x"] * 60).dictionary_encode(),
        }
    )
    for i in range(150):
        path = base(root, f"app/s/{i:03}")
        if i % 2:
            native_file(path, table, 1, rng.choice([None, "zstd"]))
        else:
            opaque_file(path, b"data" * 100, 1, rng.choice([None, "zstd"]))
        content = bytearray(path.read_bytes())
        for _ in range(rng.randint(1, 6)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content)
    server = server_factory(f"fs://{root}")
    with Documents(server.endpoint) as client:
        for i in range(150):
            try:
                for batch in client.get(f"app/s/{i:03}").batches:
                    batch.validate(full=True)
            except KeyError:
                pass
        assert server.alive()
        assert client.put("app/s/000", b"x").version >= 1


def test_a_file_with_two_rows_is_not_an_object(root, server_factory):
    base(root, "app/s/o").parent.mkdir(parents=True)
    two_row_file(base(root, "app/s/o"))
    with Documents(server_factory(f"fs://{root}").endpoint) as client, refused("not_found"):
        client.get("app/s/o")


def test_a_damaged_file_of_our_own_is_corrupt_and_not_served(server_factory):
    """Checksums: one changed byte of a payload is an error of its own, never wrong bytes."""
    server = server_factory("fs")
    with Documents(server.endpoint) as client:
        client.put("app/s/o", b"x" * 1_000_000)
        client.put("app/s/fine", b"y" * 1_000_000)
    server.stop()
    path = base(server.storage_dir, "app/s/o")
    content = bytearray(path.read_bytes())
    content[500_000] ^= 1
    path.write_bytes(content)
    server.start()
    with Documents(server.endpoint) as client:
        with refused("corrupt") as refusal:
            client.get("app/s/o")
        assert "app/s/o" in refusal.message
        assert client.get("app/s/fine").value == b"y" * 1_000_000
        assert client.put("app/s/o", b"anew").version == 2
        assert client.get("app/s/o").value == b"anew"


def test_a_file_of_our_own_that_vanished_is_an_error_and_not_an_old_object(server_factory):
    server = server_factory("fs")
    with Documents(server.endpoint) as client:
        client.put("app/s/o", b"x" * 1_000_000)
    server.stop()
    base(server.storage_dir, "app/s/o").unlink()
    server.start()
    with Documents(server.endpoint) as client:
        with pytest.raises(pa.ArrowException):
            client.get("app/s/o")
        assert client.put("app/s/o", b"anew").version == 2
