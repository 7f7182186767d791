"""Limits: what one client may take, and that it costs the others nothing."""

import threading

import bson
import pyarrow as pa
import pytest
from harness.documents import Documents
from harness.errors import refused
from harness.flight import NATIVE, OPAQUE_SCHEMA, Flight, native, opaque_batch
from harness.monitoring import scrape
from harness.wait import until
from pyarrow import flight as fl

MIB = 1 << 20


@pytest.fixture(params=["none", "fs"])
def limited(request, server_factory):
    """Start a server with these limits, on each storage: `limited(object="1M")`."""

    def start(**limits):
        args = ["--http-endpoint", "127.0.0.1:0"]
        for name, value in limits.items():
            args += [f"--limits-{name.replace('_', '-')}", str(value)]
        return server_factory(request.param, args=args)

    return start


# The largest object.


def test_an_object_over_the_limit_is_refused_in_every_way_it_can_come(limited):
    server = limited(object="1M")
    with Documents(server.endpoint) as client:
        over = b"x" * (MIB + 1)
        calls = [
            lambda: client.put("app/s/o", over),
            lambda: client.put("app/s/o", *[b"x" * 100_000] * 11),
            lambda: client.put_stream(
                "app/s/o", OPAQUE_SCHEMA, [opaque_batch(b"x" * 100_000)] * 11
            ),
            lambda: client.put_table("app/s/o", pa.table({"n": list(range(200_000))})),
            lambda: client.command("put", "app/s/o", over),
        ]
        for call in calls:
            with refused("too_large") as refusal:
                call()
            assert "limits.object" in refusal.message
            assert refusal.values["outcome"] == "not_applied"
        answer = client.put_item("app/s/o", over)
        assert answer["error"]["code"] == "too_large"
        assert client.stat("app/s/o") == {"found": False}
        client.put("app/s/o", b"x" * (MIB - 100))  # The version column counts, too.
        with refused("too_large"):
            client.patch("app/s/o", over)
        with refused("too_large") as refusal:
            client.patch("app/s/o", b"x" * 101)  # The object with its patches, too.
        assert "limits.object" in refusal.message
        assert client.stat("app/s/o")["patches"] == 0
    assert scrape(server.http)("flame_in_flight_bytes", direction="in") == 0


def test_the_sdk_knows_too_large_and_exhausted():
    from flamepy.core import errors, failures

    assert isinstance(
        failures.from_document({"code": "too_large", "message": "m"}, "put"), errors.TooLarge
    )
    assert isinstance(
        failures.from_document({"code": "exhausted", "message": "m"}, "put"),
        errors.ResourceExhausted,
    )


def test_an_upload_that_can_never_fit_is_not_waited_for(limited):
    """Several batches that fit one by one, and not together: refused at once, not after 10 s."""
    server = limited(in_flight="4M")
    with Documents(server.endpoint) as client:
        with refused("too_large"):
            client.put_stream("app/s/o", OPAQUE_SCHEMA, [opaque_batch(bytes(MIB))] * 6)
        assert client.put("app/s/o", b"x").version == 1


@pytest.mark.slow
def test_messages_that_are_refused_cost_no_more_than_documented(limited):
    """The transport holds a whole message before we see it: twice its size, and no longer."""
    clients, size = 4, 32 * MIB
    server = limited(in_flight="8M")
    before = server.resident_bytes()
    batch = opaque_batch(bytes(size))

    def send(i):
        with Flight(server.endpoint) as client, refused("too_large"):
            client.put_stream(f"app/s/{i}", OPAQUE_SCHEMA, [batch])

    threads = [threading.Thread(target=send, args=(i,)) for i in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.peak_bytes() - before < 2 * clients * size + 32 * MIB
    assert scrape(server.http)("flame_in_flight_bytes", direction="in") == 0


# What an upload holds beyond its bytes.


def test_many_small_batches_count_for_the_memory_they_take(limited):
    server = limited(in_flight="8M")
    with Documents(server.endpoint) as client:
        schema = native(pa.table({"n": pa.array([], pa.int64())})).schema
        empty = pa.record_batch([pa.array([], pa.int64())], schema=schema)
        with refused("too_large"):
            client.put_stream("app/s/o", schema, [empty] * 60_000)
        holes = opaque_batch(*[b"ab", None] * 1000)
        client.put_stream("app/s/o", OPAQUE_SCHEMA, [holes] * 20)
        assert client.get("app/s/o").value == b"ab" * 20_000


def test_nested_and_encoded_columns_count_in_full(limited):
    server = limited(object="1M")
    lists = pa.table({"l": [[list(range(1000))]] * 300})
    words = pa.array(["w" * 1000 + str(i) for i in range(2000)])
    encoded = pa.table({"d": words.dictionary_encode()})
    with Documents(server.endpoint) as client:
        for table in (lists, encoded):
            with refused("too_large"):
                client.put_table("app/s/o", table)


@pytest.mark.slow  # A sanitizer's allocator keeps what was freed.
def test_columns_that_are_ignored_are_not_kept(limited):
    """An opaque object is its data column: the rest of the message must not stay in memory."""
    server = limited()
    schema = pa.schema([("version", pa.uint64()), ("data", pa.binary()), ("more", pa.binary())])
    data = [pa.array([0], pa.uint64()), pa.array([bytes(20_000)]), pa.array([bytes(8 * MIB)])]
    batch = pa.record_batch(data, schema=schema)
    with Documents(server.endpoint) as client:
        client.put_stream("app/s/first", schema, [batch])
        before = server.resident_bytes()
        for i in range(40):
            client.put_stream(f"app/s/{i}", schema, [batch])
        assert client.get("app/s/7").value == bytes(20_000)
        grown = server.resident_bytes() - before
    assert grown < 120 * MIB, f"{grown / MIB:.0f} MiB for 40 objects of 20 kB"


def test_a_schema_that_is_too_large_is_refused(limited):
    server = limited()
    schema = pa.schema([("n", pa.int64())], metadata={**NATIVE, b"notes": bytes(17 * MIB)})
    with Documents(server.endpoint) as client, refused("too_large") as refusal:
        client.put_stream("app/s/o", schema, [pa.record_batch([pa.array([1])], schema=schema)])
    assert "schema" in refusal.message


def test_items_that_become_huge_are_refused(limited):
    """A compression bomb: 64 MiB of zeros in some kilobytes."""
    server = limited(object="16M", in_flight="32M")
    sink = pa.BufferOutputStream()
    table = pa.table({"x": pa.nulls(8 * MIB, pa.int64()).fill_null(0)})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    bomb = sink.getvalue().to_pybytes()
    assert len(bomb) < MIB
    with Documents(server.endpoint) as client:
        answer = client.put_item("app/s/o", bomb, kind="native")
        assert answer["error"]["code"] == "too_large", answer
        small = pa.table({"x": [0] * 1000})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, small.schema, options=options) as writer:
            writer.write_table(small)
        client.put_item("app/s/o", sink.getvalue().to_pybytes(), kind="native")
        assert client.get("app/s/o").table.num_rows == 1000


# Calls that run at once.


def test_more_calls_than_may_run_are_refused_and_the_others_go_on(limited):
    server = limited(streams=3)
    with Documents(server.endpoint) as client:
        _, cursor = client.feed()
        answers = []

        def wait():
            with Documents(server.endpoint) as watcher:
                answers.append(watcher.feed(cursor, wait_ms=60_000)[0])

        waiting = [threading.Thread(target=wait) for _ in range(3)]
        for thread in waiting:
            thread.start()
        running = lambda: scrape(server.http)("flame_running_requests", door="flight")  # noqa: E731
        until(lambda: running() == 3, "three calls run")
        for call in (
            lambda: client.put("app/s/o", b"x"),
            lambda: client.get("app/s/o"),
            lambda: client.keys(""),
            lambda: client.stat("app/s/o"),
            lambda: client.info("app/s/o"),
        ):
            with refused("exhausted") as refusal:
                call()
            assert "limits.streams" in refusal.message
        server.process.send_signal(15)
        for thread in waiting:
            thread.join(30)
        assert len(answers) == 3
    assert server.wait() == 0


def test_a_refused_call_counts_no_longer(limited):
    server = limited(streams=1)
    with Documents(server.endpoint) as client:
        for i in range(20):
            until(
                lambda: scrape(server.http)("flame_running_requests", door="flight") == 0,
                "no call runs",
            )
            assert client.put("app/s/o", b"x").version == i + 1


# Replies.


class Stalled:
    """A client that asks for an object of many messages and does not read them."""

    def __init__(self, endpoint, key):
        # A connection of its own, whose window stays small however fast the line is.
        options = {"grpc.use_local_subchannel_pool": 1, "grpc.http2.bdp_probe": 0}
        self.client = Flight(endpoint, generic_options=list(options.items()))
        self.reader = self.client.client.do_get(fl.Ticket(key))

    def close(self):
        self.reader.cancel()
        self.client.client.close()


def put_messages(client, key, count=24):
    """A table of `count` messages of 1 MiB, more than gRPC takes off our hands; its size."""
    batch = pa.record_batch({"n": pa.nulls(MIB // 8, pa.int64()).fill_null(7)})
    client.put_table(key, pa.Table.from_batches([batch] * count))
    return client.stat(key)["bytes"]


def test_clients_who_do_not_read_hold_no_more_than_the_limit(limited):
    server = limited(in_flight="80M", object="32M")
    out = lambda: scrape(server.http)("flame_in_flight_bytes", direction="out")  # noqa: E731
    running = lambda: scrape(server.http)("flame_running_requests", door="flight")  # noqa: E731
    with Documents(server.endpoint) as client:
        sizes = [put_messages(client, f"app/s/{i}") for i in range(6)]
        stalled = [Stalled(server.endpoint, f"app/s/{i}") for i in range(3)]
        until(lambda: out() == sum(sizes[:3]), "three replies are held")
        # One object is counted once, however many read it.
        more = [Stalled(server.endpoint, "app/s/0") for _ in range(5)]
        until(lambda: running() == 8, "eight replies run")
        assert out() == sum(sizes[:3])
        with refused("exhausted"):
            client.get("app/s/5")
        # Writers, and readers of small objects, do not notice.
        assert put_messages(client, "app/s/6") == sizes[0]
        client.put("app/s/small", b"x")
        assert client.get("app/s/small").value == b"x"
        for reader in [*stalled, *more]:
            reader.close()
        until(lambda: out() == 0, "what they held is given back")
        assert client.get("app/s/5").table.num_rows == 24 * MIB // 8


def test_an_object_larger_than_the_limit_of_replies_can_be_read(server_factory):
    """It was put when there was more room."""
    server = server_factory("fs", args=("--limits-in-flight", "64M"))
    with Documents(server.endpoint) as client:
        client.put("app/s/o", bytes(32 * MIB))
    server.stop()
    smaller = server_factory(f"fs://{server.storage_dir}", args=("--limits-in-flight", "8M"))
    with Documents(smaller.endpoint) as client:
        assert client.get("app/s/o").value == bytes(32 * MIB)


# Pages and batches.


def test_a_page_has_no_more_objects_than_the_limit(limited):
    server = limited(list_objects=100)
    with Documents(server.endpoint) as client:
        client.put_items(*[{"key": f"app/s/{i:03}", "data": b"x"} for i in range(100)])
        client.put_items(*[{"key": f"app/s/{i:03}", "data": b"x"} for i in range(100, 150)])
        with refused("too_large") as refusal:
            client.page("app/", limit=101)
        assert "limits.list_objects" in refusal.message
        objects, end = client.page("app/", limit=100)
        assert (len(objects), end) == (100, False)
        # Who does not say gets what there may be.
        *objects, last = client.call("flame.list", prefix="app/")
        assert (len(objects), last) == (100, {"end": False})
        _, cursor = client.feed()
        with refused("too_large"):
            client.feed(cursor, limit=101)
        with refused("too_large"):
            client.put_items(*[{"key": f"app/t/{i:03}", "data": b"x"} for i in range(101)])
        assert client.keys("app/t/") == []
        with refused("too_large"):
            client.get_items(*[{"key": "app/s/001"}] * 101)
        # Stock clients have no pages: what is held is bounded, not what is told.
        assert len(client.keys("app/")) == 150


def test_a_page_ends_when_it_is_full_and_the_next_goes_on(limited):
    server = limited(list_bytes="4K")
    with Documents(server.endpoint) as client:
        names = [f"app/s/{i:03}" for i in range(150)]
        client.put_items(*[{"key": name, "data": b"x"} for name in names])
        found, after, end = [], "", False
        while not end:
            objects, end = client.page("app/", after)
            assert sum(len(bson.encode(o)) for o in objects) < 5000
            found += [o["key"] for o in objects]
            after = found[-1]
        assert found == names


def test_a_batch_of_reads_says_stream_when_it_is_full(limited):
    server = limited(list_bytes="1M")
    with Documents(server.endpoint) as client:
        client.put("app/s/o", bytes(300_000))
        answers = client.get_items(*[{"key": "app/s/o"}] * 10, inline_max=1 << 30)
        assert [a["reply"] for a in answers] == ["full"] * 3 + ["stream"] * 7


def test_a_gap_in_the_feed_tells_everything_and_holds_little(limited, server_factory):
    with Documents(server_factory().endpoint) as other:
        _, foreign = other.feed()
    server = limited(list_objects=1000)
    with Documents(server.endpoint) as client:
        for page in range(5):
            client.put_items(*[{"key": f"app/s/{page}{i:03}", "data": b"x"} for i in range(1000)])
        client.put("other/s/o", b"x")
        events, cursor = client.feed(foreign, "app/", limit=10)
        assert events[0]["event"] == "gap"
        assert [e["key"] for e in events[1:]] == client.keys("app/")
        client.put("app/s/later", b"x")
        assert [e["key"] for e in client.feed(cursor, "app/")[0]] == ["app/s/later"]


def test_requests_and_tickets_of_megabytes_are_refused_with_a_short_message(limited):
    server = limited()
    huge = "a/s/" + "o" * (8 * MIB)
    with Documents(server.endpoint) as client:
        for call in (
            lambda: client.get(huge),
            lambda: client.put(huge, b"x"),
            lambda: client.info(huge),
            lambda: client.action("DELETE", huge.encode()),
            lambda: client.action("X" * MIB),
            lambda: client.stat(huge),
            lambda: client.page(huge, limit=-1),
        ):
            with refused("invalid") as refusal:
                call()
            assert len(refusal.message) < 3000
        with refused("too_large"):
            client.action("DELETE", bytes(65 * MIB))
        with refused("too_large"):
            client.action("flame.get", bytes(65 * MIB))
