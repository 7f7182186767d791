"""Deltas of 100 bytes: what appending one costs, and one get of all that are new."""

from __future__ import annotations

from statistics import median

from bench_run import Run
from figures import Samples

TITLE = "deltas of 100 bytes"


def run(run: Run) -> None:
    samples = Samples(TITLE, "s")
    count = run.scale.deltas
    with run.columns("raw", "stock", "sdk", "redis") as columns:
        for _ in run.track(TITLE, run.scale.rounds):
            for column in columns:
                if column.server == "bare":
                    if column.kind == "raw":  # The published client would look for a base.
                        key = f"bench/deltas-{count}/object"
                        times = column.call("get_new", key=key, count=1)
                        samples.add(f"get of {count} new ones", column.name, times["get"][0])
                    continue
                times = column.call("deltas", count=count, bytes_each=100)
                samples.add("append one: p50", column.name, median(times["append"]))
                samples.add(f"get of {count} new ones", column.name, times["get"][0])
    samples.into(run.figures)
