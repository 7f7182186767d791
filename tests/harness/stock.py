"""The published client, unmodified, in an interpreter of its own.

`in_stock_client` marks a test whose body runs there: it sees nothing of this process, imports what
it needs itself, and gets its parameters from pytest as usual.
"""

from __future__ import annotations

import inspect
import os
import pickle
import subprocess
from pathlib import Path
from typing import Any, Callable

from harness.server import ROOT, clean_environment

PYTHON = Path(os.environ.get("FLAME_STOCK_PYTHON") or ROOT / ".venv/conformance/bin/python")


class StockFailure(AssertionError):
    """The function failed over there; the message is its traceback."""


class StockClient:
    """One process of the published client, configured by its environment."""

    def __init__(self, home: Path, **env: str):
        assert PYTHON.exists(), (
            f"no published client at {PYTHON}: run tools/setup, or set FLAME_STOCK_PYTHON"
        )
        self._process = subprocess.Popen(
            [PYTHON, Path(__file__).with_name("stock_worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=clean_environment(home, **env),
            cwd=home,
        )

    def call(self, function: Callable[..., Any], **arguments: Any) -> Any:
        """Run `function`, by its source, over there."""
        lines, first = inspect.getsourcelines(function)
        path = inspect.getsourcefile(function)
        request = (path, first, "".join(lines), function.__name__, arguments)
        pickle.dump(request, self._process.stdin)
        self._process.stdin.flush()
        succeeded, value = pickle.load(self._process.stdout)
        if not succeeded:
            raise StockFailure(value)
        return value

    def close(self) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(30)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()


def in_stock_client(function: Callable[..., None]) -> Callable[..., None]:
    """The test's body runs in the published client that is configured for `server`."""
    parameters = list(inspect.signature(function).parameters.values())

    def test(stock: StockClient, **arguments: Any) -> None:
        __tracebackhide__ = True
        stock.call(function, **arguments)

    test.__name__ = function.__name__
    test.__doc__ = function.__doc__
    test.__module__ = function.__module__
    stock = inspect.Parameter("stock", inspect.Parameter.KEYWORD_ONLY)
    test.__signature__ = inspect.Signature([*parameters, stock])  # type: ignore[attr-defined]
    return test
