"""What the published client has cached is never taken for something newer."""

from harness.stock import StockClient


def read(endpoint, key, version=1):
    from flamepy.core.cache import ObjectRef, get_object

    return get_object(ObjectRef(endpoint, key, version), lambda base, deltas: (base, deltas))


def write(endpoint, key, value):
    from flamepy.core.cache import ObjectRef, update_object

    return update_object(ObjectRef(endpoint, key), value).version


def patch(endpoint, key, value):
    from flamepy.core.cache import ObjectRef, patch_object

    return patch_object(ObjectRef(endpoint, key), value).version


def delete(selection):
    from flamepy.core.cache import delete_objects

    delete_objects(selection)


def test_a3_a_reader_never_takes_a_new_object_for_the_old_one(
    stock: StockClient, make_stock, server, app
):
    """The reader caches version 1; another process deletes and writes anew."""
    writer = make_stock(FLAME_CACHE_ENDPOINT=server.endpoint)
    key = f"{app}/s/o"
    writer.call(write, endpoint=server.endpoint, key=key, value="old")
    assert stock.call(read, endpoint=server.endpoint, key=key) == ("old", [])
    writer.call(delete, selection=f"{app}/*")
    writer.call(write, endpoint=server.endpoint, key=key, value="new")
    assert stock.call(read, endpoint=server.endpoint, key=key) == ("new", [])


def test_a3_patches_of_the_new_object_are_not_merged_onto_the_old_base(
    stock, make_stock, server, app
):
    writer = make_stock(FLAME_CACHE_ENDPOINT=server.endpoint)
    key = f"{app}/s/o"
    writer.call(write, endpoint=server.endpoint, key=key, value="old")
    assert stock.call(read, endpoint=server.endpoint, key=key) == ("old", [])
    writer.call(delete, selection=key)
    writer.call(write, endpoint=server.endpoint, key=key, value="new")
    writer.call(patch, endpoint=server.endpoint, key=key, value="delta")
    assert stock.call(read, endpoint=server.endpoint, key=key) == ("new", ["delta"])


def test_readers_and_writers_in_two_processes_agree(stock, make_stock, server, app):
    writer = make_stock(FLAME_CACHE_ENDPOINT=server.endpoint)
    key = f"{app}/s/o"
    writer.call(write, endpoint=server.endpoint, key=key, value=0)
    deltas = []
    for i in range(1, 12):
        if i == 6:
            writer.call(write, endpoint=server.endpoint, key=key, value=6)
            deltas = []
        else:
            writer.call(patch, endpoint=server.endpoint, key=key, value=i)
            deltas.append(i)
        assert stock.call(read, endpoint=server.endpoint, key=key) == (6 if i >= 6 else 0, deltas)


def test_a_client_works_on_after_a_restart_with_storage(make_stock, server_factory):
    from harness.server import port_for_restarts

    server = server_factory("fs", port=port_for_restarts())
    client = make_stock(FLAME_CACHE_ENDPOINT=server.endpoint)
    key = "app/s/o"
    client.call(write, endpoint=server.endpoint, key=key, value="base")
    client.call(patch, endpoint=server.endpoint, key=key, value="delta")
    assert client.call(read, endpoint=server.endpoint, key=key) == ("base", ["delta"])
    server.kill()
    server.start()
    retried = make_stock(FLAME_CACHE_ENDPOINT=server.endpoint)
    assert retried.call(read, endpoint=server.endpoint, key=key) == ("base", ["delta"])
    assert retried.call(patch, endpoint=server.endpoint, key=key, value="after") == 3
    assert retried.call(read, endpoint=server.endpoint, key=key) == ("base", ["delta", "after"])
