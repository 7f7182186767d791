"""What travels between a runner and its workers.

Payloads name these classes: ``flamepy.runner.types.RunnerContext`` and ``RunnerRequest``. The
published client has them under the same names, so either side may be its.
"""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Optional, Union

from flamepy.core.errors import InvalidArgument

__all__ = ["RunnerContext", "RunnerRequest", "RunnerServiceKind", "SessionContext", "is_function"]

_SESSION_ID_MAX = 128


class RunnerServiceKind(IntEnum):
    """Older name of a choice: ``stateful=True``, ``stateful=False``."""

    Stateful = 0
    Stateless = 1


@dataclass
class SessionContext:
    """Attribute ``_session_context`` of what is made a service: chooses its session.

    Attributes
    ----------
    session_id : str or None
        1 to 128 characters; None: one is drawn.
    application_name : str or None
        For logs.
    """

    session_id: Optional[str] = None
    application_name: Optional[str] = None

    def __post_init__(self) -> None:
        name = self.session_id
        if name is not None and not isinstance(name, str):
            raise InvalidArgument(f"session_id must be a string, got {type(name)}")
        if name is not None and not name:
            raise InvalidArgument("session_id cannot be empty string")
        if name is not None and len(name) > _SESSION_ID_MAX:
            raise InvalidArgument(f"session_id too long ({len(name)} chars, max {_SESSION_ID_MAX})")
        if self.application_name is not None and not isinstance(self.application_name, str):
            raise InvalidArgument(
                f"application_name must be a string, got {type(self.application_name)}"
            )


@dataclass(init=False)
class RunnerContext:
    """What a session's instances serve, and how many of them there are.

    Parameters
    ----------
    execution_object : Any
        A function (or another callable), a class, or an instance.
    stateful : bool, optional
        Follows from the object: an instance is stateful, everything else is not.
    autoscale : bool, optional
        Instances come and go with the tasks; not for stateful objects.
    warmup : int
        Instances that are started at once.
    kind : RunnerServiceKind, optional
        Older form of `stateful`.

    Raises
    ------
    InvalidArgument
        A ``ValueError``: the choices contradict the object.

    Examples
    --------
    >>> context = RunnerContext(len)
    >>> context.stateful, context.autoscale, context.min_instances, context.max_instances
    (False, True, 0, None)
    """

    execution_object: Any
    stateful: Optional[bool] = None
    autoscale: Optional[bool] = None
    warmup: int = 0
    min_instances: int = field(init=False, repr=False)
    max_instances: Optional[int] = field(init=False, repr=False)

    def __init__(
        self,
        execution_object: Any,
        stateful: Union[bool, RunnerServiceKind, None] = None,
        autoscale: Optional[bool] = None,
        warmup: int = 0,
        kind: Optional[RunnerServiceKind] = None,
    ) -> None:
        if isinstance(stateful, RunnerServiceKind):  # The second parameter was `kind` once.
            stateful, kind = None, stateful
        if kind is not None:
            stateful = _stateful_of(kind, execution_object)
        self.execution_object = execution_object
        self.stateful = stateful
        self.autoscale = autoscale
        self.warmup = warmup
        self.__post_init__()

    def __post_init__(self) -> None:
        if self.warmup < 0:
            raise InvalidArgument("warmup must be a non-negative integer.")
        made = self.execution_object
        if is_function(made) or inspect.isclass(made):
            if self.stateful is True:
                raise InvalidArgument(
                    "Functions, builtins, and classes are always stateless. Omit stateful or pass "
                    "stateful=False."
                )
            self.stateful = False
            self.autoscale = True if self.autoscale is None else self.autoscale
        else:
            if self.stateful is False:
                raise InvalidArgument(
                    "Object instance services are always stateful. Omit stateful or pass "
                    "stateful=True."
                )
            if self.autoscale is True:
                raise InvalidArgument(
                    "Object instance services are always fixed. Omit autoscale or pass "
                    "autoscale=False."
                )
            if self.warmup not in (0, 1):
                raise InvalidArgument("Object instance services only support warmup=0 or warmup=1.")
            self.stateful, self.autoscale = True, False
        least = 0 if self.autoscale else 1
        self.min_instances = self.warmup or least
        self.max_instances = None if self.autoscale else self.min_instances


@dataclass
class RunnerRequest:
    """One call.

    Attributes
    ----------
    method : str or None
        None: the object itself is called.
    args : tuple, list or None
    kwargs : dict or None
        References in them, also in lists, tuples and dicts, are replaced by their objects.
    """

    method: Optional[str] = None
    args: Union[tuple, list, None] = None
    kwargs: Optional[dict[str, Any]] = None

    def __post_init__(self) -> None:
        if self.method is not None and not isinstance(self.method, str):
            raise InvalidArgument(f"method must be a string or None, got {type(self.method)}")
        if self.args is not None and not isinstance(self.args, (tuple, list)):
            raise InvalidArgument(f"args must be a tuple or list, got {type(self.args)}")
        if self.kwargs is not None and not isinstance(self.kwargs, dict):
            raise InvalidArgument(f"kwargs must be a dict, got {type(self.kwargs)}")


def is_function(made: Any) -> bool:
    """Whether an object is called by itself, not through methods: callable, and no class."""
    return callable(made) and not inspect.isclass(made)


def _stateful_of(kind: RunnerServiceKind, made: Any) -> Optional[bool]:
    warnings.warn("kind= is deprecated: leave it out", DeprecationWarning, stacklevel=3)
    if inspect.isclass(made):
        return None  # It could be either then; today a class is always stateless.
    return kind == RunnerServiceKind.Stateful
