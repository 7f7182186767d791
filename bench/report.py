"""The figures as tables: for a terminal, for docs/benchmarks.md, and as JSON."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import time
from dataclasses import asdict
from pathlib import Path

import targets
from bench_run import Run
from figures import COLUMNS, Figure, Figures
from rich.console import Console
from rich.table import Table
from units import shown

ROOT = Path(__file__).resolve().parent.parent
MARKS = {True: "ok", False: "MISSED", None: ""}
STYLES = {True: "green", False: "bold red", None: ""}


def about(run: Run) -> dict[str, str]:
    """What a reader must know to compare."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    processor = found[1] if found else platform.machine()
    return {
        "commit": commit,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{processor}, {run.online_cpus} CPUs",
        "placement": str(run.placement),
        "scale": f"{run.scale.name}, {run.scale.rounds} rounds",
        "load": f"{run.load_before:.1f} before the run",
    }


def cell(figures: Figures, figure: Figure | None) -> tuple[str, bool | None]:
    """The figure, its ratio to the control, and whether it meets its target."""
    if figure is None:
        return "", None
    met = targets.is_met(figures, figure)
    ratio = figures.ratio(figure)
    parts = [shown(figure.value, figure.unit), f"{ratio:.2f}x" if ratio else "", MARKS[met]]
    return " ".join(filter(None, parts)), met


def tables(figures: Figures) -> list[tuple[list[str], list[str]]]:
    """Sections that go into one table, with its columns: those of clients and servers first."""
    grouped: dict[bool, list[str]] = {}
    others = []
    for section in figures.sections():
        if any(column in COLUMNS for column in figures.columns(section)):
            grouped.setdefault(True, []).append(section)
        else:
            others.append(section)
    groups = [*grouped.values(), *([section] for section in others)]
    return [(sections, figures.columns(*sections)) for sections in groups]


def to_terminal(run: Run, console: Console) -> None:
    figures, facts = run.figures, about(run)
    for sections, columns in tables(figures):
        table = Table(title_justify="left", header_style="bold")
        table.add_column("")
        for column in columns:
            table.add_column(column.replace(" > ", "\n> "), justify="right")
        for section in sections:
            table.add_section()
            table.add_row(f"[bold]{section}")
            for row in figures.rows(section):
                cells = [cell(figures, figures.find(section, row, column)) for column in columns]
                texts = [text.replace(" ", "\u00a0", 1).replace(" ", "\n") for text, _ in cells]
                styled = [
                    f"[{STYLES[met]}]{text}[/]" if STYLES[met] else text
                    for text, (_, met) in zip(texts, cells)
                ]
                table.add_row(f"  {row}", *styled)
        console.print(table)
    verdicts = targets.verdicts(figures)
    if verdicts:
        table = Table(header_style="bold")
        for heading in ("target", "measured", ""):
            table.add_column(heading)
        for verdict in verdicts:
            mark = "met" if verdict.met else "MISSED"
            table.add_row(verdict.target, verdict.measured, f"[{STYLES[verdict.met]}]{mark}[/]")
        console.print(table)
    console.print("x: of the bare server with the same client (sdk: with stock). Times: lower is")
    console.print("better; throughput and operations per second: higher is.")
    console.print("  ".join(f"{name}: {fact}" for name, fact in facts.items()))
    for note in run.notes:
        console.print(note)


def to_json(run: Run, path: Path) -> None:
    document = {
        **about(run),
        "notes": run.notes,
        "targets": [asdict(verdict) for verdict in targets.verdicts(run.figures)],
        "figures": [{**asdict(figure), "value": figure.value} for figure in run.figures],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def to_markdown(run: Run) -> str:
    figures = run.figures
    lines = [f"{name.capitalize()}: {fact}. " for name, fact in about(run).items()]
    lines += [f"{note}. " for note in run.notes]
    verdicts = targets.verdicts(figures)
    if verdicts:
        lines += ["", "| target | measured | |", "|---|---|---|"]
        lines += [
            f"| {v.target} | {v.measured} | {'met' if v.met else '**missed**'} |" for v in verdicts
        ]
    for sections, columns in tables(figures):
        for section in sections:
            used = [column for column in columns if column in figures.columns(section)]
            lines += ["", f"### {section.capitalize()}", ""]
            lines += ["| | " + " | ".join(used) + " |", "|---|" + "---:|" * len(used)]
            for row in figures.rows(section):
                texts = [cell(figures, figures.find(section, row, column))[0] for column in used]
                marked = [text.replace("MISSED", "**missed**") for text in texts]
                lines.append(f"| {row} | " + " | ".join(marked) + " |")
    return "\n".join(lines) + "\n"
