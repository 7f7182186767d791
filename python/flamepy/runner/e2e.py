"""An acceptance run against the configured session manager: ``python -m flamepy.runner.e2e``.

Each check is a small job whose answer is known. Exit code 0: all went well, and nothing is left.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

from flamepy.core.cache import get_object, list_objects
from flamepy.core.errors import TaskFailed
from flamepy.core.sessions.client import get_application
from flamepy.runner.runner import Runner
from flamepy.runner.types import SessionContext

__all__ = ["CHECKS", "Outcome", "main", "run_checks"]

_SECONDS = 120.0


class Outcome(NamedTuple):
    """How one check went.

    Attributes
    ----------
    name : str
    error : str or None
    seconds : float
    """

    name: str
    error: Optional[str]
    seconds: float


class _Counter:
    def __init__(self) -> None:
        self.total = 0

    def add(self, value: int) -> int:
        self.total += value
        return self.total


def _functions(rr: Runner, tasks: int) -> None:
    square = rr.service(lambda x: x * x)
    _expect(
        [future.get(_SECONDS) for future in [square(i) for i in range(tasks)]],
        [i * i for i in range(tasks)],
    )


def _references(rr: Runner, tasks: int) -> None:
    double, add = rr.service(lambda x: 2 * x), rr.service(lambda a, b: a + b)
    total = double(0)
    for i in range(1, 4):
        total = add(total, double(i))
    _expect(total.get(_SECONDS), 12)
    _expect(get_object(total.ref(_SECONDS)), 12)
    shared = rr.put_object([1, 2, 3])
    _expect(rr.service(sum)(shared).get(_SECONDS), 6)


def _state(rr: Runner, tasks: int) -> None:
    counter = rr.service(_Counter(), warmup=1)
    _expect(rr.get([counter.add(i) for i in (2, 4, 1)], _SECONDS), [2, 6, 7])


def _large(rr: Runner, tasks: int) -> None:
    data = os.urandom(8 << 20)
    _expect(rr.service(lambda x: x[::-1])(data).get(_SECONDS) == data[::-1], True)


def _failures(rr: Runner, tasks: int) -> None:
    def fail() -> None:
        raise ValueError("on purpose")

    try:
        rr.service(fail)().get(_SECONDS)
    except TaskFailed as error:
        _expect(str(error), "on purpose")
    else:
        raise AssertionError("a task that failed has a result")


def _recursion(rr: Runner, tasks: int) -> None:
    name = rr.name

    class Recursive:
        _session_context = SessionContext(session_id=f"{name}-recursive")

        def depth(self, left: int) -> int:
            from flamepy.runner import Runner as Inner

            if left == 0:
                return 0
            with Inner(name) as inner:
                # Without a time-out: the worker may be one of the published client's.
                return 1 + inner.service(type(self), autoscale=True).depth(left - 1).get()

    _expect(rr.service(Recursive, autoscale=True).depth(2).get(_SECONDS), 2)


def _package(rr: Runner, tasks: int) -> None:
    def read() -> int:
        import flame_e2e_module

        return flame_e2e_module.ANSWER

    _expect(rr.service(read)().get(_SECONDS), 42)


CHECKS: dict[str, Callable[[Runner, int], None]] = {
    "functions": _functions,
    "references between tasks": _references,
    "the state of an object": _state,
    "large arguments and results": _large,
    "failures": _failures,
    "recursion in one session": _recursion,
    "modules of the package": _package,
}


def run_checks(name: Optional[str] = None, tasks: int = 8) -> Iterator[Outcome]:
    """Run all checks in an application of their own; one outcome after the other."""
    name = name or f"flamepy-e2e-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory(prefix="flamepy-e2e-") as folder:
        (Path(folder) / "flame_e2e_module.py").write_text("ANSWER = 42\n")
        rr: Any = None

        def start() -> None:
            nonlocal rr
            rr = Runner(name, directory=folder)

        yield _timed("start", start)
        if rr is None:
            return
        try:
            for label, check in CHECKS.items():
                yield _timed(label, lambda check=check: check(rr, tasks))  # type: ignore[misc]
        finally:
            closing = _timed("close", rr.close)
        yield closing
        yield _timed("nothing is left", lambda: _nothing_left(name))


def _nothing_left(name: str) -> None:
    _expect(get_application(name), None)
    _expect([info.key for info in list_objects(f"{name}/*")], [])


def _timed(name: str, check: Callable[[], None]) -> Outcome:
    began = time.monotonic()
    error = None
    try:
        check()
    except Exception as problem:
        error = f"{type(problem).__name__}: {problem}"
    return Outcome(name, error, time.monotonic() - began)


def _expect(found: Any, wanted: Any) -> None:
    if found != wanted:
        raise AssertionError(f"expected {wanted!r}, got {found!r}")


@contextmanager
def _quiet_interrupt() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m flamepy.runner.e2e", description=__doc__)
    parser.add_argument("--name", help="of the application; one is drawn by default")
    parser.add_argument("--tasks", type=int, default=8, help="in the first check (default: 8)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    options = parser.parse_args(arguments)
    outcomes = []
    with _quiet_interrupt():
        for outcome in run_checks(options.name, options.tasks):
            outcomes.append(outcome)
            if not options.json:
                mark = "ok    " if outcome.error is None else "FAILED"
                print(f"{mark}  {outcome.seconds:6.2f} s  {outcome.name}", flush=True)
                if outcome.error is not None:
                    print(f"        {outcome.error}")
    if options.json:
        print(json.dumps([outcome._asdict() for outcome in outcomes], indent=2))
    return 0 if all(outcome.error is None for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
