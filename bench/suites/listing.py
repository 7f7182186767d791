"""Many keys: put them in batches, list them, delete them with one call."""

from __future__ import annotations

from bench_run import Run
from figures import Samples

TITLE = "many keys"
PREFIX = "bench/listing"


def run(run: Run) -> None:
    samples = Samples(TITLE, "s")
    keys = run.scale.keys
    with run.columns("raw", "sdk", "redis") as columns:
        by_name = {column.name: column for column in columns}
        rounds = max(1, run.scale.rounds - 2)
        for _ in run.track(TITLE, rounds):
            for column in columns:
                if column.kind == "raw":
                    continue  # It lists what the SDK has put.
                name = column.name
                filled = column.call("fill", prefix=PREFIX, count=keys)
                samples.add(f"put {keys:,}, in batches", name, filled["seconds"][0])
                lister = by_name.get(f"raw > {column.server}")
                for each in filter(None, (lister, column)):
                    listed = each.call("list", prefix=PREFIX, expected=keys)
                    samples.add(f"list {keys:,}", each.name, listed["seconds"][0])
                deleted = column.call("delete", prefix=PREFIX)
                samples.add(f"delete {keys:,}", name, deleted["seconds"][0])
                column.call("list", prefix=PREFIX, expected=0)
    samples.into(run.figures)
