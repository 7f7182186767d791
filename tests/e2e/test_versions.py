"""Versions: 1 for a new key, one more with each write, and no number twice."""

import threading

import pyarrow as pa
from harness.errors import refused


def test_a3_a_key_that_was_deleted_goes_on_from_its_last_version(flight, app):
    key = f"{app}/s/o"
    flight.put(key, b"old 1")
    flight.patch(key, b"old 2")
    flight.delete(key)
    assert flight.put(key, b"new 3").version > 2


def test_a3_a_stale_version_never_means_not_modified(flight, app):
    key = f"{app}/s/o"
    old = flight.put(key, b"old").version
    flight.delete(key)
    flight.put(key, b"new")
    assert flight.get(f"{key}:{old}").value == b"new"


def test_a3_patches_of_a_new_life_are_not_merged_onto_an_old_base(flight, app):
    key = f"{app}/s/o"
    old = flight.put(key, b"old").version
    flight.delete(key)
    flight.put(key, b"new")
    flight.patch(key, b"+")
    assert [data for _, _, data in flight.get(f"{key}:{old}").rows] == [b"new", b"+"]


def test_a3_every_way_of_deleting_remembers_the_version(flight, documents, app):
    for i, selection in enumerate([f"{app}/s/o", f"{app}/s", f"{app}/*"]):
        before = flight.put(f"{app}/s/o", b"x").version
        assert before > i
        flight.delete(selection)
        assert flight.put(f"{app}/s/o", b"x").version > before
    before = documents.stat(f"{app}/s/o")["version"]
    assert documents.erase(f"{app}/s/o") == 1
    assert documents.put_item(f"{app}/s/o", b"x")["version"] > before


def test_a3_versions_go_on_over_a_restart_without_storage(server_factory):
    """The small runtime file is what remembers; the objects are gone."""
    from harness.flight import Flight
    from harness.server import port_for_restarts

    server = server_factory("none", port=port_for_restarts())
    with Flight(server.endpoint) as flight:
        for _ in range(5):
            last = flight.put("app/s/o", b"old").version
    server.stop()
    server.start()
    with Flight(server.endpoint) as flight:
        with refused("not_found"):
            flight.get("app/s/o:0")
        assert flight.put("app/s/o", b"new").version > last


def test_a3_versions_go_on_over_a_kill_without_storage(server_factory):
    from harness.flight import Flight
    from harness.server import port_for_restarts

    server = server_factory("none", port=port_for_restarts())
    with Flight(server.endpoint) as flight:
        for _ in range(5):
            last = flight.put("app/s/o", b"old").version
    server.kill()
    server.start()
    with Flight(server.endpoint) as flight:
        assert flight.put("app/s/o", b"new").version > last


def test_deleting_what_is_absent_uses_no_version(flight, app):
    flight.delete(f"{app}/s/o")
    flight.delete(f"{app}/*")
    assert flight.put(f"{app}/s/o", b"x").version == 1


def test_a_failed_write_uses_no_version(flight, app):
    key = f"{app}/s/o"
    flight.put_table(key, pa.table({"x": [1]}))
    with refused("wrong_kind"):
        flight.patch(key, b"x")
    assert flight.put(key, b"x").version == 2


def test_generated_keys_start_at_1_even_after_deletes(flight, app):
    for _ in range(20):
        assert flight.put(f"{app}/s", b"x").version == 1
        flight.delete(f"{app}/*")


def test_writers_of_one_key_get_each_version_once(flight, app):
    key = f"{app}/s/o"
    flight.put(key, b"")
    versions: list[int] = []

    def write(i):
        for _ in range(50):
            versions.append((flight.put if i % 2 else flight.patch)(key, b"x").version)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(versions) == list(range(2, 202))
