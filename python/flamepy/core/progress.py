"""Progress bars of long transfers, for a person who looks at a terminal.

Shown on standard error when it is a terminal, `rich` is installed (``pip install
flamepy[progress]``), and neither ``FLAME_PROGRESS=0`` nor ``progress=False`` says no. All
transfers of a process share one display, which is gone without a trace when the last ends.

Uploads and downloads of files move their bars in steps of 4 MiB. pyarrow tells nothing of a
message before it is whole, and the server sends up to 1 GiB in one: until it is there, the bar
of a download or a get stands still.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Callable, Optional, TypeVar, Union

import pyarrow as pa

from flamepy.core.uploads import RowStream

__all__ = ["Transfers"]

_MIN_BYTES = 8 << 20
"""Below this, a transfer is over before a bar could be read."""

_LABEL_MAX = 30

Advance = Callable[[int], None]
Item = TypeVar("Item", pa.Buffer, tuple[pa.RecordBatch, Any])


class Transfers:
    """Shows the transfers of a call, or does not.

    Parameters
    ----------
    wanted : bool, optional
        False: never. Otherwise when a person can see it.
    """

    def __init__(self, wanted: Optional[bool] = None) -> None:
        self._wanted = wanted

    def visible(self) -> bool:
        """Whether a bar would be seen now."""
        return (
            self._wanted is not False
            and os.environ.get("FLAME_PROGRESS", "").strip().lower() not in _OFF
            and sys.stderr is not None
            and sys.stderr.isatty()
            and _rich_progress() is not None
        )

    @contextmanager
    def sending(self, label: str, stream: RowStream) -> Iterator[RowStream]:
        """A stream that shows how much of it was taken."""
        if stream.nbytes < _MIN_BYTES or not self.visible():
            yield stream
            return
        with _display.task(label, stream.nbytes) as (start, advance):

            def batches() -> Iterable[pa.RecordBatch]:
                start()  # A retry sends everything again.
                return _counted(stream.open(), _batch_bytes, advance)

            yield replace(stream, open=batches)

    def receiving(
        self, label: str, total: Callable[[], Optional[int]], items: Iterable[Item]
    ) -> Iterable[Item]:
        """Items as they arrive; each counts when the next one is asked for.

        Parameters
        ----------
        total : callable
            Bytes of all items, None if nobody knows. Called only if a bar can be seen.
        items : iterable
            Buffers, or record batches with their metadata.
        """
        return self._receiving(label, total, items) if self.visible() else items

    def _receiving(
        self, label: str, total: Callable[[], Optional[int]], items: Iterable[Item]
    ) -> Iterator[Item]:
        size = total()
        if size is not None and size < _MIN_BYTES:
            yield from items
            return
        with _display.task(label, size) as (_, advance):
            yield from _counted(items, _item_bytes, advance)


_OFF = ("0", "false", "no", "off")


def _counted(items: Iterable[Any], size: Callable[[Any], int], advance: Advance) -> Iterator[Any]:
    for item in items:
        yield item
        advance(size(item))


def _item_bytes(item: Union[pa.Buffer, tuple[pa.RecordBatch, Any]]) -> int:
    return _batch_bytes(item[0]) if isinstance(item, tuple) else item.size


def _batch_bytes(batch: pa.RecordBatch) -> int:
    try:
        return batch.nbytes
    except TypeError:
        return batch.get_total_buffer_size()


def _shortened(label: str) -> str:
    """A verb and a key in what a line has room for beside the bar."""
    verb, _, key = label.partition(" ")
    return label if len(key) <= _LABEL_MAX else f"{verb} …{key[1 - _LABEL_MAX :]}"


def _rich_progress() -> Any:
    try:
        import rich.progress
    except ImportError:
        return None
    return rich.progress


class _Display:
    """The one writer of bars. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._progress: Any = None
        self._tasks = 0

    @contextmanager
    def task(
        self, label: str, total: Optional[int]
    ) -> Iterator[tuple[Callable[[], None], Advance]]:
        progress: Any = None
        task: Any = None
        entered = False

        def start() -> None:
            if entered:
                progress.update(task, completed=0)

        def advance(nbytes: int) -> None:
            if entered:  # A call that was given up may go on for a moment.
                progress.update(task, advance=nbytes)

        try:  # Ctrl-C may come at any line: whatever was begun is ended below.
            with self._lock:
                entered = True
                self._tasks += 1
                if self._progress is None:
                    self._progress = _make_progress()
                progress = self._progress
                task = progress.add_task(_shortened(label), total=total)
                progress.start()
            yield start, advance
        finally:
            with self._lock:
                if entered:
                    entered = False
                    self._tasks -= 1
                    if task is not None:
                        progress.remove_task(task)
                    if self._tasks == 0 and self._progress is not None:
                        self._progress.stop()
                        self._progress = None


def _make_progress() -> Any:
    from rich.console import Console

    parts = _rich_progress()
    return parts.Progress(
        parts.TextColumn("{task.description}", markup=False),
        parts.BarColumn(),
        parts.DownloadColumn(binary_units=True),
        parts.TransferSpeedColumn(),
        parts.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        # What the program prints meanwhile goes above the bars, unless it goes elsewhere.
        redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
    )


_display = _Display()


def _after_fork() -> None:
    """The child has none of its parent's threads, and so no transfers."""
    global _display
    _display = _Display()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
