"""Work done by another process: the Runner with both clients, a Ray actor, a process pool.

Nothing is pinned: what Ray starts, and where, is Ray's matter, and all have to be treated alike.
"""

from __future__ import annotations

import contextlib
import time

import servers
from bench_run import Run
from figures import Samples, percentile
from placement import Placement
from workers import Worker, WorkerFailed

TITLE = "tasks, one worker process, nothing pinned"
COLUMNS = {"stock": "stock client", "sdk": "sdk client", "ray": "ray actor", "pool": "process pool"}
CALL, RATE = "synchronous call: p50", "calls in flight"
LARGE, CHAIN = "array there and back", "tasks, each with the result before"
_ANYWHERE = Placement(pinned=False)
COLD, WARM = "open, cold", "open, warm"


def run(run: Run) -> None:
    scale = run.scale
    seconds, rates = Samples(TITLE, "s"), Samples(TITLE, "1/s")
    sdk = Samples(TITLE, "s")
    with contextlib.ExitStack() as stack:
        clients = start(run, stack)
        for turn in run.track(TITLE, scale.rounds + 1):
            for name, client in clients.items():
                opened = client.call("open")["seconds"][0]
                column = COLUMNS[name]
                client.call("calls", count=max(1, scale.calls // 10))
                calls = client.call("calls", count=scale.calls)["seconds"]
                flight = client.call("in_flight", count=scale.in_flight)["seconds"][0]
                large = client.call("large", size=scale.large_bytes)["seconds"][0]
                chain = client.call("chain", count=scale.in_flight)["seconds"][0]
                client.call("close")
                if turn == 0:
                    continue  # It warms up.
                seconds.add(COLD, column, opened)
                seconds.add(CALL, column, percentile(calls, 50))
                rates.add(f"{scale.in_flight:,} {RATE}", column, scale.in_flight / flight)
                seconds.add(f"{scale.large_bytes // 1_000_000} MB {LARGE}", column, large)
                rates.add(f"{scale.in_flight:,} {CHAIN}", column, scale.in_flight / chain)
        for client in clients.values():
            client.call("end")
        if servers.has_spares():
            warm(run, stack, sdk)
    for samples in (seconds, rates, sdk):
        samples.into(run.figures)


def warm(run: Run, stack: contextlib.ExitStack, samples: Samples) -> None:
    """Sessions that find a spare process: time to have one passes between them."""
    client = start(run, stack, spares=2, kinds=["sdk"])["sdk"]
    for turn in range(run.scale.rounds + 1):
        time.sleep(run.scale.spare_seconds)
        opened = client.call("open")["seconds"][0]
        client.call("close")
        if turn:
            samples.add(WARM, COLUMNS["sdk"], opened)
    client.call("end")


def start(
    run: Run,
    stack: contextlib.ExitStack,
    spares: int = 0,
    kinds: list[str] | None = None,
) -> dict[str, Worker]:
    """A client of each kind; those of ours with a cache and a session manager of their own."""
    wanted = kinds or [kind for kind in COLUMNS if kind in (*run.kinds, "pool")]
    found = {}
    for kind in wanted:
        environment = {}
        folder = run.home / f"tasks-{kind}-{spares}"
        folder.mkdir()
        (folder / "empty").mkdir()  # A runner ships the directory that it is started in.
        if kind in ("stock", "sdk"):
            cache = stack.enter_context(servers.ours("none", folder, _ANYWHERE))
            manager = stack.enter_context(
                servers.session_manager(cache.endpoint, kind, folder, _ANYWHERE, spares)
            )
            environment = {
                "FLAME_ENDPOINT": manager.endpoint,
                "FLAME_CACHE_ENDPOINT": cache.endpoint,
            }
        client = Worker(
            kind,
            {},
            folder,
            script="task_worker.py",
            environment=environment,
            directory=folder / "empty",
        )
        stack.callback(client.close)
        try:
            client.answer()
        except WorkerFailed:
            if kind in ("stock", "sdk"):
                raise
            run.notes.append(f"{kind}: left out of the tasks, it does not start here")
            continue
        found[kind] = client
    return found
