"""Pickles that every Python reads, and that ours reads without copying large buffers.

An object is pickled once, with its large buffers (array data) out of band. They are then
written *into* the pickle, as ``BYTEARRAY8`` or ``BINBYTES8`` where ``NEXT_BUFFER`` stood,
each after a no-op that pads its bytes to a multiple of 64::

    opcodes  pad  BYTEARRAY8 length <bytes...>  opcodes ... STOP  table  count  magic
             ^cut                   ^data

Any unpickler stops at ``STOP`` and so reads an ordinary pickle. `load` finds the table,
cuts the buffers out again, and hands out views of them.

table : per buffer three little-endian uint64: cut, data, length (offsets from the start)
count : uint64
magic : 8 bytes
"""

from __future__ import annotations

import operator
import pickle
import pickletools
import struct
import sys
from collections.abc import Sequence
from typing import Any, Callable, NamedTuple, Optional, Union

import cloudpickle
import pyarrow as pa

from flamepy.core.buffers import ALIGNMENT, Pieces, size_of, write_stream
from flamepy.core.errors import DecodeError

__all__ = ["dump", "has_table", "is_plain", "load", "plain_value"]

OUT_OF_BAND_MIN_BYTES = 4 << 10
MAGIC = b"\x00FLMOOB\x01"  # The last byte of a pickle without a table is STOP.

_PROTOCOL = 5
_NUMBERS = frozenset({bool, int, float, complex, type(None)})
_CONTAINERS = frozenset({list, tuple, dict})
_FEW = 16
_SCAN_MAX_BYTES = 1 << 20
_ENTRY = struct.Struct("<3Q")
_FOOTER = struct.Struct("<Q8s")
_FRAME_HEADER_BYTES = 9

_FRAME = b"\x95"
_NEXT_BUFFER = b"\x97"
_READONLY_BUFFER = b"\x98"
_BYTEARRAY8 = 0x96
_BINBYTES8 = 0x8E
_STOP = 0x2E
_VALUE = struct.Struct("<BQ")  # BYTEARRAY8 or BINBYTES8, and its length.


def dump(obj: Any) -> Pieces:
    """Pickle `obj` as pieces that borrow its large buffers.

    Functions and classes of ``__main__`` travel by value (cloudpickle). Arrow data nested
    in `obj` goes through Arrow IPC, so that a slice does not ship its parent.
    """
    if is_plain(obj):
        return [pickle.dumps(obj, _PROTOCOL)]
    sink = _Sink()
    buffers: list[memoryview] = []

    def take(buffer: pickle.PickleBuffer) -> bool:
        """Whether the buffer is to stay in band."""
        try:
            raw = buffer.raw()
        except BufferError:
            return True
        if raw.nbytes < OUT_OF_BAND_MIN_BYTES:
            return True
        buffers.append(raw)
        return False

    _Pickler(sink, protocol=_PROTOCOL, buffer_callback=take).dump(obj)
    if not buffers:
        return sink.pieces
    opcodes = _find_next_buffers(_unframe(sink.pieces), len(buffers))
    if opcodes is None:
        sink = _Sink()
        _Pickler(sink, protocol=_PROTOCOL).dump(obj)
        return sink.pieces
    return _insert(opcodes, buffers)


def is_plain(obj: Any, also: tuple[type, ...] = (), depth: int = 2) -> bool:
    """Whether the standard pickler makes the same bytes, in a fraction of the time.

    So it is for numbers, short texts and bytes, and a few of them in a list, tuple or dict.

    Parameters
    ----------
    also : tuple of type
        Importable classes, whose pickles hold nothing else.
    """
    kind = type(obj)
    if kind in _NUMBERS or kind in also:
        return True
    if kind is str or kind is bytes:
        return len(obj) < OUT_OF_BAND_MIN_BYTES
    if kind not in _CONTAINERS or not depth or len(obj) > _FEW:
        return False
    if kind is dict:
        return is_plain((*obj.keys(), *obj.values()), also, depth)
    return all(is_plain(item, also, depth - 1) for item in obj)


def load(data: memoryview, *, copy: bool = False) -> Any:
    """Load what `dump` or any pickler wrote.

    Parameters
    ----------
    data : memoryview
        Read-only bytes of the whole pickle. Arrays in the result may be views of it.
    copy : bool
        Give the result buffers of its own, which it may modify.
    """
    if not has_table(data):
        return pickle.loads(data)
    parts: list[Any] = []
    buffers: list[Any] = []
    end, entries = _read_table(data)
    position = 0
    for cut, start, length, readonly in entries:
        parts += (data[position:cut], _NEXT_BUFFER)
        value = data[start : start + length]
        if copy:
            value = bytearray(value)
        elif readonly:
            parts.append(_READONLY_BUFFER)
        buffers.append(value)
        position = start + length
    parts.append(data[position:end])
    return pickle.loads(b"".join(parts), buffers=buffers)


def has_table(data: memoryview) -> bool:
    """Whether these bytes end in our table of buffers."""
    return len(data) > _FOOTER.size and data[-len(MAGIC) :] == MAGIC


def plain_value(data: memoryview) -> Union[str, bytes, bytearray, None]:
    """What a pickle of nothing but text or bytes holds; None for every other pickle.

    No unpickler is involved, so no pickle can make this run code.
    """
    position = 2
    if len(data) < 4 or data[0] != 0x80:
        return None
    if data[position] == 0x95:  # FRAME, and its length.
        position += _FRAME_HEADER_BYTES
    make, size_bytes = _PLAIN.get(data[position] if position < len(data) else -1, (None, 0))
    start = position + 1 + size_bytes
    end = start + int.from_bytes(data[position + 1 : start], "little")
    rest = bytes(data[end : end + 3])
    if make is None or end > len(data) or rest not in (b".", b"\x94.") or end + 2 < len(data):
        return None
    try:
        return make(data[start:end])
    except UnicodeDecodeError:
        return None


def _text(data: memoryview) -> str:
    return str(data, "utf-8", "surrogatepass")


_PLAIN: dict[int, tuple[Callable[[memoryview], Any], int]] = {
    ord("C"): (bytes, 1),
    ord("B"): (bytes, 4),
    _BINBYTES8: (bytes, 8),
    0x8C: (_text, 1),
    ord("X"): (_text, 4),
    0x8D: (_text, 8),
    _BYTEARRAY8: (bytearray, 8),
}
"""Opcodes of a text or of bytes: what makes it, and how many bytes its size takes."""


class _Call(NamedTuple):
    """Pickles as a call that the reader makes: nests calls in a reducer's arguments."""

    function: Callable
    args: tuple


class _Pickler(cloudpickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, _ARROW_TYPES):
            return _reduce_arrow(obj)
        if type(obj) is _Call:
            return tuple(obj)
        reduced = _reduce_datetime_array(obj)
        return super().reducer_override(obj) if reduced is None else reduced


_ARROW_TYPES = (pa.Table, pa.RecordBatch, pa.ChunkedArray, pa.Array)


def _reduce_arrow(obj: Any) -> tuple:
    """Rebuild Arrow data from an IPC stream with nothing but pyarrow and the library."""
    column = isinstance(obj, (pa.Array, pa.ChunkedArray))
    one_batch = isinstance(obj, (pa.RecordBatch, pa.Array))
    data = obj
    if column:
        make = pa.RecordBatch.from_arrays if one_batch else pa.Table.from_arrays
        data = make([obj], names=["data"])
    stream = write_stream(data.schema, [data] if one_batch else data.to_batches())
    opened = _Call(pa.ipc.open_stream, (pickle.PickleBuffer(stream),))
    read = operator.methodcaller("read_next_batch" if one_batch else "read_all")
    if not column:
        return read, (opened,)
    return operator.methodcaller("column", 0), (_Call(read, (opened,)),)


def _reduce_datetime_array(obj: Any) -> Optional[tuple]:
    """Pickle dates as a view of integers.

    They have no buffer protocol of their own, and numpy's pickle forgets their byte order.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None or type(obj) is not numpy.ndarray or obj.dtype.kind not in "mM":
        return None
    if obj.dtype.isnative and obj.nbytes < OUT_OF_BAND_MIN_BYTES:
        return None
    return numpy.ndarray.view, (obj.view("i8"), obj.dtype)


class _Sink:
    """Keeps what a pickler writes as it comes: whole frames, and large values by themselves."""

    def __init__(self) -> None:
        self.pieces: Pieces = []

    def write(self, data: Any) -> int:
        self.pieces.append(data.raw() if isinstance(data, pickle.PickleBuffer) else data)
        return size_of(self.pieces[-1])


class _Opcodes(NamedTuple):
    """A stretch of a pickle, and where in it NEXT_BUFFER opcodes are."""

    data: bytes
    next_buffers: Sequence[int]


def _unframe(pieces: Pieces) -> Optional[list[tuple[Any, bool]]]:
    """Drop the FRAME opcodes; tell stretches of opcodes from large values.

    The C pickler writes ``[PROTO] [FRAME length] opcodes [header of a large value]``, then
    that value by itself. A stretch without FRAME has less than 4 bytes of opcodes. Anything
    else (another implementation) yields None.
    """
    result: list[tuple[Any, bool]] = []
    value_bytes = 0  # Of the large value that comes next.
    for index, piece in enumerate(pieces):
        if value_bytes:
            if size_of(piece) != value_bytes:
                return None
            result.append((piece, False))
            value_bytes = 0
            continue
        start = 2 if index == 0 else 0
        if piece[start : start + 1] == _FRAME:
            body = start + _FRAME_HEADER_BYTES
            end = body + int.from_bytes(piece[start + 1 : body], "little")
            opcodes = piece[:start] + piece[body:]
        else:
            size = len(piece) - start
            end = start + (size if size < 4 else size - 5 if size < 9 else size - 9)
            opcodes = piece
        header = piece[end:]
        if end > len(piece) or len(header) not in (0, 5, 9):
            return None
        value_bytes = int.from_bytes(header[1:], "little")
        result.append((opcodes, True))
    return None if value_bytes else result


def _find_next_buffers(
    stretches: Optional[list[tuple[Any, bool]]], count: int
) -> Optional[list[_Opcodes]]:
    """Locate exactly `count` NEXT_BUFFER opcodes; None if that is not worth its price."""
    if stretches is None:
        return None
    if sum(data.count(_NEXT_BUFFER) for data, opcodes in stretches if opcodes) == count:
        return [_Opcodes(data, _find_all(data) if opcodes else ()) for data, opcodes in stretches]
    # Some of these bytes are part of a number or a text: only a scan of all opcodes can tell.
    if sum(len(data) for data, _ in stretches) > _SCAN_MAX_BYTES:
        return None
    whole = b"".join(data for data, _ in stretches)
    code = _NEXT_BUFFER.decode("latin-1")
    found = [position for op, _, position in pickletools.genops(whole) if op.code == code]
    return [_Opcodes(whole, found)] if len(found) == count else None


def _find_all(data: bytes) -> list[int]:
    positions = []
    position = data.find(_NEXT_BUFFER)
    while position >= 0:
        positions.append(position)
        position = data.find(_NEXT_BUFFER, position + 1)
    return positions


def _insert(stretches: list[_Opcodes], buffers: list[memoryview]) -> Pieces:
    """Put the buffers where their opcodes are, and append the table."""
    pieces: Pieces = []
    table: list[bytes] = []
    size = 0
    remaining = iter(buffers)
    for data, next_buffers in stretches:
        start = 0
        for position in next_buffers:
            buffer = next(remaining)
            cut = size + position - start
            pad = _pad(cut + _VALUE.size)
            header = _VALUE.pack(_BINBYTES8 if buffer.readonly else _BYTEARRAY8, buffer.nbytes)
            pieces += (data[start:position] + pad + header, buffer)
            size = cut + len(pad) + len(header)
            table.append(_ENTRY.pack(cut, size, buffer.nbytes))
            size += buffer.nbytes
            start = position + (2 if buffer.readonly else 1)  # READONLY_BUFFER follows.
        pieces.append(data[start:])
        size += len(data) - start
    pieces.append(b"".join(table) + _FOOTER.pack(len(table), MAGIC))
    return pieces


def _pad(position: int) -> bytes:
    """A no-op after which `position` is a multiple of 64: push some zeros, pop them."""
    missing = -position % ALIGNMENT
    if missing == 0:
        return b""
    if missing < 3:
        missing += ALIGNMENT
    return b"C" + bytes([missing - 3]) + bytes(missing - 3) + b"0"


def _read_table(data: memoryview) -> tuple[int, list[tuple[int, int, int, bool]]]:
    """Where the pickle ends, and (cut, data, length, readonly) of each buffer, all checked."""
    count, _ = _FOOTER.unpack(data[-_FOOTER.size :])
    end = len(data) - _FOOTER.size - count * _ENTRY.size
    if end <= 0 or data[end - 1] != _STOP:
        raise DecodeError("the pickle's table of buffers is damaged; put the object anew")
    entries = []
    position = 0
    for cut, start, length in _ENTRY.iter_unpack(data[end : -_FOOTER.size]):
        header = start - _VALUE.size
        if not position <= cut <= header <= start + length < end:
            raise DecodeError("the pickle's table of buffers is damaged; put the object anew")
        opcode, declared = _VALUE.unpack(data[header:start])
        if opcode not in (_BINBYTES8, _BYTEARRAY8) or declared != length or start % ALIGNMENT:
            raise DecodeError("the pickle's table of buffers is damaged; put the object anew")
        entries.append((cut, start, length, opcode == _BINBYTES8))
        position = start + length
    return end, entries
