"""A function, a class or an object as a service: calls here, done there."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, Optional

from flamepy.core.cache import put_object
from flamepy.core.errors import FlameError, InvalidArgument, NotFound
from flamepy.core.sessions.client import Connection, Session, default_connection
from flamepy.core.sessions.model import ResourceRequirement, SessionAttributes
from flamepy.core.types import short_name
from flamepy.runner.arguments import pack_call
from flamepy.runner.futures import ObjectFuture
from flamepy.runner.payloads import dumps, map_nested, nested
from flamepy.runner.progress import Told, counting
from flamepy.runner.types import RunnerContext, SessionContext, is_function

__all__ = ["RunnerService"]

_CLOSE_PAUSE_SECONDS = 0.05

logger = logging.getLogger(__name__)


class RunnerService:
    """A service: call it if it is a function, else its public methods. Thread-safe.

    Make one with `Runner.service`. Calls return an `ObjectFuture` at once. Methods whose name is
    one of this class's own (``close``, ``map``...) are called with `call`.

    Parameters
    ----------
    app : str
        The application, registered.
    execution_object : Any
    autoscale, warmup
        See `RunnerContext`.
    resreq : ResourceRequirement, optional
        Of each instance.
    """

    def __init__(
        self,
        app: str,
        execution_object: Any,
        autoscale: Optional[bool] = None,
        warmup: int = 0,
        resreq: Optional[ResourceRequirement] = None,
        *,
        context: Optional[RunnerContext] = None,
        connection: Optional[Connection] = None,
    ) -> None:
        made = execution_object
        context = context or RunnerContext(made, autoscale=autoscale, warmup=warmup)
        connection = connection or default_connection()
        session_id, self._owned = _session_id(app, made, connection)
        self._app = app
        self._prefix = f"{app}/{session_id}"
        ref = put_object(self._prefix, dumps(context))
        self._session = connection.open_session(
            session_id,
            SessionAttributes(
                app,
                session_id,
                ref.encode(),
                context.min_instances,
                context.max_instances,
                resreq=resreq,
            ),
        )
        self._ordered = bool(context.stateful)
        self._callable = is_function(made)
        self._names = frozenset() if self._callable else _public_methods(made)
        for name in sorted(self._names & set(dir(type(self)))):
            logger.warning("the method %s of the service is hidden: use call(%r, ...)", name, name)
        self._lock = threading.Lock()
        self._pending: set[Future] = set()
        self._tail: Optional[Future] = None  # The submission of the last call.
        self._submitter: Optional[ThreadPoolExecutor] = None
        self._closed = False

    @property
    def session_id(self) -> str:
        """Of the session that the calls are tasks of."""
        return self._session.id

    @property
    def session(self) -> Session:
        """The session that the calls are tasks of."""
        return self._session

    def __call__(self, *args: Any, **kwargs: Any) -> ObjectFuture:
        """Call the function."""
        if not self._callable:
            raise TypeError(
                f"RunnerService for app '{self._app}' is not callable: it serves a class or an "
                "instance. Call its methods."
            )
        return self._submit(None, args, kwargs)

    def __getattr__(self, name: str) -> Callable[..., ObjectFuture]:
        if name.startswith("_") or name not in self._names:
            raise AttributeError(f"the service of app {self._app!r} has no method {name!r}")

        def method(*args: Any, **kwargs: Any) -> ObjectFuture:
            return self._submit(name, args, kwargs)

        method.__name__ = name
        return method

    def __dir__(self) -> Iterable[str]:
        return sorted({*super().__dir__(), *self._names})

    def call(self, method: str, *args: Any, **kwargs: Any) -> ObjectFuture:
        """Call a method by its name."""
        if self._callable or method not in self._names:
            raise AttributeError(f"the service of app {self._app!r} has no method {method!r}")
        return self._submit(method, args, kwargs)

    def map(
        self,
        *iterables: Iterable[Any],
        method: Optional[str] = None,
        timeout: Optional[float] = None,
        progress: Told = None,
    ) -> Iterator[Any]:
        """Call with one element of each iterable after the other; the results in their order.

        All calls are made at once, before the first result is asked for.

        Parameters
        ----------
        method : str, optional
            Of a class or an instance.
        timeout : float, optional
            Seconds from now for all results.
        progress : bool or callable, optional
            A bar is shown on a terminal, unless this is False. A function is called with how
            many results are there, of how many.
        """
        calls = [
            self(*items) if method is None else self.call(method, *items)
            for items in zip(*iterables)
        ]
        return _results(calls, timeout, f"map {method or self._app}", progress)

    def close(self, *, timeout: float = 60.0) -> None:
        """Wait for calls that are under way, then close the session, if this has opened it.

        Parameters
        ----------
        timeout : float
            Seconds; a session whose tasks go on is left open then, with an error.

        Raises
        ------
        FlameError
            The session could not be closed.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            pending = list(self._pending)
        end = time.monotonic() + timeout
        for future in pending:
            with contextlib.suppress(Exception):
                future.exception(max(0.0, end - time.monotonic()))
            future.cancel()  # Nobody may wait for ever.
        if self._submitter is not None:
            self._submitter.shutdown(wait=False)
        if not self._owned:
            return
        while True:
            try:
                self._session.close(timeout=max(1.0, end - time.monotonic()))
                return
            except NotFound:
                return
            except FlameError as error:
                if "running task" not in str(error) or time.monotonic() >= end:
                    raise
            time.sleep(_CLOSE_PAUSE_SECONDS)

    def __enter__(self) -> RunnerService:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<flamepy.RunnerService of {self._app}, session {self._session.id}>"

    def __reduce__(self) -> Any:
        raise TypeError("a RunnerService cannot be pickled: make one there, in the same session")

    def _submit(self, method: Optional[str], args: tuple, kwargs: dict) -> ObjectFuture:
        """Make a call, now or when what it needs is there.

        What a call lacks because another one failed, its future tells; what is wrong with the
        call itself is raised here, unless it has to wait.
        """
        if self._closed:
            raise InvalidArgument(f"the service of app {self._app!r} was closed")
        needed = [item._future for item in nested([args, kwargs], ObjectFuture)]
        result: Future = Future()
        with self._lock:
            before = self._tail if self._ordered else None
            submitted: Future = Future()
            if self._ordered:
                self._tail = submitted
            self._pending.add(result)
        result.add_done_callback(self._pending.discard)
        waits_for = [item for item in needed if not item.done()]
        if before is not None and not before.done():
            waits_for.append(before)
        if not waits_for:
            self._send(method, args, kwargs, result, submitted)
            error = submitted.exception()
            if error is not None and not any(_failed(item) for item in needed):
                raise error
            return ObjectFuture(result)
        self._when_done(waits_for, lambda: self._send(method, args, kwargs, result, submitted))
        return ObjectFuture(result)

    def _when_done(self, futures: list[Future], function: Callable[[], None]) -> None:
        with self._lock:
            if self._submitter is None:
                self._submitter = ThreadPoolExecutor(1, thread_name_prefix="flamepy-submit")
            submitter = self._submitter
        left = [len(futures)]
        lock = threading.Lock()

        def one_less(_: Future) -> None:
            with lock:
                left[0] -= 1
                ready = left[0] == 0
            if ready:
                with contextlib.suppress(RuntimeError):  # Closed: its future was given up.
                    submitter.submit(function)

        for future in futures:
            future.add_done_callback(one_less)

    def _send(
        self, method: Optional[str], args: tuple, kwargs: dict, result: Future, submitted: Future
    ) -> None:
        try:
            if result.cancelled():
                submitted.set_result(None)
                return
            self._session.run_for(result, self._request(method, args, kwargs))
        except BaseException as error:
            if result.set_running_or_notify_cancel():
                result.set_exception(error)
            submitted.set_exception(error)
            return
        submitted.set_result(None)

    def _request(self, method: Optional[str], args: tuple, kwargs: dict) -> bytes:
        args, kwargs = map_nested([args, kwargs], ObjectFuture, ObjectFuture.as_argument)
        return pack_call(method, args, kwargs, lambda value: put_object(self._prefix, value))


def _failed(future: Future) -> bool:
    return future.cancelled() or future.exception() is not None


def _results(
    calls: list[ObjectFuture], timeout: Optional[float], label: str, progress: Told
) -> Iterator[Any]:
    end = None if timeout is None else time.monotonic() + timeout
    with counting(label, len(calls), progress) as tell:
        for number, future in enumerate(calls, 1):
            left = None if end is None else max(0.0, end - time.monotonic())
            value = future.get(left)
            tell(number)
            yield value


def _session_id(app: str, made: Any, connection: Connection) -> tuple[str, bool]:
    """The session's id, and whether the session is ours to close."""
    chosen = getattr(made, "_session_context", None)
    if chosen is not None and not isinstance(chosen, SessionContext):
        logger.warning("_session_context is a %s, not a SessionContext", type(chosen).__name__)
        chosen = None
    if chosen is None or chosen.session_id is None:
        return short_name(app), True
    try:
        connection.get_session(chosen.session_id)
    except NotFound:
        return chosen.session_id, True
    return chosen.session_id, False


def _public_methods(made: Any) -> frozenset[str]:
    names = []
    for name in dir(made):
        if not name.startswith("_"):
            with contextlib.suppress(Exception):  # A property that cannot be read here.
                if callable(getattr(made, name)):
                    names.append(name)
    return frozenset(names)
