"""What is in the cache, and what happens to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Optional, Union

import pyarrow as pa

from flamepy.core.errors import NotFound
from flamepy.core.keys import ObjectKey
from flamepy.core.refs import ObjectRef
from flamepy.core.session import Session

__all__ = ["Event", "Feed", "ObjectInfo", "list_pages", "stat"]

_PAGE = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class ObjectInfo:
    """What the server knows about an object beside its bytes.

    Attributes
    ----------
    ref : ObjectRef
        With the newest version.
    base_version : int
        Version of the base; later ones are patches.
    kind : str
        ``"opaque"`` or ``"native"`` (Arrow batches).
    nbytes : int
        Payload bytes, base and patches.
    patches : int
        How many there are.
    modified_ms : int
        Milliseconds since 1970 of the last write, by the server's clock.
    logical_type : str or None
        Of a native object: ``"pandas.dataframe"``...
    schema : pa.Schema or None
        Of a native object, from `stat_object` only.
    expires_at_ms : int or None
        When it expires, milliseconds since 1970 by the server's clock; None = never.
    """

    ref: ObjectRef
    base_version: int
    kind: str
    nbytes: int
    patches: int
    modified_ms: int
    logical_type: Optional[str] = None
    schema: Optional[pa.Schema] = None
    expires_at_ms: Optional[int] = None

    @property
    def key(self) -> str:
        """``app/session/object``."""
        return self.ref.key

    @property
    def version(self) -> int:
        """The newest version."""
        return self.ref.version

    @property
    def modified_at(self) -> datetime:
        """When it was last written, by the server's clock."""
        return _moment(self.modified_ms)

    @property
    def expires_at(self) -> Optional[datetime]:
        """When it expires, by the server's clock; None = never."""
        return None if self.expires_at_ms is None else _moment(self.expires_at_ms)

    @classmethod
    def _from_document(cls, endpoint: str, document: dict[str, Any]) -> ObjectInfo:
        schema = document.get("schema")
        return cls(
            ref=ObjectRef(endpoint, document["key"], int(document["version"])),
            base_version=int(document["base_version"]),
            kind=document["kind"],
            nbytes=int(document["bytes"]),
            patches=int(document["patches"]),
            modified_ms=int(document["modified_ms"]),
            logical_type=document.get("logical_type") or None,
            schema=pa.ipc.read_schema(pa.py_buffer(schema)) if schema else None,
            expires_at_ms=int(document.get("expires_at_ms", 0)) or None,
        )


@dataclass(frozen=True)
class Event:
    """Something that happened to an object.

    Attributes
    ----------
    event : str
        ``"put"``, ``"patch"``, ``"delete"``; ``"expire"`` (its time was over), ``"evict"``
        (to make room); or ``"gap"`` (events were lost: what follows as ``"state"`` is the
        present state of every key, what is missing there is gone).
    key : str
        Empty for a gap.
    version : int
    kind : str
        Of the object, ``"opaque"`` or ``"native"``.
    """

    event: str
    key: str = ""
    version: int = 0
    kind: str = ""


class Feed:
    """Events under a prefix, in the order of each key's versions, without end.

    Made by `watch_objects`. Not thread-safe: one reader per feed.

    Attributes
    ----------
    cursor : bytes
        Position after the last event read; pass it to `watch_objects` to go on from there.
    """

    def __init__(
        self, session: Session, key_prefix: str, cursor: Optional[bytes], timeout: Optional[float]
    ) -> None:
        self._prefix, self._wanted = _scope(key_prefix)
        self._timeout = timeout
        self._session = session
        self._endpoint = session.connect().endpoint
        self.cursor = cursor
        if cursor is None:
            self.read(wait=0)

    def read(self, *, wait: float = 1.0, limit: int = _PAGE) -> list[Event]:
        """The next events.

        Parameters
        ----------
        wait : float
            Seconds to wait for the first one; 0 = only what is there already.
        limit : int
            At most so many.

        Returns
        -------
        list of Event
            Empty when nothing happened.
        """
        events, self.cursor = self.read_from(self.cursor, wait=wait, limit=limit)
        return events

    def read_from(
        self, cursor: Optional[bytes], *, wait: float = 1.0, limit: int = _PAGE
    ) -> tuple[list[Event], bytes]:
        """The events after `cursor`, and the cursor after them; this feed stays where it is.

        Thread-safe, unlike `read`.
        """
        deadline = self._session.deadline(self._timeout).later(wait)
        documents, after = self._session.dialect(deadline, self._endpoint).feed(
            self._prefix, cursor, limit, int(wait * 1000), deadline
        )
        events = [
            Event(
                document["event"],
                document.get("key", ""),
                int(document.get("version", 0)),
                document.get("kind", ""),
            )
            for document in documents
            if document["event"] == "gap" or self._wanted(document["key"])
        ]
        return events, after

    def __iter__(self) -> Iterator[Event]:
        while True:
            yield from self.read()


def stat(session: Session, ref: Union[ObjectRef, str], timeout: Optional[float]) -> ObjectInfo:
    endpoint, key = (ref.endpoint, ref.key) if isinstance(ref, ObjectRef) else (None, ref)
    key = str(ObjectKey.from_key(key))
    deadline = session.deadline(timeout)
    dialect = session.dialect(deadline, endpoint)
    document = dialect.stat(key, deadline)
    if document is None:
        raise NotFound(f"{key} is not on {dialect.endpoint}: never put, deleted, or evicted")
    return ObjectInfo._from_document(dialect.endpoint, document)


def list_pages(
    session: Session, key_prefix: str, timeout: Optional[float]
) -> Iterator[list[ObjectInfo]]:
    """Pages of a listing, each fetched when it is asked for."""
    prefix, wanted = _scope(key_prefix)
    endpoint = session.connect().endpoint

    def pages() -> Iterator[list[ObjectInfo]]:
        after, end = "", False
        while not end:
            deadline = session.deadline(timeout)
            dialect = session.dialect(deadline, endpoint)
            documents, end = dialect.list_page(prefix, after, _PAGE, deadline)
            after = documents[-1]["key"] if documents else after
            yield [
                ObjectInfo._from_document(endpoint, document)
                for document in documents
                if wanted(document["key"])
            ]

    return pages()


def _moment(ms: int) -> datetime:
    """Exact, and also beyond what the platform's time functions know."""
    return _EPOCH + timedelta(milliseconds=ms)


def _scope(key_prefix: str) -> tuple[str, Callable[[str], bool]]:
    """The text that the wanted keys start with, and a test for those that also do so."""
    if not key_prefix:
        return "", lambda _: True
    key = ObjectKey.from_path(key_prefix)
    if key.object_id is not None:
        return str(key), key.matches_key
    return f"{key.app_name}/" if key.is_all_sessions() else f"{key}/", key.matches_key
