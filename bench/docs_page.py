"""Puts the latest run into docs/benchmarks.md, between its two markers, and the plot beside it."""

from __future__ import annotations

from pathlib import Path

import plot
import report
from bench_run import Run

PAGE, PLOT = "benchmarks.md", "benchmarks.svg"
BEGIN = "<!-- figures: written by make bench -->"
END = "<!-- end of figures -->"


def around(folder: Path) -> tuple[str, str]:
    """What stands before and after the figures. Raises: there is no such page, or it lacks the markers."""
    page = folder / PAGE
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} lacks the lines {BEGIN!r} and {END!r}")
    return before, after


def update(run: Run, folder: Path) -> None:
    before, after = around(folder)
    picture = ""
    if plot.draw(run.figures, folder / PLOT):
        picture = f"![The tables below as a plot]({PLOT})\n\n"
    body = f"{before}{BEGIN}\n\n{picture}{report.to_markdown(run)}\n{END}{after}"
    (folder / PAGE).write_text(body)
