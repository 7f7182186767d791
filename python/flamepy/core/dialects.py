"""The two ways to talk to a server about objects.

`Documents` is what our server speaks beside the stock dialect: small objects travel in one
message each way, versions are compared, writes can be retried. `Stock` is Flame 0.6: plain
tickets and paths. `dialect_of` picks one per connection. Both are thread-safe.
"""

from __future__ import annotations

import builtins
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Callable, Optional, Union

import bson
import pyarrow as pa
from bson.int64 import Int64
from pyarrow import flight

from flamepy.core import failures, native
from flamepy.core.buffers import Pieces, assemble, chunks, size_of
from flamepy.core.errors import DecodeError, InvalidArgument, NotFound, WrongKind
from flamepy.core.native import NativeData
from flamepy.core.object_cache import Entry, Payload
from flamepy.core.payload import aligned
from flamepy.core.refs import ObjectRef
from flamepy.core.transport import Connection, Deadline, next_op_id

__all__ = ["Documents", "RowStream", "Stock", "dialect_of", "opaque_stream", "stream_of"]

_INLINE_MAX_BYTES = 256 << 10
"""Up to here one action is cheaper than a stream, though it copies."""

_OPAQUE_SCHEMA = pa.schema([("version", pa.uint64()), ("data", pa.binary())])
_NO_VERSION = pa.Array.from_buffers(pa.uint64(), 1, [None, pa.py_buffer(bytes(8))])


@dataclass(frozen=True)
class RowStream:
    """What one do_put sends.

    Attributes
    ----------
    schema : pa.Schema
    count : int
        Batches that follow. A server that knows it refuses a stream that was cut short.
    open : callable
        Starts the batches from the beginning; called again for a retry.
    """

    schema: pa.Schema
    count: int
    open: Callable[[], Iterable[pa.RecordBatch]]


def opaque_stream(count: int, buffers: Callable[[], Iterable[pa.Buffer]]) -> RowStream:
    """A stream of buffers of at most 1 GiB; the object is their concatenation."""
    return RowStream(_OPAQUE_SCHEMA, count, lambda: map(_opaque_batch, buffers()))


def dialect_of(connection: Connection, deadline: Deadline) -> Union[Documents, Stock]:
    """The best dialect that the server behind `connection` understands."""
    if connection.retrying(lambda _: connection.speaks_documents(deadline)):
        return Documents(connection)
    return Stock(connection)


class Documents:
    """Our own dialect: BSON documents in tickets, descriptors and actions."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def fetch(self, key: str, known: Optional[Entry], deadline: Deadline) -> Entry:
        """The newest version of `key`.

        Parameters
        ----------
        known : Entry, optional
            What the caller has: only what is newer is sent. Returned itself when it is
            still the newest.

        Raises
        ------
        NotFound
        """
        operation = f"get {key}"
        version = known.version if known else 0
        item = {"key": key, "known": Int64(version)}
        request = {"items": [item], "inline_max": Int64(_INLINE_MAX_BYTES)}
        (reply,) = self._read("flame.get", request, deadline, operation)
        if "error" in reply:
            raise failures.from_document(reply["error"], operation)
        if not reply["found"]:
            raise NotFound(_ABSENT.format(key, self._connection.endpoint))
        kind = reply["reply"]
        if kind == "not-modified" and known is not None:
            return known
        if kind == "stream":
            return self._stream(key, known, deadline)
        make: Callable[[bytes], Payload] = aligned
        if reply["kind"] == "native":
            make = NativeData.from_stream
        patches = [make(patch["data"]) for patch in reply["patches"]]
        if kind == "full":
            return Entry(
                reply["version"], reply["base_version"], make(reply["base"]), tuple(patches)
            )
        return self._extend(key, known, reply["base_version"], reply["version"], patches, deadline)

    def read_rows(self, key: str, deadline: Deadline) -> Iterator[pa.Buffer]:
        """The bytes of an opaque object, as they arrive."""
        ticket = bson.encode({"key": key, "known": Int64(0)})
        return _read_rows(self._connection, key, ticket, deadline)

    def put(
        self,
        key: str,
        payload: Union[Pieces, NativeData, RowStream],
        deadline: Deadline,
        *,
        if_version: Optional[int] = None,
        is_prefix: bool = False,
    ) -> ObjectRef:
        """Create or replace `key`; under a prefix the server draws the object's name."""
        return self._write("put", key, payload, deadline, if_version, repeatable=not is_prefix)

    def patch(
        self,
        key: str,
        payload: Union[Pieces, NativeData],
        deadline: Deadline,
        *,
        if_version: Optional[int] = None,
    ) -> ObjectRef:
        """Append batches to a native object, or a delta to an opaque one."""
        op = "append" if isinstance(payload, NativeData) else "patch"
        return self._write(op, key, payload, deadline, if_version, repeatable=True)

    def delete(self, prefix: str, deadline: Deadline, *, if_version: Optional[int] = None) -> int:
        """Delete a key or everything under a prefix; how many objects that were."""
        request = {"prefix": prefix, "op_id": next_op_id(), **_condition(if_version)}
        operation = f"delete {prefix}"

        def call(again: bool) -> int:
            request["retry"] = again
            (reply,) = self._connection.action("flame.delete", request, deadline, operation)
            return int(reply["deleted"])

        return self._connection.retrying(call)

    def stat(self, key: str, deadline: Deadline) -> Optional[dict[str, Any]]:
        """What the server knows about `key` beside its bytes; None if it is absent."""
        (reply,) = self._read("flame.stat", {"key": key}, deadline, f"stat {key}")
        return reply if reply["found"] else None

    def list(
        self, prefix: str, after: str, limit: int, deadline: Deadline
    ) -> tuple[builtins.list[dict[str, Any]], bool]:
        """A page of stat documents in key order, and whether it was the last one."""
        request = {"prefix": prefix, "after": after, "limit": Int64(limit)}
        *found, end = self._read("flame.list", request, deadline, f"list {prefix}")
        return found, end["end"]

    def feed(
        self, prefix: str, cursor: Optional[bytes], limit: int, wait_ms: int, deadline: Deadline
    ) -> tuple[builtins.list[dict[str, Any]], bytes]:
        """Events since `cursor`, and the cursor for the next call."""
        request: dict[str, Any] = {
            "prefix": prefix,
            "limit": Int64(limit),
            "wait_ms": Int64(wait_ms),
        }
        if cursor is not None:
            request["cursor"] = cursor
        *events, end = self._read("flame.feed", request, deadline, f"read the feed of {prefix!r}")
        return events, end["cursor"]

    def version_of(self, key: str, deadline: Deadline) -> Optional[int]:
        """The newest version of `key`; None if it is absent."""
        found = self.stat(key, deadline)
        return found and int(found["version"])

    def _read(
        self, action: str, request: dict, deadline: Deadline, operation: str
    ) -> builtins.list[dict[str, Any]]:
        connection = self._connection
        return connection.retrying(
            lambda _: connection.action(action, request, deadline, operation)
        )

    def _stream(self, key: str, known: Optional[Entry], deadline: Deadline) -> Entry:
        version = known.version if known else 0
        ticket = bson.encode({"key": key, "known": Int64(version)})
        reply = self._connection.retrying(
            lambda _: _Reply.read(self._connection, ticket, deadline, f"get {key}")
        )
        if reply.kind == "not-modified" and known is not None:
            return known
        if reply.kind == "full":
            return reply.entry()
        return self._extend(key, known, reply.base_version, reply.version, reply.patches, deadline)

    def _extend(
        self,
        key: str,
        known: Optional[Entry],
        base_version: int,
        version: int,
        patches: builtins.list[Payload],
        deadline: Deadline,
    ) -> Entry:
        """Apply patches to the entry that they were asked for, if they really fit it."""
        if known is not None and known.base_version == base_version:
            return known.extended(version, patches)
        if known is None:
            raise DecodeError(f"get {key}: the server sent patches without a base")
        return self.fetch(key, None, deadline)

    def _write(
        self,
        op: str,
        key: str,
        payload: Union[Pieces, NativeData, RowStream],
        deadline: Deadline,
        if_version: Optional[int],
        *,
        repeatable: bool,
    ) -> ObjectRef:
        operation = f"{op} {key}"
        request = {"op": op, "key": key, "op_id": next_op_id(), **_condition(if_version)}
        inline = _inline(payload)
        stream = None if inline is not None else stream_of(payload)

        def call(again: bool) -> ObjectRef:
            request["retry"] = again
            if stream is None:
                request.update(inline)
                (reply,) = self._connection.action(
                    "flame.put", {"items": [request]}, deadline, operation
                )
                if "error" in reply:
                    raise failures.from_document(reply["error"], operation)
                return ObjectRef.from_document(reply)
            request["batches"] = Int64(stream.count)
            descriptor = flight.FlightDescriptor.for_command(bson.encode(request))
            return _put_stream(self._connection, descriptor, stream, deadline, operation)

        return self._connection.retrying(call, may_repeat=repeatable)


class Stock:
    """The dialect of Flame 0.6: no conditions, no retries of writes, no metadata."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def fetch(self, key: str, known: Optional[Entry], deadline: Deadline) -> Entry:
        """As `Documents.fetch`."""
        ticket = f"{key}:{known.version if known else 0}".encode()
        reply = self._connection.retrying(
            lambda _: _Reply.read(self._connection, ticket, deadline, f"get {key}")
        )
        if reply.kind == "full":
            return reply.entry()
        if known is None:
            raise NotFound(_ABSENT.format(key, self._connection.endpoint))
        if reply.kind == "not-modified":
            return known
        if reply.first_version == known.version + 1:
            return known.extended(reply.version, reply.patches)
        return self.fetch(key, None, deadline)

    def read_rows(self, key: str, deadline: Deadline) -> Iterator[pa.Buffer]:
        """As `Documents.read_rows`."""
        return _read_rows(self._connection, key, f"{key}:0".encode(), deadline)

    def put(
        self,
        key: str,
        payload: Union[Pieces, NativeData, RowStream],
        deadline: Deadline,
        *,
        if_version: Optional[int] = None,
        is_prefix: bool = False,
    ) -> ObjectRef:
        """As `Documents.put`, but never repeated."""
        self._refuse(if_version)
        descriptor = flight.FlightDescriptor.for_path(key)
        return self._send(descriptor, payload, deadline, f"put {key}")

    def patch(
        self,
        key: str,
        payload: Union[Pieces, NativeData],
        deadline: Deadline,
        *,
        if_version: Optional[int] = None,
    ) -> ObjectRef:
        """As `Documents.patch`, for opaque deltas only."""
        self._refuse(if_version)
        if isinstance(payload, NativeData):
            raise WrongKind(f"patch {key}: this server cannot append to tables")
        descriptor = flight.FlightDescriptor.for_command(f"PATCH:{key}".encode())
        return self._send(descriptor, payload, deadline, f"patch {key}")

    def delete(self, prefix: str, deadline: Deadline, *, if_version: Optional[int] = None) -> int:
        """Delete; -1 because this server does not count."""
        self._refuse(if_version)
        connection = self._connection
        connection.retrying(
            lambda _: connection.raw_action("DELETE", prefix.encode(), deadline, f"delete {prefix}")
        )
        return -1

    def version_of(self, key: str, deadline: Deadline) -> Optional[int]:
        """As `Documents.version_of`; reads the object. A file found on disk is version 0."""
        try:
            return self.fetch(key, None, deadline).version
        except NotFound:
            return None

    def stat(self, *_: Any) -> Any:
        """Not offered by this server."""
        raise self._missing("stat_object")

    def list(self, *_: Any) -> Any:
        """Not offered by this server."""
        raise self._missing("list_objects")

    def feed(self, *_: Any) -> Any:
        """Not offered by this server."""
        raise self._missing("watch_objects")

    def _send(
        self,
        descriptor: flight.FlightDescriptor,
        payload: Union[Pieces, NativeData, RowStream],
        deadline: Deadline,
        operation: str,
    ) -> ObjectRef:
        connection = self._connection
        stream = stream_of(payload)
        return connection.retrying(
            lambda _: _put_stream(connection, descriptor, stream, deadline, operation),
            may_repeat=False,
        )

    def _refuse(self, if_version: Optional[int]) -> None:
        if if_version is not None:
            raise self._missing("if_version=")

    def _missing(self, feature: str) -> InvalidArgument:
        return InvalidArgument(
            f"{self._connection.endpoint} is a Flame 0.6 server and does not offer {feature}; "
            "use a server of version 0.7 or later"
        )


_ABSENT = "{} is not on {}: never put, deleted, or evicted; put it again"


@dataclass
class _Reply:
    """A do_get reply, collected."""

    kind: str
    native: bool
    version: int
    base_version: int
    schema: pa.Schema
    base: list[Any]
    patches: list[Any]
    first_version: int = 0

    def entry(self) -> Entry:
        """The whole object."""
        base: Payload
        if self.native:
            base = NativeData(self.schema, tuple(self.base))
        else:
            base = aligned(self.base[0]) if len(self.base) == 1 else assemble(self.base)
        return Entry(self.version, self.base_version, base, tuple(self.patches))

    @classmethod
    def read(
        cls, connection: Connection, ticket: bytes, deadline: Deadline, operation: str
    ) -> _Reply:
        """Read a reply of either dialect to its end."""
        schema, batches = connection.read(ticket, deadline, operation)
        metadata = schema.metadata or {}
        if metadata.get(native.FORMAT_KEY) == native.FORMAT_ARROW:
            return cls._read_native(schema, batches)
        reply = cls("", False, 0, 0, schema, [], [])
        for version, kind, data in _rows(batches):
            reply.version = version
            reply.first_version = reply.first_version or version
            if kind == "base":
                reply.base_version = version
                reply.base.append(data)
            else:
                reply.patches.append(aligned(data))
        inferred = "full" if reply.base else "patches" if reply.patches else "not-modified"
        reply.kind = _text(metadata, b"flame.cache.reply", inferred)
        if inferred == "not-modified" and reply.kind == "full":
            reply.base.append(b"")
        reply.version = _number(metadata, native.VERSION_KEY, reply.version)
        reply.base_version = _number(metadata, b"flame.cache.base_version", reply.base_version)
        return reply

    @classmethod
    def _read_native(cls, schema: pa.Schema, batches: Iterable[tuple[Any, Any]]) -> _Reply:
        metadata = schema.metadata
        version = _number(metadata, native.VERSION_KEY, 0)
        base_version = _number(metadata, b"flame.cache.base_version", version)
        base: list[pa.RecordBatch] = []
        appended: dict[int, list[pa.RecordBatch]] = {}
        for batch, brought_by in batches:
            number = int.from_bytes(brought_by or b"", "little") or base_version
            (base if number == base_version else appended.setdefault(number, [])).append(batch)
        patches = [NativeData(schema, tuple(appended[number])) for number in sorted(appended)]
        kind = _text(metadata, b"flame.cache.reply", "full")
        return cls(kind, True, version, base_version, schema, base, patches)


def _read_rows(
    connection: Connection, key: str, ticket: bytes, deadline: Deadline
) -> Iterator[pa.Buffer]:
    schema, batches = connection.read(ticket, deadline, f"get {key}")
    if (schema.metadata or {}).get(native.FORMAT_KEY) == native.FORMAT_ARROW:
        raise WrongKind(f"{key} is a table, not a file; read it with get_object")
    for _, kind, data in _rows(batches):
        if kind != "base":
            raise WrongKind(f"{key} has patches, so it is no file; read it with get_object")
        yield data


def _rows(batches: Iterable[tuple[pa.RecordBatch, Any]]) -> Iterator[tuple[int, str, pa.Buffer]]:
    """Version, kind and data of each row of an opaque reply; the data is not copied."""
    for batch, _ in batches:
        columns = [batch.column(name) for name in ("version", "kind", "data")]
        versions, kinds = (column.to_pylist() for column in columns[:2])
        yield from zip(versions, kinds, _binary_values(columns[2]))


def _binary_values(column: pa.Array) -> Iterator[pa.Buffer]:
    _, offsets, values = column.buffers()
    width, code = (8, "q") if pa.types.is_large_binary(column.type) else (4, "i")
    first = column.offset * width
    ends = struct.unpack_from(f"<{len(column) + 1}{code}", offsets, first) if len(column) else ()
    for start, end in zip(ends, ends[1:]):
        yield values.slice(start, end - start) if end > start else pa.py_buffer(b"")


def _put_stream(
    connection: Connection,
    descriptor: flight.FlightDescriptor,
    stream: RowStream,
    deadline: Deadline,
    operation: str,
) -> ObjectRef:
    answer = connection.write(descriptor, stream.schema, stream.open(), deadline, operation)
    return ObjectRef.decode(answer)


def _inline(payload: Union[Pieces, NativeData, RowStream]) -> Optional[dict[str, Any]]:
    """The fields of a `flame.put` item for a payload that is small enough."""
    if isinstance(payload, RowStream):
        return None
    if isinstance(payload, NativeData):
        if payload.nbytes > _INLINE_MAX_BYTES:
            return None
        return {"kind": "native", "data": payload.to_stream().to_pybytes()}
    if sum(map(size_of, payload)) > _INLINE_MAX_BYTES:
        return None
    return {"kind": "opaque", "data": b"".join(payload)}


def stream_of(payload: Union[Pieces, NativeData, RowStream]) -> RowStream:
    if isinstance(payload, RowStream):
        return payload
    if isinstance(payload, NativeData):
        batches = payload.batches
        return RowStream(payload.schema, len(batches), lambda: batches)
    buffers = list(chunks(payload)) or [pa.py_buffer(b"")]
    return opaque_stream(len(buffers), lambda: buffers)


def _opaque_batch(data: pa.Buffer) -> pa.RecordBatch:
    offsets = pa.py_buffer(struct.pack("<2i", 0, data.size))
    column = pa.Array.from_buffers(pa.binary(), 1, [None, offsets, data])
    return pa.RecordBatch.from_arrays([_NO_VERSION, column], schema=_OPAQUE_SCHEMA)


def _condition(if_version: Optional[int]) -> dict[str, Any]:
    return {} if if_version is None else {"if_version": Int64(if_version)}


def _text(metadata: dict[bytes, bytes], key: bytes, default: str) -> str:
    value = metadata.get(key)
    return default if value is None else value.decode()


def _number(metadata: dict[bytes, bytes], key: bytes, default: int) -> int:
    value = metadata.get(key, b"")
    return int(value) if value.isdigit() else default
