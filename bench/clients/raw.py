"""pyarrow.flight alone: the calls of the published client's wire, with nothing around them."""

from __future__ import annotations

import bson
import numpy as np
import pyarrow as pa
from pyarrow import flight
from values import stored_form

_SCHEMA = pa.schema([("version", pa.uint64()), ("data", pa.binary())])


class RawClient:
    def __init__(self, endpoint: str) -> None:
        self._client = flight.connect(endpoint)

    def encode(self, value) -> pa.Buffer:
        """Once, before the clock runs: this client measures the transport."""
        return stored_form(value)

    def put(self, prefix: str, data: pa.Buffer) -> str:
        return self._write(flight.FlightDescriptor.for_path(prefix), data)

    def get(self, key: str) -> pa.Table:
        return self._read(f"{key}:0")

    def unchanged(self, key: str) -> None:
        assert self._read(f"{key}:1").num_rows == 0

    def same(self, table: pa.Table, data: pa.Buffer) -> bool:
        return table.column("data")[0].as_buffer().equals(data)

    def forget(self, prefix: str) -> None:
        list(self._client.do_action(flight.Action("DELETE", prefix.encode())))

    def append(self, key: str, data: bytes) -> None:
        self._write(flight.FlightDescriptor.for_command(f"PATCH:{key}"), pa.py_buffer(data))

    def get_new(self, key: str, known: int) -> int:
        """How many rows are newer than the version."""
        return self._read(f"{key}:{known}").num_rows

    def list_keys(self, prefix: str) -> int:
        return sum(1 for _ in self._client.list_flights(prefix.encode() + b"/"))

    def _write(self, descriptor: flight.FlightDescriptor, data: pa.Buffer) -> str:
        # One value that shares the data's memory.
        offsets = pa.py_buffer(np.array([0, data.size], np.int32))
        value = pa.Array.from_buffers(pa.binary(), 1, [None, offsets, data])
        batch = pa.RecordBatch.from_arrays([pa.array([0], pa.uint64()), value], schema=_SCHEMA)
        writer, reader = self._client.do_put(descriptor, _SCHEMA)
        with writer:
            writer.write_batch(batch)
            writer.done_writing()
            return bson.decode(reader.read().to_pybytes())["key"]

    def _read(self, ticket: str) -> pa.Table:
        return self._client.do_get(flight.Ticket(ticket)).read_all()
