"""Files of any size as objects: streamed, never held in memory as a whole."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Optional, Union

import pyarrow as pa

from flamepy.core.conditions import WriteOptions
from flamepy.core.errors import InvalidKey
from flamepy.core.keys import ObjectKey
from flamepy.core.refs import ObjectRef
from flamepy.core.session import Session
from flamepy.core.uploads import opaque_stream
from flamepy.core.waiting import stop_if_given_up

__all__ = ["download", "upload"]

_CHUNK_BYTES = 4 << 20
_SMALL_BYTES = 128 << 10


def upload(
    session: Session,
    key_or_prefix: str,
    file_path: Union[str, os.PathLike],
    options: WriteOptions,
    timeout: Optional[float],
    progress: Optional[bool],
) -> ObjectRef:
    key = ObjectKey.from_path(key_or_prefix)
    if key.is_all_sessions():
        raise InvalidKey(f"cannot upload to {key}: name one session")
    path = Path(file_path)
    if not path.exists():
        raise FileNotFoundError(f"no file {path} to upload to {key}")
    size = path.stat().st_size
    deadline = session.deadline(timeout)
    dialect = session.dialect(deadline, progress=progress)
    if size <= _SMALL_BYTES:
        payload = [path.read_bytes()]
    else:
        payload = opaque_stream(-(-size // _CHUNK_BYTES), size, lambda: _read(path, size))
    return dialect.put(
        str(key), payload, deadline, options=options, is_prefix=key.object_id is None
    )


def download(
    session: Session,
    ref: ObjectRef,
    dest_path: Union[str, os.PathLike],
    timeout: Optional[float],
    progress: Optional[bool],
) -> None:
    key = str(ObjectKey.from_key(ref.key))
    deadline = session.deadline(timeout)
    dialect = session.dialect(deadline, ref.endpoint, progress)
    with closing(dialect.read_rows(key, deadline)) as rows:
        first = next(rows, None)  # Ask for the object before touching the directory.
        path = Path(dest_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name[:200]}.{uuid.uuid4()}.part")
        try:
            with open(partial, "xb") as file:
                if first is not None:
                    file.write(first)
                for row in rows:
                    stop_if_given_up()
                    file.write(row)
            stop_if_given_up()
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
