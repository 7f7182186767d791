"""One client, one object after another: bytes per second, by size."""

from __future__ import annotations

from statistics import median

from bench_run import Run
from figures import Samples
from units import size_name

TITLE = "throughput, one client"


def run(run: Run) -> None:
    samples = Samples(TITLE, "B/s")
    with run.columns("raw", "stock", "sdk", "redis", "ray", "memcpy") as columns:
        for step in run.track(TITLE, len(run.scale.sizes) * run.scale.rounds):
            size = run.scale.sizes[step // run.scale.rounds]
            for column in columns:
                column.call("prepare", name=str(size))
                for operation in ("put", "get"):
                    calls = run.scale.calls_of(size)
                    times = column.call(operation, name=str(size), calls=calls)["seconds"]
                    samples.add(f"{operation} {size_name(size)}", column.name, size / median(times))
                column.call("forget", name=str(size))
    samples.into(run.figures)
