"""Connections to servers: one pooled Flight client per endpoint, deadlines, retries."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
import time
import weakref
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Callable, Optional, TypeVar
from urllib.parse import urlsplit

import bson
import pyarrow as pa
from pyarrow import flight

from flamepy.core import embedded, failures, tls
from flamepy.core.context import FlameClientTls, current_context, normalize_endpoint
from flamepy.core.errors import (
    Cancelled,
    FlameError,
    InvalidArgument,
    Timeout,
    Unavailable,
)
from flamepy.core.private_place import SCHEME
from flamepy.core.server_program import is_running
from flamepy.core.waiting import Expired, stop_if_given_up, wait_for

__all__ = ["Connection", "Deadline", "connect", "next_op_id"]

T = TypeVar("T")

_STUCK_SECONDS = 60

_GRPC_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # A new client tries at once, whatever failed before.
    # Nothing else ends a write to a connection that the other side does not read any more: no
    # deadline, and not closing the client. The second one is TCP_USER_TIMEOUT, which gRPC sets
    # only where keepalive is on; pings so far apart are never sent (and servers refuse many).
    ("grpc.keepalive_time_ms", 2**31 - 2),
    ("grpc.keepalive_timeout_ms", _STUCK_SECONDS * 1000),
]
"""A TCP connection is lost when what was sent is not taken for `_STUCK_SECONDS`."""

_GRACE_SECONDS = 0.25
_ANSWER_SECONDS = 5.0  # For a server at the default endpoint to say what it is.

_PAUSE_SECONDS = 0.01  # A server that was used so short ago does not end for want of use.

_GRPC_STOP_SECONDS = 1.0  # It takes about one millisecond, unless another thread is in a call.


class Deadline:
    """A moment by which a call, retries included, must have ended."""

    __slots__ = ("_end", "_timeout")

    def __init__(self, timeout: Optional[float] = None) -> None:
        if timeout is not None and not timeout > 0:
            raise InvalidArgument(f"timeout is {timeout!r}, expected seconds above 0 or None")
        self._timeout = timeout
        self._end = None if timeout is None else time.monotonic() + timeout

    def later(self, seconds: float) -> Deadline:
        """A deadline so many seconds after this one."""
        if self._timeout is None:
            return self
        return Deadline(self._timeout + seconds)

    def options(self, operation: str) -> flight.FlightCallOptions:
        """Call options with the seconds that are left."""
        if self._end is None:
            return _without_deadline()
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.expired(operation)
        return _call_options(left)

    def left(self) -> Optional[float]:
        """Seconds that are left, and a moment for gRPC to end the call by itself."""
        if self._end is None:
            return None
        return max(0.0, self._end - time.monotonic()) + _GRACE_SECONDS

    def expired(self, operation: str) -> Timeout:
        """The error for a call that has not ended in time."""
        return Timeout(f"{operation}: {self._timeout} s are over; pass a larger timeout=")


class Connection:
    """A server, as this process reaches it. Thread-safe.

    Errors leave this class translated. A lost connection is replaced on the next call.
    """

    def __init__(self, endpoint: str, tls_files: Optional[FlameClientTls]) -> None:
        self.endpoint = endpoint
        self._tls_files = tls_files
        self._client: Optional[flight.FlightClient] = None
        self._speaks_documents: Optional[bool] = None
        self._used = 0.0  # When a call last succeeded.
        self._pid = 0  # Of a server on a Unix socket, if known.
        self._lock = threading.Lock()
        _connections.add(self)

    def speaks_documents(self, deadline: Deadline) -> bool:
        """Whether the server knows our dialect; asked once per connection."""
        if self._speaks_documents is None:
            try:
                self.raw_action("flame.info", b"", deadline, f"connect to {self.endpoint}")
            except InvalidArgument as error:
                if "[flame:" in str(error.__cause__):
                    raise
                self._speaks_documents = False
            else:
                self._speaks_documents = True
        return self._speaks_documents

    def action(
        self, name: str, document: dict, deadline: Deadline, operation: str
    ) -> list[dict[str, Any]]:
        """Exchange BSON documents with an action of our dialect."""
        results = self.raw_action(name, bson.encode(document), deadline, operation)
        return [bson.decode(result) for result in results]

    def raw_action(
        self, name: str, body: bytes, deadline: Deadline, operation: str
    ) -> list[memoryview]:
        """Send one action and collect the bodies of its results."""

        def exchange() -> list[memoryview]:
            with self._translated(operation):
                client = self._open()
                results = client.do_action(flight.Action(name, body), deadline.options(operation))
                return [memoryview(result.body) for result in results]

        return wait_for(exchange)

    def read(
        self, ticket: bytes, deadline: Deadline, operation: str
    ) -> tuple[pa.Schema, Iterable[tuple[pa.RecordBatch, Optional[pa.Buffer]]]]:
        """Open a stream: its schema, and its batches with their metadata as they arrive."""

        def open_stream() -> tuple[flight.FlightClient, flight.FlightStreamReader, pa.Schema]:
            with self._translated(operation):
                client = self._open()
                reader = client.do_get(flight.Ticket(ticket), deadline.options(operation))
                return client, reader, reader.schema

        client, reader, schema = wait_for(open_stream)
        return schema, _batches(client, reader, self._translated, operation)

    def write(
        self,
        descriptor: flight.FlightDescriptor,
        schema: pa.Schema,
        batches: Iterable[pa.RecordBatch],
        deadline: Deadline,
        operation: str,
    ) -> bytes:
        """Send a stream of batches; what the server answers after the last one.

        An error while `batches` is iterated is the caller's and is raised as it is.
        """

        def send() -> bytes:
            with self._translated(operation):
                client = self._open()
                writer, reader = client.do_put(descriptor, schema, deadline.options(operation))
            broken: Optional[Exception] = None
            try:
                for batch in batches:
                    stop_if_given_up()
                    try:
                        writer.write_batch(batch)
                    except (pa.ArrowException, OSError) as error:
                        broken = error
                        break
            except BaseException:
                with contextlib.suppress(pa.ArrowException, OSError):
                    writer.close()  # Or Arrow would print that the server refused what came.
                raise
            with self._translated(operation):
                answer = None
                if broken is None:
                    writer.done_writing()
                    answer = reader.read()
                writer.close()  # Raises what the server said, also when a write failed.
                if answer is None:
                    raise broken or pa.ArrowException("the server closed the call unanswered")
            return answer.to_pybytes()

        try:  # gRPC's deadline does not end a write to a connection that is not read: see above.
            return wait_for(send, at_most=deadline.left())
        except Expired:
            raise deadline.expired(operation) from None

    def location(self, key: str, deadline: Deadline, operation: str) -> str:
        """The endpoint that the server advertises for `key`."""

        def ask() -> flight.FlightInfo:
            with self._translated(operation):
                descriptor = flight.FlightDescriptor.for_path(key)
                return self._open().get_flight_info(descriptor, deadline.options(operation))

        for endpoint in wait_for(ask).endpoints:
            for location in endpoint.locations:
                return location.uri.decode()
        return self.endpoint

    def retrying(self, call: Callable[[bool], T], *, may_repeat: bool = True) -> T:
        """Run `call(False)`, and `call(True)` on a new connection if the first was lost.

        One that no server has begun is simply made again: once, or while the user's private
        server gives way to the next one.
        """
        private = embedded.is_own(self.endpoint)
        if private:
            self._wake()
            if not may_repeat and self._pid and not is_running(self._pid):
                self._drop()  # It was killed since, and we have not heard of it yet.
        end = time.monotonic() + (embedded.CHANGE_SECONDS if private else 0)
        repeated, tries = False, 0
        while True:
            tries += 1
            try:
                result = call(repeated)
                self._used = time.monotonic()
                return result
            except FlameError as error:
                begun = not failures.never_begun(error, private)
                # A private server that ends cancels what reaches it too late.
                lost = failures.connection_lost(error) or (private and isinstance(error, Cancelled))
                if begun and not lost:
                    raise
                self._drop()
                if begun:
                    if repeated or not may_repeat:
                        raise
                    repeated = True
                elif tries > 1 and time.monotonic() >= end:
                    raise
            if tries > 1:
                time.sleep(0.01)

    def _wake(self) -> None:
        """After a pause, make sure that the private server is there and stays for the next call.

        It may be ending just now because nobody used it. A call that meets the end may get no
        answer; this one may be made as often as it takes, most others may not.
        """
        if time.monotonic() - self._used < _PAUSE_SECONDS:
            return
        end = time.monotonic() + embedded.CHANGE_SECONDS
        while True:
            try:
                self.raw_action("flame.info", b"", Deadline(1), f"connect to {self.endpoint}")
            except Timeout:
                return  # It is there; the call itself has a deadline of its own.
            except (Unavailable, Cancelled) as error:
                if error.__cause__ is None or time.monotonic() > end:
                    raise
                self._drop()
                time.sleep(0.01)
            else:
                self._used = time.monotonic()
                return

    def _translated(self, operation: str) -> AbstractContextManager[None]:
        certificate = self._tls_files is not None and self._tls_files.cert_file is not None
        return failures.translated(operation, self.endpoint, certificate)

    def _open(self) -> flight.FlightClient:
        client = self._client
        if client is None:
            with self._lock:
                client = self._client
                if client is None:
                    if self.endpoint.startswith(SCHEME):
                        self._pid = embedded.prepare(self.endpoint)
                    client = self._client = _make_client(self.endpoint, self._tls_files)
        return client

    def close(self) -> None:
        """Use this connection no more; calls that are under way end as they would have."""
        self._drop()

    def _drop(self) -> None:
        with self._lock:
            self._client = None
            self._speaks_documents = None
            self._pid = 0
        embedded.forget(self.endpoint)


def connect(endpoint: Optional[str] = None) -> Connection:
    """The pooled connection to `endpoint`, or to the context's object cache. Thread-safe."""
    if endpoint is None:
        context = current_context()
        endpoint = context.cache_endpoint
        if context.cache.embedded:
            endpoint = embedded.default_endpoint(_answers)
    connection = _plain.get(endpoint)
    if connection is not None:
        return connection
    location = normalize_endpoint(endpoint)
    key = (location, current_context().cache_tls if location.startswith("grpc+tls://") else None)
    with _pool_lock:
        connection = _pool.get(key)
        if connection is None:
            connection = _pool[key] = Connection(*key)
        if location.startswith(("grpc://", SCHEME)):
            _plain[endpoint] = connection  # No setting can change what this one needs.
    return connection


def _answers(endpoint: str) -> bool:
    """Whether an object cache, rather than nobody or another program, is at an endpoint."""
    url = urlsplit(endpoint)
    try:
        socket.create_connection((url.hostname, url.port), _ANSWER_SECONDS).close()
    except OSError:
        return False
    connection = connect(endpoint)
    try:
        connection.speaks_documents(Deadline(_ANSWER_SECONDS))
    except Timeout:
        return True
    except FlameError:
        connection._drop()
        return False
    return True


def next_op_id() -> bytes:
    """An identity for one write: 8 random bytes of this process, and a rising counter."""
    return _origin + next(_counter).to_bytes(8, "big")


_pool: dict[tuple[str, Optional[FlameClientTls]], Connection] = {}
_plain: dict[str, Connection] = {}
_pool_lock = threading.Lock()
_connections: weakref.WeakSet = weakref.WeakSet()  # All, also those of explicit clients.
_clients: weakref.WeakSet = weakref.WeakSet()  # All that are alive, pooled or within a call.
_origin = b""
_counter = itertools.count(1)
_forked_in_use = False


def _before_fork() -> None:
    """Close all connections: gRPC works in a child only if it had stopped in the parent."""
    global _forked_in_use
    _forked_in_use = len(_clients) > 0
    if not _forked_in_use:
        return
    for connection in list(_connections):
        connection._drop()
    end = time.monotonic() + _GRPC_STOP_SECONDS
    while _forked_in_use and not _clients and time.monotonic() < end:
        _forked_in_use = _grpc_threads()
        time.sleep(0.001)


def _grpc_threads() -> bool:
    """Whether gRPC's threads, which end soon after its last channel, are still there."""
    try:
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/comm") as name:
                if name.read().startswith(("event_engine", "grpc")):
                    return True
    except FileNotFoundError:
        return os.path.isdir("/proc/self/task")  # A thread ended meanwhile: look again.
    return False


def _after_fork_in_parent() -> None:
    """The parent's gRPC was not harmed."""
    global _forked_in_use
    _forked_in_use = False


def _start_process() -> None:
    """Draw an origin, and forget what belongs to a parent."""
    global _origin, _counter, _pool, _plain, _pool_lock
    _pool, _plain, _pool_lock = {}, {}, threading.Lock()
    _origin, _counter = os.urandom(8), itertools.count(1)


_start_process()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_child=_start_process, after_in_parent=_after_fork_in_parent
    )


def _make_client(endpoint: str, tls_files: Optional[FlameClientTls]) -> flight.FlightClient:
    if _forked_in_use:
        raise Unavailable(
            f"connect to {endpoint}: this process was forked while another thread was within a "
            "call, which gRPC does not survive; use the multiprocessing start method spawn"
        )
    files = tls.options(tls_files)
    with failures.translated(f"connect to {endpoint}"):
        client = flight.FlightClient(endpoint, generic_options=_GRPC_OPTIONS, **files)
    _clients.add(client)
    return client


def _batches(
    client: flight.FlightClient,
    reader: flight.FlightStreamReader,
    translated: Callable[[str], AbstractContextManager[None]],
    operation: str,
) -> Iterable[tuple[pa.RecordBatch, Optional[pa.Buffer]]]:
    def read_chunk() -> flight.FlightStreamChunk:
        with translated(operation):
            return reader.read_chunk()

    at_end = False
    try:
        while True:
            try:
                chunk = wait_for(read_chunk, reader.cancel)
            except StopIteration:
                at_end = True
                return
            if chunk.data is not None:
                yield chunk.data, chunk.app_metadata
    finally:
        if not at_end:
            reader.cancel()  # The server need not send what nobody reads.


def _call_options(timeout: Optional[float] = None) -> flight.FlightCallOptions:
    alignment = getattr(pa.ipc, "Alignment", None)
    if alignment is None:  # Before pyarrow offers it, batches lie as they arrive.
        return flight.FlightCallOptions(timeout=timeout)
    read_options = pa.ipc.IpcReadOptions(ensure_alignment=alignment.DataTypeSpecific)
    return flight.FlightCallOptions(timeout=timeout, read_options=read_options)


_unlimited: Optional[flight.FlightCallOptions] = None


def _without_deadline() -> flight.FlightCallOptions:
    global _unlimited
    if _unlimited is None:
        _unlimited = _call_options()
    return _unlimited
