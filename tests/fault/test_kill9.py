"""kill -9 under load: no acknowledged write is lost, no version used twice, nothing half-done.

Goal: promises P1 (versions) and P2 (acknowledged writes outlive the server).
Method: clients write and keep the books; the server is killed at a random moment and started again
on the same storage and port; then every key is compared with the books.
"""

import random
import time

import pytest
from harness.documents import Documents
from harness.load import Load
from harness.server import Server, port_for_restarts
from harness.wait import until


def run_for_a_random_while(load: Load, server: Server, rng: random.Random) -> None:
    """Until some operations are done and a little longer: a kill falls anywhere in one."""
    goal = load.operations + rng.randint(5, 400)
    load.start(server)
    until(lambda: load.operations >= goal or not server.alive(), f"{goal} operations")
    time.sleep(rng.random() * 0.02)  # Not for a condition: the moment itself is what is random.


def kill_loop(
    server: Server, rng: random.Random, kills: int, clients: int = 4, expiring: bool = False
) -> None:
    load = Load(rng.randrange(2**32), clients, expiring)
    for round_number in range(kills):
        run_for_a_random_while(load, server, rng)
        server.kill()
        load.finish()
        server.start()
        try:
            load.check(server)
        except AssertionError as error:
            raise AssertionError(
                f"after kill {round_number + 1}, {load.operations} operations"
            ) from error
    assert load.operations >= kills * 5
    server.stop()
    server.start()
    load.check(server)
    print(f"{kills} kills, {load.operations} operations")


@pytest.mark.timeout(300)
def test_nothing_is_lost_and_no_version_used_twice_over_20_kills(server_factory, rng):
    kill_loop(server_factory("fs", port=port_for_restarts()), rng, kills=20)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_nothing_is_lost_and_no_version_used_twice_over_500_kills(server_factory, rng):
    kill_loop(server_factory("fs", port=port_for_restarts()), rng, kills=500, clients=8)


SMALL_MEMORY = ("--max-memory", "512K", "--max-objects", "6")  # Of a load of some megabytes.


@pytest.mark.timeout(300)
@pytest.mark.parametrize("policy", ["lru", "s3fifo"])
def test_it_holds_while_objects_expire_and_are_evicted(server_factory, rng, policy):
    arguments = ("--eviction-policy", policy, *SMALL_MEMORY)
    server = server_factory("fs", args=arguments, port=port_for_restarts())
    kill_loop(server, rng, kills=10, expiring=True)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_it_holds_while_objects_expire_and_are_evicted_over_500_kills(server_factory, rng):
    server = server_factory("fs", args=SMALL_MEMORY, port=port_for_restarts())
    kill_loop(server, rng, kills=500, clients=8, expiring=True)


@pytest.mark.parametrize("pack", ["0", "1M"])
def test_it_holds_for_objects_that_are_all_files_or_all_packed(server_factory, rng, pack):
    server = server_factory("fs", args=("--pack-below", pack), port=port_for_restarts())
    kill_loop(server, rng, kills=3)


def test_it_holds_with_every_write_synced(server_factory, rng):
    server = server_factory("fs", args=("--sync", "always"), port=port_for_restarts())
    kill_loop(server, rng, kills=3)


def test_it_holds_when_the_server_is_killed_while_it_recovers(server_factory, rng):
    """Each recovery is killed some times, anywhere in its duration, before one may finish."""
    server = server_factory("fs", port=port_for_restarts())
    load = Load(rng.randrange(2**32))
    for _ in range(4):
        run_for_a_random_while(load, server, rng)
        server.kill()
        load.finish()
        for _ in range(5):
            server.launch()
            time.sleep(rng.random() * 0.12)  # Anywhere from its first instruction to ready.
            server.kill()
        server.start()
        load.check(server)


def test_a_stop_under_load_loses_nothing_and_ends_well(server_factory, rng):
    server = server_factory("fs", port=port_for_restarts())
    load = Load(rng.randrange(2**32))
    for _ in range(5):
        run_for_a_random_while(load, server, rng)
        server.stop()
        load.finish()
        server.start()
        load.check(server)


def test_no_temporary_file_is_left_after_a_recovery(server_factory, rng):
    server = server_factory("fs", args=("--pack-below", "0"), port=port_for_restarts())
    load = Load(rng.randrange(2**32))
    for _ in range(3):
        run_for_a_random_while(load, server, rng)
        server.kill()
        load.finish()
        server.start()
        load.check(server)
        assert list((server.storage_dir / ".flame/tmp").iterdir()) == []
        live = {
            key for c in load.clients for key, record in c.records.items() if record.state.present
        }
        files = {
            str(path.relative_to(server.storage_dir))[: -len(".arrow")]
            for path in server.storage_dir.rglob("*.arrow")
            if ".flame" not in path.parts
        }
        assert files == live


def test_the_loop_notices_a_store_that_loses_its_log(server_factory, rng):
    """The test of the test: a planted loss must be found, or the loop proves nothing."""
    server = server_factory("fs", port=port_for_restarts())
    load = Load(rng.randrange(2**32))
    run_for_a_random_while(load, server, rng)
    server.kill()
    load.finish()
    for log in (server.storage_dir / ".flame/db").glob("*.log"):
        log.write_bytes(b"")
    server.start()
    with pytest.raises(AssertionError, match=r"expected|listed"):
        load.check(server)


def test_without_storage_versions_still_rise_over_kills(server_factory, rng):
    """Objects are gone with the server; no version is given out again."""
    server = server_factory("none", port=port_for_restarts())
    highest: dict[str, int] = {}
    for _ in range(5):
        with Documents(server.endpoint) as client:
            for _ in range(rng.randint(1, 30)):
                key = f"kill/s/{rng.randrange(5)}"
                version = client.put(key, b"x").version
                assert version > highest.get(key, 0)
                highest[key] = version
                if rng.random() < 0.2:
                    client.delete(key)
        server.kill()
        server.start()
