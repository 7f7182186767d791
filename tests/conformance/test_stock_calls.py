"""Every public cache function of the published client, and what it makes of each answer."""

from harness.stock import in_stock_client


@in_stock_client
def test_a_put_answers_a_reference_to_version_1(app, endpoint):
    from flamepy.core.cache import ObjectKey, ObjectRef, put_object

    ref = put_object(f"{app}/session", {"a": 1})
    assert isinstance(ref, ObjectRef)
    assert (ref.endpoint, ref.version) == (endpoint, 1)
    key = ObjectKey.from_key(ref.key)
    assert (key.app_name, key.session_id) == (app, "session")
    assert put_object(f"{app}/session", {"a": 1}).key != ref.key


@in_stock_client
def test_the_names_of_the_package_are_the_same_functions(app):
    import flamepy
    import flamepy.cache
    import flamepy.core
    from flamepy.core import cache

    assert flamepy.put_object is cache.put_object
    assert flamepy.cache.delete_objects is cache.delete_objects
    ref = flamepy.put_object(f"{app}/s", 1)
    assert flamepy.get_object(ref) == 1
    assert flamepy.get_object(flamepy.update_object(ref, 2)) == 2
    flamepy.cache.patch_object(ref, 3)
    assert flamepy.cache.get_object(ref, lambda base, deltas: (base, deltas)) == (2, [3])
    flamepy.cache.delete_objects(f"{app}/s")


@in_stock_client
def test_an_update_replaces_the_object_for_every_reference(app):
    from flamepy.core.cache import get_object, put_object, update_object

    ref = put_object(f"{app}/s", "old")
    assert get_object(ref) == "old"
    newer = update_object(ref, {"new": True})
    assert (newer.key, newer.endpoint, newer.version) == (ref.key, ref.endpoint, 2)
    assert get_object(newer) == {"new": True}
    assert get_object(ref) == {"new": True}


@in_stock_client
def test_an_update_of_an_absent_key_creates_it(app, endpoint):
    from flamepy.core.cache import ObjectRef, get_object, update_object

    ref = update_object(ObjectRef(endpoint, f"{app}/s/mine"), 5)
    assert ref.version == 1
    assert get_object(ref) == 5


@in_stock_client
def test_an_update_may_change_the_kind(app):
    import pyarrow as pa
    from flamepy.core.cache import get_object, put_object, update_object

    ref = put_object(f"{app}/s", [1])
    ref = update_object(ref, pa.table({"x": [1]}))
    assert get_object(ref).equals(pa.table({"x": [1]}))
    ref = update_object(ref, "bytes again")
    assert (get_object(ref), ref.version) == ("bytes again", 3)


@in_stock_client
def test_patches_reach_the_deserializer_in_order(app):
    from flamepy.core.cache import get_object, patch_object, put_object

    ref = put_object(f"{app}/s", [0])
    for i in range(1, 6):
        patched = patch_object(ref, i)
        assert (patched.key, patched.version) == (ref.key, i + 1)
    assert get_object(ref, lambda base, deltas: base + deltas) == [0, 1, 2, 3, 4, 5]
    assert get_object(ref) == [0]


@in_stock_client
def test_patches_of_every_payload_kind_arrive(app):
    import numpy as np
    import pyarrow as pa
    from flamepy.core.cache import get_object, patch_object, put_object

    ref = put_object(f"{app}/s", "base")
    deltas = [
        {"a": 1},
        np.arange(5),
        pa.table({"x": [1]}),
        pa.array([1, 2]),
        pa.record_batch({"y": ["z"]}),
        b"",
    ]
    for delta in deltas:
        patch_object(ref, delta)
    found = get_object(ref, lambda base, deltas: deltas)
    assert found[0] == {"a": 1}
    assert np.array_equal(found[1], np.arange(5))
    assert all(found[i].equals(deltas[i]) for i in (2, 3, 4))
    assert found[5] == b""


@in_stock_client
def test_reads_in_between_get_only_the_new_patches(app):
    """The client applies them to what it has: wrong rows would show as wrong sums."""
    from flamepy.core.cache import get_object, patch_object, put_object

    def total(base, deltas):
        return base + sum(deltas)

    ref = put_object(f"{app}/s", 1000)
    for i in range(1, 30):
        patch_object(ref, i)
        if i % 3 == 0:
            assert get_object(ref, total) == 1000 + i * (i + 1) // 2
    assert get_object(ref, total) == 1000 + 29 * 30 // 2


@in_stock_client
def test_a_cached_object_is_served_again_after_not_modified(app):
    from flamepy.core.cache import get_object, put_object

    ref = put_object(f"{app}/s", {"large": "x" * 1000})
    first = get_object(ref)
    assert get_object(ref) is first


@in_stock_client
def test_a_cached_table_is_served_again_after_not_modified(app):
    import pyarrow as pa
    from flamepy.core.cache import get_object, put_object

    ref = put_object(f"{app}/s", pa.table({"x": [1]}))
    assert get_object(ref) is get_object(ref)


@in_stock_client
def test_a_reference_of_version_0_always_fetches(app, endpoint):
    from flamepy.core.cache import ObjectRef, get_object, put_object

    ref = put_object(f"{app}/s", {"a": 1})
    fresh = ObjectRef(endpoint, ref.key, 0)
    first, second = get_object(fresh), get_object(fresh)
    assert first == second == {"a": 1}


@in_stock_client
def test_a_reference_survives_encoding(app):
    import bson
    from flamepy.core.cache import ObjectRef, get_object, put_object

    ref = put_object(f"{app}/s", 7)
    again = ObjectRef.decode(ref.encode())
    assert again == ref
    assert get_object(again) == 7
    assert list(bson.decode(ref.encode())) == ["endpoint", "key", "version"]


@in_stock_client
def test_delete_takes_a_prefix_a_wildcard_and_a_key(app):
    from flamepy.core.cache import delete_objects, get_object, put_object

    def missing(ref):
        try:
            get_object(ref)
        except KeyError:
            return True
        return False

    one, other, third = (
        put_object(f"{app}/s1", 1),
        put_object(f"{app}/s1", 2),
        put_object(f"{app}/s11", 3),
    )
    delete_objects(one.key)
    assert missing(one)
    assert not missing(other)
    delete_objects(f"{app}/s1")
    assert missing(other)
    assert not missing(third)
    delete_objects(f"{app}/*")
    assert missing(third)
    delete_objects(f"{app}/*")


@in_stock_client
def test_errors_are_the_exceptions_that_the_client_knows(app, endpoint):
    import pyarrow as pa
    from flamepy.core.cache import ObjectRef, get_object, patch_object, put_object, update_object

    def error_of(function, *args):
        try:
            function(*args)
        except Exception as error:
            return type(error)

    absent = ObjectRef(endpoint, f"{app}/s/absent")
    assert issubclass(error_of(get_object, absent), KeyError)
    assert issubclass(error_of(patch_object, absent, 1), KeyError)
    assert issubclass(error_of(put_object, f"{app}/s/three", 1), ValueError)
    assert issubclass(error_of(put_object, f"{app}/s*/..", 1), ValueError)
    assert issubclass(error_of(update_object, ObjectRef(endpoint, "a/s/."), 1), ValueError)
    table = put_object(f"{app}/s", pa.table({"x": [1]}))
    assert issubclass(error_of(patch_object, table, 1), ValueError)
    assert get_object(table).num_rows == 1


@in_stock_client
def test_a_file_is_uploaded_under_a_prefix_or_a_key(app, folder):
    import pyarrow.flight as flight
    from flamepy.core.cache import upload_object

    content = bytes(range(256)) * 10_000 + b"odd"
    path = f"{folder}/file"
    with open(path, "wb") as file:
        file.write(content)

    def stored(ref):
        client = flight.connect(ref.endpoint)
        rows = client.do_get(flight.Ticket(f"{ref.key}:0")).read_all().to_pylist()
        assert [row["kind"] for row in rows] == ["base"]
        return rows[0]["data"]

    drawn = upload_object(f"{app}/pkg", path)
    named = upload_object(f"{app}/pkg/name.tar.gz", path)
    assert named.key == f"{app}/pkg/name.tar.gz"
    assert drawn.version == named.version == 1
    assert stored(drawn) == stored(named) == content
    assert upload_object(f"{app}/pkg/name.tar.gz", path).version == 2


@in_stock_client
def test_c7_an_empty_file_can_be_uploaded(app, folder):
    import pyarrow.flight as flight
    from flamepy.core.cache import upload_object

    path = f"{folder}/empty"
    open(path, "wb").close()
    ref = upload_object(f"{app}/pkg/empty", path)
    rows = flight.connect(ref.endpoint).do_get(flight.Ticket(f"{ref.key}:0")).read_all().to_pylist()
    assert rows == [{"version": 1, "kind": "base", "data": b""}]


@in_stock_client
def test_download_fails_as_it_does_everywhere_and_leaves_no_file(app, folder):
    """A defect of the published client (F1): with every server its download raises ValueError."""
    import os

    from flamepy.core.cache import download_object, upload_object

    path = f"{folder}/file"
    with open(path, "wb") as file:
        file.write(b"content")
    ref = upload_object(f"{app}/pkg/file", path)
    try:
        download_object(ref, f"{folder}/sub/back")
    except ValueError:
        assert not os.path.exists(f"{folder}/sub/back")
    else:
        raise AssertionError("the published client can download now: cover it here")


@in_stock_client
def test_a_runners_objects_work(app):
    """Results and contexts as the runner stores them: bytes of a pickle, pickled again."""
    import cloudpickle
    from flamepy.core.cache import ObjectKey, get_object, put_object, update_object

    context = cloudpickle.dumps({"state": 0})
    ref = put_object(f"{app}/session", context)
    for i in range(5):
        state = cloudpickle.loads(get_object(ref))
        assert state == {"state": i}
        ref = update_object(ref, cloudpickle.dumps({"state": i + 1}))
    shared = put_object(ObjectKey.for_shared(app).to_prefix(), [1])
    assert shared.key.startswith(f"{app}/shared/")


@in_stock_client
def test_many_threads_of_one_client_work(app):
    from concurrent.futures import ThreadPoolExecutor

    from flamepy.core.cache import get_object, put_object, update_object

    def work(i):
        ref = put_object(f"{app}/s{i % 3}", i)
        for n in range(10):
            ref = update_object(ref, (i, n))
            assert get_object(ref) == (i, n)
        return ref.version

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(24))) == {11}
