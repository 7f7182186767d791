"""Waits that can be given up: by Ctrl-C, and by an asyncio task that is cancelled.

pyarrow's Flight calls block in C++, where no signal handler of Python runs, and most of them
cannot be cancelled from outside. So somebody else blocks: the main thread and asyncio have
their calls made by daemon threads of this module, and wait for those. Other threads, which
no signal ever reaches, call by themselves.

A call that is given up is left behind: a stream that is being read is cancelled at once, an
upload stops before its next batch, nothing is tried again, and whatever still arrives is
dropped. A thread that waits for a server which says nothing ends with the call: at its
``timeout=``, or when the connection is lost. One that writes to a connection that nobody reads
ends only with the connection: gRPC completes a write, also that of a cancelled call, when the
socket has taken its bytes. `transport` bounds that over TCP to a minute; a server on a Unix
socket has to read on, or to end. Such threads do not keep the process alive.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from queue import SimpleQueue
from typing import Any, Callable, Optional, TypeVar

from flamepy.core.errors import Cancelled, Unavailable

__all__ = ["Call", "Expired", "start", "stop_if_given_up", "wait_for"]

T = TypeVar("T")

_MAX_IDLE = 8
_MAX_LEFT_BEHIND = 128


class Call:
    """One call of a client, for the thread that makes it and the one that may give it up."""

    __slots__ = ("_cancel", "_lock", "finished", "given_up")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancel: Optional[Callable[[], None]] = None
        self.given_up = False
        self.finished = False

    def run(self, function: Callable[[], T], cancel: Optional[Callable[[], None]]) -> T:
        """Block in `function`; `cancel`, called by another thread, makes it return early."""
        with self._lock:
            if self.given_up:
                raise Cancelled("the caller has given this call up")
            outer, self._cancel = self._cancel, cancel
        try:
            return function()
        finally:
            with self._lock:
                self._cancel = outer

    def give_up(self) -> None:
        """Nobody waits for the result any more."""
        with self._lock:
            if not (self.finished or self.given_up):
                self.given_up = True
                _left_behind.add(self)
                if self._cancel is not None:
                    self._cancel()

    def finish(self) -> None:
        with self._lock:
            self.finished = True
            _left_behind.discard(self)


class Expired(Exception):
    """`wait_for` has waited as long as it was told to."""


def wait_for(
    function: Callable[[], T],
    cancel: Optional[Callable[[], None]] = None,
    *,
    at_most: Optional[float] = None,
) -> T:
    """Call `function`, which may block in C++, from any thread.

    Parameters
    ----------
    function : callable
        In the main thread it is run by another one, so that a signal handler of Python (one
        that raises KeyboardInterrupt, for example) runs at once.
    cancel : callable, optional
        Makes `function` return early; called by another thread.
    at_most : float, optional
        Seconds after which it is given up, for what does not end by itself.

    Raises
    ------
    Expired
    """
    outer = getattr(_local, "call", None)
    if at_most is None:
        if outer is not None:
            return outer.run(function, cancel)
        if threading.get_ident() != threading.main_thread().ident:
            return function()
    call = Call()

    def wait() -> T:
        return _wait(call, lambda: call.run(function, cancel), -1 if at_most is None else at_most)

    return wait() if outer is None else outer.run(wait, call.give_up)


def stop_if_given_up() -> None:
    """Raise `Cancelled` when nobody waits for the call that this thread makes."""
    call = getattr(_local, "call", None)
    if call is not None and call.given_up:
        raise Cancelled("the caller has given this call up")


def start(
    call: Call, function: Callable[[], Any], done: Callable[[Any, Optional[BaseException]], None]
) -> None:
    """Have a thread call `function`, then `done` with its result or its exception.

    Raises
    ------
    Unavailable
        Too many calls that were given up still wait for a server that does not answer.
    """
    if len(_left_behind) >= _MAX_LEFT_BEHIND:
        raise Unavailable(
            f"{_MAX_LEFT_BEHIND} calls that were cancelled still wait for a server that does "
            "not answer; give calls a timeout=, which ends them",
            outcome="not_applied",
        )
    try:
        jobs = _idle.pop()
    except IndexError:
        jobs = SimpleQueue()
        threading.Thread(target=_work, args=(jobs,), name="flamepy-call", daemon=True).start()
    jobs.put((call, function, done))


class _Local(threading.local):
    call: Optional[Call] = None


_local = _Local()
_idle: deque[SimpleQueue] = deque()
_left_behind: set[Call] = set()


def _work(jobs: SimpleQueue) -> None:
    while True:
        job = jobs.get()
        if job is None:
            return
        call, function, done = job
        result, error = None, None
        _local.call = call
        try:
            result = function()
        except BaseException as failure:
            error = failure
        _local.call = None
        call.finish()
        stays = len(_idle) < _MAX_IDLE
        if stays:
            _idle.append(jobs)
        done(result, error)
        if not stays:
            return
        del job, call, function, done, result, error  # An idle thread keeps nothing alive.


def _wait(call: Call, function: Callable[[], T], seconds: float) -> T:
    """Have a thread call `function`, and wait for it in a way that signals interrupt."""
    outcome: list[Any] = []
    ended = threading.Lock()
    ended.acquire()

    def done(result: Any, error: Optional[BaseException]) -> None:
        outcome.extend((result, error))
        ended.release()

    try:
        start(call, function, done)
        if not ended.acquire(timeout=seconds):
            raise Expired
    except BaseException:
        call.give_up()
        raise
    result, error = outcome
    try:
        if error is not None:
            raise error
        return result
    finally:
        outcome.clear()  # An exception holds this frame through its traceback.
        del error


def _before_fork() -> None:
    """End the idle threads: a process forks best when it has but one."""
    while _idle:
        _idle.pop().put(None)


def _after_fork() -> None:
    """The child has none of its parent's threads."""
    global _local
    _local = _Local()
    _idle.clear()
    _left_behind.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
