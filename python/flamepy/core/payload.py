"""Formats of opaque objects and deltas: a 4-byte prefix, then what it announces.

==========  ====================================  =====================================
prefix      holds                                 written for
==========  ====================================  =====================================
``FLM\\x00``  a pickle (see `pickling`)             everything without a line below
``FLM\\x01``  an Arrow IPC tensor message           numpy arrays that it carries exactly
``FLM\\x02``  an Arrow IPC stream                   ``pa.Table`` as a delta
``FLM\\x03``  an Arrow IPC stream, one column       ``pa.Array``
``FLM\\x04``  an Arrow IPC stream, one batch        ``pa.RecordBatch`` as a delta
none        a bare pickle, or bytes as they are   `upload_object`, other writers
==========  ====================================  =====================================

All of them are read by flamepy 0.6 too.
"""

from __future__ import annotations

import pickle
import struct
import sys
from typing import Any

import pyarrow as pa

from flamepy.core import pickling
from flamepy.core.buffers import PHASE, Piece, Pieces, assemble, view_of, write_stream
from flamepy.core.errors import DecodeError, PickleRefused
from flamepy.core.object_cache import MEMO_MAX_BYTES

__all__ = ["aligned", "decode", "encode", "is_shareable", "share"]

_PICKLE = b"FLM\x00"
_TENSOR = b"FLM\x01"
_TABLE = b"FLM\x02"
_ARRAY = b"FLM\x03"
_BATCH = b"FLM\x04"
_PREFIX_BYTES = 4

_COPY_MAX_BYTES = 64 << 10
_SUFFICIENT_ALIGNMENT = 16
_TENSOR_HEADER_MAX_BYTES = 4096  # 64 dimensions, each with name and size, need less.


def encode(obj: Any) -> Pieces:
    """Encode an object or a delta; large buffers are borrowed, not copied."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and type(obj) is numpy.ndarray and _fits_tensor(obj.dtype):
        return _encode_tensor(obj)
    if isinstance(obj, pa.Table):
        return [_TABLE, write_stream(obj.schema, obj.to_batches())]
    if isinstance(obj, pa.RecordBatch):
        return [_BATCH, write_stream(obj.schema, [obj])]
    if isinstance(obj, pa.Array):
        batch = pa.RecordBatch.from_arrays([obj], names=["data"])
        return [_ARRAY, write_stream(batch.schema, [batch])]
    return [_PICKLE, *pickling.dump(obj)]


def decode(payload: Piece, *, copy: bool = False, allow_pickle: bool = True) -> Any:
    """Decode an opaque object or delta.

    Parameters
    ----------
    payload : bytes-like
        The result may be a read-only view of it.
    copy : bool
        Give the result memory of its own, which it may modify.
    allow_pickle : bool
        Unpickling runs whatever code the pickle names. False: only text and bytes are
        taken out of one, without an unpickler.

    Raises
    ------
    PickleRefused
        The object is a pickle of more than text or bytes.
    DecodeError
        The bytes are not what their prefix says.
    """
    view = view_of(payload)
    prefix = bytes(view[:_PREFIX_BYTES])
    body = view[_PREFIX_BYTES:]
    try:
        if prefix == _TENSOR:
            return _decode_tensor(body, copy)
        if prefix == _PICKLE:
            return _unpickle(body, copy, allow_pickle)
        if prefix == _TABLE:
            return pa.ipc.open_stream(body).read_all()
        if prefix == _ARRAY:
            return pa.ipc.open_stream(body).read_next_batch().column(0)
        if prefix == _BATCH:
            return pa.ipc.open_stream(body).read_next_batch()
        if _is_pickle(view):
            return _unpickle(view, copy, allow_pickle)
    except (pa.ArrowInvalid, OSError, StopIteration) as error:
        raise DecodeError(f"not the Arrow data that its prefix says: {error}") from error
    except (pickle.UnpicklingError, EOFError, struct.error) as error:
        raise DecodeError(
            f"not a pickle ({error}); if the object was uploaded, use download_object"
        ) from error
    return bytes(view)


def _unpickle(data: memoryview, copy: bool, allowed: bool) -> Any:
    if allowed:
        return _freeze(pickling.load(data, copy=copy), copy)
    value = pickling.plain_value(data)
    if value is None:
        raise PickleRefused(
            "the object is a pickle, and reading one can run any code of its writer; if you "
            "trust all who write here, pass allow_pickle=True or set FLAME_ALLOW_PICKLE=1; if "
            "not, have it put as a table, a numeric array, text or bytes, or look at its bytes "
            "with download_object"
        )
    return value


def aligned(payload: Piece) -> Piece:
    """Move a payload, at most once, to where the arrays in it are aligned.

    What a network transport delivers lies anywhere.
    """
    view = view_of(payload)
    prefix = bytes(view[:_PREFIX_BYTES])
    has_arrays = prefix in (_TENSOR, _TABLE, _ARRAY, _BATCH) or (
        prefix == _PICKLE and pickling.has_table(view)
    )
    if not has_arrays or (pa.py_buffer(payload).address - PHASE) % _SUFFICIENT_ALIGNMENT == 0:
        return payload
    return assemble([payload])


def is_shareable(obj: Any) -> bool:
    """Whether an object is immutable, and either a view of its payload or small."""
    if type(obj) in (str, bytes):
        return len(obj) <= MEMO_MAX_BYTES
    if obj is None or type(obj) in _IMMUTABLE_TYPES or isinstance(obj, _ARROW_TYPES):
        return True
    numpy = sys.modules.get("numpy")
    return (
        numpy is not None
        and type(obj) is numpy.ndarray
        and not (obj.flags.writeable or obj.flags.owndata or obj.dtype.hasobject)
    )


def share(obj: Any) -> Any:
    """An immutable object for one more caller; of an array, the shape is the caller's own."""
    numpy = sys.modules.get("numpy")
    return obj.view() if numpy is not None and type(obj) is numpy.ndarray else obj


_IMMUTABLE_TYPES = frozenset((bool, int, float, complex))
_ARROW_TYPES = (pa.Table, pa.RecordBatch, pa.Array, pa.ChunkedArray, pa.Schema, pa.Scalar)


def _fits_tensor(dtype: Any) -> bool:
    """Whether a tensor brings this numpy dtype back exactly."""
    return dtype.isnative and dtype.char in "bBhHiIlLqQefd"


def _encode_tensor(array: Any) -> Pieces:
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        array = array.copy(order="C")
    tensor = pa.Tensor.from_numpy(array)
    size = pa.ipc.get_tensor_size(tensor)
    if array.nbytes < _COPY_MAX_BYTES:
        message = pa.allocate_buffer(size)
        pa.ipc.write_tensor(tensor, pa.FixedSizeBufferWriter(message))
        return [_TENSOR, message]
    header = _tensor_header(tensor)
    padding = bytes(size - len(header) - array.nbytes)
    return [_TENSOR + header, pa.py_buffer(array), padding]


def _tensor_header(tensor: pa.Tensor) -> bytes:
    """The part of a tensor message before its body, without writing the body.

    pyarrow cannot write one without the other: it is given room for the header only.
    """
    memory = pa.allocate_buffer(_TENSOR_HEADER_MAX_BYTES)
    try:
        pa.ipc.write_tensor(tensor, pa.FixedSizeBufferWriter(memory))
    except OSError:
        marker, size = struct.unpack_from("<Ii", memory)
        assert marker == 0xFFFFFFFF, "an encapsulated Arrow message"
        return memory.to_pybytes()[: struct.calcsize("<Ii") + size]
    raise AssertionError("a tensor of this size does not fit the room for its header")


def _decode_tensor(body: memoryview, copy: bool) -> Any:
    array = pa.ipc.read_tensor(pa.py_buffer(body)).to_numpy()
    if copy:
        return array.copy(order="K")
    array.flags.writeable = False
    return array


def _freeze(obj: Any, copy: bool) -> Any:
    """Make a top-level array read-only whether or not its dtype allowed a view."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(obj, numpy.ndarray):
        if not copy:
            obj.flags.writeable = False
        elif not obj.flags.writeable:
            return obj.copy(order="K")
    return obj


def _is_pickle(view: memoryview) -> bool:
    return len(view) > 2 and view[0] == 0x80 and 2 <= view[1] <= 5
