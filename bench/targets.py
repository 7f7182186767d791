"""What we hold ourselves to, and whether a run meets it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from figures import Figure, Figures
from suites import calls, metrics, objects, tasks, throughput

SMALL_TIMES = 1.25
LARGE_TIMES = 0.9
OPEN_SECONDS = 3.0
BYTES_PER_OBJECT = 150
METRICS_SHARE = 0.02
CALL_OF_RAY = 1 / 3
RATE_OF_RAY = 3.0
WARM_SECONDS = 0.05


@dataclass(frozen=True)
class Verdict:
    target: str
    measured: str
    met: bool


def is_met(figures: Figures, figure: Figure) -> Optional[bool]:
    """Whether one cell of the table meets its target; None: it has none."""
    if figure.section == objects.TITLE:
        if "ready line" in figure.row:
            return figure.value < OPEN_SECONDS
        return figure.value <= BYTES_PER_OBJECT if "beyond" in figure.row else None
    ratio = figures.ratio(figure)
    if ratio is None:
        return None
    if figure.section == calls.TITLE and figure.row.endswith("p50"):
        return ratio <= SMALL_TIMES
    if figure.section == throughput.TITLE and figure.row.endswith(" 64 MiB"):
        return ratio >= LARGE_TIMES
    return None


def verdicts(figures: Figures) -> list[Verdict]:
    """A line per target and column; of several operations the worst one counts."""
    return [
        *_worst(figures, calls.TITLE, f"small operations within {SMALL_TIMES}x of bare", max),
        *_worst(figures, throughput.TITLE, f"64 MiB put and get at {LARGE_TIMES}x of bare", min),
        *_objects(figures),
        *_metrics(figures),
        *_tasks(figures),
    ]


def _worst(figures: Figures, section: str, target: str, worst) -> list[Verdict]:
    by_column: dict[str, list[Figure]] = {}
    for figure in figures:
        if figure.section == section and is_met(figures, figure) is not None:
            by_column.setdefault(figure.column, []).append(figure)
    result = []
    for column, cells in by_column.items():
        figure = worst(cells, key=figures.ratio)
        measured = f"{figures.ratio(figure):.2f}x ({figure.row.removesuffix(': p50')})"
        result.append(Verdict(f"{target}: {column}", measured, is_met(figures, figure)))
    return result


def _objects(figures: Figures) -> list[Verdict]:
    result = []
    for figure in figures:
        met = is_met(figures, figure) if figure.section == objects.TITLE else None
        if met is None:
            continue
        if figure.unit == "s":
            target, measured = f"under {OPEN_SECONDS:.0f} s", f"{figure.value:.2f} s"
        else:
            target, measured = f"at most {BYTES_PER_OBJECT} B", f"{figure.value:.0f} B"
        result.append(Verdict(f"{figure.row}: {target}, {figure.column}", measured, met))
    return result


def _metrics(figures: Figures) -> list[Verdict]:
    costs, errors = [], []
    counting = figures.find(metrics.TITLE, metrics.COUNTING, "with")
    if counting is None:
        return []
    for row in metrics.OPERATIONS:
        on, off, again = (figures.find(metrics.TITLE, row, c) for c in metrics.COLUMNS)
        quiet = (off.value + again.value) / 2
        costs.append(on.value / quiet - 1 + counting.value / quiet)
        errors.append(abs(off.value / again.value - 1))
    cost = sum(costs) / len(costs)
    measured = f"{cost:+.1%} (of equal servers: up to {max(errors):.1%})"
    return [
        Verdict(f"metrics cost under {METRICS_SHARE:.0%} of CPU", measured, cost < METRICS_SHARE)
    ]


def _tasks(figures: Figures) -> list[Verdict]:
    ours, ray = tasks.COLUMNS["sdk"], tasks.COLUMNS["ray"]
    result = []
    for row in figures.rows(tasks.TITLE):
        mine, theirs = (figures.find(tasks.TITLE, row, column) for column in (ours, ray))
        if mine is None:
            continue
        if row == tasks.WARM:
            met = mine.value < WARM_SECONDS
            target, measured = f"under {WARM_SECONDS * 1e3:.0f} ms", f"{mine.value * 1e3:.0f} ms"
            result.append(Verdict(f"{row}: {target}", measured, met))
        elif theirs is not None and row == tasks.CALL:
            times = mine.value / theirs.value
            target = f"{row}: at most a third of Ray's"
            result.append(Verdict(target, f"{times:.2f}x", times <= CALL_OF_RAY))
        elif theirs is not None and row.endswith(tasks.RATE):
            times = mine.value / theirs.value
            target = f"{row}: at least {RATE_OF_RAY:.0f}x Ray's"
            result.append(Verdict(target, f"{times:.2f}x", times >= RATE_OF_RAY))
    return result
