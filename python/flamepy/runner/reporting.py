"""What happens to a package, told while it happens: log lines, and a callback for bars."""

from __future__ import annotations

import logging
import time
from typing import Callable, Optional

__all__ = ["Progress", "Report", "size_text"]

Progress = Callable[[str, int, Optional[int]], None]
"""Called with a stage (``"fetch"``, ``"pack"``, ``"unpack"``, ``"install"``), how much is done, and
of how much, if that is known: bytes when fetching, files when packing and unpacking."""

logger = logging.getLogger("flamepy.runner.packages")

_CALLBACK_SECONDS = 0.1
_LINE_SECONDS = 5.0


class Report:
    """Tells of one package. Confined to the thread that works on it.

    Parameters
    ----------
    progress : callable, optional
        See `Progress`; called about ten times a second, and at the end of each stage.
    """

    def __init__(self, progress: Optional[Progress] = None) -> None:
        self._progress = progress
        self._called = self._logged = time.monotonic()

    def line(self, text: str, *values: object) -> None:
        """One log line."""
        logger.info(text, *values)

    def step(self, stage: str, done: int, total: Optional[int] = None) -> None:
        """So much is done; cheap enough for every chunk and every file."""
        now = time.monotonic()
        if self._progress is not None and now - self._called >= _CALLBACK_SECONDS:
            self._called = now
            self._progress(stage, done, total)
        if now - self._logged >= _LINE_SECONDS:
            self._logged = now
            logger.info("%s: %s of %s", stage, done, "?" if total is None else total)

    def end(self, stage: str, done: int) -> None:
        """A stage is over."""
        if self._progress is not None:
            self._progress(stage, done, done)


def size_text(count: int) -> str:
    """A number of bytes for people.

    Examples
    --------
    >>> size_text(512), size_text(3 << 20)
    ('512 B', '3.0 MiB')
    """
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
