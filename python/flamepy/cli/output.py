"""What people read, and what programs read."""

from __future__ import annotations

import json as json_module
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Optional, TextIO

__all__ = ["Output", "age", "moment", "size"]


def size(nbytes: float) -> str:
    """Bytes as people write them.

    Examples
    --------
    >>> size(0), size(1023), size(1536), size(5 << 30)
    ('0 B', '1023 B', '1.5 KiB', '5.0 GiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if nbytes < 1024 or unit == "TiB":
            return f"{nbytes:.0f} B" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    raise AssertionError


def age(seconds: float) -> str:
    """A span of time in its two largest units.

    Examples
    --------
    >>> age(0.2), age(59), age(3661), age(200_000)
    ('0s', '59s', '1h 1m', '2d 7h')
    """
    left = max(0, int(seconds))
    parts = []
    for name, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or parts:
            parts.append(f"{count}{name}")
    return " ".join(part for part in parts[:2] if part[0] != "0") or "0s"


class Output:
    """Standard output in one of two forms: text, or a JSON document per line."""

    def __init__(self, *, json: bool, program: str = "flamepy") -> None:
        self.json = json
        self._program = program
        self.now = time.time()

    def document(self, value: dict[str, Any]) -> None:
        """For programs."""
        print(json_module.dumps(value, ensure_ascii=False, default=str), flush=False)

    def pairs(self, title: str, rows: list[tuple[str, str]]) -> None:
        """Names and values, for people."""
        if self._rich_table(title, rows):
            return
        width = max(len(name) for name, _ in rows)
        print(title)
        for name, value in rows:
            indented = value.replace("\n", "\n" + " " * (width + 4))
            print(f"  {name:<{width}}  {indented}")

    def error(self, error: Exception) -> None:
        """On standard error, in either form."""
        if self.json:
            document = {"error": type(error).__name__, "message": str(error)}
            print(json_module.dumps(document, ensure_ascii=False), file=sys.stderr)
        else:
            print(f"{self._program}: {error}", file=sys.stderr)

    def paint(self, text: str, style: str) -> str:
        """`text`, coloured when a terminal shows it."""
        codes = {"bold": "1", "red": "31", "green": "32", "yellow": "33"}
        if self.json or not sys.stdout.isatty():
            return text
        return f"\x1b[{codes[style]}m{text}\x1b[0m"

    @contextmanager
    def paged(self, wanted: bool) -> Iterator[TextIO]:
        """Where to print what may be longer than the screen; the pager takes it as it is read."""
        pager = shutil.which("less") if wanted and sys.stdout.isatty() else None
        if pager is None or self.json:
            yield sys.stdout
            sys.stdout.flush()
            return
        process = subprocess.Popen([pager, "-FRSX"], stdin=subprocess.PIPE, text=True)
        try:
            yield process.stdin  # type: ignore[misc]
        except BrokenPipeError:
            pass  # The reader has seen enough.
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()  # type: ignore[union-attr]
            process.wait()

    def _rich_table(self, title: str, rows: list[tuple[str, str]]) -> bool:
        if not sys.stdout.isatty():
            return False
        try:
            from rich.console import Console
            from rich.table import Table
            from rich.text import Text
        except ImportError:
            return False
        table = Table(title=Text(title), title_justify="left", show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in rows:
            table.add_row(Text(name), Text(value))
        Console().print(table)
        return True


def moment(value: Optional[Any]) -> Optional[str]:
    """A date for programs."""
    return None if value is None else value.isoformat()
