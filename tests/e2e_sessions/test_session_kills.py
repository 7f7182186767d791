"""kill -9 of the session manager under load: no accepted task is lost, none runs twice unless its instance died.

Method: clients submit tasks and look at them; the manager is killed at a random moment, with everything that it has
started, and started again; then the clients' books are compared with what it has, and with the tasks' own notes.
"""

from __future__ import annotations

import random
import time

import pytest
from harness.server import port_for_restarts
from harness.task_load import TaskLoad
from harness.wait import until


def kill_loop(managers, folder, rng: random.Random, kills: int) -> None:
    manager = managers("fs", "--max-executors", "3", start=False)
    manager.port = port_for_restarts()
    manager.start()
    load = TaskLoad(folder, rng.randrange(2**32), clients=3)
    load.open(manager)
    for _ in range(kills):
        load.start(manager)
        load.await_more(load.accepted + rng.randint(1, 60), load.ended + rng.randint(0, 15))
        time.sleep(rng.random() * 0.05)  # Not for a condition: the moment is what is random.
        load.restart(manager)
        load.check(manager)
    until(lambda: load.check(manager), "all tasks have ended", 120)
    print(f"{kills} kills, {load.ended} tasks")
    manager.stop()
    manager.await_nothing_left()


@pytest.mark.timeout(300)
def test_no_task_is_lost_or_done_twice_over_20_kills(managers, tmp_path, rng):
    kill_loop(managers, tmp_path, rng, 20)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_no_task_is_lost_or_done_twice_over_200_kills(managers, tmp_path, rng):
    kill_loop(managers, tmp_path, rng, 200)
