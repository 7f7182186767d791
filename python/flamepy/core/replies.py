"""Replies of do_get in either dialect: what they say, and what they bring."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Callable

import pyarrow as pa

from flamepy.core import native
from flamepy.core.buffers import assemble
from flamepy.core.errors import WrongKind
from flamepy.core.native import NativeData
from flamepy.core.object_cache import Entry, Payload
from flamepy.core.payload import aligned
from flamepy.core.transport import Connection, Deadline

__all__ = ["Reply", "Shown", "read_rows"]

Shown = Callable[[Iterable[Any]], Iterable[Any]]
"""Shows the progress of what goes by: record batches with their metadata, or buffers."""

_PIECE_BYTES = 4 << 20
_REPLY_KEY = b"flame.cache.reply"
_BASE_VERSION_KEY = b"flame.cache.base_version"


@dataclass
class Reply:
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
        cls,
        connection: Connection,
        ticket: bytes,
        deadline: Deadline,
        operation: str,
        shown: Shown,
    ) -> Reply:
        """Read a reply of either dialect to its end; `shown` sees the batches arrive."""
        schema, batches = connection.read(ticket, deadline, operation)
        batches = shown(batches)
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
        reply.kind = _text(metadata, _REPLY_KEY, inferred)
        if inferred == "not-modified" and reply.kind == "full":
            reply.base.append(b"")
        reply.version = _number(metadata, native.VERSION_KEY, reply.version)
        reply.base_version = _number(metadata, _BASE_VERSION_KEY, reply.base_version)
        return reply

    @classmethod
    def _read_native(cls, schema: pa.Schema, batches: Iterable[tuple[Any, Any]]) -> Reply:
        metadata = schema.metadata
        version = _number(metadata, native.VERSION_KEY, 0)
        base_version = _number(metadata, _BASE_VERSION_KEY, version)
        base: list[pa.RecordBatch] = []
        appended: dict[int, list[pa.RecordBatch]] = {}
        for batch, brought_by in batches:
            number = int.from_bytes(brought_by or b"", "little") or base_version
            (base if number == base_version else appended.setdefault(number, [])).append(batch)
        patches = [NativeData(schema, tuple(appended[number])) for number in sorted(appended)]
        kind = _text(metadata, _REPLY_KEY, "full")
        return cls(kind, True, version, base_version, schema, base, patches)


def read_rows(
    connection: Connection,
    key: str,
    ticket: bytes,
    deadline: Deadline,
    shown: Shown,
) -> Iterator[pa.Buffer]:
    """The bytes of an opaque object in pieces of at most 4 MiB; `shown` sees them go by.

    A row has up to 1 GiB: whoever writes it to a disk is stopped, and shows its progress,
    between the pieces.
    """
    schema, batches = connection.read(ticket, deadline, f"get {key}")
    if (schema.metadata or {}).get(native.FORMAT_KEY) == native.FORMAT_ARROW:
        raise WrongKind(f"{key} is a table, not a file; read it with get_object")

    def pieces() -> Iterator[pa.Buffer]:
        for _, kind, data in _rows(batches):
            if kind != "base":
                raise WrongKind(f"{key} has patches, so it is no file; read it with get_object")
            for start in range(0, data.size, _PIECE_BYTES):
                yield data.slice(start, min(_PIECE_BYTES, data.size - start))

    yield from shown(pieces())


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


def _text(metadata: dict[bytes, bytes], key: bytes, default: str) -> str:
    value = metadata.get(key)
    return default if value is None else value.decode()


def _number(metadata: dict[bytes, bytes], key: bytes, default: int) -> int:
    value = metadata.get(key, b"")
    return int(value) if value.isdigit() else default
