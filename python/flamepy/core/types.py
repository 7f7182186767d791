"""The names that code written for flamepy 0.6 imports from here."""

from __future__ import annotations

import random
import string
from typing import TYPE_CHECKING, Any

from flamepy.core.context import (
    DEFAULT_FLAME_CACHE_ENDPOINT,
    DEFAULT_FLAME_CONF,
    DEFAULT_FLAME_ENDPOINT,
    DEFAULT_FLAME_RUNNER_TEMPLATE,
    FlameClientCache,
    FlameClientTls,
    FlameContext,
    FlameContextRunner,
    FlamePackage,
)
from flamepy.core.errors import FlameError, FlameErrorCode

if TYPE_CHECKING:
    from flamepy.core.sessions.model import (
        Application,
        ApplicationAttributes,
        ApplicationSchema,
        ApplicationState,
        Event,
        ResourceRequirement,
        SessionAttributes,
        SessionState,
        Shim,
        Task,
        TaskInformer,
        TaskState,
    )

__all__ = [
    "DEFAULT_FLAME_CACHE_ENDPOINT",
    "DEFAULT_FLAME_CONF",
    "DEFAULT_FLAME_ENDPOINT",
    "DEFAULT_FLAME_RUNNER_TEMPLATE",
    "Application",
    "ApplicationAttributes",
    "ApplicationID",
    "ApplicationSchema",
    "ApplicationState",
    "CommonData",
    "Event",
    "FlameClientCache",
    "FlameClientTls",
    "FlameContext",
    "FlameContextRunner",
    "FlameError",
    "FlameErrorCode",
    "FlamePackage",
    "Message",
    "ResourceRequirement",
    "SessionAttributes",
    "SessionID",
    "SessionState",
    "Shim",
    "Task",
    "TaskID",
    "TaskInformer",
    "TaskInput",
    "TaskOutput",
    "TaskState",
    "short_name",
]

TaskID = SessionID = ApplicationID = str
Message = TaskInput = TaskOutput = CommonData = bytes


def short_name(prefix: str, length: int = 6) -> str:
    """Append `length` random letters and digits to a name.

    Examples
    --------
    >>> name = short_name("app")
    >>> name[:4], len(name)
    ('app-', 10)
    """
    letters = random.choices(string.ascii_letters + string.digits, k=length)
    return f"{prefix}-{''.join(letters)}"


def __getattr__(name: str) -> Any:
    """What the session client defines, which itself needs this module."""
    from flamepy.core.sessions import model

    if name in model.__all__ and name in __all__:
        return getattr(model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
