"""Files that other programs write into the storage folder while the server runs."""

import pytest
from harness.documents import Documents
from harness.errors import refused
from harness.upstream_store import base, local_mode_file, native_file
from harness.wait import until


@pytest.fixture
def server(server_factory):
    return server_factory("fs")


@pytest.fixture
def root(server):
    return server.storage_dir


def test_c14_a_file_of_a_local_client_is_found_as_version_1(documents, root):
    local_mode_file(base(root, "app/s/o"), b"local")
    assert documents.get("app/s/o:0").rows == [(1, "base", b"local")]


def test_c14_what_was_found_can_be_cached_and_goes_on_from_1(documents, root):
    local_mode_file(base(root, "app/s/o"), b"local")
    documents.get("app/s/o:0")
    assert documents.get("app/s/o:1").not_modified
    assert documents.put("app/s/o", b"x").version == 2


def test_c14_the_first_update_or_patch_of_a_local_object_is_version_2(documents, root):
    """The client was told version 1 when it wrote the file."""
    local_mode_file(base(root, "app/s/updated"), b"local")
    local_mode_file(base(root, "app/s/patched"), b"local")
    assert documents.put("app/s/updated", b"x").version == 2
    assert documents.patch("app/s/patched", b"+").version == 2
    assert [data for _, _, data in documents.get("app/s/patched").rows] == [b"local", b"+"]


def test_c14_flight_info_for_a_local_client_works_before_the_file_is_read(documents, server, root):
    local_mode_file(base(root, "app/s/o"), b"local")
    [endpoint] = documents.info("app/s/o").endpoints
    assert [location.uri.decode() for location in endpoint.locations] == [server.endpoint]


def test_a_miss_before_the_file_is_no_obstacle(documents, root):
    with refused("not_found"):
        documents.get("app/s/o")
    local_mode_file(base(root, "app/s/o"), b"local")
    assert documents.get("app/s/o").value == b"local"


def test_a_local_table_is_found(documents, root):
    import pyarrow as pa

    native_file(base(root, "app/s/t"), pa.table({"x": [1, 2]}), 0, None)
    assert documents.get("app/s/t").table["x"].to_pylist() == [1, 2]
    assert documents.stat("app/s/t")["version"] == 1


def test_a_found_object_survives_a_restart(documents, server, root):
    local_mode_file(base(root, "app/s/o"), b"local" * 50_000)
    documents.get("app/s/o")
    server.restart()
    with Documents(server.endpoint) as client:
        assert client.get("app/s/o").rows == [(1, "base", b"local" * 50_000)]


def test_a_half_written_file_is_found_when_it_is_whole(documents, root):
    path = local_mode_file(base(root, "app/s/o"), b"local" * 1000)
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    with refused("not_found"):
        documents.get("app/s/o")
    path.write_bytes(whole)
    until(lambda: documents.stat("app/s/o")["found"], "the finished file is found")
    assert documents.get("app/s/o").value == b"local" * 1000


def test_a_file_over_a_deleted_key_does_not_bring_it_back(documents, root):
    """The key's version is remembered: the file could be anything's leftover."""
    documents.put("app/s/o", b"x" * 100_000)
    documents.delete("app/s/o")
    until(lambda: not base(root, "app/s/o").exists(), "the file is gone")
    local_mode_file(base(root, "app/s/o"), b"stray")
    with refused("not_found"):
        documents.get("app/s/o")
    assert documents.put("app/s/o", b"new").version > 1
    assert documents.get("app/s/o").value == b"new"


def test_a_file_over_a_packed_object_does_not_replace_it(documents, root):
    documents.put("app/s/o", b"packed")
    local_mode_file(base(root, "app/s/o"), b"stray")
    assert documents.get("app/s/o").value == b"packed"


def test_a_delete_reaches_files_that_nobody_has_read(documents, root):
    local_mode_file(base(root, "app/s/one"), b"x")
    local_mode_file(base(root, "app/s/two"), b"x")
    documents.delete("app/s/one")
    with refused("not_found"):
        documents.get("app/s/one")
    documents.delete("app/*")
    with refused("not_found"):
        documents.get("app/s/two")
    assert not base(root, "app/s/two").exists()


def test_many_readers_of_one_new_file_get_the_same(server, root):
    from concurrent.futures import ThreadPoolExecutor

    for i in range(20):
        local_mode_file(base(root, f"app/s/{i}"), b"local")

    def read(_):
        with Documents(server.endpoint) as client:
            return [client.get(f"app/s/{i}").rows for i in range(20)]

    with ThreadPoolExecutor(6) as pool:
        for rows in pool.map(read, range(6)):
            assert rows == [[(1, "base", b"local")]] * 20
