"""The client's end of the task socket, against a door that does to it what doors do."""

from __future__ import annotations

import os
import socket
import struct
import threading
from concurrent.futures import Future

import pytest
from fake_manager import until
from flamepy.core.errors import Cancelled, InvalidState, Unavailable
from flamepy.core.sessions import task_socket
from flamepy.core.sessions.task_socket import Lost, TaskSocket

KEY = b"0123456789abcdef0123456789abcdef"


class Door:
    """Accepts one connection, and says what it is told to."""

    def __init__(self, path: str, greeting: bytes) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._greeting = greeting
        self._there = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        self.connection, _ = self._listener.accept()
        self.connection.sendall(self._greeting)
        self._there.set()

    def say(self, *frames: bytes) -> None:
        assert self._there.wait(10)
        self.connection.sendall(b"".join(map(frame, frames)))

    def hear(self) -> tuple[int, int, str, bytes]:
        """Number, flags, session and input of the next task."""
        assert self._there.wait(10)
        size = struct.unpack("<I", self._read(4))[0]
        body = self._read(size)
        kind, number, flags, name = struct.unpack_from("<cQBH", body)
        assert kind == b"C"
        return number, flags, body[12 : 12 + name].decode(), body[12 + name :]

    def close(self) -> None:
        if self._there.is_set():
            self.connection.close()
        self._listener.close()

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self.connection.recv(size - len(data))
        return data


def frame(content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + content


def accepted(number: int, task: int) -> bytes:
    return b"A" + struct.pack("<QQ", number, task)


def ended(number: int, task: int, output: bytes, state: int = 2) -> bytes:
    return b"E" + struct.pack("<QQBB", number, task, state, 1) + output


class Explained:
    """Remembers what was to be found out otherwise."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.hopeless: set[str] = set()

    def given_up(self, session_id: str) -> Future:
        future: Future = Future()
        future.set_result("no instance" if session_id in self.hopeless else None)
        return future

    def explain(self, future: Future, session_id: str, task_id: str) -> None:
        self.asked.append((session_id, task_id))
        future.set_result(b"explained")


@pytest.fixture
def place(tmp_path_factory):
    # Paths of sockets are short.
    return str(tmp_path_factory.mktemp("d") / "s")


@pytest.fixture
def explained():
    return Explained()


@pytest.fixture
def door(place):
    door = Door(place, frame(b"H" + KEY))
    yield door
    door.close()


@pytest.fixture
def tasks(door, place, explained):
    tasks = TaskSocket.open(place.encode(), KEY, explained)
    assert tasks is not None
    yield tasks
    tasks.close()


def test_a_task_and_its_end(tasks, door):
    future: Future = Future()
    tasks.submit("a session", b"in", future)
    number, flags, session, data = door.hear()
    assert (flags, session, data) == (1, "a session", b"in")
    door.say(accepted(number, 7), ended(number, 7, b"out"))
    assert future.result(10) == b"out"


def test_no_input_is_not_an_empty_one(tasks, door):
    tasks.submit("s", None, Future())
    tasks.submit("s", b"", Future())
    assert [door.hear()[1] for _ in range(2)] == [0, 1]


def test_whoever_asks_learns_the_id(tasks, door):
    future, told = Future(), Future()
    tasks.submit("s", b"in", future, told)
    number, flags, *_ = door.hear()
    assert flags == 3
    door.say(accepted(number, 12))
    assert told.result(10) == "12"
    assert not future.done()


def test_a_refusal_is_the_error_that_grpc_would_give(tasks, door):
    future, told = Future(), Future()
    tasks.submit("s", b"in", future, told)
    number = door.hear()[0]
    door.say(b"R" + struct.pack("<QI", number, 9) + b"not now")
    for each in (future, told):
        with pytest.raises(InvalidState, match="failed to create task: not now"):
            each.result(10)


def test_other_ends_are_asked_for(tasks, door, explained):
    future: Future = Future()
    tasks.submit("s", b"in", future)
    door.say(ended(door.hear()[0], 3, b"", state=3))
    assert future.result(10) == b"explained"
    assert explained.asked == [("s", "3")]


@pytest.mark.parametrize("size", [100, 262_144, 3_000_000])
def test_frames_come_in_any_pieces(tasks, door, size):
    futures: list[Future] = [Future() for _ in range(3)]
    for future in futures:
        tasks.submit("s", b"in", future)
    numbers = [door.hear()[0] for _ in futures]
    outputs = [bytes([65 + n]) * size for n in range(3)]
    everything = b"".join(frame(ended(n, n, data)) for n, data in zip(numbers, outputs))
    for start in range(0, len(everything), 100_003):
        door.connection.sendall(everything[start : start + 100_003])
    assert [future.result(10) for future in futures] == outputs


def test_when_the_door_is_gone_accepted_tasks_are_asked_for_and_others_are_errors(
    tasks, door, explained
):
    known, unknown = Future(), Future()
    tasks.submit("s", b"1", known)
    tasks.submit("s", b"2", unknown)
    number = door.hear()[0]
    door.hear()
    door.say(accepted(number, 5))
    door.connection.close()
    assert known.result(10) == b"explained"
    assert explained.asked == [("s", "5")]
    with pytest.raises(Unavailable, match="before it said"):
        unknown.result(10)
    until(lambda: not tasks.usable, "the connection is known to be lost")
    with pytest.raises(Lost):
        tasks.submit("s", b"3", Future())


def test_tasks_that_nobody_will_ever_do_are_asked_for(tasks, door, explained, monkeypatch):
    monkeypatch.setattr(task_socket, "_LOOK_SECONDS", 0.05)
    futures = {name: Future() for name in ("good", "bad", "also bad")}
    for name, future in futures.items():
        tasks.submit(name.split()[-1], b"in", future)
    explained.hopeless.add("bad")
    numbers = [door.hear()[0] for _ in futures]

    def looked() -> bool:  # It looks whenever something comes.
        door.say(*(accepted(number, number) for number in numbers))
        return futures["bad"].done() and futures["also bad"].done()

    until(looked, "they are asked for")
    assert not futures["good"].done()
    door.say(ended(numbers[0], numbers[0], b"out"))
    assert futures["good"].result(10) == b"out"
    assert explained.asked == [("bad", "2"), ("bad", "3")]


def test_closing_gives_everything_up(tasks, door):
    future: Future = Future()
    tasks.submit("s", b"in", future)
    tasks.close()
    with pytest.raises(Cancelled):
        future.result(10)


def test_a_process_that_is_forked_off_leaves_the_connection_alone(tasks, door):
    child = os.fork()
    if child == 0:
        usable = tasks.usable
        tasks.close()  # As at its exit.
        os._exit(1 if usable else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    future: Future = Future()
    tasks.submit("s", b"in", future)
    door.say(ended(door.hear()[0], 1, b"out"))
    assert future.result(10) == b"out"


@pytest.mark.parametrize(
    "greeting", [frame(b"H" + KEY[::-1]), b"HTTP/1.1 400 Bad Request\r\n\r\n".ljust(37)]
)
def test_another_one_at_that_path_is_left_alone(place, greeting, explained):
    door = Door(place, greeting)
    assert TaskSocket.open(place.encode(), KEY, explained) is None
    assert door.connection.recv(1) == b""  # And nothing was said to it.
    door.close()


def test_nobody_at_that_path_is_no_error(tmp_path, explained):
    assert TaskSocket.open(str(tmp_path / "none").encode(), KEY, explained) is None
    assert TaskSocket.open(b"/" + b"x" * 200, KEY, explained) is None
