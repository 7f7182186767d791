"""Many clients at once: large objects stall nobody, and readers see whole objects in order."""

import contextlib
import queue
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.documents import Documents
from harness.flight import OPAQUE_SCHEMA, Flight, opaque_batch
from harness.wait import until
from pyarrow import flight as fl

LARGE = 256 << 20
OWN_CONNECTION = {"generic_options": [("grpc.use_local_subchannel_pool", 1)]}


def small_operations(client, app):
    """One of each kind; returns when all are answered."""
    key = f"{app}/small/o"
    version = client.put(key, b"small").version
    assert client.patch(key, b"+").version == version + 1
    assert client.get(key).value == b"small"
    assert client.get_items({"key": key})[0]["found"]
    assert client.keys(f"{app}/small/") == [key]
    client.delete(key)


@pytest.mark.slow
def test_e1_small_operations_go_on_while_a_large_object_is_read(documents, server, app):
    """The reader of 256 MiB takes nothing for a while: its reply is in progress all that time."""
    with Flight(server.endpoint, **OWN_CONNECTION) as other:
        ref = other.put_stream(f"{app}/s/o", OPAQUE_SCHEMA, [opaque_batch(bytes(1 << 20))] * 256)
        reader = other.client.do_get(fl.Ticket(ref.key))
        for _ in range(20):
            small_operations(documents, app)
        documents.patch(ref.key, b"+")
        assert documents.stat(ref.key)["version"] == 2
        chunk = reader.read_chunk().data
        assert len(chunk["data"][0].as_buffer()) == LARGE


@pytest.mark.slow
def test_e1_small_operations_go_on_while_a_large_object_is_written(documents, server, app):
    pieces: queue.Queue = queue.Queue()
    with Flight(server.endpoint, **OWN_CONNECTION) as other, ThreadPoolExecutor(1) as pool:
        upload = pool.submit(other.put_stream, f"{app}/s/o", OPAQUE_SCHEMA, iter(pieces.get, None))
        for sent in range(256):
            pieces.put(opaque_batch(bytes(1 << 20)))
            if sent % 32 == 31:
                small_operations(documents, app)
        assert documents.stat(f"{app}/s/o") == {"found": False}
        pieces.put(None)
        assert upload.result().version == 1
    assert documents.stat(f"{app}/s/o")["bytes"] == LARGE


def test_e7_fifty_stalled_transfers_leave_room_for_small_operations(documents, server, app):
    documents.put(f"{app}/s/o", bytes(8 << 20))
    with contextlib.ExitStack() as stack:
        readers, writers = [], []
        for i in range(25):
            client = stack.enter_context(Flight(server.endpoint, **OWN_CONNECTION)).client
            readers.append(client.do_get(fl.Ticket(f"{app}/s/o")))
            path = fl.FlightDescriptor.for_path(f"{app}/s/{i}")
            writers.append(client.do_put(path, OPAQUE_SCHEMA))
            writers[-1][0].write_batch(opaque_batch(b"half"))
        for _ in range(5):
            small_operations(documents, app)
        for reader in readers:
            assert len(reader.read_chunk().data["data"][0].as_buffer()) == 8 << 20
        for writer, answers in writers:
            writer.done_writing()
            assert answers.read() is not None
            writer.close()
    assert len(documents.keys(f"{app}/s/")) == 26


def test_readers_see_whole_objects_and_versions_only_rise(server, app):
    """Each version's bytes say its number; no reader sees a mixture or goes back."""
    key, stop, problems = f"{app}/s/o", threading.Event(), []

    def content(version):
        return version.to_bytes(8, "little") * 20_000

    with Documents(server.endpoint) as writer:
        writer.put(key, content(1))

        def read():
            with Documents(server.endpoint) as reader:
                last = 0
                while not stop.is_set():
                    [(version, kind, data)] = reader.get(key).rows
                    if (kind, data) != ("base", content(version)) or version < last:
                        problems.append((kind, version, last))
                    last = version
                    if reader.stat(key)["version"] < last:
                        problems.append(("stat", version))

        readers = [threading.Thread(target=read) for _ in range(3)]
        for thread in readers:
            thread.start()
        for version in range(2, 150):
            assert writer.put(key, content(version)).version == version
        stop.set()
        for thread in readers:
            thread.join()
    assert problems == []


def test_a_write_is_seen_by_every_read_that_starts_after_it(server, app):
    key = f"{app}/s/o"
    with Documents(server.endpoint) as writer, Flight(server.endpoint, **OWN_CONNECTION) as reader:
        for _ in range(200):
            version = writer.put(key, b"x").version
            assert reader.get(f"{key}:{version}").not_modified
            assert writer.stat(key)["version"] == version


def test_b1_deletes_puts_patches_and_gets_of_one_key_do_not_mix(server, rng, app):
    """After the storm what is there is whole, and a delete deletes it."""
    seed = rng.randrange(2**32)
    keys = [f"{app}/s/{i}" for i in range(3)]

    def storm(worker):
        rng = random.Random(f"{seed}-{worker}")
        acked = []
        with Documents(server.endpoint) as client:
            for _ in range(150):
                key = rng.choice(keys)
                operation = rng.choice(["put", "patch", "get", "delete", "erase", "list"])
                try:
                    if operation in ("put", "patch"):
                        acked.append((key, getattr(client, operation)(key, b"x" * 100).version))
                    elif operation == "get":
                        rows = client.get(key).rows
                        assert [kind for _, kind, _ in rows] == ["base"] + ["patch"] * (
                            len(rows) - 1
                        )
                        versions = [version for version, _, _ in rows]
                        assert versions == list(range(versions[0], versions[0] + len(rows)))
                    elif operation == "delete":
                        client.delete(f"{app}/s")
                    elif operation == "erase":
                        client.erase(key)
                    else:
                        assert set(client.keys(f"{app}/")) <= set(keys)
                except KeyError:
                    assert operation in ("get", "patch")
        return acked

    with ThreadPoolExecutor(6) as pool:
        acked = [ack for acks in pool.map(storm, range(6)) for ack in acks]
    assert len(acked) == len(set(acked))
    with Documents(server.endpoint) as client:
        client.delete(f"{app}/*")
        assert client.keys(f"{app}/") == []
        for key in keys:
            assert not client.stat(key)["found"]
            highest = max([v for k, v in acked if k == key], default=0)
            assert client.put(key, b"x").version > highest


def test_b5_sizes_add_up_after_many_writers(documents, server, app):
    """What stat and list say is the sum of what is there, whoever wrote at the same time."""
    keys = [f"{app}/s/{i}" for i in range(4)]
    for key in keys:
        documents.put(key, b"b" * 100)

    def write(worker):
        with Documents(server.endpoint) as client:
            for i in range(60):
                key = keys[(worker + i) % 4]
                (client.put if i % 10 == 9 else client.patch)(key, b"x" * (worker + i))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    listed = {
        info.descriptor.path[0].decode(): info.total_bytes for info in documents.list(f"{app}/")
    }
    for key in keys:
        rows = documents.get(key).rows
        total = sum(len(data) for _, _, data in rows)
        assert documents.stat(key)["bytes"] == listed[key] == total
        assert documents.stat(key)["patches"] == len(rows) - 1


@pytest.mark.slow
def test_b4_asking_for_absent_keys_costs_no_memory(server_factory):
    server = server_factory()
    with Documents(server.endpoint) as client:

        def ask(start):
            for first in range(start, start + 50_000, 1000):
                client.get_items(
                    *[{"key": f"absent/s/{i:040}"} for i in range(first, first + 1000)]
                )
            return server.resident_bytes()

        before = ask(0)
        after = ask(50_000)
        assert after - before < 4 << 20


@pytest.mark.slow
def test_e3_an_upload_is_held_in_memory_about_once(server_factory):
    """Beside it there is what gRPC reads ahead: some 100 MiB on loopback, whatever is sent."""
    server = server_factory()
    with Flight(server.endpoint) as client:
        client.put("app/s/warm", bytes(1 << 20))
        before = server.peak_bytes()
        client.put_stream("app/s/o", OPAQUE_SCHEMA, [opaque_batch(bytes(1 << 20))] * 512)
        assert server.peak_bytes() - before < 1.5 * 2 * LARGE


@pytest.mark.slow  # And a sanitizer's allocator would be what is measured.
def test_a_held_upload_takes_its_own_bytes(server_factory):
    """Messages a little above 1 MiB: neither steps of the allocator nor huge pages add to them."""
    server = server_factory()
    with Flight(server.endpoint) as client:
        client.put("app/s/warm", bytes(1 << 20))
        before = server.resident_bytes()
        client.put_stream("app/s/o", OPAQUE_SCHEMA, [opaque_batch(bytes(1 << 20))] * 128)
        until(
            lambda: server.resident_bytes() - before < 1.15 * LARGE / 2,
            "what is held is little more than the object",
        )


@pytest.mark.slow
def test_e1_a_read_copies_no_payload(server_factory):
    """256 MiB, eight readers at once: the server grows by less than half a copy each."""
    server = server_factory()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Flight(server.endpoint, **OWN_CONNECTION)) for _ in range(8)]
        clients[0].put_stream("app/s/o", OPAQUE_SCHEMA, [opaque_batch(bytes(1 << 20))] * 256)
        before = server.peak_bytes()
        readers = [client.client.do_get(fl.Ticket("app/s/o")) for client in clients]
        small_operations(stack.enter_context(Documents(server.endpoint)), "app")
        del readers
        assert server.peak_bytes() - before < 4 * LARGE


def test_e1_patches_cost_the_same_however_many_there_are(documents, app):
    """N patches of a 16 MiB object would copy N times 16 MiB: the server would need seconds."""
    key = f"{app}/s/o"
    documents.put(key, bytes(16 << 20))
    before = documents.stat(key)["bytes"]
    items = [{"key": key, "op": "patch", "data": b"p"} for _ in range(900)]
    answers = documents.put_items(*items)
    assert [answer["version"] for answer in answers] == list(range(2, 902))
    assert documents.stat(key)["bytes"] == before + 900
