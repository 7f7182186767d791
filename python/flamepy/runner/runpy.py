"""The worker's side: the service that runs functions, methods and objects.

``python -m flamepy.runner.runpy`` is what the executor starts.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any, Optional

from flamepy.core.cache import get_many, get_object, stat_object, update_object
from flamepy.core.errors import FlameError, InvalidArgument, InvalidState, NotFound, NotSupported
from flamepy.core.refs import ObjectRef
from flamepy.core.sessions.service import FlameService, SessionContext, TaskContext, run
from flamepy.runner.payloads import (
    NOTHING,
    answer,
    dumps,
    failure_text,
    loads,
    map_nested,
    marks,
    nested,
)
from flamepy.runner.publishing import Later, publish, result_prefix
from flamepy.runner.types import RunnerContext, RunnerRequest

if TYPE_CHECKING:
    from flamepy.runner.packages import Package

__all__ = ["FlameRunpyService", "TaskError", "main", "set_up_logging"]

_CACHE_SECONDS = 300.0
_LEAVE_SECONDS = 4.0  # The executor waits a little longer.
_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
_LAST = "_flame_last"  # Attribute of a stored context: the result of the last call it has seen.

logger = logging.getLogger(__name__)


class TaskError(Exception):
    """A task failed: its text is what the caller gets."""


class FlameRunpyService(FlameService):
    """Serves one session of a runner. Confined to the threads of the instance server.

    Results go into the cache under a name that is the task's, so that a task that is done again
    publishes once; the task's output is a reference. An object's state is stored after each
    call, if nobody else has stored another one meanwhile.
    """

    def __init__(self) -> None:
        self._session: Optional[SessionContext] = None
        self._results = ""  # What the names of results begin with.
        self._context_ref: Optional[ObjectRef] = None
        self._context: Optional[RunnerContext] = None
        self._made: Any = NOTHING
        self._later = Later(_CACHE_SECONDS)
        self._package: Optional[Package] = None
        self._version = 0  # Of the stored context that `_made` is the state of; 0: unknown.

    def on_session_enter(self, context: SessionContext) -> None:
        """Unpack the package if nobody else has, and make the object."""
        self._prepare(context)
        common_data = context.common_data()
        if common_data is None:
            raise InvalidArgument("the session has no common data; it must be a RunnerContext's")
        self._session = context
        self._results = result_prefix(common_data)
        self._context_ref = ObjectRef.decode(common_data)
        self._load(self._stored_version())
        logger.info("session %s of %s", context.session_id, context.application.name)

    def on_task_invoke(self, context: TaskContext) -> Optional[bytes]:
        """Make the call, publish its result."""
        session = self._session
        if session is None or self._context is None:
            raise InvalidState("a task before the session: the executor made a mistake")
        if context.input is None:
            raise InvalidArgument("the task has no input; it must be a RunnerRequest")
        request = loads(context.input, RunnerRequest)
        asked = marks(request)
        name = self._results + context.task_id
        prefix = f"{session.application.name}/{context.session_id}"
        stateful = bool(self._context.stateful)
        if stateful and self._refresh(name):
            return answer(stat_object(f"{prefix}/{name}").ref, None)  # Done before.
        try:
            result = self._call(request)
        except BaseException as error:
            self._version = 0  # The state may be half changed: load it anew.
            if isinstance(error, KeyboardInterrupt):
                raise
            raise TaskError(
                failure_text(error, _trace(error) if asked.get("traceback") else None)
            ) from error
        state = self._pack_state(name) if stateful else None
        published = publish(
            prefix,
            name,
            result,
            replace=stateful,
            inline_max=int(asked.get("inline", 0)),
            timeout=_CACHE_SECONDS,
            later=self._later,
        )
        if state is not None:
            self._store(state)
        return answer(published.ref, published.inline)

    def on_session_leave(self) -> None:
        """Forget everything; remove the package if no other session uses it."""
        if not self._later.flush(_LEAVE_SECONDS):
            logger.warning("the session ends before all small results are in the cache")
        if self._package is not None:
            from flamepy.runner.packages import release

            release(self._package)
            self._package = None
        self._session = self._context = self._context_ref = None
        self._made = NOTHING

    def _prepare(self, context: SessionContext) -> None:
        """Make the application's package importable, unless the executor has done so."""
        url = context.application.url
        if not url or context.application.installer:
            return
        from flamepy.runner.packages import prepare

        package = self._package = prepare(url, os.getcwd(), hold=True)
        sys.path[:0] = package.paths
        inherited = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(
            [*package.paths, *([inherited] if inherited else [])]
        )

    def _stored_version(self) -> int:
        assert self._context_ref is not None, "within a session"
        with contextlib.suppress(NotSupported):  # A Flame 0.6 cache tells no versions.
            return stat_object(self._context_ref).ref.version
        return 0

    def _load(self, version: int) -> None:
        assert self._context_ref is not None, "within a session"
        stored = get_object(self._context_ref, copy=True, timeout=_CACHE_SECONDS)
        if not isinstance(stored, RunnerContext):
            stored = loads(stored, RunnerContext)
        made = stored.execution_object
        if made is None:
            raise InvalidArgument("the session's RunnerContext holds nothing to execute")
        self._context = stored
        self._made = made() if isinstance(made, type) else made
        self._version = version

    def _refresh(self, name: str) -> bool:
        """Have the newest state; whether it has seen the task of this result already."""
        version = self._stored_version()
        if version != self._version or version == 0:
            self._load(version)
        return vars(self._context).get(_LAST) == name

    def _call(self, request: RunnerRequest) -> Any:
        args, kwargs = _resolve([tuple(request.args or ()), dict(request.kwargs or {})])
        if request.method is not None:
            return getattr(self._made, request.method)(*args, **kwargs)
        if not callable(self._made):
            raise TypeError(
                f"the session's {type(self._made).__name__} is not callable; name a method"
            )
        return self._made(*args, **kwargs)

    def _pack_state(self, name: str) -> bytes:
        """Before the result is published: what cannot be pickled must not be half done."""
        assert self._context is not None, "within a session"
        self._context.execution_object = self._made
        vars(self._context)[_LAST] = name
        try:
            return dumps(self._context)
        except Exception as error:
            self._version = 0
            raise TaskError(
                f"the object's state cannot be stored after the call: {error}"
            ) from error

    def _store(self, state: bytes) -> None:
        assert self._context_ref is not None, "within a session"
        condition = {"if_version": self._version} if self._version else {}
        try:
            ref = update_object(self._context_ref, state, timeout=_CACHE_SECONDS, **condition)
        except FlameError:
            self._version = 0
            raise
        self._version = ref.version if condition else 0


def _resolve(value: Any) -> Any:
    """Arguments with references, also in lists, tuples and dicts, replaced by their objects."""
    refs = list(dict.fromkeys(nested(value, ObjectRef)))
    if not refs:
        return value
    found = {}
    for ref, result in zip(refs, get_many(refs, timeout=_CACHE_SECONDS)):
        if result.error is not None:
            kind = NotFound if isinstance(result.error, NotFound) else InvalidArgument
            raise kind(f"Failed to resolve ObjectRef {ref}: {result.error}")
        found[ref] = result.value
    return map_nested(value, ObjectRef, found.__getitem__)


def _trace(error: BaseException) -> str:
    """From the user's own frames on."""
    here = error.__traceback__
    while here is not None and here.tb_frame.f_code.co_filename == __file__:
        here = here.tb_next
    return "".join(traceback.format_exception(type(error), error, here))


def set_up_logging() -> None:
    """To standard error, as ``FLAME_LOG`` says."""
    level = _LEVELS.get(os.environ.get("FLAME_LOG", "").split(",")[0].lower(), logging.INFO)
    logging.basicConfig(
        level=level,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


def main() -> None:
    """Serve until the executor stops this process."""
    set_up_logging()
    run(FlameRunpyService())


if __name__ == "__main__":
    main()
