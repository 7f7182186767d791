"""Many objects in few round trips, with a result of its own for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Optional, TypeVar, Union

from flamepy.core.conditions import Seconds, WriteOptions
from flamepy.core.dialects import Documents, PutRequest, Stock
from flamepy.core.errors import (
    BatchError,
    FlameError,
    InvalidArgument,
    InvalidKey,
    Timeout,
    Unavailable,
)
from flamepy.core.keys import ObjectKey
from flamepy.core.objects import Reading, encode
from flamepy.core.refs import ObjectRef
from flamepy.core.session import Session
from flamepy.core.transport import Deadline

__all__ = ["ItemResult", "PutItem", "get_many", "put_many"]

T = TypeVar("T")

_PUT_MAX_BYTES = 8 << 20
_PUT_MAX_ITEMS = 1000
_GET_MAX_ITEMS = 256  # Each brings at most 256 KiB, so that a reply is below 64 MiB.


class PutItem(NamedTuple):
    """One object for `put_many`; a plain ``(key, obj)`` does as well.

    Attributes
    ----------
    key : str
        ``app/session/object``, or ``app/session`` to let the server draw the name.
    obj : Any
    if_version : int, optional
        For a full key: only if this is the newest version; 0 = only if there is none.
    ttl : float or timedelta, optional
        Instead of that of the whole call.
    """

    key: str
    obj: Any
    if_version: Optional[int] = None
    ttl: Optional[Seconds] = None


@dataclass(frozen=True)
class ItemResult(Generic[T]):
    """What became of one item: a value, or an error.

    Attributes
    ----------
    index : int
        Position of the item.
    key : str
        As it was asked for.
    value : T or None
    error : Exception or None

    Examples
    --------
    >>> ItemResult(0, "app/session/a", value=7).unwrap()
    7
    >>> ItemResult(1, "app/session/b", error=KeyError("b")).ok
    False
    """

    index: int
    key: str
    value: Optional[T] = None
    error: Optional[Exception] = None

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.error is None

    def unwrap(self) -> T:
        """The value; raises the error if there is one."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]


def put_many(
    session: Session,
    items: Union[Mapping[str, Any], Iterable[Any]],
    ttl: Optional[Seconds],
    on_error: str,
    timeout: Optional[float],
) -> list[ItemResult[ObjectRef]]:
    _check_on_error(on_error)
    WriteOptions.of(ttl=ttl)  # Checks it before anything is sent.
    writer = _Writer(session, ttl, session.deadline(timeout))
    for item in items.items() if isinstance(items, Mapping) else items:
        writer.add(item)
    return _checked(writer.finish(), "put", on_error)


def get_many(
    session: Session,
    refs: Iterable[Union[ObjectRef, str]],
    reading: Reading,
    on_error: str,
    timeout: Optional[float],
) -> list[ItemResult[Any]]:
    _check_on_error(on_error)
    deadline = session.deadline(timeout)
    results: dict[int, ItemResult[Any]] = {}
    by_endpoint: dict[Optional[str], list[tuple[int, str, ObjectRef]]] = {}
    count = 0
    for index, wanted in enumerate(refs):
        count += 1
        ref = wanted if isinstance(wanted, ObjectRef) else ObjectRef("", wanted, 1)
        try:
            key = str(ObjectKey.from_key(ref.key))
        except InvalidKey as error:
            results[index] = ItemResult(index, str(ref.key), error=error)
            continue
        by_endpoint.setdefault(ref.endpoint or None, []).append((index, key, ref))
    for endpoint, wanted_here in by_endpoint.items():
        failure: Optional[FlameError] = None
        for start in range(0, len(wanted_here), _GET_MAX_ITEMS):
            some = wanted_here[start : start + _GET_MAX_ITEMS]
            if failure is None:
                try:
                    _get_some(session, endpoint, some, reading, deadline, results)
                    continue
                except FlameError as error:
                    failure = error
            for index, key, _ in some:
                results.setdefault(index, ItemResult(index, key, error=failure))
            if not isinstance(failure, (Timeout, Unavailable)):
                failure = None  # The next ones may fare better.
    return _checked([results[index] for index in range(count)], "get", on_error)


def _get_some(
    session: Session,
    endpoint: Optional[str],
    wanted: Sequence[tuple[int, str, ObjectRef]],
    reading: Reading,
    deadline: Deadline,
    results: dict[int, ItemResult[Any]],
) -> None:
    dialect = session.dialect(deadline, endpoint)
    cache = session.cache
    known = []
    for _, key, ref in wanted:
        slot = (dialect.endpoint if endpoint is None else endpoint, key)
        known.append((key, cache.get(slot) if ref.version else None))
    fetched = dialect.fetch_many(known, deadline)
    for (index, key, ref), (_, entry), found in zip(wanted, known, fetched):
        slot = (dialect.endpoint if endpoint is None else endpoint, key)
        if isinstance(found, FlameError):
            cache.discard(slot)
            results[index] = ItemResult(index, key, error=found)
            continue
        if ref.version and found is not entry:
            cache.put(slot, found)
        try:
            results[index] = ItemResult(index, key, value=reading.result(key, found))
        except Exception as error:  # Of a deserializer, or a class that does not unpickle.
            results[index] = ItemResult(index, key, error=error)


class _Writer:
    """Collects small objects into batches; sends large ones by themselves."""

    def __init__(self, session: Session, ttl: Optional[Seconds], deadline: Deadline) -> None:
        self._session = session
        self._ttl = ttl
        self._deadline = deadline
        self._dialect: Union[Documents, Stock, None] = None
        self._results: list[Optional[ItemResult[ObjectRef]]] = []
        # Drawn names can't be repeated when the connection is lost, full keys can.
        self._batches: dict[bool, _Batch] = {False: _Batch(), True: _Batch()}
        self._failure: Optional[FlameError] = None

    def add(self, item: Any) -> None:
        index = len(self._results)
        self._results.append(None)
        name = ""
        try:
            key, obj, if_version, ttl = PutItem(*item)
            name = str(key)
            path = ObjectKey.from_path(key)
            if path.is_all_sessions():
                raise InvalidKey(f"cannot put to {path}: name one session")
            is_prefix = path.object_id is None
            if if_version is not None and is_prefix:
                raise InvalidArgument(f"put {path}: if_version= needs a full key")
            options = WriteOptions.of(if_version, self._ttl if ttl is None else ttl)
            if self._failure is not None:
                raise _not_sent(self._failure)
            data = encode(obj)
            if self._dialect is None:
                self._dialect = self._session.dialect(self._deadline)
            request = self._dialect.put_request(name, data, options)
            if request is None:
                self._flush(is_prefix)  # Writes of one key stay in order.
                ref = self._dialect.put(
                    name, data, self._deadline, options=options, is_prefix=is_prefix
                )
                self._done(index, name, ref)
                return
        except Exception as error:  # Also what pickling the object raises.
            self._failed(index, name, error)
            return
        batch = self._batches[is_prefix]
        if batch.items and (
            batch.nbytes + request.nbytes > _PUT_MAX_BYTES or len(batch.items) >= _PUT_MAX_ITEMS
        ):
            self._flush(is_prefix)
            batch = self._batches[is_prefix]
        batch.nbytes += request.nbytes
        batch.items.append((index, name, request))

    def finish(self) -> list[ItemResult[ObjectRef]]:
        for is_prefix in self._batches:
            self._flush(is_prefix)
        return self._results  # type: ignore[return-value]

    def _flush(self, is_prefix: bool) -> None:
        batch, self._batches[is_prefix] = self._batches[is_prefix], _Batch()
        if not batch.items:
            return
        assert isinstance(self._dialect, Documents)
        if self._failure is not None:
            for index, key, _ in batch.items:
                self._failed(index, key, _not_sent(self._failure))
            return
        requests = [request for _, _, request in batch.items]
        try:
            answers: Sequence[Union[ObjectRef, FlameError]] = self._dialect.put_many(
                requests, self._deadline, repeatable=not is_prefix
            )
        except FlameError as error:
            answers = [error] * len(requests)
        for (index, key, _), answer in zip(batch.items, answers):
            if isinstance(answer, FlameError):
                self._failed(index, key, answer)
            else:
                self._done(index, key, answer)

    def _done(self, index: int, key: str, ref: ObjectRef) -> None:
        self._session.cache.discard((ref.endpoint, ref.key))
        self._results[index] = ItemResult(index, key, value=ref)

    def _failed(self, index: int, key: str, error: Exception) -> None:
        if isinstance(error, (Timeout, Unavailable)):
            self._failure = error  # The next ones would wait for the same server.
        self._results[index] = ItemResult(index, key, error=error)


class _Batch:
    def __init__(self) -> None:
        self.items: list[tuple[int, str, PutRequest]] = []
        self.nbytes = 0


def _not_sent(failure: FlameError) -> FlameError:
    """What an item is told that was not sent because those before it had failed."""
    text = f"not sent, because of an earlier item: {failure}"
    return type(failure)(text, outcome="not_applied")  # type: ignore[call-arg,arg-type]


def _check_on_error(on_error: str) -> None:
    if on_error not in ("return", "raise"):
        raise InvalidArgument(f"on_error is {on_error!r}, expected 'return' or 'raise'")


def _checked(results: list[ItemResult[T]], verb: str, on_error: str) -> list[ItemResult[T]]:
    failed = [result for result in results if not result.ok]
    if failed and on_error == "raise":
        raise BatchError(
            f"{verb}: {len(failed)} of {len(results)} items failed; "
            f"the first is {failed[0].key!r}: {failed[0].error}",
            results,
        )
    return results
