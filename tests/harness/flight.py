"""The stock dialect over stock pyarrow.flight: what flamepy 0.6.0 and the Rust SDK send."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Optional, Union

import bson
import pyarrow as pa
from pyarrow import flight

OPAQUE_SCHEMA = pa.schema([("version", pa.uint64()), ("data", pa.binary())])
REPLY_SCHEMA = pa.schema(
    [
        pa.field("version", pa.uint64(), nullable=False),
        pa.field("kind", pa.utf8(), nullable=False),
        pa.field("data", pa.binary(), nullable=False),
    ]
)
NATIVE = {b"flame.cache.format": b"arrow-table-v1"}
Descriptor = Union[str, list, flight.FlightDescriptor]


def opaque_batch(*rows: Optional[bytes]) -> pa.RecordBatch:
    versions = pa.array([0] * len(rows), pa.uint64())
    return pa.record_batch([versions, pa.array(rows, pa.binary())], schema=OPAQUE_SCHEMA)


def native(table: Any, logical_type: str = "pyarrow.table") -> Any:
    """The table as a client sends it: with the cache's schema metadata beside the user's."""
    more = {
        **NATIVE,
        b"flame.cache.version": b"0",
        b"flame.cache.logical_type": logical_type.encode(),
    }
    return table.replace_schema_metadata({**(table.schema.metadata or {}), **more})


def descriptor_of(target: Descriptor) -> flight.FlightDescriptor:
    if isinstance(target, flight.FlightDescriptor):
        return target
    return flight.FlightDescriptor.for_path(*([target] if isinstance(target, str) else target))


@dataclass(frozen=True)
class Ref:
    """What a write answers, and the bytes that it came in."""

    endpoint: str
    key: str
    version: int
    raw: bytes = b""

    @classmethod
    def decode(cls, raw: bytes) -> Ref:
        fields = bson.decode(raw)
        assert list(fields) == ["endpoint", "key", "version"]
        return cls(fields["endpoint"], fields["key"], int(fields["version"]), raw)


@dataclass(frozen=True)
class Reply:
    """A do_get, read to its end."""

    schema: pa.Schema
    batches: list[pa.RecordBatch]
    metadata: list[Optional[bytes]]

    @property
    def table(self) -> pa.Table:
        return pa.Table.from_batches(self.batches, self.schema)

    @property
    def rows(self) -> list[tuple[int, str, bytes]]:
        """Rows of an opaque reply: (version, kind, data)."""
        return [
            (row["version"], row["kind"], row["data"])
            for batch in self.batches
            for row in batch.to_pylist()
        ]

    @property
    def value(self) -> bytes:
        """The base of a full opaque reply."""
        base = [data for _, kind, data in self.rows if kind == "base"]
        assert base, f"no base in {[(v, k) for v, k, _ in self.rows]}"
        return b"".join(base)

    @property
    def not_modified(self) -> bool:
        return not self.batches and b"flame.cache.format" not in (self.schema.metadata or {})


def read_reply(reader: flight.FlightStreamReader) -> Reply:
    batches, metadata = [], []
    for chunk in reader:
        batches.append(chunk.data)
        metadata.append(chunk.app_metadata.to_pybytes() if chunk.app_metadata else None)
    return Reply(reader.schema, batches, metadata)


class Flight:
    """A client. Close it, or use it in a with statement."""

    def __init__(self, endpoint: str, **options: Any):
        self.client = flight.connect(endpoint, **options)

    def __enter__(self) -> Flight:
        return self

    def __exit__(self, *_: Any) -> None:
        self.client.close()

    def put_stream(
        self,
        target: Descriptor,
        schema: pa.Schema,
        batches: Iterable[pa.RecordBatch],
        options: Optional[flight.FlightCallOptions] = None,
    ) -> Ref:
        writer, reader = self.client.do_put(descriptor_of(target), schema, options)
        try:
            for batch in batches:
                writer.write_batch(batch)
            writer.done_writing()
            raw = reader.read()
        finally:
            writer.close()  # Raises what the server answered.
        return Ref.decode(raw.to_pybytes())

    def put(self, target: Descriptor, *rows: Optional[bytes]) -> Ref:
        """An opaque object whose bytes are the concatenation of `rows`."""
        return self.put_stream(target, OPAQUE_SCHEMA, [opaque_batch(*rows)])

    def put_table(
        self,
        target: Descriptor,
        table: Any,
        logical_type: str = "pyarrow.table",
        options: Optional[flight.FlightCallOptions] = None,
    ) -> Ref:
        """An Arrow table, its batches kept."""
        dressed = native(table, logical_type)
        batches = dressed.to_batches() if isinstance(dressed, pa.Table) else [dressed]
        return self.put_stream(target, dressed.schema, batches, options)

    def patch(self, key: str, *rows: Optional[bytes]) -> Ref:
        return self.put(flight.FlightDescriptor.for_command(f"PATCH:{key}"), *rows)

    def get(self, ticket: Union[str, bytes]) -> Reply:
        return read_reply(self.client.do_get(flight.Ticket(ticket)))

    def action(self, name: str, body: bytes = b"") -> list[bytes]:
        return [r.body.to_pybytes() for r in self.client.do_action(flight.Action(name, body))]

    def delete(self, selection: str) -> None:
        assert self.action("DELETE", selection.encode()) == [b"OK"]

    def list(self, prefix: str = "") -> list[flight.FlightInfo]:
        return list(self.client.list_flights(prefix.encode()))

    def keys(self, prefix: str = "") -> list[str]:
        return [info.descriptor.path[0].decode() for info in self.list(prefix)]

    def info(self, *path: str) -> flight.FlightInfo:
        return self.client.get_flight_info(flight.FlightDescriptor.for_path(*path))

    def schema(self, *path: str) -> pa.Schema:
        return self.client.get_schema(flight.FlightDescriptor.for_path(*path)).schema
