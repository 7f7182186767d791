"""A service with one entry point, whose input, output and context are Python objects."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any, Callable, Optional

import cloudpickle

from flamepy.core.cache import get_object, update_object
from flamepy.core.errors import InvalidArgument
from flamepy.core.refs import ObjectRef
from flamepy.core.sessions.service import FlameService, SessionContext, TaskContext, run

__all__ = ["FlameInstance"]

_PROTOCOL = 5


class FlameInstance(FlameService):
    """Make one, decorate a function with `entrypoint`, call `run`.

    Examples
    --------
    >>> instance = FlameInstance()
    >>> @instance.entrypoint
    ... def double(x):
    ...     return 2 * x
    >>> instance.run()  # doctest: +SKIP
    """

    def __init__(self) -> None:
        self._entrypoint: Optional[Callable] = None
        self._takes_input = False
        self._ref: Optional[ObjectRef] = None

    def entrypoint(self, func: Callable) -> Callable:
        """Have `func` do the tasks: a function, or coroutine function, of at most one parameter."""
        parameters = inspect.signature(func).parameters.values()
        if len(parameters) > 1 or any(
            p.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD for p in parameters
        ):
            raise InvalidArgument(
                f"{func.__name__}: an entry point has no parameter, or one positional one"
            )
        self._entrypoint = func
        self._takes_input = len(parameters) == 1
        return func

    def context(self) -> Any:
        """The session's context as it is now; None if there is none."""
        return None if self._ref is None else cloudpickle.loads(get_object(self._ref))

    def update_context(self, data: Any) -> None:
        """Replace the session's context, for all its instances."""
        if self._ref is not None:
            self._ref = update_object(self._ref, cloudpickle.dumps(data, protocol=_PROTOCOL))

    def run(self) -> None:
        """Serve until this process is stopped."""
        run(self)

    def on_session_enter(self, context: SessionContext) -> None:
        """Keep the reference to the context."""
        common_data = context.common_data()
        self._ref = None if common_data is None else ObjectRef.decode(common_data)

    def on_task_invoke(self, context: TaskContext) -> Optional[bytes]:
        """Call the entry point."""
        if self._entrypoint is None:
            raise NotImplementedError("the service has no entry point; decorate a function")
        arguments = ()
        if self._takes_input:
            arguments = (None if context.input is None else cloudpickle.loads(context.input),)
        result = self._entrypoint(*arguments)
        if inspect.iscoroutine(result):
            result = asyncio.run(result)
        return None if result is None else cloudpickle.dumps(result, protocol=_PROTOCOL)

    def on_session_leave(self) -> None:
        """Forget the context."""
        self._ref = None
