"""Clients that write as fast as they can and keep the books while the server comes and goes."""

from __future__ import annotations

import random
import threading
from typing import Optional

import pyarrow as pa
from pyarrow import flight

from harness.documents import Documents, Origin
from harness.flight import OPAQUE_SCHEMA, opaque_batch
from harness.oracle import Pending, Record, State, content, digest
from harness.server import Server

SIZES = [10, 100, 1000, 20_000, 60_000, 70_000, 200_000, 1 << 20]  # Below and above pack_below.
WEIGHTS = [8, 8, 8, 4, 2, 2, 2, 1]
KEYS_PER_CLIENT = 6
MAX_PATCHES = 20


class Client:
    """Owns its keys. Runs until it is stopped or the server does not answer."""

    def __init__(self, name: str, seed: int):
        self.random = random.Random(f"{seed}-{name}")
        self.records = {f"kill/{name}/{i}": Record() for i in range(KEYS_PER_CLIENT)}
        self.origin = Origin()
        self.operations = 0
        self.problem: Optional[BaseException] = None
        self._label = f"{seed}-{name}"
        self._retry: Optional[tuple] = None

    def run(self, server: Server, stop: threading.Event) -> None:
        try:
            with Documents(
                server.endpoint, generic_options=[("grpc.use_local_subchannel_pool", 1)]
            ) as client:
                while not stop.is_set():
                    self._step(client)
        except (flight.FlightError, pa.ArrowException, OSError) as error:
            if "[flame:" in str(error) and "[flame:unavailable" not in str(error):
                self.problem = error  # A refusal is not a dead server.
        except BaseException as error:
            self.problem = error

    def _step(self, client: Documents) -> None:
        key = self.random.choice(list(self.records))
        record = self.records[key]
        operation = "put"
        if record.state.present:
            operation = self.random.choices(["put", "patch", "delete"], [5, 4, 1])[0]
            if operation == "patch" and len(record.state.rows) > MAX_PATCHES:
                operation = "put"
        if operation == "delete":
            record.pending = Pending("delete")
            client.delete(key)
            record.acknowledged_delete()
        else:
            self.operations += 1
            data = content(
                f"{self._label}-{self.operations}", self.random.choices(SIZES, WEIGHTS)[0]
            )
            record.pending = Pending(operation, digest(data))
            version = self._write(client, operation, key, data)
            record.acknowledged(operation, version, digest(data))
        self.operations += 1

    def _write(self, client: Documents, operation: str, key: str, data: bytes) -> int:
        """By one of the three ways in: stock; command document or item, with an op id."""
        way = self.random.randrange(3)
        if way == 0:
            return getattr(client, operation)(key, data).version
        op_id = self.origin.next()
        self._retry = (operation, key, data, op_id)
        if way == 1:
            pieces = [data[: len(data) // 2], data[len(data) // 2 :]]
            version = client.command(
                operation,
                key,
                schema=OPAQUE_SCHEMA,
                batches=[opaque_batch(p) for p in pieces],
                op_id=op_id,
            ).version
        else:
            answer = client.put_item(key, data, op=operation, op_id=op_id)
            if "error" in answer:
                raise AssertionError(f"{operation} {key}: {answer['error']}")
            version = answer["version"]
        self._retry = None
        return version

    def check(self, client: Documents) -> list[str]:
        """Compare every key with the books; a write without an answer is retried: applied once."""
        problems = []
        for key, record in self.records.items():
            problem = record.check(read_state(client, key))
            if problem:
                problems.append(f"{key}: {problem}")
        if not problems and self._retry:
            problems += self._check_retry(client)
        self._retry = None
        return problems

    def _check_retry(self, client: Documents) -> list[str]:
        operation, key, data, op_id = self._retry
        record = self.records[key]
        applied = bool(record.state.rows) and record.state.rows[-1][1] == digest(data)
        answer = client.put_item(key, data, op=operation, op_id=op_id, retry=True)
        if "error" in answer:
            return [f"{key}: retry of {operation}: {answer['error']}"]
        if applied:
            found = read_state(client, key)
            if answer["version"] != record.state.version or found != record.state:
                return [f"{key}: the retry of {operation} was applied again: v{answer['version']}"]
        else:
            record.acknowledged(operation, answer["version"], digest(data))
        return []


def read_state(client: Documents, key: str) -> State:
    try:
        rows = client.get(f"{key}:0").rows
    except KeyError:
        return State()
    return State(rows[-1][0], tuple((version, digest(data)) for version, _, data in rows))


class Load:
    """Several clients against one server."""

    def __init__(self, seed: int, clients: int = 4):
        self.clients = [Client(str(i), seed) for i in range(clients)]
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()

    def start(self, server: Server) -> None:
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=client.run, args=(server, self._stop))
            for client in self.clients
        ]
        for thread in self._threads:
            thread.start()

    @property
    def operations(self) -> int:
        return sum(client.operations for client in self.clients)

    def finish(self) -> None:
        """Wait for the clients to stop, each after the answer that it waits for or never gets."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a client hangs although its server is gone"
        for client in self.clients:
            if client.problem:
                raise AssertionError("a client saw what it must not see") from client.problem

    def check(self, server: Server) -> None:
        """Everything that was acknowledged is there, and nothing that cannot be."""
        with Documents(server.endpoint) as reader:
            problems = [problem for client in self.clients for problem in client.check(reader)]
            expected = {k for c in self.clients for k, r in c.records.items() if r.state.present}
            listed = set(reader.keys("kill/"))
        if listed != expected:
            problems.append(
                f"listed {sorted(listed - expected)}, not listed {sorted(expected - listed)}"
            )
        assert not problems, "\n".join(problems)
