"""A load of tasks on a session manager that is killed again and again, and the books that its clients keep.

Each client owns a session of `flmexec`, whose tasks write into a file when they begin and when they are done. `check`
compares what was promised with what the manager has and with what ran.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import defaultdict
from pathlib import Path

from flamepy.core.errors import Timeout, Unavailable, UnknownOutcome
from flamepy.core.sessions.client import Session, connect
from flamepy.core.types import SessionAttributes, TaskState

from harness.session_manager import SessionManager
from harness.wait import until

_BACKLOG = 40
"""Tasks that may wait for a client; beyond that it only looks."""


class TaskClient:
    """One session; its methods `run` and `check` are never called at the same time.

    `by_socket`: it hands its tasks over through the socket for clients of the same machine.
    """

    def __init__(self, name: str, folder: Path, seed: int, by_socket: bool):
        self.name = name
        self.by_socket = by_socket
        self.notes = folder / name
        self.notes.touch()
        self.random = random.Random(f"{seed}-{name}")
        self.made = 0
        self.accepted: dict[str, int] = {}
        self.unknown: set[int] = set()
        """Numbers of tasks whose acceptance nobody has heard of."""
        self.ended: dict[str, int] = {}
        """Tasks whose end was seen, and when (time.time_ns)."""

    def run(self, endpoint: str, stop: threading.Event) -> None:
        """Until `stop`, or until the manager does not answer."""
        try:
            with connect(endpoint) as connection:
                session = connection.open_session(self.name)
                while not stop.is_set():
                    if len(self.accepted) - len(self.ended) < _BACKLOG:
                        self._submit(session)
                    waiting = [task for task in self.accepted if task not in self.ended]
                    if waiting:
                        self._look(session, self.random.choice(waiting[:3]))
        except (Unavailable, Timeout, UnknownOutcome):
            pass

    def _submit(self, session: Session) -> None:
        number = self.made
        self.made += 1
        self.unknown.add(number)
        if self.by_socket:
            task_id = session.run(self.script(number), timeout=10).task_id
        else:
            task_id = session.create_task(self.script(number), timeout=10).id
        self.unknown.remove(number)
        assert task_id not in self.accepted, "a number of a task was given twice"
        self.accepted[task_id] = number

    def _look(self, session: Session, task_id: str) -> None:
        task = session.get_task(task_id, timeout=10)
        if task.is_completed():
            self._check_end(task)
            self.ended[task_id] = time.time_ns()

    def script(self, number: int) -> bytes:
        note = f"echo $x {number} $(date +%s%N) >>{self.notes}"
        code = f"x=start; {note}; sleep 0.0{number % 3}; x=done; {note}; echo result {number}"
        return json.dumps({"language": "shell", "code": code}).encode()

    def _check_end(self, task) -> None:
        number = self.accepted[task.id]
        assert task.state == TaskState.SUCCEED, (self.name, task.id, task.events)
        said = bytes(json.loads(task.output)["data"]).decode()
        assert said == f"result {number}\n", (self.name, task.id, said)

    def check(self, session: Session, kills: list[tuple[int, int]]) -> bool:
        """True when all tasks have ended."""
        tasks = {task.id: task for task in session.list_tasks(timeout=30)}
        lost = self.accepted.keys() - tasks.keys()
        assert not lost, f"{self.name}: accepted tasks are gone: {sorted(lost)}"
        known = {self.script(number): number for number in self.unknown}
        for task_id in tasks.keys() - self.accepted.keys():
            number = known[tasks[task_id].input]  # Else nobody has ever made such a task.
            self.unknown.remove(number)
            self.accepted[task_id] = number
        for task_id, number in self.accepted.items():
            task = tasks[task_id]
            assert task.input == self.script(number)
            if task_id in self.ended or task.is_completed():
                self._check_end(task)
                self.ended.setdefault(task_id, time.time_ns())
        self._check_notes(kills)
        return len(self.ended) == len(self.accepted)

    def _check_notes(self, kills: list[tuple[int, int]]) -> None:
        starts: dict[int, list[int]] = defaultdict(list)
        for line in self.notes.read_text().splitlines():
            what, number, at = line.split()
            if what == "start":
                starts[int(number)].append(int(at))
        for number, begun in starts.items():
            for first, second in zip(begun, begun[1:]):
                # What a killed manager's tasks start ends at the latest when it is there again.
                assert any(first < ready and kill < second for kill, ready in kills), (
                    f"{self.name}: task {number} ran twice, and no instance had died between"
                )
        for task_id, seen in self.ended.items():
            assert max(starts[self.accepted[task_id]]) < seen, (
                f"{self.name}: task {task_id} ran again after its end"
            )


class TaskLoad:
    """`start`, `restart`, `check`, and so on."""

    def __init__(self, folder: Path, seed: int, clients: int):
        self.clients = [TaskClient(f"load-{n}", folder, seed, n % 2 == 0) for n in range(clients)]
        self.kills: list[tuple[int, int]] = []
        """When the manager was killed, and when it was there again."""
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._problems: list[BaseException] = []

    @property
    def accepted(self) -> int:
        return sum(len(client.accepted) for client in self.clients)

    @property
    def ended(self) -> int:
        return sum(len(client.ended) for client in self.clients)

    def open(self, manager: SessionManager) -> None:
        with connect(manager.endpoint) as connection:
            for client in self.clients:
                connection.create_session(
                    SessionAttributes("flmexec", id=client.name, max_instances=1)
                )

    def start(self, manager: SessionManager) -> None:
        self._stop.clear()
        self._threads = [
            threading.Thread(target=self._run, args=(client, manager.endpoint))
            for client in self.clients
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, client: TaskClient, endpoint: str) -> None:
        try:
            client.run(endpoint, self._stop)
        except BaseException as error:
            self._problems.append(error)

    def await_more(self, accepted: int, ended: int) -> None:
        """Until so many tasks were accepted, or so many were seen to end."""
        until(
            lambda: self.accepted >= accepted or self.ended >= ended or self._problems,
            "some tasks",
            60,
        )
        self._raise_problem()

    def restart(self, manager: SessionManager) -> None:
        """Kill it under load, and start it again."""
        killed = time.time_ns()
        manager.kill()
        self._stop.set()
        manager.start()
        self.kills.append((killed, time.time_ns()))
        # Now: calls that only read are repeated until somebody answers.
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a client hangs"
        self._raise_problem()

    def _raise_problem(self) -> None:
        if self._problems:
            raise self._problems[0]

    def check(self, manager: SessionManager) -> bool:
        """True when all tasks have ended."""
        with connect(manager.endpoint) as connection:
            done = [
                client.check(connection.open_session(client.name), self.kills)
                for client in self.clients
            ]
        return all(done)
