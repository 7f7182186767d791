"""The benchmark works: every suite, with tiny counts. What it measures then means nothing and is not looked at."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness.server import ROOT

BENCH = ROOT / "bench/run.py"
OURS = {
    f"{client} > {server}" for client in ("raw", "stock", "sdk") for server in ("memory", "disk")
}
EXPECTED = {
    "small object, one client": {"put: p50", "get, unchanged: p99", "get: server CPU"},
    "throughput, one client": {"put 1 KiB", "get 1 MiB"},
    "small object, several clients": {"put, 1 client", "get, 2 clients: p99"},
    "deltas of 100 bytes": {"append one: p50", "get of 10 new ones"},
    "many keys": {"put 200, in batches", "list 200", "delete 200"},
    "many small objects": {
        "open 2,000: to the ready line",
        "memory per resident object beyond its 100 B",
    },
    "metrics, server CPU per operation": {"put", "one read of /metrics"},
    "tasks, one worker process, nothing pinned": {
        *("open, cold", "open, warm", "synchronous call: p50", "5 calls in flight"),
        *("2 MB array there and back", "5 tasks, each with the result before"),
    },
    "hit ratio of reads": {"Zipf 0.8, cache of 1 %", "Zipf 1.2 and scans, cache of 10 %"},
}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_suite_measures_and_the_page_and_the_plot_are_written(tmp_path: Path):
    shutil.copy(ROOT / "docs/benchmarks.md", tmp_path)
    json_path = tmp_path / "bench.json"
    run = subprocess.run(
        [sys.executable, BENCH, "--smoke", "--json", json_path, "--docs", tmp_path],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert run.returncode == 0, run.stderr
    result = json.loads(json_path.read_text())
    rows = {(figure["section"], figure["row"]) for figure in result["figures"]}
    missing = {(section, row) for section, names in EXPECTED.items() for row in names} - rows
    assert not missing
    puts = {f["column"] for f in result["figures"] if f["row"] == "put: p50"}
    assert puts >= {"raw > bare", "stock > bare"} | OURS
    assert all(
        value > 0 for f in result["figures"] if f["unit"] in ("1/s", "B/s") for value in f["rounds"]
    )
    assert "small operations within 1.25x of bare: stock > memory" in {
        target["target"] for target in result["targets"]
    }
    assert "hit ratio of reads" in run.stdout

    page = (tmp_path / "benchmarks.md").read_text()
    before, _, _ = (ROOT / "docs/benchmarks.md").read_text().partition("<!-- figures")
    assert page.startswith(before)
    assert page.count("<!-- figures: written by make bench -->") == 1
    assert page.rstrip().endswith("<!-- end of figures -->")
    assert "| put 1 KiB |" in page
    assert "(benchmarks.svg)" in page
    plot = (tmp_path / "benchmarks.svg").read_text()
    assert "client processes" in plot
    assert "s3fifo" in plot


def test_a_wrong_suite_is_named_with_those_that_exist():
    run = subprocess.run(
        [sys.executable, BENCH, "call"], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 2
    assert "no such suite: call" in run.stderr
    assert "throughput" in run.stderr
