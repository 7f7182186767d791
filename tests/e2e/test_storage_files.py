"""What lies in the storage folder: files that any Arrow program reads, and nothing left over."""

import pyarrow as pa
import pytest
from harness.documents import Documents
from harness.wait import until


@pytest.fixture
def server(server_factory):
    return server_factory("fs")


@pytest.fixture
def root(server):
    return server.storage_dir


def files_of(root):
    """Files outside our own folder."""
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and ".flame" not in path.parts
    )


def read_file(path):
    with pa.ipc.open_file(str(path)) as reader:
        return reader.schema, [reader.get_batch(i) for i in range(reader.num_record_batches)]


def test_a_large_opaque_object_is_an_arrow_file(documents, root):
    for data in (b"1" * 100_000, b"2" * 100_000):
        documents.put("app/s/o", data)
    schema, [batch] = read_file(root / "app/s/o.arrow")
    assert schema.names == ["version", "data"]
    assert schema.field("version").type == pa.uint64()
    assert schema.field("data").type in (pa.binary(), pa.large_binary())
    assert batch.to_pylist() == [{"version": 2, "data": b"2" * 100_000}]


def test_a_large_table_is_an_arrow_file(documents, root):
    schema = pa.schema([("x", pa.int64())], metadata={"mine": "kept"})
    batches = [pa.record_batch([[i] * 50_000], schema=schema) for i in range(3)]
    documents.put_table("app/s/o", pa.Table.from_batches(batches))
    stored, found = read_file(root / "app/s/o.arrow")
    assert stored.equals(schema)
    assert stored.metadata[b"mine"] == b"kept"
    assert stored.metadata[b"flame.cache.format"] == b"arrow-table-v1"
    assert stored.metadata[b"flame.cache.version"] == b"1"
    assert stored.metadata[b"flame.cache.logical_type"] == b"pyarrow.table"
    assert [batch.to_pydict() for batch in found] == [batch.to_pydict() for batch in batches]


def test_a_table_with_dictionaries_is_a_valid_arrow_file(documents, root):
    words = [str(i) for i in range(20_000)]
    table = pa.table({"d": pa.array(words * 2).dictionary_encode()})
    documents.put_table("app/s/o", table)
    _, batches = read_file(root / "app/s/o.arrow")
    assert batches[0].column(0).to_pylist() == words * 2


def test_a_small_object_has_no_file(documents, root):
    documents.put("app/s/o", b"x" * 60_000)
    documents.put_table("app/s/t", pa.table({"x": [1]}))
    assert files_of(root) == []


def test_with_pack_below_0_every_object_has_a_file(server_factory):
    server = server_factory("fs", args=("--pack-below", "0"))
    with Documents(server.endpoint) as client:
        client.put("app/s/one", b"x")
        client.put("app/s/none", b"")
        client.put_table("app/s/t", pa.table({"x": [1]}))
        client.put_table("app/s/t0", pa.table({"x": pa.array([], pa.int64())}))
        assert files_of(server.storage_dir) == [
            f"app/s/{name}.arrow" for name in ("none", "one", "t", "t0")
        ]
        _, [batch] = read_file(server.storage_dir / "app/s/none.arrow")
        assert batch["data"].to_pylist() == [b""]


def test_e5_patches_of_an_object_have_no_file_each(documents, root):
    documents.put("app/s/o", b"x" * 100_000)
    before = len(list(root.rglob("*")))
    for _ in range(5):
        documents.put_items(*[{"key": "app/s/o", "op": "patch", "data": b"p"} for _ in range(100)])
    assert len(list(root.rglob("*"))) < before + 10
    assert files_of(root) == ["app/s/o.arrow"]


def test_a_delete_removes_the_file_and_empty_folders(documents, root):
    documents.put("app/s/o", b"x" * 100_000)
    documents.put("app/s2/o", b"x" * 100_000)
    documents.patch("app/s/o", b"+" * 200_000)
    documents.delete("app/s")
    until(lambda: files_of(root) == ["app/s2/o.arrow"], "the deleted object's file is gone")
    documents.delete("app/*")
    until(lambda: files_of(root) == [], "the files of the application are gone")


def test_a_replacement_by_a_small_object_removes_the_file(documents, root):
    documents.put("app/s/o", b"x" * 100_000)
    documents.put("app/s/o", b"small")
    until(lambda: files_of(root) == [], "the old file is gone")
    assert documents.get("app/s/o").value == b"small"


def test_a6_the_old_file_stays_whole_until_the_new_one_is(documents, root):
    """Whoever has the old file open goes on reading it: it is replaced, never rewritten."""
    documents.put("app/s/o", b"1" * 1_000_000)
    with open(root / "app/s/o.arrow", "rb") as old:
        size = len(old.read())
        documents.put("app/s/o", b"2" * 2_000_000)
        old.seek(0)
        content = old.read()
    assert len(content) == size
    assert pa.ipc.open_file(content).get_batch(0)["data"].to_pylist() == [b"1" * 1_000_000]


def test_a6_a_failed_upload_leaves_no_temporary_file(documents, root):
    with pytest.raises(pa.ArrowInvalid):
        documents.put_stream("app/s/o", pa.schema([("x", pa.int64())]), [])
    documents.put("app/s/o", b"x" * 100_000)
    until(lambda: list((root / ".flame/tmp").iterdir()) == [], "no temporary files")


def test_no_key_reaches_a_file_outside_the_storage(documents, server, root):
    outside = root.parent / "outside.arrow"
    for key in ("../outside", "a/../../outside", "a/s/../../../outside", "/etc/passwd", "a/s/\x00"):
        with pytest.raises(pa.ArrowException):
            documents.put(key, b"x" * 100_000)
    assert not outside.exists()


def test_a_link_in_the_storage_leads_nowhere(documents, server, root, tmp_path):
    """A session that is a link to a folder outside is not followed; what is acknowledged is kept."""
    target = tmp_path / "target"
    target.mkdir()
    documents.put("app/s/o", b"x" * 100_000)
    (root / "app" / "link").symlink_to(target)
    try:
        documents.put("app/link/o", b"y" * 100_000)
        acknowledged = True
    except pa.ArrowException:
        acknowledged = False
    for _ in range(2):
        with Documents(server.endpoint) as client:
            assert client.stat("app/link/o")["found"] == acknowledged
            if acknowledged:
                assert client.get("app/link/o").value == b"y" * 100_000
            assert client.get("app/s/o").value == b"x" * 100_000
        assert list(target.iterdir()) == []
        server.restart()


def test_a_link_as_an_object_is_not_followed(documents, root, tmp_path):
    from harness.upstream_store import opaque_file

    secret = opaque_file(tmp_path / "secret.arrow", b"secret", 1)
    documents.put("app/s/o", b"x" * 100_000)
    (root / "app/s/link.arrow").symlink_to(secret)
    with pytest.raises(KeyError):
        documents.get("app/s/link")
    assert documents.put("app/s/link", b"mine" * 50_000).version >= 1
    assert secret.read_bytes().startswith(b"ARROW1")
    assert pa.ipc.open_file(secret.read_bytes()).get_batch(0)["data"].to_pylist() == [b"secret"]
