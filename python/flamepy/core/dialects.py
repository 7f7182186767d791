"""The two ways to talk to a server about objects.

`Documents` is what our server speaks beside the stock dialect: small objects travel in one
message each way, versions are compared, writes can be retried. `Stock` is Flame 0.6: plain
tickets and paths. `dialect_of` picks one per connection. Both are thread-safe.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Callable, NamedTuple, Optional, Union

import bson
import pyarrow as pa
from bson.int64 import Int64
from pyarrow import flight

from flamepy.core import failures
from flamepy.core.buffers import Pieces, size_of
from flamepy.core.conditions import UNCONDITIONAL, WriteOptions
from flamepy.core.errors import DecodeError, FlameError, NotFound, NotSupported, WrongKind
from flamepy.core.native import NativeData
from flamepy.core.object_cache import Entry, Payload
from flamepy.core.payload import aligned
from flamepy.core.progress import Transfers
from flamepy.core.refs import ObjectRef
from flamepy.core.replies import Reply, Shown, read_rows
from flamepy.core.transport import Connection, Deadline, next_op_id
from flamepy.core.uploads import RowStream, put_stream, stream_of

__all__ = ["Documents", "PutRequest", "Stock", "dialect_of"]

Sendable = Union[Pieces, NativeData, RowStream]

_INLINE_MAX_BYTES = 256 << 10
"""Up to here one action is cheaper than a stream, though it copies."""


def dialect_of(
    connection: Connection, deadline: Deadline, transfers: Optional[Transfers] = None
) -> Union[Documents, Stock]:
    """The best dialect that the server behind `connection` understands."""
    if connection.retrying(lambda _: connection.speaks_documents(deadline)):
        return Documents(connection, transfers)
    return Stock(connection, transfers)


class PutRequest(NamedTuple):
    """One small object of a batch, as `Documents.put_many` sends it."""

    document: dict[str, Any]
    nbytes: int


class Documents:
    """Our own dialect: BSON documents in tickets, descriptors and actions."""

    def __init__(self, connection: Connection, transfers: Optional[Transfers] = None) -> None:
        self._connection = connection
        self._transfers = transfers or Transfers()

    @property
    def endpoint(self) -> str:
        """Of the server."""
        return self._connection.endpoint

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
        (found,) = self.fetch_many([(key, known)], deadline)
        if isinstance(found, FlameError):
            raise found
        return found

    def fetch_many(
        self, wanted: Sequence[tuple[str, Optional[Entry]]], deadline: Deadline
    ) -> list[Union[Entry, FlameError]]:
        """As `fetch`, for many keys in one round trip; an error in the place of each failure."""
        items = [
            {"key": key, "known": Int64(known.version if known else 0)} for key, known in wanted
        ]
        request = {"items": items, "inline_max": Int64(_INLINE_MAX_BYTES)}
        operation = f"get {wanted[0][0]}" if len(wanted) == 1 else f"get {len(wanted)} objects"
        replies = self._read("flame.get", request, deadline, operation)
        results: list[Union[Entry, FlameError]] = []
        for (key, known), reply in zip(wanted, replies):
            try:
                results.append(self._entry(key, known, reply, deadline))
            except FlameError as error:
                results.append(error)
        return results

    def _entry(
        self, key: str, known: Optional[Entry], reply: dict[str, Any], deadline: Deadline
    ) -> Entry:
        if "error" in reply:
            raise failures.from_document(reply["error"], f"get {key}")
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
        return read_rows(self._connection, key, ticket, deadline, self._shown(key, deadline))

    def put_request(
        self, key: str, payload: Sendable, options: WriteOptions
    ) -> Optional[PutRequest]:
        """The item of a batch that brings `payload`; None if it is too large for one."""
        inline = _inline(payload)
        if inline is None:
            return None
        document = {"op": "put", "key": key, "op_id": options.op_id or next_op_id()}
        document.update(options.to_document())
        return PutRequest({**document, **inline}, len(inline["data"]) + len(key) + 128)

    def put_many(
        self, requests: Sequence[PutRequest], deadline: Deadline, *, repeatable: bool
    ) -> list[Union[ObjectRef, FlameError]]:
        """Send one batch; an error in the place of each item that failed."""
        items = [request.document for request in requests]
        operation = f"put {len(items)} objects"

        def call(again: bool) -> list[Union[ObjectRef, FlameError]]:
            for item in items:
                item["retry"] = again
            replies = self._connection.action("flame.put", {"items": items}, deadline, operation)
            return [
                failures.from_document(reply["error"], f"put {item['key']}")
                if "error" in reply
                else ObjectRef.from_document(reply)
                for item, reply in zip(items, replies)
            ]

        with failures.writing():
            return self._connection.retrying(call, may_repeat=repeatable)

    def put(
        self,
        key: str,
        payload: Sendable,
        deadline: Deadline,
        *,
        options: WriteOptions = UNCONDITIONAL,
        is_prefix: bool = False,
    ) -> ObjectRef:
        """Create or replace `key`; under a prefix the server draws the object's name."""
        return self._write("put", key, payload, deadline, options, repeatable=not is_prefix)

    def patch(
        self,
        key: str,
        payload: Union[Pieces, NativeData],
        deadline: Deadline,
        *,
        options: WriteOptions = UNCONDITIONAL,
    ) -> ObjectRef:
        """Append batches to a native object, or a delta to an opaque one."""
        op = "append" if isinstance(payload, NativeData) else "patch"
        return self._write(op, key, payload, deadline, options, repeatable=True)

    def delete(self, prefix: str, deadline: Deadline, *, if_version: Optional[int] = None) -> int:
        """Delete a key or everything under a prefix; how many objects that were."""
        request = {"prefix": prefix, "op_id": next_op_id()}
        if if_version is not None:
            request["if_version"] = Int64(if_version)
        operation = f"delete {prefix}"

        def call(again: bool) -> int:
            request["retry"] = again
            (reply,) = self._connection.action("flame.delete", request, deadline, operation)
            return int(reply["deleted"])

        with failures.writing():
            return self._connection.retrying(call)

    def stat(self, key: str, deadline: Deadline) -> Optional[dict[str, Any]]:
        """What the server knows about `key` beside its bytes; None if it is absent."""
        (reply,) = self._read("flame.stat", {"key": key}, deadline, f"stat {key}")
        return reply if reply["found"] else None

    def list_page(
        self, prefix: str, after: str, limit: int, deadline: Deadline
    ) -> tuple[list[dict[str, Any]], bool]:
        """A page of stat documents in key order, and whether it was the last one."""
        request = {"prefix": prefix, "after": after, "limit": Int64(limit)}
        *found, end = self._read("flame.list", request, deadline, f"list {prefix}")
        return found, end["end"]

    def feed(
        self, prefix: str, cursor: Optional[bytes], limit: int, wait_ms: int, deadline: Deadline
    ) -> tuple[list[dict[str, Any]], bytes]:
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
    ) -> list[dict[str, Any]]:
        connection = self._connection
        return connection.retrying(
            lambda _: connection.action(action, request, deadline, operation)
        )

    def _stream(self, key: str, known: Optional[Entry], deadline: Deadline) -> Entry:
        version = known.version if known else 0
        ticket = bson.encode({"key": key, "known": Int64(version)})
        shown = self._shown(key, deadline)
        reply = self._connection.retrying(
            lambda _: Reply.read(self._connection, ticket, deadline, f"get {key}", shown)
        )
        if reply.kind == "not-modified" and known is not None:
            return known
        if reply.kind == "full":
            return reply.entry()
        return self._extend(key, known, reply.base_version, reply.version, reply.patches, deadline)

    def _shown(self, key: str, deadline: Deadline) -> Shown:
        """For a reply that brings `key`."""

        def total() -> Optional[int]:
            found = self.stat(key, deadline)
            return found and int(found["bytes"])

        return lambda items: self._transfers.receiving(f"get {key}", total, items)

    def _extend(
        self,
        key: str,
        known: Optional[Entry],
        base_version: int,
        version: int,
        patches: list[Payload],
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
        payload: Sendable,
        deadline: Deadline,
        options: WriteOptions,
        *,
        repeatable: bool,
    ) -> ObjectRef:
        operation = f"{op} {key}"
        op_id = options.op_id or next_op_id()
        request = {"op": op, "key": key, "op_id": op_id, **options.to_document()}
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
            request["batches"] = Int64(stream.count)  # Fewer mean that this process failed.
            descriptor = flight.FlightDescriptor.for_command(bson.encode(request))
            with self._transfers.sending(operation, stream) as shown:
                return put_stream(self._connection, descriptor, shown, deadline, operation)

        with failures.writing():
            return self._connection.retrying(call, may_repeat=repeatable)


class Stock:
    """The dialect of Flame 0.6: no conditions, no retries of writes, no metadata."""

    def __init__(self, connection: Connection, transfers: Optional[Transfers] = None) -> None:
        self._connection = connection
        self._transfers = transfers or Transfers()

    @property
    def endpoint(self) -> str:
        """Of the server."""
        return self._connection.endpoint

    def fetch(self, key: str, known: Optional[Entry], deadline: Deadline) -> Entry:
        """As `Documents.fetch`."""
        ticket = f"{key}:{known.version if known else 0}".encode()
        shown = self._shown(key)
        reply = self._connection.retrying(
            lambda _: Reply.read(self._connection, ticket, deadline, f"get {key}", shown)
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

    def fetch_many(
        self, wanted: Sequence[tuple[str, Optional[Entry]]], deadline: Deadline
    ) -> list[Union[Entry, FlameError]]:
        """As `Documents.fetch_many`, one by one."""
        results: list[Union[Entry, FlameError]] = []
        for key, known in wanted:
            try:
                results.append(self.fetch(key, known, deadline))
            except FlameError as error:
                results.append(error)
        return results

    def read_rows(self, key: str, deadline: Deadline) -> Iterator[pa.Buffer]:
        """As `Documents.read_rows`."""
        shown = self._shown(key)
        return read_rows(self._connection, key, f"{key}:0".encode(), deadline, shown)

    def put_request(self, *_: Any) -> None:
        """This server takes no batches."""

    def put(
        self,
        key: str,
        payload: Sendable,
        deadline: Deadline,
        *,
        options: WriteOptions = UNCONDITIONAL,
        is_prefix: bool = False,
    ) -> ObjectRef:
        """As `Documents.put`, but never repeated."""
        self._refuse(options)
        descriptor = flight.FlightDescriptor.for_path(key)
        return self._send(descriptor, payload, deadline, f"put {key}")

    def patch(
        self,
        key: str,
        payload: Union[Pieces, NativeData],
        deadline: Deadline,
        *,
        options: WriteOptions = UNCONDITIONAL,
    ) -> ObjectRef:
        """As `Documents.patch`, for opaque deltas only."""
        self._refuse(options)
        if isinstance(payload, NativeData):
            raise WrongKind(f"patch {key}: this server cannot append to tables")
        descriptor = flight.FlightDescriptor.for_command(f"PATCH:{key}".encode())
        return self._send(descriptor, payload, deadline, f"patch {key}")

    def delete(self, prefix: str, deadline: Deadline, *, if_version: Optional[int] = None) -> int:
        """Delete; -1 because this server does not count."""
        self._refuse(WriteOptions(if_version))
        connection = self._connection
        operation = f"delete {prefix}"
        with failures.writing():
            connection.retrying(
                lambda _: connection.raw_action("DELETE", prefix.encode(), deadline, operation)
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

    def list_page(self, *_: Any) -> Any:
        """Not offered by this server."""
        raise self._missing("list_objects")

    def feed(self, *_: Any) -> Any:
        """Not offered by this server."""
        raise self._missing("watch_objects")

    def _send(
        self,
        descriptor: flight.FlightDescriptor,
        payload: Sendable,
        deadline: Deadline,
        operation: str,
    ) -> ObjectRef:
        connection = self._connection
        with failures.writing(), self._transfers.sending(operation, stream_of(payload)) as stream:
            return connection.retrying(
                lambda _: put_stream(connection, descriptor, stream, deadline, operation),
                may_repeat=False,
            )

    def _shown(self, key: str) -> Shown:
        """For a reply that brings `key`; this server does not tell sizes."""
        return lambda items: self._transfers.receiving(f"get {key}", lambda: None, items)

    def _refuse(self, options: WriteOptions) -> None:
        if options.if_version is not None:
            raise self._missing("if_version=")
        if options.ttl_ms is not None:
            raise self._missing("ttl=")

    def _missing(self, feature: str) -> NotSupported:
        return NotSupported(
            f"{feature} is not supported by this server: {self._connection.endpoint} is a Flame "
            "0.6 server; use one of version 0.7 or later"
        )


_ABSENT = "{} is not on {}: never put, deleted, or evicted; put it again"


def _inline(payload: Sendable) -> Optional[dict[str, Any]]:
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
