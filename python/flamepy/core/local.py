"""Local mode: put by writing a file into the directory that the server stores in.

The file appears under its name only when it is complete, and the put succeeds only when
the server has been seen to serve it: a directory that is not the server's is an error, not
an object that nobody can read.
"""

from __future__ import annotations

import logging
import os
import uuid
from pathlib import Path
from typing import Optional, Union

import pyarrow as pa

from flamepy.core.buffers import Pieces, size_of
from flamepy.core.dialects import dialect_of
from flamepy.core.errors import InvalidConfig
from flamepy.core.keys import ObjectKey
from flamepy.core.native import NativeData
from flamepy.core.refs import ObjectRef
from flamepy.core.transport import Connection, Deadline
from flamepy.core.uploads import RowStream, opaque_stream, stream_of

__all__ = ["directory", "put"]

MAX_BYTES = 1 << 30
"""Opaque objects above this go over the network."""

logger = logging.getLogger(__name__)


def directory(storage: Optional[str], payload: Union[Pieces, NativeData]) -> Optional[Path]:
    """The directory to put `payload` into, or None if it goes over the network."""
    if not storage or not _fits_a_file(payload):
        return None
    path = Path(storage)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logger.warning("cache storage %s cannot be used, putting remotely: %s", path, error)
        return None
    return path


def put(
    root: Path,
    prefix: ObjectKey,
    payload: Union[Pieces, NativeData],
    connection: Connection,
    deadline: Deadline,
) -> ObjectRef:
    """Write a new object under `root` and let the server find it.

    Raises
    ------
    InvalidConfig
        The server does not see the file; it is removed again.
    """
    key = prefix.with_generated_id()
    path = root / key.app_name / key.session_id / f"{key.object_id}.arrow"
    _write(path, payload)
    try:
        version = dialect_of(connection, deadline).version_of(str(key), deadline)
        if version is None:
            raise InvalidConfig(
                f"put {key}: the server at {connection.endpoint} does not see files in {root}; "
                "set cache.storage (FLAME_CACHE_STORAGE) to the directory that the server "
                "stores in, or remove it to put over the network"
            )
        endpoint = connection.location(str(key), deadline, f"locate {key}")
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return ObjectRef(endpoint, str(key), max(version, 1))


def _fits_a_file(payload: Union[Pieces, NativeData]) -> bool:
    """A file has one row of opaque data, or one dictionary for all batches of a column."""
    if not isinstance(payload, NativeData):
        return sum(map(size_of, payload)) <= MAX_BYTES
    return len(payload.batches) < 2 or not any(
        _has_dictionary(field.type) for field in payload.schema
    )


def _has_dictionary(type_: pa.DataType) -> bool:
    return pa.types.is_dictionary(type_) or any(
        _has_dictionary(type_.field(i).type) for i in range(type_.num_fields)
    )


def _one_row(payload: Pieces) -> RowStream:
    data = pa.py_buffer(b"".join(payload))
    return opaque_stream(1, data.size, lambda: [data])


def _write(path: Path, payload: Union[Pieces, NativeData]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{uuid.uuid4()}.part")
    stream = stream_of(payload) if isinstance(payload, NativeData) else _one_row(payload)
    try:
        with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, stream.schema) as writer:
            for batch in stream.open():
                writer.write_batch(batch)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
