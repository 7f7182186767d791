"""The table as a picture: a panel for each question that people ask first."""

from __future__ import annotations

import re
from pathlib import Path

from figures import COLUMNS, Figures
from matplotlib import pyplot
from suites import calls, concurrency, eviction, throughput
from units import size_name

SIZES = {size_name(1 << shift): 1 << shift for shift in range(10, 31)}
CLIENT_COLOURS = {
    "raw": "tab:blue",
    "stock": "tab:orange",
    "sdk": "tab:green",
    "redis": "tab:red",
    "ray": "tab:purple",
    "memcpy": "tab:gray",
}
# Text stays text, and the same figures give the same bytes.
LOOK = {"svg.fonttype": "none", "svg.hashsalt": "flame", "font.size": 9}
SERVER_LINES = {"bare": ":", "memory": "-", "disk": "--"}


def draw(figures: Figures, path: Path) -> bool:
    """False: there is nothing to draw."""
    panels = [
        (panel, section)
        for panel, section in (
            (lambda axes, f: small_calls(axes, f, "p50"), calls.TITLE),
            (lambda axes, f: small_calls(axes, f, "server CPU"), calls.TITLE),
            (lambda axes, f: by_size(axes, f, "put"), throughput.TITLE),
            (lambda axes, f: by_size(axes, f, "get"), throughput.TITLE),
            (by_clients, concurrency.TITLE),
            (hit_ratios, eviction.TITLE),
        )
        if figures.rows(section)
    ]
    if not panels:
        return False
    with pyplot.rc_context(LOOK):
        _save(panels, figures, path)
    return True


def _save(panels: list, figures: Figures, path: Path) -> None:
    pyplot.switch_backend("svg")
    rows = -(-len(panels) // 2)
    figure, axes = pyplot.subplots(rows, 2, figsize=(13, 4.2 * rows), squeeze=False)
    for (panel, _), place in zip(panels, axes.flat):
        panel(place, figures)
        place.spines[["top", "right"]].set_visible(False)
    for place in list(axes.flat)[len(panels) :]:
        place.set_visible(False)
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def style(column: str) -> dict:
    client, _, server = column.partition(" > ")
    return {"color": CLIENT_COLOURS[client], "linestyle": SERVER_LINES.get(server, "-")}


def small_calls(axes, figures: Figures, what: str) -> None:
    columns = [c for c in figures.columns(calls.TITLE) if c in COLUMNS]
    width = 0.8 / len(columns)
    strength = {"bare": 0.35, "disk": 0.65}
    for number, column in enumerate(columns):
        client, _, server = column.partition(" > ")
        for place, title in enumerate(calls.OPERATIONS.values()):
            cell = figures.find(calls.TITLE, f"{title}: {what}", column)
            axes.bar(
                place + (number + 0.5) * width - 0.4,
                cell.value * 1e6 if cell else 0,
                width,
                color=CLIENT_COLOURS[client],
                alpha=strength.get(server, 1),
                label=column if place == 0 else None,
            )
    axes.set_xticks(range(len(calls.OPERATIONS)), calls.OPERATIONS.values())
    axes.set_ylabel(f"µs, {what} (lower is better)")
    axes.set_title("Small object, one client")
    axes.legend(fontsize=7, ncols=2)


def by_size(axes, figures: Figures, operation: str) -> None:
    for column in figures.columns(throughput.TITLE):
        points = [
            (SIZES[row.removeprefix(f"{operation} ")], cell.value / 1e9)
            for row in figures.rows(throughput.TITLE)
            if row.startswith(f"{operation} ")
            and (cell := figures.find(throughput.TITLE, row, column))
        ]
        axes.plot(*zip(*points), marker=".", label=column, **style(column))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    shown = [
        size
        for name, size in SIZES.items()
        if f"{operation} {name}" in figures.rows(throughput.TITLE)
    ]
    axes.set_xticks(shown, [size_name(size) for size in shown])
    axes.set_ylabel("GB/s (higher is better)")
    axes.set_title(f"{operation.capitalize()}, one client, by size of the object")
    axes.legend(fontsize=7, ncols=2)


def by_clients(axes, figures: Figures) -> None:
    for column in figures.columns(concurrency.TITLE):
        points = [
            (int(found[1]), cell.value / 1e3)
            for row in figures.rows(concurrency.TITLE)
            if (found := re.fullmatch(r"get, (\d+) clients?", row))
            and (cell := figures.find(concurrency.TITLE, row, column))
        ]
        axes.plot(*zip(*points), marker=".", label=column, **style(column))
    counts = sorted({int(x) for line in axes.lines for x in line.get_xdata()})
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_xlabel("client processes")
    axes.set_ylabel("thousand gets per second (higher is better)")
    axes.set_ylim(bottom=0)
    axes.set_title("Small object, several clients")
    axes.legend(fontsize=7, ncols=2)


def hit_ratios(axes, figures: Figures) -> None:
    rows = figures.rows(eviction.TITLE)
    for number, policy in enumerate(figures.columns(eviction.TITLE)):
        cells = [figures.find(eviction.TITLE, row, policy) for row in rows]
        places = [place + (number - 0.5) * 0.38 for place in range(len(rows))]
        axes.barh(places, [cell.value * 100 for cell in cells], 0.36, label=policy)
    axes.set_yticks(range(len(rows)), rows, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("% of reads found in memory (higher is better)")
    axes.set_title("Eviction policies")
    axes.legend(fontsize=7)
