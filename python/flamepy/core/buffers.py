"""Bytes on their way to and from the wire: lists of pieces, joined as late as possible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Union

import pyarrow as pa

__all__ = [
    "ALIGNMENT",
    "PHASE",
    "Pieces",
    "assemble",
    "chunks",
    "size_of",
    "view_of",
    "write_stream",
]

Piece = Union[bytes, bytearray, memoryview, pa.Buffer]
Pieces = list[Piece]
"""Contiguous buffers whose concatenation is one payload. Borrowed: not to be modified."""

ALIGNMENT = 64
PHASE = 60
"""Address of a payload modulo 64: what follows a 4-byte prefix is then aligned."""

MAX_CHUNK_BYTES = 1 << 30
_COALESCE_BYTES = 64 << 10
_JOINED_MAX_BYTES = 16 << 20
_COPY_THREADS = 2
_PARALLEL_COPY_BYTES = 32 << 20


def size_of(piece: Piece) -> int:
    """Bytes in a piece."""
    return piece.size if isinstance(piece, pa.Buffer) else memoryview(piece).nbytes


def view_of(buffer: Piece) -> memoryview:
    """A read-only view of unsigned bytes."""
    return memoryview(buffer).toreadonly().cast("B")


def chunks(pieces: Sequence[Piece]) -> Iterator[pa.Buffer]:
    """Cut pieces into buffers of at most 1 GiB without copying what is large.

    Small neighbours are joined. All buffers but the last are multiples of 64 bytes, so
    that a server can send them on as one without joining them first.
    """
    joined = bytearray()
    for piece in pieces:
        size = size_of(piece)
        start, end = 0, 0
        if size >= _COALESCE_BYTES:
            start = -len(joined) % ALIGNMENT
            end = size - (size - start) % ALIGNMENT
        view = view_of(piece)
        joined += view[:start]
        if joined and (end or len(joined) >= _JOINED_MAX_BYTES):
            full = len(joined) - len(joined) % ALIGNMENT
            yield pa.py_buffer(bytes(joined[:full]))
            del joined[:full]
        buffer = pa.py_buffer(piece)
        for offset in range(start, end, MAX_CHUNK_BYTES):
            yield buffer.slice(offset, min(MAX_CHUNK_BYTES, end - offset))
        joined += view[max(start, end) :]
    if joined:
        yield pa.py_buffer(bytes(joined))


def assemble(pieces: Sequence[Piece]) -> pa.Buffer:
    """Copy pieces into one buffer whose address is at phase 60 of 64."""
    sizes = [size_of(piece) for piece in pieces]
    memory = pa.allocate_buffer(ALIGNMENT + sum(sizes))
    start = (PHASE - memory.address) % ALIGNMENT
    writer = pa.FixedSizeBufferWriter(memory)  # Copies without holding the GIL.
    if sum(sizes) >= _PARALLEL_COPY_BYTES:
        writer.set_memcopy_threads(_COPY_THREADS)
    writer.write(bytes(start))
    for piece in pieces:
        writer.write(pa.py_buffer(piece))
    writer.close()
    return memory.slice(start, sum(sizes))


def write_stream(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> pa.Buffer:
    """Write one Arrow IPC stream into a buffer of exactly its size."""
    batches = list(batches)
    measure = pa.MockOutputStream()
    _write(measure, schema, batches)
    buffer = pa.allocate_buffer(measure.size())
    with pa.FixedSizeBufferWriter(buffer) as sink:
        _write(sink, schema, batches)
    return buffer


def _write(sink: pa.NativeFile, schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> None:
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
