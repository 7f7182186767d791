"""The Runner: functions, classes and objects of this program, run by workers.

Examples
--------
>>> from flamepy.runner import Runner
>>> with Runner("app") as rr:  # doctest: +SKIP
...     square = rr.service(lambda x: x * x)
...     futures = [square(i) for i in range(4)]
...     rr.get(futures)
[0, 1, 4, 9]
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flamepy.runner.errors import (
        ErrorType,
        InstallFailed,
        PackageError,
        RunnerError,
        UnsafePackage,
    )
    from flamepy.runner.futures import ObjectFuture, ObjectFutureIterator, as_completed
    from flamepy.runner.helper import get_data
    from flamepy.runner.runner import Runner
    from flamepy.runner.runpy import FlameRunpyService
    from flamepy.runner.services import RunnerService
    from flamepy.runner.types import RunnerContext, RunnerRequest, RunnerServiceKind, SessionContext

_HOMES = {
    "ErrorType": "errors",
    "FlameRunpyService": "runpy",
    "InstallFailed": "errors",
    "ObjectFuture": "futures",
    "ObjectFutureIterator": "futures",
    "PackageError": "errors",
    "Runner": "runner",
    "RunnerContext": "types",
    "RunnerError": "errors",
    "RunnerRequest": "types",
    "RunnerService": "services",
    "RunnerServiceKind": "types",
    "SessionContext": "types",
    "UnsafePackage": "errors",
    "as_completed": "futures",
    "get_data": "helper",
}
"""Imported when they are used: a worker needs little of this, and starts sooner."""

__all__ = [
    "ErrorType",
    "FlameRunpyService",
    "InstallFailed",
    "ObjectFuture",
    "ObjectFutureIterator",
    "PackageError",
    "Runner",
    "RunnerContext",
    "RunnerError",
    "RunnerRequest",
    "RunnerService",
    "RunnerServiceKind",
    "SessionContext",
    "UnsafePackage",
    "as_completed",
    "get_data",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
