"""A directory of the existing server is taken over as it is: keys, versions, patches, bytes."""

import pyarrow as pa
import pytest
from harness.documents import Documents
from harness.upstream_store import base, delta, local_mode_file, native_file, opaque_file


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def takeover(root, server_factory):
    """Start a server on what the test has put into the directory."""

    def start(*args):
        return Documents(server_factory(f"fs://{root}", args=args).endpoint)

    return start


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_opaque_objects_are_read_with_their_versions(root, takeover, compression):
    opaque_file(base(root, "app/s/small"), b"small", 1, compression)
    opaque_file(base(root, "app/s/empty"), b"", 2, compression)
    opaque_file(base(root, "app/s/large"), b"x" * 500_000, 7, compression)
    with takeover() as client:
        assert client.keys() == ["app/s/empty", "app/s/large", "app/s/small"]
        assert client.get("app/s/small").rows == [(1, "base", b"small")]
        assert client.get("app/s/empty").rows == [(2, "base", b"")]
        assert client.get("app/s/large").rows == [(7, "base", b"x" * 500_000)]
        assert client.get("app/s/large:7").not_modified
        assert client.put("app/s/large", b"y").version == 8
        assert client.stat("app/s/small")["version"] == 1


@pytest.mark.parametrize("version", [2**62 + 1, 2**63 - 1, 2**64 - 1])
def test_a_version_that_leaves_no_room_counts_as_none(root, takeover, version):
    """The one after it would be negative."""
    opaque_file(base(root, "app/s/o"), b"x", version)
    with takeover() as client:
        assert client.get("app/s/o").rows == [(1, "base", b"x")]
        assert client.put("app/s/o", b"y").version == 2


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_tables_are_read_with_their_versions_and_metadata(root, takeover, compression):
    table = pa.table({"x": list(range(50_000)), "s": ["text"] * 50_000})
    table = table.replace_schema_metadata({"mine": "kept"})
    native_file(base(root, "app/s/t"), table, 3, compression)
    with takeover() as client:
        reply = client.get("app/s/t")
        assert reply.schema.metadata[b"flame.cache.version"] == b"3"
        assert reply.schema.metadata[b"mine"] == b"kept"
        assert reply.table.to_pydict() == table.to_pydict()
        assert client.get("app/s/t:3").not_modified
        assert (
            client.command(
                "append", "app/s/t", schema=table.schema, batches=table.to_batches()
            ).version
            == 4
        )


def test_patches_follow_in_the_order_of_their_numbers(root, takeover):
    key = "app/s/o"
    opaque_file(base(root, key), b"base", 2)
    for number in range(12):  # 10 and 11 come after 9, not after 1.
        opaque_file(delta(root, key, number), b"%d" % number, 3 + number)
    with takeover() as client:
        rows = [(3 + n, "patch", b"%d" % n) for n in range(12)]
        assert client.get(key).rows == [(2, "base", b"base"), *rows]
        assert client.get(f"{key}:13").rows == rows[-1:]
        assert client.patch(key, b"more").version == 15


def test_patches_without_versions_count_on_from_the_base(root, takeover):
    """Servers before incremental reads stored 0 with a patch."""
    key = "app/s/o"
    opaque_file(base(root, key), b"base", 5)
    for number in range(3):
        opaque_file(delta(root, key, number), b"%d" % number, 0)
    with takeover() as client:
        assert [(v, d) for v, _, d in client.get(key).rows] == [
            (5, b"base"),
            (6, b"0"),
            (7, b"1"),
            (8, b"2"),
        ]


def test_c14_version_0_counts_as_1(root, takeover):
    local_mode_file(base(root, "app/s/o"), b"local")
    native_file(base(root, "app/s/t"), pa.table({"x": [1]}), 0, None)
    with takeover() as client:
        assert client.get("app/s/o").rows == [(1, "base", b"local")]
        assert client.get("app/s/o:1").not_modified
        assert client.put("app/s/o", b"x").version == 2
        assert client.get("app/s/t").schema.metadata[b"flame.cache.version"] == b"1"


def test_a_directory_of_two_levels_is_the_application_default(root, takeover):
    opaque_file(root / "session" / "object.arrow", b"old layout", 0)
    with takeover() as client:
        assert client.keys() == ["default/session/object"]
        assert client.get("default/session/object").value == b"old layout"
        assert client.put("default/session/object", b"new").version == 2
        assert client.get("default/session/object").value == b"new"


def test_unusual_names_are_read(root, takeover):
    keys = [
        "app/s/with:colon",
        "app/s/with space",
        "a*p/s*/o*",
        "app/s/ümlaut",
        "app/s/dots.in.name",
        "app/s/" + "x" * 249,
    ]
    for key in keys:
        opaque_file(base(root, key), key.encode(), 1)
    with takeover() as client:
        assert client.keys() == sorted(keys, key=str.encode)
        for key in keys:
            assert client.get(f"{key}:0").value == key.encode()


def test_what_is_taken_over_can_be_deleted_and_stays_deleted(root, server_factory):
    opaque_file(base(root, "app/s/o"), b"x", 4)
    opaque_file(delta(root, "app/s/o", 0), b"+", 5)
    opaque_file(base(root, "app/s/p"), b"x" * 200_000, 1)
    server = server_factory(f"fs://{root}")
    with Documents(server.endpoint) as client:
        client.delete("app/s/o")
        client.delete("app/s/p")
        assert client.keys() == []
    server.restart()
    with Documents(server.endpoint) as client:
        assert client.keys() == []
        assert client.put("app/s/o", b"new").version > 5
        assert client.get("app/s/o").rows[0][2] == b"new"
        assert len(client.get("app/s/o").rows) == 1


def test_a_wildcard_delete_reaches_objects_that_nobody_has_read(root, takeover):
    for i in range(20):
        opaque_file(base(root, f"app/s{i}/o"), b"x", 1)
    opaque_file(base(root, "other/s/o"), b"x", 1)
    with takeover() as client:
        assert client.erase("app/*") == 20
        assert client.keys() == ["other/s/o"]


def test_files_and_folders_at_other_levels_are_left_alone(root, takeover):
    opaque_file(base(root, "app/s/o"), b"x", 1)
    strangers = [
        root / "top.txt",
        root / "app/readme",
        root / "app/s/notes.txt",
        root / "app/s/deep/er.arrow",
    ]
    for stranger in strangers:
        stranger.parent.mkdir(parents=True, exist_ok=True)
        stranger.write_bytes(b"not ours")
    with takeover() as client:
        assert client.keys() == ["app/s/o"]
        client.delete("app/*")
    assert all(stranger.read_bytes() == b"not ours" for stranger in strangers)


def test_a_takeover_happens_once_and_survives_restarts(root, server_factory):
    for i in range(50):
        opaque_file(base(root, f"app/s/{i:02}"), b"%d" % i, i + 1)
    server = server_factory(f"fs://{root}")
    for end in (server.kill, server.stop):
        with Documents(server.endpoint) as client:
            assert len(client.keys()) == 50
            assert client.get("app/s/07").rows == [(8, "base", b"7")]
        end()
        server.start()


@pytest.mark.parametrize("pack", ["0", "64K"])
def test_taken_over_objects_can_be_patched_and_replaced(root, takeover, pack):
    opaque_file(base(root, "app/s/o"), b"base", 3)
    opaque_file(delta(root, "app/s/o", 0), b"old patch", 4)
    with takeover("--pack-below", pack) as client:
        assert client.patch("app/s/o", b"new patch").version == 5
        assert [d for _, _, d in client.get("app/s/o").rows] == [
            b"base",
            b"old patch",
            b"new patch",
        ]
        assert client.put("app/s/o", b"replaced").version == 6
        assert client.get("app/s/o").rows == [(6, "base", b"replaced")]
