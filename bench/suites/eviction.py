"""Hit ratios of the eviction policies on seeded traces (eviction_bench.cc)."""

from __future__ import annotations

import json
import subprocess

from bench_run import Run
from servers import BIN

TITLE = "hit ratio of reads"


def run(run: Run) -> None:
    requests, keys = run.scale.trace
    for _ in run.track(TITLE, 1):
        output = subprocess.run(
            [BIN / "eviction_bench", str(requests), str(keys)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
    for line in output.splitlines():
        result = json.loads(line)
        scans = " and scans" if result["scans"] else ""
        row = f"Zipf {result['alpha']}{scans}, cache of {result['percent']} %"
        run.figures.add(TITLE, row, result["policy"], "share", [result["hit_ratio"]])
