"""The pages for monitoring: where they are served, health, and what the metrics count."""

import os
import re
import resource
import signal
import socket
import threading
from pathlib import Path

import pyarrow as pa
import pytest
from harness.documents import Documents
from harness.flight import OPAQUE_SCHEMA, opaque_batch
from harness.monitoring import fetch, scrape
from harness.server import run_binary
from harness.wait import until

ROOT = Path(__file__).resolve().parents[2]
ANY = ("--http-endpoint", "http://127.0.0.1:0")


@pytest.fixture(params=["none", "fs"])
def watched(request, server_factory):
    """A server of the test's own with its pages on, on each storage."""
    return server_factory(request.param, args=ANY)


def taken_port():
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    return taken


# Where.


def test_port_0_is_any_free_one_and_the_ready_line_names_it(server_factory):
    server = server_factory(args=ANY)
    assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", server.http)
    assert fetch(f"{server.http}/healthz") == (200, "alive\n")


def test_off_serves_nothing(server_factory):
    assert server_factory(args=("--http-endpoint", "off")).http == ""


def test_metrics_listen_is_another_name(server_factory):
    assert server_factory(args=("--metrics-listen", "127.0.0.1:0")).http


def test_the_environment_and_the_file_say_where_as_well(server_factory, tmp_path):
    done = run_binary(tmp_path, "--print-config", FLAME_CACHE_HTTP_ENDPOINT="localhost:81")
    assert "endpoint: http://localhost:81 " in done.stdout
    file = tmp_path / "flame-cluster.yaml"
    file.write_text("cache:\n  http:\n    endpoint: off\n")
    done = run_binary(tmp_path, "--print-config", "--config", str(file))
    assert re.search(r'http:\n    endpoint: "off"', done.stdout)


@pytest.mark.parametrize("url", ["https://127.0.0.1:0", "grpc://127.0.0.1:0", "http://192.0.2.1:0"])
def test_an_endpoint_that_cannot_be_is_one_clear_line(tmp_path, url):
    done = run_binary(
        tmp_path, "--storage", "none", "--endpoint", "grpc://127.0.0.1:0", "--http-endpoint", url
    )
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert "http" in line


def test_a_configured_port_that_is_taken_is_one_clear_line_and_1(tmp_path):
    with taken_port() as taken:
        port = taken.getsockname()[1]
        done = run_binary(
            tmp_path,
            *("--storage", "none", "--endpoint", "grpc://127.0.0.1:0"),
            *("--http-endpoint", f"127.0.0.1:{port}"),
        )
    assert done.returncode == 1
    assert done.stdout == ""
    [line] = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert str(port) in line
    assert "--http-endpoint" in line


def test_the_default_port_that_is_taken_is_a_warning(server_factory, monkeypatch):
    """Whoever has 9092: a second server with the default goes on without."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 9092))
            taken.listen()
        except OSError:
            pass  # Somebody else has it, which is as good.
        server = server_factory(start=False)
        args = server.command()
        off = args.index("--http-endpoint")
        monkeypatch.setattr(server, "command", lambda: args[:off] + args[off + 2 :])
        server.start()
        assert server.http == ""
        assert "127.0.0.1:9092" in server.log()
        assert "WARN" in server.log()
        with Documents(server.endpoint) as client:
            client.put("app/s/o", b"x")


# Pages.


def test_the_index_names_the_pages(watched):
    status, text = fetch(f"{watched.http}/")
    assert status == 200
    for page in re.findall(r"^(/\S+)", text, re.M):
        assert fetch(watched.http + page)[0] == 200
    assert text.count("/") >= 3


def test_head_404_and_405(watched):
    assert fetch(f"{watched.http}/metrics", "HEAD") == (200, "")
    assert fetch(f"{watched.http}/nothing")[0] == 404
    assert fetch(f"{watched.http}/metrics", "POST")[0] == 405


def test_a_draining_server_is_alive_and_not_ready(server_factory):
    server = server_factory(args=ANY)
    assert fetch(f"{server.http}/readyz") == (200, "ready\n")
    with Documents(server.endpoint) as client:
        descriptor = pa.flight.FlightDescriptor.for_path("app/s/o")
        writer, reader = client.client.do_put(descriptor, OPAQUE_SCHEMA)
        writer.write_batch(opaque_batch(b"x"))
        until(
            lambda: scrape(server.http)("flame_running_requests", door="flight") == 1,
            "the upload runs",
        )
        server.process.send_signal(signal.SIGTERM)
        until(lambda: fetch(f"{server.http}/readyz")[0] == 503, "the server drains")
        assert fetch(f"{server.http}/readyz")[1] == "stopping\n"
        assert fetch(f"{server.http}/healthz")[0] == 200
        writer.done_writing()
        reader.read()
        writer.close()
    assert server.wait() == 0


def test_scrapers_and_slow_ones_do_not_disturb_the_cache(watched):
    host, port = watched.http.removeprefix("http://").split(":")
    slow = [socket.create_connection((host, int(port))) for _ in range(200)]
    for connection in slow:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nX-Slow: ")
    stop = threading.Event()
    scrapes = []

    def scraper():
        while not stop.is_set():
            scrapes.append(len(scrape(watched.http).samples))

    threads = [threading.Thread(target=scraper) for _ in range(2)]
    for thread in threads:
        thread.start()
    with Documents(watched.endpoint) as client:
        for _ in range(200):
            client.put("app/s/o", b"x")
            assert client.get("app/s/o").value == b"x"
    until(lambda: len(scrapes) >= 2, "the pages are served as well")
    stop.set()
    for thread in threads:
        thread.join()
    for connection in slow:
        connection.close()
    watched.stop()


# Metrics.


def flight(operation):
    return {"door": "flight", "operation": operation}


def test_names_follow_the_conventions(watched):
    metrics = scrape(watched.http)
    for name, kind in metrics.kinds.items():
        assert name.startswith("flame_"), name
        assert name.endswith("_total") == (kind == "counter"), name
        assert not re.search(r"_(ms|us|kb|mb|millis|micros|percent)(_|$)", name), name
    assert len(metrics.samples) < 1000


def test_no_label_holds_what_clients_choose(watched):
    with Documents(watched.endpoint) as client:
        client.put("secret-app/secret-session/secret-object", b"x")
        client.get("secret-app/secret-session/secret-object")
        with pytest.raises(KeyError):
            client.get("secret-app/s/absent")
        with pytest.raises(pa.ArrowInvalid):
            client.action("secret-action")
    _, text = fetch(f"{watched.http}/metrics")
    assert "secret" not in text


def test_every_call_is_counted_once_under_its_operation(watched):
    table = pa.table({"n": [1, 2, 3]})
    with Documents(watched.endpoint) as client:
        before = scrape(watched.http)
        client.put("app/s/o", b"x" * 1000)
        client.put_table("app/s/t", table)
        client.patch("app/s/o", b"+" * 100)
        client.put_items({"key": "app/s/i", "data": b"x"}, {"key": "bad", "data": b"x"})
        client.get("app/s/o")
        client.fetch("app/s/o", known=1)
        client.fetch("app/s/o", known=2)
        with pytest.raises(KeyError):
            client.get("app/s/absent")
        client.get_items({"key": "app/s/o"}, {"key": "app/s/absent"})
        client.stat("app/s/o")
        client.keys("app/")
        client.page("app/")
        _, cursor = client.feed()
        client.feed(cursor)
        client.info("app/s/o")
        client.schema("app/s/o")
        client.call("flame.info")
        client.erase("app/s/t")
        client.delete("app/s")
        with pytest.raises(pa.ArrowInvalid):
            client.action("nonsense")
        expected = {
            "put": 2,
            "patch": 1,
            "batch_put": 1,
            "get": 4,
            "batch_get": 1,
            "stat": 1,
            "list": 2,
            "feed": 2,
            "info": 3,
            "delete": 2,
            "unknown": 1,
        }

        def counted(after):
            return {
                operation: after("flame_requests_total", **flight(operation))
                - before("flame_requests_total", **flight(operation))
                for operation in expected
            }

        # The last bytes of an answer are with the client before the call has ended.
        until(lambda: counted(scrape(watched.http)) == expected, "every call is counted")
    after = scrape(watched.http)
    for operation, calls in expected.items():
        name = "flame_request_duration_seconds_count"
        assert after(name, **flight(operation)) - before(name, **flight(operation)) == calls
    errors = {
        (labels["operation"], labels["code"])
        for labels in after.series("flame_request_errors_total")
    }
    assert errors == {("get", "not_found"), ("batch_put", "invalid"), ("unknown", "invalid")}
    assert after("flame_incremental_replies_total", door="flight") == 1
    received = after("flame_request_received_bytes_total", **flight("put"))
    assert 1000 < received < 5000
    assert after("flame_request_sent_bytes_total", **flight("get")) > 1000
    until(
        lambda: scrape(watched.http)("flame_running_requests", door="flight") == 0,
        "no call runs",
    )
    assert scrape(watched.http)("flame_in_flight_bytes", direction="in") == 0
    assert scrape(watched.http)("flame_in_flight_bytes", direction="out") == 0


def test_what_is_stored_is_counted(watched):
    with Documents(watched.endpoint) as client:
        for i in range(20):
            client.put(f"app/s/{i}", b"x" * 1000)
        client.put("app/s/large", b"x" * 1_000_000)
        client.patch("app/s/large", b"+" * 500)
        client.delete("app/s/0")
        metrics = scrape(watched.http)
        assert metrics("flame_storage_objects_estimate") == 20
        assert metrics("flame_storage_bytes_estimate") == 19 * 1000 + 1_000_500
        assert metrics("flame_cache_tombstones") == 1
        assert metrics("flame_storage_quarantined_files_total") == 0
        if watched.storage_dir:
            assert metrics("flame_storage_rocksdb_memtable_bytes") > 0
            assert metrics("flame_storage_disk_size_bytes") > metrics(
                "flame_storage_disk_free_bytes"
            )


@pytest.mark.memory
def test_the_process_is_described(watched):
    metrics = scrape(watched.http)
    # The kernel adds up both sizes from three counters per CPU, each of which may lag by a batch of
    # pages (percpu_counter_batch): so much the peak may seem to lie below.
    cpus = os.cpu_count()
    lag = 3 * cpus * max(32, 2 * cpus) * resource.getpagesize()
    resident = metrics("flame_process_resident_memory_bytes")
    assert 0 < resident <= watched.peak_bytes() + lag
    assert metrics("flame_process_cpu_seconds_total") > 0
    assert metrics("flame_process_threads") > 1

    def open_fds():  # Connections come and go, and those of the start are not all made yet.
        seen = len(list(Path(f"/proc/{watched.pid}/fd").iterdir()))
        return abs(scrape(watched.http)("flame_process_open_fds") - seen) <= 3

    until(open_fds, "the page and /proc agree on the open descriptors")
    assert metrics("flame_process_start_time_seconds") > 1_600_000_000
    [info] = metrics.series("flame_build_info")
    assert re.fullmatch(r"\d+\.\d+\.\d+", info["version"])


def test_the_manual_names_every_metric_and_no_other(server_factory):
    exported = scrape(server_factory("fs", args=ANY).http).kinds
    manual = (ROOT / "docs/operating/metrics.md").read_text()
    rows = dict(re.findall(r"^\| `(flame_\w+)` \| (\w+) \|", manual, re.M))
    assert rows == exported
