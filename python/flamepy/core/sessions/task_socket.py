"""Tasks through a Unix socket of the session manager, when it is on this machine.

A session manager of ours names the socket in the trailers of its gRPC calls. What is sent is told
in ``src/flame/session/task_door.h``: frames of a length and a few numbers, a fraction of the work
of a gRPC call. A task that does not succeed is asked for by gRPC, which tells why.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from concurrent.futures import Future
from typing import Optional, Protocol

from flamepy.core.errors import Cancelled, FlameError, Unavailable
from flamepy.core.sessions.model import TaskState
from flamepy.core.sessions.rpc import error_of

__all__ = ["INPUT_MAX_BYTES", "Lost", "TaskSocket"]

INPUT_MAX_BYTES = 1 << 31
"""No frame has room for more."""

_LENGTH = struct.Struct("<I")
_CREATE = struct.Struct("<IcQBH")
_TOLD = struct.Struct("<QQ")
_REFUSED = struct.Struct("<QI")
_ENDED = struct.Struct("<QQBB")
_HELLO, _CREATED, _ACCEPTED, _REFUSAL, _END = b"H", b"C", b"A", b"R", b"E"
_KIND = {kind[0]: kind for kind in (_HELLO, _ACCEPTED, _REFUSAL, _END)}
_HAS_PAYLOAD, _AT_ONCE = 1, 2
_KEY_BYTES = 32
_HELLO_SECONDS = 5.0
_SEND_SECONDS = 60
_LOOK_SECONDS = 5
"""How often the sessions of tasks that are waited for are asked whether they have instances."""

_READ_BYTES = 256 << 10


class Lost(Exception):
    """The connection is no more; the task was not sent."""


class _Call:
    """A task that is waited for. Its fields are set by the reading thread."""

    __slots__ = ("accepted", "future", "session_id", "since", "task_id")

    def __init__(self, session_id: str, future: Future, accepted: Optional[Future]) -> None:
        self.session_id = session_id
        self.future = future
        self.accepted = accepted
        self.since = time.monotonic()
        self.task_id: Optional[str] = None


class Other(Protocol):
    """The way by gRPC, for what the socket does not tell."""

    def explain(self, future: Future, session_id: str, task_id: str) -> None:
        """Give a future what comes of a task."""

    def given_up(self, session_id: str) -> Future:
        """Why no instance will ever do the session's tasks; None if one may."""


class TaskSocket:
    """A connection to the task door. Thread-safe; a thread of its own reads.

    Parameters
    ----------
    connection : socket.socket
        Connected, and greeted: see `open`.
    other : Other
        Called on the reading thread: for tasks that did not succeed, those of a lost connection,
        and those that nobody does.
    """

    def __init__(self, connection: socket.socket, other: Other) -> None:
        self.process_id = os.getpid()
        self._socket = connection
        self._other = other
        self._looked = time.monotonic()  # When what waits for long was looked at.
        self._lock = threading.Lock()  # Of sending, and of what follows.
        self._calls: dict[int, _Call] = {}
        self._next = 1
        self._lost = False
        self._closed = False
        threading.Thread(target=self._read, name="flamepy-tasks", daemon=True).start()

    @classmethod
    def open(cls, path: bytes, key: bytes, other: Other) -> Optional[TaskSocket]:
        """None when the door with this key is not behind the path: it is on another machine."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(_HELLO_SECONDS)
            connection.connect(path)
            wanted = _LENGTH.pack(1 + _KEY_BYTES) + _HELLO + key
            if _read_exactly(connection, len(wanted)) != wanted:
                raise OSError("another one answers")
            connection.settimeout(None)
            # A manager that does not read is as good as gone.
            timeout = struct.pack("@ll", _SEND_SECONDS, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
            timeout = struct.pack("@ll", _LOOK_SECONDS, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        except (OSError, ValueError):
            connection.close()
            return None
        return cls(connection, other)

    @property
    def usable(self) -> bool:
        """Whether tasks can be sent; not in a process that was forked off."""
        return not self._lost and self.process_id == os.getpid()

    def submit(
        self,
        session_id: str,
        data: Optional[bytes],
        future: Future,
        accepted: Optional[Future] = None,
    ) -> None:
        """Hand a task over.

        Parameters
        ----------
        data : bytes or None
            At most `INPUT_MAX_BYTES`.
        future : Future
            Gets the output, or a `FlameError`.
        accepted : Future, optional
            Gets the task's id, or what the manager has against it.

        Raises
        ------
        Lost
        """
        name = session_id.encode()
        flags = (0 if data is None else _HAS_PAYLOAD) | (0 if accepted is None else _AT_ONCE)
        data = data or b""
        size = _CREATE.size - _LENGTH.size + len(name) + len(data)
        call = _Call(session_id, future, accepted)
        with self._lock:
            if self._lost:
                raise Lost
            number = self._next
            self._next += 1
            self._calls[number] = call
            frame = _CREATE.pack(size, _CREATED, number, flags, len(name)) + name + data
            try:
                self._socket.sendall(frame)
            except OSError:
                # Perhaps some of it was sent, but not all: there is no such task.
                del self._calls[number]
                self._hang_up()
                raise Lost from None

    def close(self) -> None:
        """End it; futures that have no answer yet get `Cancelled`.

        In a process that was forked off, nothing: the connection is the other one's.
        """
        if self.process_id != os.getpid():
            return
        self._closed = True
        self._hang_up()

    def _hang_up(self) -> None:
        """The reading thread does the rest."""
        self._lost = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _read(self) -> None:
        try:
            with contextlib.suppress(OSError):
                self._read_frames()
        finally:
            with self._lock:
                self._lost = True
                calls, self._calls = self._calls, {}
                self._socket.close()
            for call in calls.values():
                self._give_up(call)

    def _read_frames(self) -> None:
        rest = b""
        while True:
            if time.monotonic() - self._looked > _LOOK_SECONDS:
                self._look()
            try:
                data = self._socket.recv(_READ_BYTES)
            except BlockingIOError:  # For some seconds nothing came.
                continue
            if not data:
                return
            if rest:
                data = rest + data
            start, end = 0, len(data)
            while end - start >= _LENGTH.size:
                size = _LENGTH.size + _LENGTH.unpack_from(data, start)[0]
                if end - start < size:
                    if size > _READ_BYTES:  # Not bit by bit.
                        data = data[start:] + _read_exactly(self._socket, size - (end - start))
                        start, end = 0, size
                        continue
                    break
                self._take(data, start + _LENGTH.size, start + size)
                start += size
            rest = data[start:]

    def _take(self, data: bytes, start: int, end: int) -> None:
        kind = _KIND.get(data[start])
        start += 1
        if kind is _END:
            number, task, state, flags = _ENDED.unpack_from(data, start)
            call = self._calls.pop(number, None)
            if call is None:
                return
            self._accept(call, task)
            if state != TaskState.SUCCEED:
                self._other.explain(call.future, call.session_id, str(task))
                return
            output = data[start + _ENDED.size : end] if flags & _HAS_PAYLOAD else None
            if call.future.set_running_or_notify_cancel():
                call.future.set_result(output)
        elif kind is _ACCEPTED:
            number, task = _TOLD.unpack_from(data, start)
            call = self._calls.get(number)
            if call is not None:
                self._accept(call, task)
        elif kind is _REFUSAL:
            number, code = _REFUSED.unpack_from(data, start)
            call = self._calls.pop(number, None)
            if call is not None:
                text = data[start + _REFUSED.size : end].decode(errors="replace")
                _fail(call, error_of(code, text, "create task"))

    def _accept(self, call: _Call, task: int) -> None:
        if call.task_id is None:
            call.task_id = str(task)
            if call.accepted is not None:
                call.accepted.set_result(call.task_id)

    def _look(self) -> None:
        """Are there tasks that no instance will ever take?"""
        self._looked = time.monotonic()
        with self._lock:
            calls = list(self._calls.items())
        waiting: dict[str, list[int]] = {}
        for number, call in calls:
            if call.task_id is not None and self._looked - call.since > _LOOK_SECONDS:
                waiting.setdefault(call.session_id, []).append(number)
        for session_id, numbers in waiting.items():
            with contextlib.suppress(FlameError):
                found = self._other.given_up(session_id)
                found.add_done_callback(
                    lambda done, numbers=numbers: (
                        self._hand_over(numbers) if done.result() else None
                    )
                )

    def _hand_over(self, numbers: list[int]) -> None:
        """The other way gives the errors, and waits for what is done all the same."""
        for number in numbers:
            call = self._calls.pop(number, None)
            if call is not None and call.task_id is not None:
                self._other.explain(call.future, call.session_id, call.task_id)

    def _give_up(self, call: _Call) -> None:
        if self._closed:
            _fail(call, Cancelled(f"task {call.task_id or ''}: the connection was closed"))
        elif call.task_id is not None:
            self._other.explain(call.future, call.session_id, call.task_id)
        else:
            _fail(
                call,
                Unavailable(
                    f"failed to create task: the session manager went away before it said that it "
                    f"has the task; session {call.session_id} tells when it is back (list_tasks)"
                ),
            )


def _fail(call: _Call, error: FlameError) -> None:
    if call.accepted is not None and not call.accepted.done():
        call.accepted.set_exception(error)
    if call.future.set_running_or_notify_cancel():
        call.future.set_exception(error)


def _read_exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    view = memoryview(data)
    have = 0
    while have < size:
        try:
            got = connection.recv_into(view[have:])
        except BlockingIOError:  # For some seconds nothing came.
            continue
        if not got:
            raise OSError("the connection was closed")
        have += got
    return bytes(data)
