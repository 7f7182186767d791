"""Results that are there, or will be: in the cache, and here when they are asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import CancelledError as FutureCancelled
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Callable, Optional

from flamepy.core.cache import get_object
from flamepy.core.errors import TaskCancelled, TaskFailed, Timeout
from flamepy.core.refs import ObjectRef
from flamepy.runner.payloads import NOTHING, Answer, read_answer, split_failure
from flamepy.runner.publishing import confirm

__all__ = ["ObjectFuture", "ObjectFutureIterator", "as_completed"]


class RemoteTraceback(Exception):
    """The cause of a `TaskFailed`: where the service failed."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


class ObjectFuture:
    """The result of a call. Thread-safe.

    It may be passed to another call instead of its value: the caller does not wait, and the
    value goes from worker to worker through the cache.

    Parameters
    ----------
    future : Future
        Of the answer's bytes.
    """

    def __init__(self, future: Future) -> None:
        self._future = future
        self._ref: Optional[ObjectRef] = None

    def get(self, timeout: Optional[float] = None) -> Any:
        """The value.

        Raises
        ------
        TaskFailed
            With the service's words, and `remote_traceback`.
        TaskCancelled
        Timeout
            After `timeout` seconds; the call goes on.
        """
        end = None if timeout is None else time.monotonic() + timeout
        answer = self._answer(timeout)
        value = answer.value()
        if value is not NOTHING:
            return value
        left = None if end is None else max(0.001, end - time.monotonic())
        return get_object(answer.ref, timeout=left)

    def ref(self, timeout: Optional[float] = None) -> ObjectRef:
        """Where the value is; waits until it is there."""
        if self._ref is None:
            answer = self._answer(timeout)
            known = answer.ref.version > 0 or answer.inline is None
            self._ref = answer.ref if known else confirm(answer.ref, answer.inline, timeout)
        return self._ref

    def as_argument(self) -> Any:
        """What stands for the value in another call; waits until it is there."""
        return self._answer(None).riding() or self.ref()

    def wait(self, timeout: Optional[float] = None) -> None:
        """Wait until the call has ended, and raise what it raised."""
        self._answer(timeout)

    def done(self) -> bool:
        """Whether the call has ended, well or not."""
        return self._future.done()

    def exception(self, timeout: Optional[float] = None) -> Optional[BaseException]:
        """What `get` would raise; None if the call went well."""
        try:
            self._answer(timeout)
        except Timeout:
            raise
        except Exception as error:
            return error
        return None

    def cancel(self) -> bool:
        """Give the result up; a call that waits for another one's result is never made.

        A task that was handed over is done nevertheless: the protocol has no call to stop one.
        False if it has ended already.
        """
        return self._future.cancel()

    def cancelled(self) -> bool:
        """Whether it was given up."""
        return self._future.cancelled()

    def add_done_callback(self, function: Callable[[ObjectFuture], Any]) -> None:
        """Call `function` with this when it has ended; quickly, on a thread of the package."""
        self._future.add_done_callback(lambda _: function(self))

    def __await__(self) -> Generator[Any, None, Any]:
        return self._await().__await__()

    async def _await(self) -> Any:
        await asyncio.wait([asyncio.wrap_future(self._future)])
        return await asyncio.get_running_loop().run_in_executor(None, self.get)

    def _answer(self, timeout: Optional[float]) -> Answer:
        try:
            return read_answer(self._future.result(timeout))
        except FutureCancelled:
            raise TaskCancelled("the result was given up with cancel()") from None
        except TaskFailed as error:
            failure = _failure(error)
            raise failure from failure.__cause__
        except FutureTimeout as error:
            if isinstance(error, Timeout) or self._future.done():
                raise
            raise Timeout(f"the result is not there after {timeout} s; wait longer") from None

    def __reduce__(self) -> Any:
        """Pickled, it is its reference."""
        return self.ref().__reduce_ex__(5)

    def __repr__(self) -> str:
        if not self.done():
            return "<flamepy.ObjectFuture, not done>"
        return "<flamepy.ObjectFuture, done>"


class ObjectFutureIterator:
    """Yields futures as they end."""

    def __init__(self, futures: Iterable[ObjectFuture], timeout: Optional[float] = None) -> None:
        self._futures = list(futures)
        self._timeout = timeout

    def __iter__(self) -> Iterator[ObjectFuture]:
        return as_completed(self._futures, self._timeout)


def as_completed(
    futures: Iterable[ObjectFuture], timeout: Optional[float] = None
) -> Iterator[ObjectFuture]:
    """Yield futures as they end, well or not.

    Raises
    ------
    Timeout
        Not all have ended after `timeout` seconds.
    """
    end = None if timeout is None else time.monotonic() + timeout
    pending: dict[Future, list[ObjectFuture]] = {}
    for future in futures:
        pending.setdefault(future._future, []).append(future)
    total = len(pending)
    while pending:
        left = None if end is None else max(0.0, end - time.monotonic())
        done, _ = wait(pending, left, FIRST_COMPLETED)
        if not done:
            raise Timeout(f"{len(pending)} of {total} calls have not ended after {timeout} s")
        for future in [item for item in pending if item in done]:
            yield from pending.pop(future)


def _failure(error: TaskFailed) -> TaskFailed:
    message, traceback = split_failure(error.message)
    if traceback is None:
        return error
    found = TaskFailed(message, error.session_id, error.task_id, traceback)
    found.__cause__ = RemoteTraceback(traceback)
    return found
