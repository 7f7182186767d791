"""Concurrent clients never see an impossible order, nor after a kill -9.

Goal: promises P1 (versions), P3 (whole objects) and P4 (per key linearizable).
Method: processes put, patch, delete and read few hot keys by every way into the server, with and
without conditions, and write down calls and answers; the checker looks for an order that explains
them all. What is left without an answer by a kill may have happened or not, once.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness.history import Operation, load
from harness.linearizability import violations
from harness.server import Server, port_for_restarts

AT_LEAST = 150  # Operations per client, however busy the machine is.
TESTS = Path(__file__).resolve().parents[1]


class Clients:
    """Client processes on few keys; ended by `finish`, which returns what they saw."""

    def __init__(self, server: Server, folder: Path, rng: random.Random, count: int, keys: int):
        self.files = [folder / f"history-{i}" for i in range(count)]
        seed = str(rng.randrange(2**32))
        self._processes = []
        for i, file in enumerate(self.files):
            job = {
                "name": f"c{i}",
                "endpoint": server.endpoint,
                "keys": [f"linear-{seed}/s/{k}" for k in range(keys)],
                "seed": seed,
                "patches": 12,
                "at_least": AT_LEAST,
                "file": str(file),
            }
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "harness.history_client", json.dumps(job)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    cwd=TESTS,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )
            )
        for process in self._processes:
            assert process.stdout.readline() == b"ready\n"
        for process in self._processes:
            process.stdin.write(b"go\n")
            process.stdin.flush()

    def finish(self) -> list[Operation]:
        for process in self._processes:
            process.stdin.close()
        for process in self._processes:
            assert process.wait(120) == 0, "a client hangs or failed"
            process.stdout.close()
        return load(self.files)

    def end(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def run(
    server: Server,
    folder: Path,
    rng: random.Random,
    seconds: float,
    *,
    clients: int = 6,
    keys: int = 3,
    kills: int = 0,
) -> None:
    load_of = Clients(server, folder, rng, clients, keys)
    try:
        for _ in range(kills):
            time.sleep(rng.random() * 2 * seconds / kills)  # The moment is what is random.
            server.kill()
            server.start()
        time.sleep(seconds / 4 if kills else seconds)  # Load is what is asked for.
        history = load_of.finish()
    finally:
        load_of.end()
    unanswered = sum(operation.unanswered for operation in history)
    started = time.monotonic()
    found = violations(history)
    print(
        f"{len(history)} operations by {clients} clients on {keys} keys, {kills} kills, "
        f"{unanswered} unanswered; checked in {time.monotonic() - started:.1f} s"
    )
    assert not found, "\n\n".join(found)
    assert len(history) >= AT_LEAST * clients
    for kind in ("read", "put", "patch", "delete"):
        assert any(operation.kind == kind for operation in history), f"no {kind} at all"


@pytest.mark.timeout(300)
def test_what_clients_see_has_an_order(server, tmp_path, rng):
    run(server, tmp_path, rng, seconds=4)


@pytest.mark.timeout(300)
def test_one_key_for_eight_clients(server_factory, tmp_path, rng):
    run(server_factory("fs", args=("--pack-below", "0")), tmp_path, rng, 4, clients=8, keys=1)


@pytest.mark.timeout(300)
def test_the_order_goes_on_over_kills(server_factory, tmp_path, rng):
    server = server_factory("fs", port=port_for_restarts())
    run(server, tmp_path, rng, seconds=5, kills=6)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("round_number", range(20))
def test_the_order_goes_on_over_many_kills(server_factory, tmp_path, rng, round_number):
    server = server_factory("fs", port=port_for_restarts())
    run(server, tmp_path, rng, seconds=30, clients=8, keys=2 + round_number % 3, kills=15)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_what_clients_see_has_an_order_for_minutes(server, tmp_path, rng):
    for i in range(10):
        folder = tmp_path / str(i)
        folder.mkdir()
        run(server, folder, rng, seconds=30, clients=8)


def test_a_client_that_lies_is_found_out(server, tmp_path, rng):
    """The test of the test: a real history with one answer changed has no order any more."""
    clients = Clients(server, tmp_path, rng, count=3, keys=1)
    try:
        history = clients.finish()
    finally:
        clients.end()
    assert violations(history) == []
    later = max(o.answered for o in history) + 1
    newest = max(o.version or 0 for o in history)
    old = next(o for o in history if o.kind == "read" and o.rows and o.version < newest)
    lie = Operation("read", old.key, later, later + 1, version=old.version, rows=old.rows)
    assert violations([*history, lie])
    lost = next(o for o in history if o.kind in ("put", "patch") and o.version == newest // 2)
    assert violations([o for o in history if o is not lost])
