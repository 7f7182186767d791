"""How objects are written and read, for any client: what `Client` documents."""

from __future__ import annotations

from typing import Any, Callable, Optional, Union

from flamepy.core import local, native, payload
from flamepy.core.buffers import Pieces
from flamepy.core.conditions import UNCONDITIONAL, WriteOptions
from flamepy.core.dialects import Documents, Stock
from flamepy.core.errors import (
    DecodeError,
    InvalidArgument,
    InvalidKey,
    NotFound,
    PickleRefused,
    WrongKind,
)
from flamepy.core.keys import ObjectKey
from flamepy.core.native import NativeData
from flamepy.core.object_cache import Entry
from flamepy.core.refs import ObjectRef
from flamepy.core.session import Session
from flamepy.core.transport import Deadline

__all__ = [
    "DEFAULT_APPLICATION",
    "Deserializer",
    "Reading",
    "delete",
    "encode",
    "get",
    "patch",
    "put",
    "update",
]

Deserializer = Callable[[Any, list[Any]], Any]
"""Makes the result of a get from the base and its patches, oldest first."""

DEFAULT_APPLICATION = "default"


def encode(obj: Any) -> Union[Pieces, NativeData]:
    """The payload of an object to put."""
    return native.classify(obj) or payload.encode(obj)


def put(
    session: Session,
    key_prefix: str,
    obj: Any,
    older_form: tuple,
    name: Optional[str],
    options: WriteOptions,
    timeout: Optional[float],
) -> ObjectRef:
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
    if options.if_version is not None and name is None:
        raise InvalidArgument("if_version= needs name=: an object without one is always new")

    deadline = session.deadline(timeout)
    data = encode(obj)
    if name is not None:
        key = str(ObjectKey(prefix.app_name, prefix.session_id, name))
        return session.dialect(deadline).put(key, data, deadline, options=options)
    directory = None
    if options is UNCONDITIONAL:  # A file has no room for options.
        directory = local.directory(session.storage(), data)
    if directory is not None:
        return local.put(directory, prefix, data, session.connect(), deadline)
    dialect = session.dialect(deadline)
    return dialect.put(str(prefix), data, deadline, options=options, is_prefix=True)


class Reading:
    """How a caller wants objects: what makes results of entries."""

    def __init__(
        self,
        session: Session,
        deserializer: Optional[Deserializer],
        copy: bool,
        allow_pickle: Optional[bool],
    ) -> None:
        self._deserializer = deserializer
        self._copy = copy
        self._allow_pickle = session.may_unpickle(allow_pickle)

    def result(self, key: str, entry: Entry) -> Any:
        """The object that `entry` holds."""
        try:
            if self._deserializer is not None:
                base = self._decode(entry.base)
                return self._deserializer(base, [self._decode(patch) for patch in entry.patches])
            if entry.memo and not self._copy and self._allow_pickle:
                return payload.share(entry.memo[0])
            if entry.native:
                result = native.decode(entry.base, entry.patches, copy=self._copy)
            else:
                result = self._decode(entry.base)
        except PickleRefused as refusal:
            raise PickleRefused(f"get {key}: {refusal}") from None
        except DecodeError as error:
            raise DecodeError(f"get {key}: {error}") from error
        if not self._copy and payload.is_shareable(result):
            entry.memo[:] = [result]
            return payload.share(result)
        return result

    def _decode(self, data: Any) -> Any:
        if isinstance(data, NativeData):
            return native.decode(data, copy=self._copy)
        return payload.decode(data, copy=self._copy, allow_pickle=self._allow_pickle)


def get(session: Session, ref: ObjectRef, reading: Reading, deadline: Deadline) -> Any:
    key = str(ObjectKey.from_key(ref.key))
    dialect = session.dialect(deadline, ref.endpoint)
    if ref.version == 0:
        return reading.result(key, dialect.fetch(key, None, deadline))
    cache = session.cache
    slot = (ref.endpoint, key)
    known = cache.get(slot)
    try:
        entry = dialect.fetch(key, known, deadline)
    except NotFound:
        cache.discard(slot)
        raise
    if entry is not known:
        cache.put(slot, entry)
    return reading.result(key, entry)


def update(
    session: Session,
    ref: ObjectRef,
    obj: Any,
    options: WriteOptions,
    timeout: Optional[float],
) -> ObjectRef:
    key = str(ObjectKey.from_key(ref.key))
    deadline = session.deadline(timeout)
    dialect = session.dialect(deadline, ref.endpoint)
    updated = dialect.put(key, encode(obj), deadline, options=options)
    session.cache.discard((ref.endpoint, key))
    return updated


def patch(
    session: Session,
    ref: ObjectRef,
    delta: Any,
    options: WriteOptions,
    timeout: Optional[float],
) -> ObjectRef:
    key = str(ObjectKey.from_key(ref.key))
    deadline = session.deadline(timeout)
    dialect = session.dialect(deadline, ref.endpoint)
    rows = native.classify(delta)
    if rows is None:
        return dialect.patch(key, payload.encode(delta), deadline, options=options)
    try:
        return dialect.patch(key, rows, deadline, options=options)
    except WrongKind as refusal:
        return _patch_opaque(dialect, key, delta, deadline, options, refusal)


def delete(
    session: Session, key_prefix: str, if_version: Optional[int], timeout: Optional[float]
) -> int:
    key = ObjectKey.from_path(key_prefix)
    if if_version is not None and key.object_id is None:
        raise InvalidArgument(f"delete {key}: if_version= needs a full key")
    deadline = session.deadline(timeout)
    dialect = session.dialect(deadline)
    deleted = dialect.delete(str(key), deadline, if_version=if_version)
    session.cache.discard_where(lambda slot: key.matches_key(slot[1]))
    return deleted


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
