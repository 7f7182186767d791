"""Streams of do_put: record batches that bring an object to a server."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Callable, Union

import pyarrow as pa
from pyarrow import flight

from flamepy.core.buffers import Pieces, chunks, size_of
from flamepy.core.native import NativeData
from flamepy.core.refs import ObjectRef
from flamepy.core.transport import Connection, Deadline

__all__ = ["RowStream", "opaque_stream", "put_stream", "stream_of"]

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
    nbytes : int
        Bytes of data in all of them.
    """

    schema: pa.Schema
    count: int
    open: Callable[[], Iterable[pa.RecordBatch]]
    nbytes: int = 0


def opaque_stream(count: int, nbytes: int, buffers: Callable[[], Iterable[pa.Buffer]]) -> RowStream:
    """A stream of buffers of at most 1 GiB; the object is their concatenation."""
    return RowStream(_OPAQUE_SCHEMA, count, lambda: map(_opaque_batch, buffers()), nbytes)


def stream_of(payload: Union[Pieces, NativeData, RowStream]) -> RowStream:
    """The stream that brings `payload`; large pieces are borrowed, not copied."""
    if isinstance(payload, RowStream):
        return payload
    if isinstance(payload, NativeData):
        batches = payload.batches
        return RowStream(payload.schema, len(batches), lambda: batches, payload.nbytes)
    buffers = list(chunks(payload)) or [pa.py_buffer(b"")]
    return opaque_stream(len(buffers), sum(map(size_of, buffers)), lambda: buffers)


def put_stream(
    connection: Connection,
    descriptor: flight.FlightDescriptor,
    stream: RowStream,
    deadline: Deadline,
    operation: str,
) -> ObjectRef:
    answer = connection.write(descriptor, stream.schema, stream.open(), deadline, operation)
    return ObjectRef.decode(answer)


def _opaque_batch(data: pa.Buffer) -> pa.RecordBatch:
    offsets = pa.py_buffer(struct.pack("<2i", 0, data.size))
    column = pa.Array.from_buffers(pa.binary(), 1, [None, offsets, data])
    return pa.RecordBatch.from_arrays([_NO_VERSION, column], schema=_OPAQUE_SCHEMA)
