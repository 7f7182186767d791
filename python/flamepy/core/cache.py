"""The object cache: put an object here, get it anywhere.

Results of `get_object` are yours: mutating one never changes what another call returns.
Arrays and Arrow data are read-only views without a copy; ``copy=True`` makes them private.
Every call is thread-safe and takes ``timeout=`` seconds.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Callable, Optional, Union

from flamepy.core import local, native, payload
from flamepy.core.buffers import Pieces
from flamepy.core.conditions import Seconds, WriteOptions
from flamepy.core.context import current_context
from flamepy.core.dialects import Documents, Stock, dialect_of
from flamepy.core.errors import DecodeError, InvalidArgument, InvalidKey, NotFound, WrongKind
from flamepy.core.files import download_object, upload_object
from flamepy.core.keys import WILDCARD_SESSION, ObjectKey
from flamepy.core.listing import (
    Event,
    Feed,
    ObjectInfo,
    list_objects,
    stat_object,
    watch_objects,
)
from flamepy.core.native import NativeData
from flamepy.core.object_cache import Entry, ObjectCache
from flamepy.core.refs import ObjectRef
from flamepy.core.transport import Deadline, connect

__all__ = [
    "WILDCARD_SESSION",
    "Deserializer",
    "Event",
    "Feed",
    "ObjectInfo",
    "ObjectKey",
    "ObjectRef",
    "configure_cache",
    "delete_objects",
    "download_object",
    "get_object",
    "list_objects",
    "patch_object",
    "put_object",
    "stat_object",
    "update_object",
    "upload_object",
    "watch_objects",
]

Deserializer = Callable[[Any, list[Any]], Any]
"""Makes the result of a get from the base and its patches, oldest first."""

DEFAULT_APPLICATION = "default"


def put_object(
    key_prefix: str,
    obj: Any,
    *older_form: Any,
    name: Optional[str] = None,
    if_version: Optional[int] = None,
    ttl: Optional[Seconds] = None,
    timeout: Optional[float] = None,
) -> ObjectRef:
    """Store an object under a prefix.

    Also accepted: ``put_object(app, session, obj)``, and ``put_object(session, obj)`` for
    the application ``default``.

    Parameters
    ----------
    key_prefix : str
        ``app/session``. The server draws the name of the object.
    obj : Any
        Tables and frames (pyarrow, pandas, polars, anything with ``__arrow_c_stream__``)
        are stored as Arrow batches, numpy arrays as tensors, the rest as a pickle.
    name : str, optional
        Store it as ``app/session/name`` instead, creating or replacing it.
    if_version : int, optional
        With `name`: only if this is the newest version; 0 = only if there is none.
    ttl : float or timedelta, optional
        Seconds, or a `timedelta`, after which the object expires.
    timeout : float, optional
        Seconds.

    Returns
    -------
    ObjectRef

    Raises
    ------
    InvalidKey
        A ``ValueError``: not a prefix. Nothing was sent.
    VersionConflict, TooLarge, ResourceExhausted, Unavailable, Timeout

    Examples
    --------
    >>> ref = put_object("app/session", {"answer": 42})  # doctest: +SKIP
    >>> get_object(ref)  # doctest: +SKIP
    {'answer': 42}
    """
    if older_form:
        if len(older_form) > 1:
            raise TypeError("put_object takes (key_prefix, obj) or (app, session, obj)")
        prefix, obj = ObjectKey(key_prefix, obj), older_form[0]
    elif isinstance(key_prefix, str) and "/" not in key_prefix:
        prefix = ObjectKey(DEFAULT_APPLICATION, key_prefix)
    else:
        prefix = ObjectKey.from_prefix(key_prefix)
    if prefix.is_all_sessions():
        raise InvalidKey(f"cannot put to {prefix}: name one session")
    if if_version is not None and name is None:
        raise InvalidArgument("if_version= needs name=: an object without one is always new")

    deadline = Deadline(timeout)
    options = WriteOptions.of(if_version, ttl)
    data = _encode(obj)
    context = current_context()
    connection = connect(context.cache_endpoint)
    if name is not None:
        key = str(ObjectKey(prefix.app_name, prefix.session_id, name))
        dialect = dialect_of(connection, deadline)
        return dialect.put(key, data, deadline, options=options)
    directory = None if options.ttl_ms else local.directory(context.cache.storage, data)
    if directory is not None:
        return local.put(directory, prefix, data, connection, deadline)
    dialect = dialect_of(connection, deadline)
    return dialect.put(str(prefix), data, deadline, options=options, is_prefix=True)


def get_object(
    ref: ObjectRef,
    deserializer: Optional[Deserializer] = None,
    *,
    copy: bool = False,
    timeout: Optional[float] = None,
) -> Any:
    """Read the newest version of an object.

    The server is always asked, so the result is never stale; what this process has already
    is not sent again. ``ref.version == 0`` bypasses the client's cache.

    Parameters
    ----------
    ref : ObjectRef
    deserializer : callable, optional
        ``deserializer(base, patches)`` makes the result; it gets objects of its own. Without
        one, the base of an opaque object is returned, and a table with all appended rows.
    copy : bool
        Give arrays memory of their own that may be written to.
    timeout : float, optional
        Seconds.

    Raises
    ------
    NotFound
        A ``KeyError``: never put, deleted, or evicted.
    DecodeError
        The bytes are no object; those of an uploaded file are read by `download_object`.
    Unavailable, Timeout
    """
    key = str(ObjectKey.from_key(ref.key))
    deadline = Deadline(timeout)
    dialect = dialect_of(connect(ref.endpoint), deadline)
    if ref.version == 0:
        return _materialize(key, dialect.fetch(key, None, deadline), deserializer, copy)
    cache = _client_cache()
    slot = (ref.endpoint, key)
    known = cache.get(slot)
    try:
        entry = dialect.fetch(key, known, deadline)
    except NotFound:
        cache.discard(slot)
        raise
    if entry is not known:
        cache.put(slot, entry)
    return _materialize(key, entry, deserializer, copy)


def update_object(
    ref: ObjectRef,
    new_obj: Any,
    *,
    if_version: Optional[int] = None,
    ttl: Optional[Seconds] = None,
    timeout: Optional[float] = None,
) -> ObjectRef:
    """Replace an object, its patches included; an absent one is created.

    Parameters
    ----------
    ref : ObjectRef
    new_obj : Any
        As for `put_object`; may be of another type than before.
    if_version : int, optional
        Only if this is the newest version; 0 = only if there is none.
    ttl : float or timedelta, optional
        Seconds, or a `timedelta`, after which the object expires.
    timeout : float, optional
        Seconds.

    Returns
    -------
    ObjectRef
        With the new version.

    Raises
    ------
    VersionConflict
        With `current_version`; read the object again and redo the change.
    """
    key = str(ObjectKey.from_key(ref.key))
    deadline = Deadline(timeout)
    options = WriteOptions.of(if_version, ttl)
    dialect = dialect_of(connect(ref.endpoint), deadline)
    updated = dialect.put(key, _encode(new_obj), deadline, options=options)
    _client_cache().discard((ref.endpoint, key))
    return updated


def patch_object(
    ref: ObjectRef,
    delta: Any,
    *,
    if_version: Optional[int] = None,
    ttl: Optional[Seconds] = None,
    timeout: Optional[float] = None,
) -> ObjectRef:
    """Append to an object without sending it again.

    Rows (a table, batch or frame) are appended to a table of the same schema. Everything
    else becomes a delta, which a deserializer given to `get_object` applies.

    Parameters
    ----------
    ref : ObjectRef
    delta : Any
    if_version : int, optional
        Only if this is the newest version.
    ttl : float or timedelta, optional
        Seconds, or a `timedelta`, after which the object, base and deltas, expires.
    timeout : float, optional
        Seconds.

    Returns
    -------
    ObjectRef
        With the new version.

    Raises
    ------
    NotFound
        A ``KeyError``: there is nothing to append to.
    WrongKind
        Rows of another schema, or a delta that is no rows, for an object that is a table.
    TooManyPatches
        Merge them with `update_object`.
    """
    key = str(ObjectKey.from_key(ref.key))
    deadline = Deadline(timeout)
    options = WriteOptions.of(if_version, ttl)
    dialect = dialect_of(connect(ref.endpoint), deadline)
    rows = native.classify(delta)
    if rows is None:
        return dialect.patch(key, payload.encode(delta), deadline, options=options)
    try:
        return dialect.patch(key, rows, deadline, options=options)
    except WrongKind as refusal:
        return _patch_opaque(dialect, key, delta, deadline, options, refusal)


def delete_objects(
    key_prefix: str, *, if_version: Optional[int] = None, timeout: Optional[float] = None
) -> int:
    """Delete an object, or all objects under a prefix.

    Parameters
    ----------
    key_prefix : str
        ``app/session/object``, ``app/session``, or ``app/*``.
    if_version : int, optional
        For a full key: only if this is the newest version.
    timeout : float, optional
        Seconds.

    Returns
    -------
    int
        How many objects were deleted; nothing to delete is no error. -1 from a Flame 0.6
        server, which does not tell.
    """
    key = ObjectKey.from_path(key_prefix)
    if if_version is not None and key.object_id is None:
        raise InvalidArgument(f"delete {key}: if_version= needs a full key")
    deadline = Deadline(timeout)
    deleted = dialect_of(connect(), deadline).delete(str(key), deadline, if_version=if_version)
    _client_cache().discard_where(lambda slot: key.matches_key(slot[1]))
    return deleted


def configure_cache(*, max_bytes: int) -> None:
    """Bound the bytes that this process keeps of objects it has read.

    Parameters
    ----------
    max_bytes : int
        0 keeps nothing. The default is the context's ``cache.client_cache``.
    """
    if max_bytes < 0:
        raise InvalidArgument(f"max_bytes is {max_bytes}, expected 0 or more")
    _client_cache().resize(max_bytes)


_cache: Optional[ObjectCache] = None
_cache_lock = threading.Lock()


def _after_fork() -> None:
    """Start empty: a lock may have been held by a thread that the child does not have."""
    global _cache, _cache_lock
    _cache, _cache_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _client_cache() -> ObjectCache:
    global _cache
    cache = _cache
    if cache is None:
        with _cache_lock:
            cache = _cache
            if cache is None:
                cache = _cache = ObjectCache(current_context().cache.client_cache_bytes)
    return cache


def _encode(obj: Any) -> Union[Pieces, NativeData]:
    return native.classify(obj) or payload.encode(obj)


def _patch_opaque(
    dialect: Union[Documents, Stock],
    key: str,
    delta: Any,
    deadline: Deadline,
    options: WriteOptions,
    refusal: WrongKind,
) -> ObjectRef:
    """Add rows as a delta, because the object refused to take them as its own."""
    try:
        return dialect.patch(key, payload.encode(delta), deadline, options=options)
    except WrongKind:  # It is a table, so what the first refusal said about the schema holds.
        raise refusal from None


def _materialize(key: str, entry: Entry, deserializer: Optional[Deserializer], copy: bool) -> Any:
    try:
        if deserializer is not None:
            decode = native.decode if entry.native else payload.decode
            base = decode(entry.base, copy=copy)
            return deserializer(base, [decode(patch, copy=copy) for patch in entry.patches])
        if entry.memo and not copy:
            return payload.share(entry.memo[0])
        if entry.native:
            result = native.decode(entry.base, entry.patches, copy=copy)
        else:
            result = payload.decode(entry.base, copy=copy)
    except DecodeError as error:
        raise DecodeError(f"get {key}: {error}") from error
    if not copy and payload.is_shareable(result):
        entry.memo[:] = [result]
        return payload.share(result)
    return result
