"""Ours beside a bare Flight server, redis-server, Ray and memcpy, in one run, in turns: `make bench`.

Prints a table, and writes it as JSON (--json) and into the documentation (--docs). How it is
measured and what the columns mean: docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import docs_page
import ray_environment
import report
import servers
from bench_run import Run
from placement import Placement
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from scale import FULL, QUICK, SMOKE
from suites import (
    calls,
    concurrency,
    deltas,
    eviction,
    listing,
    metrics,
    objects,
    tasks,
    throughput,
)
from workers import WorkerFailed, workers

SUITES = {
    "calls": calls,
    "throughput": throughput,
    "concurrency": concurrency,
    "deltas": deltas,
    "listing": listing,
    "objects": objects,
    "metrics": metrics,
    "eviction": eviction,
    "tasks": tasks,
}
NEED_FLEET = {"calls", "throughput", "concurrency", "deltas", "listing"}
NEED_RAY = {*NEED_FLEET, "tasks"}


def main() -> None:
    options = parse()
    error = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=error,
    )
    with servers.home_folder() as home, bar as progress, contextlib.ExitStack() as stack:
        stores = home if options.scale is SMOKE else servers.ROOT / "build/bench-store"
        placement = Placement(not options.unpinned)
        run = Run(options.scale, home, placement, progress, stores, stack)
        find_controls(run, options, home)
        if NEED_FLEET & set(options.suites):
            start_fleet(run)
        for name in options.suites:
            SUITES[name].run(run)
    report.to_terminal(run, Console(width=max(170, Console().width)))
    if options.json:
        report.to_json(run, options.json)
    if options.docs:
        docs_page.update(run, options.docs)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument("--quick", dest="scale", action="store_const", const=QUICK, default=FULL)
    scale.add_argument("--smoke", dest="scale", action="store_const", const=SMOKE)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--docs", type=Path, help="update the page and the plot in this folder")
    parser.add_argument("--unpinned", action="store_true", help="let the kernel place processes")
    parser.add_argument("--without", nargs="*", default=[], metavar="CLIENT", help="leave out")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join(SUITES))
    options = parser.parse_args()
    unknown = [name for name in options.suites if name not in SUITES]
    if unknown:
        parser.error(f"no such suite: {', '.join(unknown)} (known: {', '.join(SUITES)})")
    options.suites = options.suites or list(SUITES)
    if options.docs:
        try:  # Before ten minutes have passed.
            docs_page.around(options.docs)
        except (OSError, ValueError) as error:
            parser.error(f"--docs: {error}")
    return options


def find_controls(run: Run, options: argparse.Namespace, home: Path) -> None:
    """Which clients take part; a line for each that can't."""
    if servers.redis_program() is None:
        run.notes.append("redis: left out, redis-server is not installed")
        options.without.append("redis")
    if "ray" not in options.without and NEED_RAY & set(options.suites):
        if options.scale is SMOKE:
            missing = "ray: left out of a smoke run"
        else:
            missing = ray_environment.prepare() or starts_ray(home)
        if missing:
            run.notes.append(missing)
            options.without.append("ray")
    run.kinds = [kind for kind in run.kinds if kind not in options.without]


def starts_ray(home: Path) -> str | None:
    """It may install and still not start: in a container without /dev/shm, say."""
    try:
        with workers("ray", 1, {"ray": "-"}, home, Placement(False)):
            return None
    except WorkerFailed:
        return "ray: left out, it does not start here"


def start_fleet(run: Run) -> None:
    names = ["small", "65536", *map(str, run.scale.sizes)]
    where = run.placement
    context = run.until_end.enter_context
    run.servers["bare"] = context(servers.bare(names, run.scale.deltas, run.home, where))
    run.servers["memory"] = context(servers.ours("none", run.home, where))
    run.servers["disk"] = context(servers.ours(f"fs://{run.home}/store", run.home, where))
    if "redis" in run.kinds:
        run.servers["redis"] = context(servers.redis_server(run.home, where))


if __name__ == "__main__":
    os.environ.pop("FLAME_CACHE_ENDPOINT", None)
    # As Ctrl-C: servers and clients end, and the temporary folder goes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    main()
