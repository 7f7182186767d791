"""One client, small objects: how long a call takes, and how much of the server's CPU."""

from __future__ import annotations

from bench_run import Run
from figures import Samples, percentile

TITLE = "small object, one client"
OPERATIONS = {"put": "put", "get": "get", "unchanged": "get, unchanged"}


def run(run: Run) -> None:
    p50, p99, cpu = (Samples(TITLE, "s") for _ in range(3))
    with run.columns("raw", "stock", "sdk", "redis", "ray") as columns:
        # The first round warms up.
        for turn in run.track(TITLE, run.scale.rounds + 1):
            for column in columns:
                column.call("prepare", name="small")
            for operation, title in OPERATIONS.items():
                for column in columns:
                    if operation == "unchanged" and column.kind in ("redis", "ray"):
                        continue
                    server = run.servers.get(column.server)
                    before = server.cpu_seconds() if server else 0
                    times = column.call(operation, name="small", calls=run.scale.calls)["seconds"]
                    if turn == 0:
                        continue
                    p50.add(f"{title}: p50", column.name, percentile(times, 50))
                    p99.add(f"{title}: p99", column.name, percentile(times, 99))
                    if server:
                        used = (server.cpu_seconds() - before) / len(times)
                        cpu.add(f"{title}: server CPU", column.name, used)
            for column in columns:
                column.call("forget", name="small")
    for samples in (p50, p99, cpu):
        samples.into(run.figures)
