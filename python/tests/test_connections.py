"""Connections: lost ones, slow ones, inherited ones."""

from __future__ import annotations

import contextlib
import inspect
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import flamepy
import pytest
from flamepy import get_object, put_object
from flamepy.core import transport, waiting
from harness.wait import until


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
    first = start_server("fs")
    monkeypatch.setenv("FLAME_CACHE_ENDPOINT", first.endpoint)
    ref = put_object("a/b", [1], name="n")
    assert get_object(ref) == [1]
    first.kill()
    with pytest.raises(flamepy.Unavailable):
        get_object(ref)
    first.start()
    assert get_object(ref) == [1]
    assert flamepy.update_object(ref, [2]).version == 2


def test_a_write_that_found_a_dead_connection_is_repeated(
    start_server, home, monkeypatch, tmp_path
):
    server = start_server("fs")
    monkeypatch.setenv("FLAME_CACHE_ENDPOINT", server.endpoint)
    ref = put_object("a/b", [1], name="n")
    server.kill()
    server.start()
    assert flamepy.update_object(ref, [2]).version == 2
    assert get_object(ref) == [2]


def test_a_server_that_does_not_answer_in_time(start_server, home, monkeypatch):
    server = start_server()
    monkeypatch.setenv("FLAME_CACHE_ENDPOINT", server.endpoint)
    ref = put_object("a/b", [1])
    os.kill(server.pid, signal.SIGSTOP)
    os.waitpid(server.pid, os.WUNTRACED)
    try:
        for call, outcome in (
            (lambda: get_object(ref, timeout=0.3), None),
            (lambda: flamepy.update_object(ref, [2], timeout=0.3), "unknown"),
            (lambda: flamepy.update_object(ref, bytes(1_000_000), timeout=0.3), "unknown"),
            (lambda: flamepy.update_object(ref, bytes(90_000_000), timeout=0.3), "unknown"),
            (lambda: in_thread(flamepy.update_object, ref, bytes(90_000_000)), "unknown"),
            (lambda: flamepy.stat_object(ref, timeout=0.3), None),
        ):
            start = time.monotonic()
            with pytest.raises(TimeoutError) as caught:
                call()
            assert isinstance(caught.value, flamepy.Timeout)
            assert caught.value.outcome == outcome
            assert time.monotonic() - start < 5
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert get_object(ref, timeout=10)


class Relay:
    """A way to a server on which what a client sends can be held up."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        # So little that gRPC, which may send some MiB unasked, has to wait for the socket.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.endpoint = f"grpc://127.0.0.1:{self._listener.getsockname()[1]}"
        self.open = threading.Event()
        self.open.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.create_connection(("127.0.0.1", self._port))
            for way in ((client, server, self.open), (server, client, None)):
                threading.Thread(target=self._pass_on, args=way, daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, sink: socket.socket, gate) -> None:
        with source, sink, contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
                if gate is not None:
                    gate.wait()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no such bound")
def test_the_thread_of_a_blocked_upload_ends(server, home, monkeypatch):
    """It waited for as long as the connection was there, on which nothing was taken any more."""
    options = {**dict(transport._GRPC_OPTIONS), "grpc.keepalive_timeout_ms": 3000}
    monkeypatch.setattr(transport, "_GRPC_OPTIONS", list(options.items()))
    relay = Relay(server.port)
    with flamepy.Client(relay.endpoint) as client:
        client.put_object("a/b", 1)
        relay.open.clear()
        with pytest.raises(flamepy.Timeout):
            client.put_object("a/b", bytes(50_000_000), timeout=0.3)
        assert busy_threads() > 0  # The upload fills the socket; its deadline changes nothing.
        until(lambda: busy_threads() == 0, "the thread of the upload ends")
        relay.open.set()
        ref = client.put_object("a/b", 2, timeout=10)
    assert get_object(ref) == 2


def busy_threads() -> int:
    """Threads that are within a call."""
    threads = [thread for thread in threading.enumerate() if thread.name == "flamepy-call"]
    return len(threads) - len(waiting._idle)


def in_thread(function, *arguments):
    """The call, made by a thread that no signal reaches."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments, timeout=0.3).result()


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


def run(code: str) -> str:
    """Run code in a process of its own: gRPC's state in this one depends on other tests."""
    path = str(Path(flamepy.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", "import flamepy, os, sys, threading, time\n" + code],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_forked_children_have_connections_of_their_own(client):
    code = """
ref = flamepy.put_object("a/b", [1])
for _ in range(5):
    assert flamepy.get_object(ref) == [1]
    child = os.fork()
    if child == 0:
        flamepy.put_object("a/b", flamepy.get_object(ref))
        os._exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run(code).split() == ["7"] * 5


def is_within_call(thread: threading.Thread) -> bool:
    """Whether another thread has opened its connection for an action that is not over."""
    frame = sys._current_frames().get(thread.ident)
    while frame is not None and frame.f_code.co_name != "exchange":
        frame = frame.f_back
    return frame is not None and "client" in frame.f_locals


def test_a_child_forked_during_a_call_is_told_so(client):
    code = (
        f"{inspect.getsource(is_within_call)}"
        + """
ref = flamepy.put_object("a/b", [1])
feed = flamepy.watch_objects("a/b")
reader = threading.Thread(target=lambda: feed.read(wait=5), daemon=True)
reader.start()
while not is_within_call(reader):
    time.sleep(0.001)
child = os.fork()
if child == 0:
    try:
        flamepy.get_object(ref)
    except flamepy.Unavailable as error:
        os._exit(7 if "forked" in str(error) else 8)
    os._exit(9)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
assert flamepy.get_object(ref) == [1]
"""
    )
    assert run(code).split() == ["7"]
