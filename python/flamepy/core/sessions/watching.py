"""Waits for tasks to end: any number of them, with one thread.

The thread runs an event loop of its own. A server that offers it (``WatchTasks``) is told on one
stream which tasks are waited for; from any other, each task has a ``WatchTask`` stream.

A stream that ends tells nothing about a task by itself: it is asked for again, until it has
ended, is unknown, or the service could not be reached for `_PATIENCE_SECONDS`. So no future
stays without an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import weakref
from concurrent.futures import Future
from typing import Any, Optional

from flamepy.core.errors import Cancelled, FlameError, NoInstance, Unavailable
from flamepy.core.sessions import messages
from flamepy.core.sessions.model import TaskState
from flamepy.core.sessions.rpc import FRONTEND, Target, grpc_module, translate

__all__ = ["Watcher"]

_PATIENCE_SECONDS = 60.0
_CALL_SECONDS = 30.0
_PAUSE_SECONDS = 0.05
_MAX_PAUSE_SECONDS = 1.0
_FIRST_REPLY_SECONDS = 5.0
"""WatchTasks answers each request with the task's present state at once; else GetTask is asked."""

_SESSIONS_SECONDS = 5.0
"""How often the sessions of tasks that are waited for are asked whether they have instances."""

_BIND_FAILED, _GIVEN_UP = 1001, 1002  # Events of a session.

Key = tuple[str, str]  # Session and task.


class Watcher:
    """Resolves a future when a task has ended. Thread-safe.

    Futures get a `messages.Task` in a final state, with the events of a failed one, or a
    `FlameError`. Callbacks of futures run on the watcher's thread: they must be quick.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._inner: Optional[_Loop] = None
        self._closed = False

    def watch(self, session_id: str, task_id: str) -> Future:
        """A future of the task's end."""
        future: Future = Future()
        loop = self._start()
        inner = self._inner
        assert inner is not None, "started"
        loop.call_soon_threadsafe(inner.add, (session_id, task_id), future)
        return future

    def given_up(self, session_id: str) -> Future:
        """Why a session gets no more instances, as a future: None as long as it may get some."""
        future: Future = Future()
        loop = self._start()
        inner = self._inner
        assert inner is not None, "started"
        loop.call_soon_threadsafe(inner.find_given_up, session_id, future)
        return future

    def close(self) -> None:
        """Give all futures up that have no answer yet."""
        with self._lock:
            self._closed = True
            loop, inner = self._loop, self._inner
        if loop is not None and inner is not None and not loop.is_closed():
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(inner.close)

    def _start(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed:
                raise Unavailable("the connection to the session service was closed")
            if self._loop is None:
                loop = asyncio.new_event_loop()
                inner = _Loop(self._target, loop)
                thread = threading.Thread(target=inner.run, name="flamepy-watch", daemon=True)
                thread.start()
                self._loop, self._inner = loop, inner
                weakref.finalize(self, _stop, loop, inner)
            return self._loop


def _stop(loop: asyncio.AbstractEventLoop, inner: _Loop) -> None:
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(inner.close)


class _Loop:
    """What happens on the watcher's thread; confined to it, but for `run`."""

    def __init__(self, target: Target, loop: asyncio.AbstractEventLoop) -> None:
        self._target = target
        self._loop = loop
        self._grpc = grpc_module()
        self._pending: dict[Key, list[Future]] = {}
        self._multiplexed: Optional[bool] = None  # Whether the server knows WatchTasks.
        self._unanswered: set[Key] = set()  # On the stream for all tasks.
        self._wanted: asyncio.Queue[Key] = None  # type: ignore[assignment]
        self._streaming: Optional[asyncio.Task] = None
        self._checking = False
        self._tasks: set[asyncio.Task] = set()
        self._ended = False

    def run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._wanted = asyncio.Queue()
        self._stopped = asyncio.Event()
        from grpc import aio

        self._channel = self._target.open(aio)
        self._get = self._channel.unary_unary(FRONTEND + "GetTask")
        self._single = self._channel.unary_stream(FRONTEND + "WatchTask")
        self._multi = self._channel.stream_stream(FRONTEND + "WatchTasks")
        self._session = self._channel.unary_unary(FRONTEND + "GetSession")
        if self._ended:  # Closed before the loop ran.
            self._stopped.set()
        await self._stopped.wait()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._channel.close()

    def close(self) -> None:
        self._ended = True
        for key in list(self._pending):
            self._fail(key, Cancelled(f"task {key[1]}: the connection was closed"))
        if getattr(self, "_stopped", None) is not None:
            self._stopped.set()

    def add(self, key: Key, future: Future) -> None:
        if self._wanted is None and not self._ended:  # It came before the first step of `_serve`.
            self._loop.call_soon(self.add, key, future)
            return
        if self._ended:
            future.set_exception(Cancelled(f"task {key[1]}: the connection was closed"))
            return
        futures = self._pending.get(key)
        if futures is not None:
            futures.append(future)
            return
        self._pending[key] = [future]
        if not self._checking:
            self._checking = True
            self._spawn(self._check_sessions())
        if self._multiplexed is False:
            self._spawn(self._follow(key))
            return
        self._wanted.put_nowait(key)
        if self._streaming is None:
            self._streaming = self._spawn(self._stream())

    def _spawn(self, coroutine: Any) -> asyncio.Task:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _stream(self) -> None:
        """One stream for all tasks, opened again as long as it is lost."""
        while not self._ended:
            call = self._multi()
            writer = self._spawn(self._write(call))
            error: Optional[Exception] = None
            try:
                while True:
                    raw = await call.read()
                    if raw is self._grpc.aio.EOF:
                        break
                    self._multiplexed = True
                    found = messages.Task.decode(raw)
                    key = _key_of(found)
                    self._unanswered.discard(key)
                    if _is_final(found):
                        if _lacks_events(found):
                            self._spawn(self._ask(key))
                        else:
                            self._resolve(key, found)
            except self._grpc.RpcError as problem:
                error = problem
            finally:
                writer.cancel()
                call.cancel()
            if _is_code(error, "UNIMPLEMENTED") and not self._multiplexed:
                self._multiplexed = False
                self._streaming = None
                for key in list(self._pending):
                    self._spawn(self._follow(key))
                return
            await self._ask_again()

    async def _write(self, call: Any) -> None:
        while True:
            key = await self._wanted.get()
            request = messages.TaskNamed(task_id=key[1], session_id=key[0])
            self._unanswered.add(key)
            self._loop.call_later(_FIRST_REPLY_SECONDS, self._miss_answer, key)
            try:
                await call.write(request.encode())
            except (self._grpc.RpcError, asyncio.InvalidStateError):
                return  # The reader learns why.

    def _miss_answer(self, key: Key) -> None:
        if key in self._unanswered and key in self._pending and not self._ended:
            self._spawn(self._ask(key))
            self._loop.call_later(_FIRST_REPLY_SECONDS, self._miss_answer, key)

    async def _ask_again(self) -> None:
        """After a stream has ended: what has ended meanwhile? The rest is watched anew."""
        while not self._wanted.empty():
            self._wanted.get_nowait()
        await asyncio.sleep(_PAUSE_SECONDS)
        keys = list(self._pending)
        for start in range(0, len(keys), 64):
            some = keys[start : start + 64]
            await asyncio.gather(*(self._ask(key) for key in some))
        for key in self._pending:
            self._wanted.put_nowait(key)

    async def _follow(self, key: Key) -> None:
        """A stream for one task, until it has ended."""
        request = messages.TaskNamed(task_id=key[1], session_id=key[0]).encode()
        while key in self._pending and not self._ended:
            call = self._single(request)
            try:
                async for raw in call:
                    found = messages.Task.decode(raw)
                    if _is_final(found):
                        if _lacks_events(found):
                            break
                        self._resolve(key, found)
                        return
            except self._grpc.RpcError:
                pass  # GetTask tells what it means.
            finally:
                call.cancel()
            await self._ask(key)
            if key in self._pending:
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _ask(self, key: Key) -> None:
        """Resolve a task that has ended or is unknown; wait for a service that is away."""
        request = messages.TaskNamed(task_id=key[1], session_id=key[0]).encode()
        operation = f"watch task {key[1]} of session {key[0]}"
        end = time.monotonic() + _PATIENCE_SECONDS
        pause = _PAUSE_SECONDS
        while key in self._pending:
            try:
                found = messages.Task.decode(await self._get(request, timeout=_CALL_SECONDS))
            except self._grpc.RpcError as error:
                lost = _is_code(error, "UNAVAILABLE") or _is_code(error, "DEADLINE_EXCEEDED")
                if lost and time.monotonic() < end:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _MAX_PAUSE_SECONDS)
                    continue
                self._fail(key, translate(error, operation, self._target.address))
                return
            if _is_final(found):
                self._resolve(key, found)
            return

    async def _check_sessions(self) -> None:
        """While tasks are waited for: one that no instance will ever take is an error."""
        while self._pending and not self._ended:
            await asyncio.sleep(_SESSIONS_SECONDS)
            for session_id in {key[0] for key in self._pending}:
                with contextlib.suppress(self._grpc.RpcError):
                    await self._check_session(session_id)
        self._checking = False

    def find_given_up(self, session_id: str, future: Future) -> None:
        async def find() -> None:
            reason = None
            with contextlib.suppress(self._grpc.RpcError):
                reason = await self._why_given_up(session_id)
            future.set_result(reason)

        if self._wanted is None or self._ended:  # Not yet, or no more.
            future.set_result(None)
        else:
            self._spawn(find())

    async def _why_given_up(self, session_id: str) -> Optional[str]:
        request = messages.SessionNamed(session_id=session_id).encode()
        raw = await self._session(request, timeout=_CALL_SECONDS)
        status = messages.Session.decode(raw).status
        if status is None or status.running:
            return None
        texts = {event.code: event.message for event in status.events}
        if _GIVEN_UP not in texts:
            return None
        return texts.get(_BIND_FAILED) or texts[_GIVEN_UP]

    async def _check_session(self, session_id: str) -> None:
        reason = await self._why_given_up(session_id)
        if reason is None:
            return
        for key in [key for key in self._pending if key[0] == session_id]:
            request = messages.TaskNamed(task_id=key[1], session_id=session_id).encode()
            found = messages.Task.decode(await self._get(request, timeout=_CALL_SECONDS))
            if found.status is None or found.status.state == TaskState.PENDING:
                self._fail(
                    key,
                    NoInstance(
                        f"task {key[1]} of session {session_id} never runs, because no instance "
                        f"could be started: {reason}"
                    ),
                )

    def _resolve(self, key: Key, found: messages.Task) -> None:
        self._unanswered.discard(key)
        for future in self._pending.pop(key, ()):
            if future.set_running_or_notify_cancel():
                future.set_result(found)

    def _fail(self, key: Key, error: FlameError) -> None:
        self._unanswered.discard(key)
        for future in self._pending.pop(key, ()):
            if future.set_running_or_notify_cancel():
                future.set_exception(error)


def _is_final(found: messages.Task) -> bool:
    return found.status is not None and found.status.state >= TaskState.SUCCEED


def _lacks_events(found: messages.Task) -> bool:
    """Whether only GetTask tells why the task failed: an upstream server streams no events."""
    return found.status.state == TaskState.FAILED and not found.status.events


def _key_of(found: messages.Task) -> Key:
    return (found.spec.session_id if found.spec else "", found.metadata.id)


def _is_code(error: Any, name: str) -> bool:
    code = error.code() if error is not None and hasattr(error, "code") else None
    return code is not None and code.name == name
