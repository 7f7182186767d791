"""Starting and stopping: what is printed, exit codes, requests in progress."""

import re
import signal
import socket
import threading

import pytest
from harness.errors import refused
from harness.flight import OPAQUE_SCHEMA, Flight, Ref, opaque_batch
from harness.server import run_binary
from harness.wait import until
from pyarrow import flight as fl


def test_the_ready_line_says_where_and_what(server_factory):
    server = server_factory()
    assert re.fullmatch(
        rf"flame-object-cache \d+\.\d+\.\d+ ready on grpc://127.0.0.1:{server.port} "
        rf"\(listening on 127.0.0.1:{server.port}, storage none\)",
        server.ready_line,
    )


def test_the_ready_line_is_all_that_goes_to_standard_output(server_factory):
    server = server_factory(args=("--log-level", "trace"))
    with Flight(server.endpoint) as client:
        client.put("app/s/o", b"x")
    server.process.send_signal(signal.SIGTERM)
    assert server.process.stdout.read() == b""
    assert server.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_server_with_0(server_factory, number):
    server = server_factory()
    server.process.send_signal(number)
    assert server.wait() == 0
    assert "stopped" in server.log()


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_version_is_printed(tmp_path, flag):
    done = run_binary(tmp_path, flag)
    assert done.returncode == 0
    assert re.fullmatch(r"flame-object-cache \d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_printed(tmp_path, flag):
    done = run_binary(tmp_path, flag)
    assert done.returncode == 0
    assert "--endpoint" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("flags", [("--no-such-flag",), ("--endpoint",), ("stray",)])
def test_a_bad_command_line_ends_with_2(tmp_path, flags):
    done = run_binary(tmp_path, *flags)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert "--help" in done.stderr


def test_d11_help_version_and_print_config_create_no_file(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    run_binary(home, "--version")
    before = sorted(home.rglob("*"))
    for flag in ("--help", "--version", "--print-config"):
        assert run_binary(home, flag).returncode == 0
    assert sorted(home.rglob("*")) == before


def test_d11_a_server_writes_no_log_file_unless_asked(server_factory):
    server = server_factory()
    with Flight(server.endpoint) as client:
        client.put("app/s/o", b"x")
    files = {path.name for path in server.home.rglob("*") if path.is_file()}
    assert {name for name in files if "log" in name} == {"server.log"}


def test_d11_a_server_says_when_it_stops_without_being_asked_to_log(server_factory):
    server = server_factory()
    server.stop()
    assert re.search(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.*INFO.*stopped", server.log(), re.M)


def test_a_port_in_use_is_one_clear_line_and_1(tmp_path, server_factory):
    server = server_factory()
    done = run_binary(tmp_path, "--endpoint", server.endpoint, "--storage", "none")
    assert done.returncode == 1
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith(
        f"Error: cannot listen on 127.0.0.1:{server.port}: Address already in use"
    )
    assert server.alive()


def test_an_address_of_another_machine_is_one_clear_line_and_1(tmp_path):
    done = run_binary(tmp_path, "--bind", "192.0.2.1:9", "--storage", "none")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "192.0.2.1:9" in line


def test_a9_a_stop_waits_for_an_upload_in_progress(server_factory):
    server = server_factory()
    with Flight(server.endpoint) as client:
        writer, reader = client.client.do_put(
            fl.FlightDescriptor.for_path("app/s/o"), OPAQUE_SCHEMA
        )
        for _ in range(32):  # More than is on the way unread: the server is at it.
            writer.write_batch(opaque_batch(bytes(1 << 20)))
        server.process.send_signal(signal.SIGTERM)
        server.await_log("stopping")
        writer.write_batch(opaque_batch(b"the end"))
        writer.done_writing()
        assert Ref.decode(reader.read().to_pybytes()).version == 1
        writer.close()
    assert server.wait() == 0


def test_a9_a_stop_waits_for_a_reader_in_progress(server_factory):
    server = server_factory()
    with Flight(server.endpoint) as client:
        client.put_stream("app/s/o", OPAQUE_SCHEMA, [opaque_batch(bytes(1 << 20))] * 64)
        reader = client.client.do_get(fl.Ticket("app/s/o"))
        server.process.send_signal(signal.SIGTERM)
        server.await_log("stopping")
        assert len(reader.read_chunk().data["data"][0].as_buffer()) == 64 << 20
    assert server.wait() == 0


def test_a9_an_upload_that_never_ends_is_cut_off_after_the_drain_time(server_factory):
    server = server_factory(args=("--drain-timeout", "200ms"))
    with Flight(server.endpoint) as client:
        writer, reader = client.client.do_put(
            fl.FlightDescriptor.for_path("app/s/o"), OPAQUE_SCHEMA
        )
        for _ in range(32):
            writer.write_batch(opaque_batch(bytes(1 << 20)))
        server.process.send_signal(signal.SIGTERM)
        assert reader.read() is None
        with pytest.raises(fl.FlightError):
            writer.close()
    assert server.wait() == 0


def test_a_stopping_server_takes_no_new_request_and_wakes_those_who_wait(server_factory):
    from harness.documents import Documents

    server = server_factory()
    with Documents(server.endpoint) as client, Documents(server.endpoint) as watcher:
        _, cursor = watcher.feed()
        woken = threading.Thread(target=lambda: watcher.feed(cursor, wait_ms=60_000), daemon=True)
        woken.start()
        client.put("app/s/o", b"x")
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        woken.join(30)
        assert not woken.is_alive()
        with pytest.raises(fl.FlightUnavailableError):
            client.put("app/s/o", b"x")


def test_a_second_signal_does_no_harm(server_factory):
    server = server_factory()
    for _ in range(3):
        server.process.send_signal(signal.SIGTERM)
    assert server.wait() == 0


def test_a_restart_takes_the_same_port_at_once(server_factory):
    server = server_factory(env={})
    port = server.port
    with Flight(server.endpoint) as client:
        client.put("app/s/o", b"x")
        server.kill()
        server.restart()
        assert server.port == port
        with refused("not_found"):
            until(lambda: client.get("app/s/o"), "an answer")


def test_a_server_without_a_client_listens_only_where_it_says(server_factory):
    server = server_factory()
    with socket.socket() as probe:
        probe.settimeout(5)
        assert probe.connect_ex(("127.0.0.2", server.port)) != 0
