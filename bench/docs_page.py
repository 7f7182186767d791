"""Puts the latest run into docs/benchmarks.md, between its two markers, and the plot beside it."""

from __future__ import annotations

from pathlib import Path

import plot
import report
from bench_run import Run

PAGE, PLOT = "benchmarks.md", "benchmarks.svg"
BEGIN = "<!-- figures: written by make bench -->"
END = "<!-- end of figures -->"


def update(run: Run, folder: Path) -> None:
    page = folder / PAGE
    text = page.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} lacks the lines {BEGIN!r} and {END!r}")
    picture = ""
    if plot.draw(run.figures, folder / PLOT):
        picture = f"![The tables below as a plot]({PLOT})\n\n"
    page.write_text(f"{before}{begin}\n\n{picture}{report.to_markdown(run)}\n{end}{after}")
