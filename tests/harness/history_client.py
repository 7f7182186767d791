"""A client process of the linearizability tests: `python -m harness.history_client '<json>'`.

Works on a few hot keys that other processes work on too, by every way into the server, and writes
down what it did. Ends when its standard input does, and it has done what it was asked for at least.
A server that goes away is waited for; a write without an answer is sometimes retried, with its op
id.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import pyarrow as pa
from pyarrow import flight

from harness.documents import Documents, Origin
from harness.flight import OPAQUE_SCHEMA, opaque_batch
from harness.history import Operation, Rows, save
from harness.oracle import content, digest
from harness.refusals import Refused

SIZES = [10, 1000, 70_000, 150_000]  # Above 64 KiB an object is a file, where there is storage.
WEIGHTS = [12, 6, 2, 1]


class Gone(Exception):
    """The server did not answer."""


class Client:
    """One client's view: what it saw last of each key, and its part of the history."""

    def __init__(self, name: str, endpoint: str, keys: list[str], seed: str, patches: int):
        self.name = name
        self.history: list[Operation] = []
        self._endpoint = endpoint
        self._keys = keys
        self._random = random.Random(f"{seed}-{name}")
        self._label = f"{seed}-{name}"
        self._max_patches = patches
        self._writes = 0
        self._origin = Origin()
        self._seen: dict[str, Rows] = {}
        self._connection: Optional[Documents] = None

    def run(self, stop: threading.Event, at_least: int) -> None:
        while not stop.is_set() or len(self.history) < at_least:
            with contextlib.suppress(Gone):
                self.step()

    def step(self) -> None:
        key = self._random.choice(self._keys)
        kinds = ["get", "stat", "put", "patch", "delete"]
        kind = self._random.choices(kinds, [40, 8, 22, 24, 6])[0]
        if kind == "patch" and len(self._seen.get(key, ())) > self._max_patches:
            kind = "put"
        getattr(self, f"_{kind}")(key)

    # Reads

    def _get(self, key: str) -> None:
        known_rows = self._seen.get(key, ())
        known = known_rows[-1][0] if known_rows and self._random.random() < 0.7 else 0
        way = self._random.choice([self._get_stock, self._get_document, self._get_item])
        called = time.monotonic_ns()
        version, base, rows = self._call(lambda client: way(client, key, known))
        if rows and base is None:  # Only what was new, or nothing: it goes behind what we have.
            rows = (*known_rows, *rows)
        elif version == known and known:
            rows = known_rows
        self._note("read", key, called, version=version, rows=tuple(rows))
        self._seen[key] = tuple(rows)

    @staticmethod
    def _get_stock(client: Documents, key: str, known: int) -> tuple[int, Optional[int], Rows]:
        try:
            reply = client.get(f"{key}:{known}")
        except pa.ArrowKeyError:
            return 0, None, ()
        if reply.not_modified:
            return known, None, ()
        rows = reply.rows
        base = rows[0][0] if rows[0][1] == "base" else None
        return rows[-1][0], base, tuple((version, digest(data)) for version, _, data in rows)

    @staticmethod
    def _get_document(client: Documents, key: str, known: int) -> tuple[int, Optional[int], Rows]:
        try:
            reply = client.fetch(key, known)
        except pa.ArrowKeyError:
            return 0, None, ()
        facts = {k.decode(): v.decode() for k, v in reply.schema.metadata.items()}
        if facts["flame.cache.reply"] == "not-modified":
            return int(facts["flame.cache.version"]), None, ()
        rows = tuple((version, digest(data)) for version, _, data in reply.rows)
        full = facts["flame.cache.reply"] == "full"
        return int(facts["flame.cache.version"]), rows[0][0] if full else None, rows

    @staticmethod
    def _get_item(client: Documents, key: str, known: int) -> tuple[int, Optional[int], Rows]:
        [answer] = client.get_items({"key": key, "known": known}, inline_max=1 << 24)
        if not answer["found"]:
            return 0, None, ()
        if answer["reply"] == "not-modified":
            return answer["version"], None, ()
        rows = tuple((p["version"], digest(p["data"])) for p in answer["patches"])
        if answer["reply"] == "patches":
            return answer["version"], None, rows
        base = answer["base_version"]
        return answer["version"], base, ((base, digest(answer["base"])), *rows)

    def _stat(self, key: str) -> None:
        called = time.monotonic_ns()
        answer = self._call(lambda client: client.stat(key))
        self._note("read", key, called, version=answer["version"] if answer["found"] else 0)

    # Writes

    def _put(self, key: str) -> None:
        self._write("put", key)

    def _patch(self, key: str) -> None:
        self._write("patch", key)

    def _write(self, kind: str, key: str) -> None:
        self._writes += 1
        size = self._random.choices(SIZES, WEIGHTS)[0]
        data = content(f"{self._label}-{self._writes}", size)
        rows = self._seen.get(key, ())
        condition = None
        if self._random.random() < 0.35:
            condition = rows[-1][0] if rows else 0
        item: dict[str, Any] = {"op": kind, "if_version": condition, "op_id": self._origin.next()}
        way = self._random.randrange(3)
        if way == 0 and condition is None:
            item.pop("op_id")  # Stock has no words for it.

        def send(client: Documents) -> int:
            if "op_id" not in item:
                return getattr(client, kind)(key, data).version
            if way == 1:
                fields = {k: v for k, v in item.items() if k != "op"}
                pieces = [data[: len(data) // 2], data[len(data) // 2 :]]
                batches = [opaque_batch(piece) for piece in pieces]
                return client.command(
                    kind, key, schema=OPAQUE_SCHEMA, batches=batches, **fields
                ).version
            answer = client.put_item(key, data, **item)
            if "error" in answer:
                raise Refused.of_document(answer["error"])
            return answer["version"]

        called = time.monotonic_ns()
        facts = {"data": digest(data), "if_version": condition}
        try:
            version = self._call(send)
        except Refused as refusal:
            self._refused(key, called, refusal)
        except Gone:
            again = None
            if "op_id" in item and self._random.random() < 0.7:
                item["retry"] = True
                try:
                    again = self._call(send, patient=True)
                except Refused as refusal:
                    self._retry_refused(kind, key, called, facts, refusal)
                    return
            if again is None:
                self._note(kind, key, called, unanswered=True, **facts)
                raise
            self._note(kind, key, called, version=again, **facts)
        else:
            self._note(kind, key, called, version=version, **facts)
            if kind == "put":
                self._seen[key] = ((version, digest(data)),)

    def _refused(self, key: str, called: int, refusal: Refused) -> None:
        """A refusal tells what is there."""
        if refusal.code == "conflict":
            self._note("read", key, called, version=refusal.version)
        elif refusal.code == "not_found":
            self._note("read", key, called, version=0)
        else:
            raise refusal
        self._seen.pop(key, None)

    def _retry_refused(
        self, kind: str, key: str, called: int, facts: dict, refusal: Refused
    ) -> None:
        """The first attempt was not applied (or the server could not tell), and neither was this."""
        if refusal.code in ("conflict", "not_found"):
            self._refused(key, called, refusal)
        else:
            self._note(kind, key, called, unanswered=True, **facts)

    def _delete(self, key: str) -> None:
        called = time.monotonic_ns()
        try:
            deleted = self._call(lambda client: client.erase(key))
        except Gone:
            self._note("delete", key, called, unanswered=True)
            raise
        self._note("delete", key, called, deleted=bool(deleted))
        self._seen.pop(key, None)

    # The rest

    def _note(self, kind: str, key: str, called: int, **facts: Any) -> None:
        operation = Operation(kind, key, called, time.monotonic_ns(), client=self.name)
        self.history.append(replace(operation, **facts))

    def _call(self, call: Any, patient: bool = False) -> Any:
        """Run `call(client)`; `Gone` if there is no answer, after waiting for the server."""
        deadline = time.monotonic() + 60
        while True:
            try:
                if self._connection is None:
                    options = [("grpc.use_local_subchannel_pool", 1)]
                    self._connection = Documents(self._endpoint, generic_options=options)
                return call(self._connection)
            except (flight.FlightError, pa.ArrowException, OSError) as error:
                refusal = Refused.of_exception(error)
                if refusal is not None and refusal.code != "unavailable":
                    raise refusal from error
                if not isinstance(error, (flight.FlightError, OSError)):
                    raise
            except Refused as refusal:
                if refusal.code != "unavailable":
                    raise
            self._connection = None
            if not patient or time.monotonic() > deadline:
                time.sleep(0.005)  # The server is being started again: no need to hammer at it.
                raise Gone
            time.sleep(0.005)


def main() -> None:
    job = json.loads(sys.argv[1])
    client = Client(job["name"], job["endpoint"], job["keys"], job["seed"], job["patches"])
    stop, ended = threading.Event(), threading.Event()

    def work() -> None:
        client.run(stop, job["at_least"])
        ended.set()

    worker = threading.Thread(target=work, daemon=True)
    print("ready", flush=True)
    sys.stdin.readline()  # "go"
    worker.start()
    sys.stdin.read()
    stop.set()
    worker.join(90)
    save(Path(job["file"]), client.history)
    os._exit(0 if ended.is_set() else 1)  # The reason is on standard error.


if __name__ == "__main__":
    main()
