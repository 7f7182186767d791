"""Clients that write as fast as they can and keep the books while the server comes and goes."""

from __future__ import annotations

import random
import threading
import time
from typing import Optional

import pyarrow as pa
from pyarrow import flight

from harness.documents import Documents, Origin
from harness.flight import OPAQUE_SCHEMA, opaque_batch
from harness.oracle import Expiry, Pending, Record, State, content, digest
from harness.server import Server

SIZES = [10, 100, 1000, 20_000, 60_000, 70_000, 200_000, 1 << 20]  # Below and above pack_below.
WEIGHTS = [8, 8, 8, 4, 2, 2, 2, 1]
LIVES_MS = [30, 200, 1000, 4000]
KEYS_PER_CLIENT = 6
MAX_PATCHES = 20


class Client:
    """Owns its keys. Runs until it is stopped or the server does not answer.

    `expiring`: a third of the puts are of objects that expire.
    """

    def __init__(self, name: str, seed: int, expiring: bool = False):
        self.expiring = expiring
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
            ttl_ms, sent = None, time.time()
            if self.expiring and operation == "put" and self.random.random() < 0.33:
                ttl_ms = self.random.choice(LIVES_MS)
                record.pending = Pending(operation, digest(data), Expiry(0, float("inf")))
            else:
                record.pending = Pending(operation, digest(data))
            try:
                version = self._write(client, operation, key, data, ttl_ms)
            except (KeyError, NotThere):
                record.acknowledged_absence(time.time())
                self._retry = None
                return
            except (flight.FlightError, OSError):
                if ttl_ms:
                    record.pending.expiry = Expiry.after(ttl_ms, sent, time.time())
                raise
            expiry = Expiry.after(ttl_ms, sent, time.time()) if ttl_ms else None
            record.acknowledged(operation, version, digest(data), expiry)
        self.operations += 1

    def _write(
        self, client: Documents, operation: str, key: str, data: bytes, ttl_ms: Optional[int]
    ) -> int:
        """By one of the three ways in: stock; command document or item, with an op id."""
        way = self.random.randrange(1 if ttl_ms else 0, 3)  # Stock has no word for it.
        if way == 0:
            return getattr(client, operation)(key, data).version
        op_id = self.origin.next()
        self._retry = (operation, key, data, op_id, ttl_ms)
        if way == 1:
            pieces = [data[: len(data) // 2], data[len(data) // 2 :]]
            version = client.command(
                operation,
                key,
                schema=OPAQUE_SCHEMA,
                batches=[opaque_batch(p) for p in pieces],
                op_id=op_id,
                ttl_ms=ttl_ms,
            ).version
        else:
            answer = client.put_item(key, data, op=operation, op_id=op_id, ttl_ms=ttl_ms)
            if answer.get("error", {}).get("code") == "not_found":
                raise NotThere(key)
            if "error" in answer:
                raise AssertionError(f"{operation} {key}: {answer['error']}")
            version = answer["version"]
        self._retry = None
        return version

    def check(self, client: Documents) -> list[str]:
        """Compare every key with the books; a write without an answer is retried: applied once."""
        problems = []
        for key, record in self.records.items():
            asked = time.time()
            problem = record.check(read_state(client, key), asked, time.time())
            if problem:
                problems.append(f"{key}: {problem}")
        if not problems and self._retry:
            problems += self._check_retry(client)
        self._retry = None
        return problems

    def _check_retry(self, client: Documents) -> list[str]:
        operation, key, data, op_id, ttl_ms = self._retry
        record = self.records[key]
        applied = bool(record.state.rows) and record.state.rows[-1][1] == digest(data)
        sent = time.time()
        if not record.must_be_present(sent + 1) and (record.state.present or self.expiring):
            return []  # It may expire, or has: nothing tells whether it was applied.
        answer = client.put_item(key, data, op=operation, op_id=op_id, retry=True, ttl_ms=ttl_ms)
        if "error" in answer:
            return [f"{key}: retry of {operation}: {answer['error']}"]
        if applied:
            found = read_state(client, key)
            if answer["version"] != record.state.version or found != record.state:
                return [f"{key}: the retry of {operation} was applied again: v{answer['version']}"]
        else:
            expiry = Expiry.after(ttl_ms, sent, time.time()) if ttl_ms else None
            record.acknowledged(operation, answer["version"], digest(data), expiry)
        return []


class NotThere(Exception):
    """A patch found nothing to append to."""


def read_state(client: Documents, key: str) -> State:
    try:
        rows = client.get(f"{key}:0").rows
    except KeyError:
        return State()
    return State(rows[-1][0], tuple((version, digest(data)) for version, _, data in rows))


class Load:
    """Several clients against one server."""

    def __init__(self, seed: int, clients: int = 4, expiring: bool = False):
        self.clients = [Client(str(i), seed, expiring) for i in range(clients)]
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
            records = {k: r for c in self.clients for k, r in c.records.items()}
            asked = time.time()
            listed = set(reader.keys("kill/"))
            answered = time.time()
        must = {key for key, record in records.items() if record.must_be_present(answered)}
        may = {key for key, record in records.items() if record.may_be_present(asked)}
        if not must <= listed <= may:
            problems.append(f"listed {sorted(listed - may)}, not listed {sorted(must - listed)}")
        assert not problems, "\n".join(problems)
