"""The published client in local mode: it writes files, and the server finds them."""

import pytest
from harness.documents import Documents

FILES = ("--pack-below", "0")
COMPRESSED = (*FILES, "--compression", "zstd", "--compression-min-size", "0")


@pytest.fixture(params=[(), FILES, COMPRESSED], ids=["default", "a file for each", "compressed"])
def server(server_factory, request):
    return server_factory("fs", args=request.param)


@pytest.fixture
def local(server, make_stock):
    """A client that shares the server's folder."""
    return make_stock(
        FLAME_CACHE_ENDPOINT=server.endpoint, FLAME_CACHE_STORAGE=str(server.storage_dir)
    )


def put(prefix, value):
    from flamepy.core.cache import put_object

    ref = put_object(prefix, value)
    return ref.endpoint, ref.key, ref.version


def put_get_update_patch():
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from flamepy.core.cache import get_object, patch_object, put_object, update_object

    ref = put_object("app/session", {"local": True})
    assert get_object(ref) == {"local": True}
    assert patch_object(ref, "delta").version == 2
    assert get_object(ref, lambda base, deltas: (base, deltas)) == ({"local": True}, ["delta"])
    updated = update_object(ref, "updated")
    assert updated.version == 3
    assert get_object(updated) == "updated"

    for value in (pa.table({"x": [1, 2]}), pa.record_batch({"y": ["a"]})):
        ref = put_object("app/session", value)
        assert get_object(ref).equals(value)
    frame = pd.DataFrame({"c": pd.Categorical(["a", "b", "a"])})
    pd.testing.assert_frame_equal(get_object(put_object("app/session", frame)), frame)
    array = np.arange(100_000)
    assert np.array_equal(get_object(put_object("app/session", array)), array)


def test_a_local_client_puts_gets_updates_and_patches(local):
    local.call(put_get_update_patch)


def test_c14_the_first_update_of_a_local_object_is_version_2(local):
    def update():
        from flamepy.core.cache import put_object, update_object

        ref = put_object("app/session", 1)
        return ref.version, update_object(ref, 2).version

    assert local.call(update) == (1, 2)


def test_c14_a_local_object_is_cacheable_at_once(local):
    """The file says version 0; the server serves it as 1, so that a second get is not modified."""

    def get_twice():
        from flamepy.core.cache import get_object, put_object

        ref = put_object("app/session", {"a": 1})
        return get_object(ref) is get_object(ref)

    assert local.call(get_twice)


def test_what_a_local_client_wrote_is_everybodys(local, server, make_stock):
    endpoint, key, version = local.call(put, prefix="app/session", value=[1, 2])
    assert (endpoint, version) == (server.endpoint, 1)

    def get(endpoint, key):
        from flamepy.core.cache import ObjectRef, get_object

        return get_object(ObjectRef(endpoint, key, 1))

    remote = make_stock(FLAME_CACHE_ENDPOINT=server.endpoint)
    assert remote.call(get, endpoint=endpoint, key=key) == [1, 2]
    with Documents(server.endpoint) as client:
        assert client.stat(key)["version"] == 1


def test_a_local_object_survives_a_restart(local, server):
    _, read, _ = local.call(put, prefix="app/session", value="read before")
    _, unread, _ = local.call(put, prefix="app/session", value="never read")
    with Documents(server.endpoint) as client:
        before = client.get(f"{read}:0").value
        server.kill()
        server.start()
    with Documents(server.endpoint) as client:
        assert client.get(f"{read}:0").value == before
        assert client.get(f"{unread}:0").rows[0][:2] == (1, "base")


def test_objects_written_while_no_server_ran_are_found(server, make_stock):
    client = make_stock(
        FLAME_CACHE_ENDPOINT=server.endpoint, FLAME_CACHE_STORAGE=str(server.storage_dir)
    )
    _, key, _ = client.call(put, prefix="app/session", value=1)
    server.stop()
    moved = server.storage_dir / key.replace("app/", "app2/")
    moved.parent.mkdir(parents=True)
    (server.storage_dir / f"{key}.arrow").rename(f"{moved}.arrow")
    server.start()
    with Documents(server.endpoint) as documents:
        assert documents.get(f"{moved.relative_to(server.storage_dir)}:0").rows[0][:2] == (
            1,
            "base",
        )


def test_deletes_reach_local_objects(local, server):
    def put_and_delete():
        from flamepy.core.cache import delete_objects, get_object, put_object

        ref = put_object("app/session", 1)
        get_object(ref)
        unread = put_object("app/session", 2)
        delete_objects("app/session")
        for gone in (ref, unread):
            try:
                get_object(gone)
            except KeyError:
                continue
            raise AssertionError(f"{gone.key} is still there")

    local.call(put_and_delete)
    assert not [p for p in server.storage_dir.rglob("*.arrow") if ".flame" not in p.parts]
