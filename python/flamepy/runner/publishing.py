"""Results into the cache, once: a task that is done again publishes nothing new."""

from __future__ import annotations

import hashlib
import logging
import threading
from typing import Any, NamedTuple, Optional

from flamepy.core import objects
from flamepy.core.buffers import size_of, view_of
from flamepy.core.client import default_client
from flamepy.core.conditions import WriteOptions
from flamepy.core.dialects import Documents
from flamepy.core.errors import FlameError, NotSupported, VersionConflict
from flamepy.core.native import NativeData
from flamepy.core.refs import ObjectRef

__all__ = ["Later", "Published", "confirm", "publish", "result_prefix"]

_PAUSE_SECONDS = 0.02
_WAITING_MAX = 1000
_BATCH = 200

logger = logging.getLogger(__name__)


class Published(NamedTuple):
    """A result in the cache.

    Attributes
    ----------
    ref : ObjectRef
    inline : bytes or None
        Its encoded bytes, if there are few of them and they are no table.
    """

    ref: ObjectRef
    inline: Optional[bytes]


def result_prefix(common_data: bytes) -> str:
    """What the names of a session's results begin with; the task's id follows.

    So the name is the same when the task is done again.

    Task numbers begin at 1 in each session and the ids of sessions may be used again, but not
    what a session was created with.
    """
    return f"r-{hashlib.sha256(common_data).hexdigest()[:16]}-"


def publish(
    prefix: str,
    name: str,
    result: Any,
    *,
    replace: bool,
    inline_max: int,
    timeout: float,
    later: Optional[Later] = None,
) -> Published:
    """Store a result as ``prefix/name``.

    Parameters
    ----------
    replace : bool
        False: if it is there already, that one stays and is taken.
    inline_max : int
        Bytes that `Published.inline` may have.
    later : Later, optional
        Takes what rides along, if nothing is to be replaced. The reference then has version 0, which
        means the newest; whoever needs it sooner, confirms it.
    """
    data = objects.encode(result)
    key = f"{prefix}/{name}"
    inline = None
    if not isinstance(data, NativeData) and sum(map(size_of, data)) <= inline_max:
        inline = b"".join(map(view_of, data))
        if later is not None and not replace:
            endpoint = later.endpoint()
            if endpoint is not None:
                later.add(key, inline)
                return Published(ObjectRef(endpoint, key, 0), inline)
    session = default_client()._session
    deadline = session.deadline(timeout)
    dialect = session.dialect(deadline)
    try:
        options = WriteOptions(if_version=0, op_id=_op_id(key))
        return Published(dialect.put(key, data, deadline, options=options), inline)
    except VersionConflict:
        if replace:
            return Published(dialect.put(key, data, deadline), inline)
        return Published(default_client().stat_object(key, timeout=timeout).ref, None)
    except NotSupported:  # A Flame 0.6 cache: every write is a new object.
        return Published(dialect.put(prefix, data, deadline, is_prefix=True), inline)


def confirm(ref: ObjectRef, data: bytes, timeout: Optional[float] = None) -> ObjectRef:
    """The reference to a result that rode along: it is in the cache when this returns.

    Either the worker has published it, or this does, with the same identity.
    """
    session = default_client()._session
    deadline = session.deadline(timeout)
    options = WriteOptions(if_version=0, op_id=_op_id(ref.key))
    try:
        return session.dialect(deadline).put(ref.key, [data], deadline, options=options)
    except VersionConflict:
        return default_client().stat_object(ref.key, timeout=timeout).ref


class Later:
    """Publishes results that rode along, some at a time, after they were answered. Thread-safe.

    A batch is put a moment after its first result: by then the answers are on record, so a task
    is hardly ever done again whose result was published.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._changed = threading.Condition()
        self._waiting: list[tuple[str, bytes]] = []
        self._busy = False
        self._hurry = False
        self._thread: Optional[threading.Thread] = None
        self._endpoint: Optional[str] = None

    def endpoint(self) -> Optional[str]:
        """Of the cache that results go to; None when each of them has to be put by itself.

        To ask the client each time would cost as much as a small task.
        """
        if self._endpoint is None:
            session = default_client()._session
            dialect = session.dialect(session.deadline(self._timeout))
            if isinstance(dialect, Documents):
                self._endpoint = dialect.endpoint
        return self._endpoint

    def add(self, key: str, data: bytes) -> None:
        """Take a result. Waits when very many are waiting."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < _WAITING_MAX, self._timeout)
            self._waiting.append((key, data))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="flamepy-later", daemon=True)
                self._thread.start()
            if len(self._waiting) == 1:  # Else it knows already: each waking costs a switch.
                self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until all is published, or given up; False if it takes longer."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: not self._waiting and not self._busy, seconds)
            self._hurry = False
            return done

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                self._changed.wait_for(lambda: self._hurry, _PAUSE_SECONDS)
                batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
                self._busy = True
                self._changed.notify_all()
            try:
                self._put(batch)
            except Exception as error:  # Its callers have their results.
                logger.warning("%d results are not in the cache: %s", len(batch), error)
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()

    def _put(self, batch: list[tuple[str, bytes]]) -> None:
        session = default_client()._session
        deadline = session.deadline(self._timeout)
        dialect = session.dialect(deadline)
        assert isinstance(dialect, Documents), "as when they were added"
        self._endpoint = dialect.endpoint  # The configuration may have changed.
        requests = []
        for key, data in batch:
            options = WriteOptions(if_version=0, op_id=_op_id(key))
            request = dialect.put_request(key, [data], options)
            assert request is not None, "small"
            requests.append(request)
        for (key, _), answer in zip(batch, dialect.put_many(requests, deadline, repeatable=True)):
            if isinstance(answer, FlameError) and not isinstance(answer, VersionConflict):
                logger.warning("the result %s is not in the cache: %s", key, answer)


def _op_id(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()[:16]
