"""A million small objects: memory that each takes beyond its payload, and how long a server needs to open them.

The storage is built once and kept below build/, so that a second run is quick.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import bulk
import servers
from bench_run import Run
from placement import Placement

TITLE = "many small objects"
ANYWHERE = Placement(pinned=False)  # A server that starts may use what the machine has.
OPENINGS = 3
# Whose memory is measured: the kernel gives it out, and takes it back, in its own steps.
SERVERS = 3


def run(run: Run) -> None:
    count = run.scale.objects
    _measure(run, "raw > memory", f"put {count:,} objects", "none", bulk.put_all)

    store = _store(run, count)
    seconds, resident = [], []
    for _ in run.track(f"open {count:,} objects", OPENINGS):
        start = time.perf_counter()
        with _server(run, f"fs://{store}") as server:
            seconds.append(time.perf_counter() - start)
            resident.append(server.resident_bytes())
    run.figures.add(TITLE, f"open {count:,}: to the ready line", "raw > disk", "s", seconds)
    run.figures.add(TITLE, f"open {count:,}: memory of the server", "raw > disk", "B", resident)

    _measure(run, "raw > disk", f"read {count:,} objects", f"fs://{store}", bulk.check_all)


def _measure(
    run: Run,
    column: str,
    title: str,
    storage: str,
    load: Callable[[str, int], Iterator[None]],
) -> None:
    """What the second half of the objects adds: by then all is there that the server needs once."""
    count = run.scale.objects
    steps = bulk.steps(count)
    half = max(1, steps // 2)
    beyond = []
    for server_number in range(SERVERS):
        with _server(run, storage) as server:
            batches = load(server.endpoint, count)
            before = 0
            for step in run.track(f"{title}, {server_number + 1} of {SERVERS}", steps):
                if step == half:
                    before = server.resident_bytes()
                next(batches)
            grown = server.resident_bytes() - before
            beyond.append(grown / (count * (steps - half) / steps) - bulk.OBJECT_BYTES)
    row = f"memory per resident object beyond its {bulk.OBJECT_BYTES} B"
    run.figures.add(TITLE, row, column, "B", beyond)


def _store(run: Run, count: int) -> Path:
    """A storage with so many objects, that this program can open."""
    path = run.stores / f"{count}-objects"
    ready = path.with_suffix(".ready")
    if ready.exists():
        with contextlib.suppress(servers.StartFailed), _server(run, f"fs://{path}") as server:
            next(bulk.check_all(server.endpoint, count))
            return path
    shutil.rmtree(path, ignore_errors=True)
    ready.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _server(run, f"fs://{path}") as server:
        _all(run, f"build a storage of {count:,}", bulk.put_all(server.endpoint, count), count)
    ready.touch()
    return path


def _server(run: Run, storage: str) -> contextlib.AbstractContextManager[servers.Server]:
    # Nothing may leave memory while it is being counted.
    return servers.ours(
        storage, run.home, ANYWHERE, "--eviction-policy", "lru", "--max-memory", "8G"
    )


def _all(run: Run, title: str, batches: Iterator[None], count: int) -> None:
    for _ in run.track(title, bulk.steps(count)):
        next(batches)
