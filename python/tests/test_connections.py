"""Connections: lost ones, slow ones, inherited ones."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import time

import flamepy
import pytest
from flamepy import get_object, put_object
from flamepy.core import transport


@pytest.fixture
def nowhere(home, monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("FLAME_CACHE_ENDPOINT", f"grpc://127.0.0.1:{port}")


def test_f7_no_server_is_a_typed_error(nowhere, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(1_000_000))
    for call in (
        lambda: put_object("a/b", 1),
        lambda: put_object("a/b", bytes(1_000_000)),
        lambda: flamepy.upload_object("a/b", file),
        lambda: flamepy.delete_objects("a/b"),
        lambda: list(flamepy.list_objects("a/b")),
    ):
        with pytest.raises(ConnectionError, match="check the endpoint") as caught:
            call()
        assert isinstance(caught.value, flamepy.Unavailable)


def test_f6_a_restarted_server_is_found_again(start_server, home, monkeypatch, tmp_path):
    first = start_server(storage=tmp_path / "storage")
    monkeypatch.setenv("FLAME_CACHE_ENDPOINT", first.endpoint)
    ref = put_object("a/b", [1], name="n")
    assert get_object(ref) == [1]
    first.process.kill()
    first.process.wait()
    with pytest.raises(flamepy.Unavailable):
        get_object(ref)
    start_server(storage=tmp_path / "storage", port=int(first.endpoint.rpartition(":")[2]))
    assert get_object(ref) == [1]
    assert flamepy.update_object(ref, [2]).version == 2


def test_a_write_that_found_a_dead_connection_is_repeated(
    start_server, home, monkeypatch, tmp_path
):
    server = start_server(storage=tmp_path / "storage")
    monkeypatch.setenv("FLAME_CACHE_ENDPOINT", server.endpoint)
    ref = put_object("a/b", [1], name="n")
    server.process.kill()
    server.process.wait()
    start_server(storage=tmp_path / "storage", port=int(server.endpoint.rpartition(":")[2]))
    assert flamepy.update_object(ref, [2]).version == 2
    assert get_object(ref) == [2]


def test_a_server_that_does_not_answer_in_time(start_server, home, monkeypatch):
    server = start_server()
    monkeypatch.setenv("FLAME_CACHE_ENDPOINT", server.endpoint)
    ref = put_object("a/b", [1])
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        for call in (
            lambda: get_object(ref, timeout=0.3),
            lambda: flamepy.update_object(ref, [2], timeout=0.3),
            lambda: flamepy.update_object(ref, bytes(1_000_000), timeout=0.3),
            lambda: flamepy.stat_object(ref, timeout=0.3),
        ):
            start = time.monotonic()
            with pytest.raises(TimeoutError) as caught:
                call()
            assert isinstance(caught.value, flamepy.Timeout)
            assert time.monotonic() - start < 5
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    assert get_object(ref, timeout=10)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_senseless_timeouts(client, timeout):
    with pytest.raises(ValueError, match="timeout"):
        put_object("a/b", 1, timeout=timeout)


def test_op_ids_rise_and_differ_between_processes():
    first, second = transport.next_op_id(), transport.next_op_id()
    assert len(first) == 16
    assert first[:8] == second[:8]
    assert first[8:] < second[8:]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, transport.next_op_id())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 16)[:8] != first[:8]


def _child(ref, results):
    results.put((get_object(ref), get_object(put_object("a/b", [2]))))


def test_a_forked_child_has_connections_of_its_own(client):
    ref = put_object("a/b", [1])
    assert get_object(ref) == [1]
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=_child, args=(ref, results))
    child.start()
    child.join(20)
    assert child.exitcode == 0
    assert results.get() == ([1], [2])
    assert get_object(ref) == [1]
