"""Tables for people: aligned columns, coloured on a terminal where rich is installed."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Callable, Optional

from flamepy.cli.output import age, size
from flamepy.ctl.views import View

__all__ = [
    "Column",
    "ago",
    "amount",
    "colour",
    "grid",
    "number",
    "print_table",
    "resources",
    "took",
]

_COLOURS = {
    "open": "green",
    "enabled": "green",
    "ready": "green",
    "succeed": "green",
    "bound": "green",
    "running": "cyan",
    "pending": "yellow",
    "binding": "yellow",
    "unbinding": "yellow",
    "releasing": "yellow",
    "failed": "bold red",
    "not_ready": "bold red",
    "disabled": "red",
    "cancelled": "magenta",
    "closed": "dim",
    "released": "dim",
}


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    key : str
        Of the views.
    show : callable
        Its value as text.
    right : bool
        Figures are aligned at their ends.
    alarm : bool
        Red when it is not 0.
    fold : bool
        Long texts take more lines; others are never cut.
    """

    title: str
    key: str
    show: Callable[[Any], str] = lambda value: "-" if value is None or value == "" else str(value)
    right: bool = False
    alarm: bool = False
    fold: bool = False

    def style(self, value: Any) -> str:
        """Of a cell; empty for most."""
        if self.key == "state":
            return colour(str(value))
        return "bold red" if self.alarm and value else ""


def colour(state: str) -> str:
    """Of a state."""
    return _COLOURS.get(state, "")


def ago(moment: Optional[str]) -> str:
    """How long it has been."""
    if moment is None:
        return "-"
    return age((datetime.now(timezone.utc) - datetime.fromisoformat(moment)).total_seconds())


def took(seconds: Optional[float]) -> str:
    """How long something took.

    Examples
    --------
    >>> took(None), took(0.0123), took(3.21), took(125)
    ('-', '12 ms', '3.2 s', '2m 5s')
    """
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else age(seconds)


def amount(nbytes: Optional[int]) -> str:
    """Of bytes."""
    return "-" if nbytes is None else size(nbytes)


def number(value: Optional[int]) -> str:
    """With separators: 1,000,000."""
    return "-" if value is None else f"{value:,}"


def resources(found: View) -> str:
    """CPUs, memory and, if there are any, GPUs."""
    cpus = found["cpu"]
    text = f"{cpus} CPU{'' if cpus == 1 else 's'}, {size(found['memory'])}"
    return f"{text}, {found['gpu']} GPU{'' if found['gpu'] == 1 else 's'}" if found["gpu"] else text


def print_table(columns: Sequence[Column], views: Iterable[View], nothing: str) -> None:
    """On standard output; `nothing` says that there are no rows."""
    rows = list(views)
    if not rows:
        print(nothing)
        return
    table = grid(columns, rows) if sys.stdout.isatty() else None
    if table is None:
        _print_plain(columns, rows)
        return
    from rich.console import Console

    Console().print(table)


def grid(columns: Sequence[Column], rows: Sequence[View]) -> Optional[Any]:
    """As a table of rich's; None where it is not installed."""
    try:
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return None
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=not column.fold,
            overflow="fold" if column.fold else "ellipsis",
        )
    for row in rows:
        cells = [row.get(column.key) for column in columns]
        table.add_row(
            *(Text(c.show(v), style=c.style(v)) for c, v in zip(columns, cells)),
        )
    return table


def _print_plain(columns: Sequence[Column], rows: Sequence[View]) -> None:
    lines = [[column.title for column in columns]]
    lines += [[_one_line(column.show(row.get(column.key))) for column in columns] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*lines)]
    for line in lines:
        cells = [
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns)
        ]
        print("  ".join(cells).rstrip())


def _one_line(text: str) -> str:
    return " ".join(text.split())
