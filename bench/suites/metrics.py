"""What serving metrics costs: server CPU per operation with --http-endpoint and without, in turns.

A second server without is the test's own error: what differs between the two is noise.
Counters count either way, so that what they cost is measured by itself and added.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import urllib.request

import servers
from bench_run import Run
from figures import Samples
from workers import workers

TITLE = "metrics, server CPU per operation"
OPERATIONS = ("put", "get", "unchanged")
COUNTING = "counting one call, by itself"
SCRAPE = "one read of /metrics"  # Every 15 s or so; not part of what an operation costs.
COLUMNS = {"with": True, "without": False, "without, again": False}


def run(run: Run) -> None:
    if not servers.has_metrics():
        run.notes.append("metrics: left out, this server has no --http-endpoint")
        return
    samples = Samples(TITLE, "s")
    with contextlib.ExitStack() as stack:
        fleet = {
            column: stack.enter_context(servers.ours("none", run.home, run.placement, http=http))
            for column, http in COLUMNS.items()
        }
        endpoints = {column: server.endpoint for column, server in fleet.items()}
        [client] = stack.enter_context(workers("raw", 1, endpoints, run.home, run.placement))
        for turn in run.track(TITLE, run.scale.metrics_rounds + 1):
            for column in fleet:
                client.call("prepare", server=column, name="small")
            for operation in OPERATIONS:
                # Whoever comes first in one turn comes last in the next.
                for column in list(fleet) if turn % 2 else reversed(fleet):
                    server = fleet[column]
                    before = server.cpu_seconds()
                    calls = run.scale.metrics_calls
                    client.call(operation, server=column, name="small", calls=calls)
                    if turn > 0:
                        used = (server.cpu_seconds() - before) / calls
                        samples.add(operation, column, used)
            for column, server in fleet.items():
                if server.metrics_url:
                    before = server.cpu_seconds()
                    urllib.request.urlopen(server.metrics_url, timeout=20).read()
                    samples.add(SCRAPE, column, server.cpu_seconds() - before)
                client.call("forget", server=column, name="small")
    samples.into(run.figures)
    run.figures.add(TITLE, COUNTING, "with", "s", [counting_seconds()])


def counting_seconds() -> float:
    """CPU of counting one call, which happens with and without (metrics_benchmark.cc)."""
    output = subprocess.run(
        [
            servers.BIN / "metrics_benchmark",
            "--benchmark_filter=CountOneCall.*threads:1$",
            "--benchmark_format=json",
            "--benchmark_min_time=0.1",
        ],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ).stdout
    [result] = json.loads(output)["benchmarks"]
    assert result["time_unit"] == "ns"
    return result["cpu_time"] / 1e9
