"""What was measured. A figure is one cell: the median over rounds of one quantity, with the rounds beside it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Optional

COLUMNS = (
    "raw > bare",
    "raw > memory",
    "raw > disk",
    "stock > bare",
    "stock > memory",
    "stock > disk",
    "sdk > memory",
    "sdk > disk",
    "redis",
    "ray",
    "memcpy",
)
"""Client and server. memory: ours with storage none; disk: ours with fs://."""


def control_of(column: str) -> Optional[str]:
    """The same client with the bare Flight server; for the SDK the published client."""
    client, _, server = column.partition(" > ")
    if server not in ("memory", "disk"):
        return None
    return "stock > bare" if client == "sdk" else f"{client} > bare"


@dataclass(frozen=True)
class Figure:
    section: str
    row: str
    column: str
    unit: str  # s, B/s, B, 1/s or share.
    rounds: tuple[float, ...]

    @property
    def value(self) -> float:
        return statistics.median(self.rounds)


@dataclass
class Figures:
    """Every figure of a run, in the order in which rows first appeared."""

    _cells: dict[tuple[str, str, str], Figure] = field(default_factory=dict)

    def add(self, section: str, row: str, column: str, unit: str, rounds: Iterable[float]) -> None:
        self._cells[section, row, column] = Figure(section, row, column, unit, tuple(rounds))

    def find(self, section: str, row: str, column: str) -> Optional[Figure]:
        return self._cells.get((section, row, column))

    def __iter__(self) -> Iterator[Figure]:
        return iter(self._cells.values())

    def sections(self) -> list[str]:
        return list(dict.fromkeys(figure.section for figure in self))

    def rows(self, section: str) -> list[str]:
        return list(dict.fromkeys(figure.row for figure in self if figure.section == section))

    def columns(self, *sections: str) -> list[str]:
        """Those with a figure in one of the sections; known ones in their usual order."""
        used = dict.fromkeys(figure.column for figure in self if figure.section in sections)
        return [c for c in COLUMNS if c in used] + [c for c in used if c not in COLUMNS]

    def ratio(self, figure: Figure) -> Optional[float]:
        """Against the control of its column."""
        column = control_of(figure.column)
        control = column and self.find(figure.section, figure.row, column)
        return figure.value / control.value if control and control.value else None


class Samples:
    """Gathers a number per round, by row and column."""

    def __init__(self, section: str, unit: str) -> None:
        self._section, self._unit = section, unit
        self._values: dict[tuple[str, str], list[float]] = {}

    def add(self, row: str, column: str, value: float) -> None:
        self._values.setdefault((row, column), []).append(value)

    def into(self, figures: Figures) -> None:
        for (row, column), rounds in self._values.items():
            figures.add(self._section, row, column, self._unit, rounds)


def percentile(seconds: list[float], percent: float) -> float:
    """The smallest one that so many percent do not exceed."""
    ordered = sorted(seconds)
    return ordered[max(1, math.ceil(len(ordered) * percent / 100)) - 1]
