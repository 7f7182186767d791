"""A bar for calls that are waited for, if a person looks at a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Callable, Union

from flamepy.core.progress import Transfers

__all__ = ["Told", "counting"]

Told = Union[bool, Callable[[int, int], None], None]
"""None: a bar if it can be seen (a terminal, `rich`, no ``FLAME_PROGRESS=0``); False: none; or a
function that is told how many results are there, of how many."""


@contextlib.contextmanager
def counting(label: str, total: int, told: Told) -> Iterator[Callable[[int], None]]:
    """A function to call with how many results are there."""
    if callable(told):
        yield lambda done: told(done, total)
    elif told is False or not Transfers(told).visible():
        yield lambda done: None
    else:
        from rich.progress import Progress

        with Progress(transient=True) as bar:
            task = bar.add_task(label, total=total)
            yield lambda done: bar.update(task, completed=done)
