"""Files of any size as objects: streamed, never held in memory as a whole."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pyarrow as pa

from flamepy.core.conditions import Seconds, WriteOptions
from flamepy.core.dialects import dialect_of
from flamepy.core.errors import InvalidKey
from flamepy.core.keys import ObjectKey
from flamepy.core.refs import ObjectRef
from flamepy.core.transport import Deadline, connect
from flamepy.core.uploads import opaque_stream

__all__ = ["download_object", "upload_object"]

_CHUNK_BYTES = 4 << 20
_SMALL_BYTES = 128 << 10


def upload_object(
    key_or_prefix: str,
    file_path: str | os.PathLike,
    *,
    if_version: Optional[int] = None,
    ttl: Optional[Seconds] = None,
    timeout: Optional[float] = None,
) -> ObjectRef:
    """Store a file's bytes as they are.

    Parameters
    ----------
    key_or_prefix : str
        ``app/session/object``, or ``app/session`` to let the server draw the name.
    file_path : path
        A regular file; may be empty. It must not change meanwhile.
    if_version : int, optional
        Write only if this is the newest version of the key; 0 = only if it is absent.
    ttl : float or timedelta, optional
        Seconds, or a `timedelta`, after which the object expires.
    timeout : float, optional
        Seconds for the whole upload.

    Returns
    -------
    ObjectRef

    Raises
    ------
    FileNotFoundError
    InvalidKey
        A ``ValueError``; also for ``app/*``.
    VersionConflict, Unavailable, Timeout, ResourceExhausted
    """
    key = ObjectKey.from_path(key_or_prefix)
    if key.is_all_sessions():
        raise InvalidKey(f"cannot upload to {key}: name one session")
    path = Path(file_path)
    if not path.exists():
        raise FileNotFoundError(f"no file {path} to upload to {key}")
    size = path.stat().st_size
    deadline = Deadline(timeout)
    options = WriteOptions.of(if_version, ttl)
    dialect = dialect_of(connect(), deadline)
    if size <= _SMALL_BYTES:
        payload = [path.read_bytes()]
    else:
        payload = opaque_stream(-(-size // _CHUNK_BYTES), lambda: _read(path, size))
    return dialect.put(
        str(key), payload, deadline, options=options, is_prefix=key.object_id is None
    )


def download_object(
    ref: ObjectRef, dest_path: str | os.PathLike, *, timeout: Optional[float] = None
) -> None:
    """Write an object's bytes, as they are stored, to a file.

    The file appears, with its directories, only when all bytes have arrived; what was
    there before stays until then. An empty object makes an empty file.

    Parameters
    ----------
    ref : ObjectRef
    dest_path : path
    timeout : float, optional
        Seconds for the whole download.

    Raises
    ------
    NotFound
        A ``KeyError``.
    WrongKind
        The object is a table or has patches, so it is not a file's bytes.
    """
    key = str(ObjectKey.from_key(ref.key))
    deadline = Deadline(timeout)
    rows = dialect_of(connect(ref.endpoint), deadline).read_rows(key, deadline)
    first = next(rows, None)  # Ask for the object before touching the directory.
    path = Path(dest_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name[:200]}.{uuid.uuid4()}.part")
    try:
        with open(partial, "xb") as file:
            if first is not None:
                file.write(first)
            for row in rows:
                file.write(row)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _read(path: Path, size: int) -> Iterator[pa.Buffer]:
    left = size
    with open(path, "rb") as file:
        while left:
            chunk = file.read(min(_CHUNK_BYTES, left))
            if not chunk:
                raise OSError(f"{path} became shorter while it was uploaded")
            left -= len(chunk)
            yield pa.py_buffer(chunk)
