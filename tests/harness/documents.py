"""The document dialect: BSON tickets, command descriptors and flame.* actions."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterable
from typing import Any, Optional

import bson
import pyarrow as pa
from pyarrow import flight

from harness.flight import OPAQUE_SCHEMA, Flight, Ref, Reply, opaque_batch

Document = dict[str, Any]


def encode(**fields: Any) -> bytes:
    """A BSON document; integers as int64, as the wire wants them, fields that are None left out."""
    return bson.encode({name: _int64(v) for name, v in fields.items() if v is not None})


def _int64(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return bson.Int64(value)
    if isinstance(value, dict):
        return {name: _int64(v) for name, v in value.items() if v is not None}
    if isinstance(value, (list, tuple)):
        return [_int64(v) for v in value]
    return value


class Origin:
    """Draws op ids: 8 bytes origin, 8 bytes rising counter."""

    def __init__(self) -> None:
        self._origin = os.urandom(8)
        self._counter = itertools.count(1)

    def next(self) -> bytes:
        return self._origin + struct.pack(">Q", next(self._counter))


def ipc_stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


class Documents(Flight):
    """A client that speaks the document dialect, and the stock one as well."""

    def call(self, name: str, **request: Any) -> list[Document]:
        body = encode(**request) if request else b""
        return [bson.decode(answer) for answer in self.action(name, body)]

    def command(
        self,
        op: str,
        key: str,
        data: Any = None,
        *,
        schema: Optional[pa.Schema] = None,
        batches: Optional[Iterable[pa.RecordBatch]] = None,
        **fields: Any,
    ) -> Ref:
        """do_put with a command document: `data` is bytes, or give schema and batches."""
        descriptor = flight.FlightDescriptor.for_command(encode(op=op, key=key, **fields))
        if schema is not None:
            return self.put_stream(descriptor, schema, batches or [])
        return self.put_stream(descriptor, OPAQUE_SCHEMA, [opaque_batch(data)])

    def fetch(self, key: str, known: int = 0, compression: Optional[str] = None) -> Reply:
        """do_get with a document ticket."""
        return self.get(encode(key=key, known=known, compression=compression))

    def put_items(self, *items: Document) -> list[Document]:
        return self.call("flame.put", items=list(items))

    def put_item(self, key: str, data: bytes, **fields: Any) -> Document:
        [answer] = self.put_items({"key": key, "data": data, **fields})
        return answer

    def get_items(self, *items: Document, inline_max: Optional[int] = None) -> list[Document]:
        return self.call("flame.get", items=list(items), inline_max=inline_max)

    def stat(self, key: str) -> Document:
        [answer] = self.call("flame.stat", key=key)
        return answer

    def page(self, prefix: str, after: str = "", limit: int = 1000) -> tuple[list[Document], bool]:
        *objects, last = self.call("flame.list", prefix=prefix, after=after, limit=limit)
        assert list(last) == ["end"]
        return objects, last["end"]

    def erase(self, prefix: str, **fields: Any) -> int:
        [answer] = self.call("flame.delete", prefix=prefix, **fields)
        return answer["deleted"]

    def feed(
        self, cursor: Optional[bytes] = None, prefix: str = "", **fields: Any
    ) -> tuple[list[Document], bytes]:
        *events, last = self.call("flame.feed", cursor=cursor, prefix=prefix, **fields)
        assert list(last) == ["cursor"]
        return events, last["cursor"]


def reply_facts(reply: Reply) -> dict[str, str]:
    """The flame.cache.* metadata of a reply's schema, without the prefix."""
    metadata = reply.schema.metadata or {}
    prefix = b"flame.cache."
    return {
        name[len(prefix) :].decode(): value.decode()
        for name, value in metadata.items()
        if name.startswith(prefix)
    }
