"""The SDK and the stock dialect against a dictionary.

Goal: whatever a client does, alone, it gets what a dictionary with versions would give (P1, P3),
through restarts and kills too. Method: hypothesis makes up programs of puts, patches, conditional
and incremental reads, deletes, lists and retries, in both dialects on the same keys, and shrinks
those that fail. FLAME_SEED=... repeats a run.
"""

from __future__ import annotations

import itertools
import os
import time
from dataclasses import dataclass, field
from typing import Any, Optional

import flamepy
import pyarrow as pa
import pytest
from flamepy import NotFound, ObjectRef, VersionConflict, WrongKind
from harness.documents import Documents, Origin
from harness.server import Server, port_for_restarts
from hypothesis import HealthCheck, Verbosity, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

NAMES = ["a", "b", "{t}c", "{t}d"]
SESSIONS = ["s1", "s2"]
BIG = 70_000  # An object of its own file, where there is storage.
MEMORY = {"none": (), "fs": ("--max-memory", "100K", "--max-objects", "4")}  # Evicts all the time.
_applications = itertools.count()


@dataclass(frozen=True)
class Object:
    """What a key holds. An opaque object's parts are values, a table's are lists of numbers."""

    version: int
    parts: tuple[Any, ...]  # Base and patches.
    table: bool = False

    @property
    def base_version(self) -> int:
        return self.version - len(self.parts) + 1


@dataclass
class Model:
    """The dictionary, and the last version of every key, deleted ones included.

    Without storage, the next version of an absent key may jump ahead once the server has been
    restarted, whoever used its slot; never back.
    """

    may_jump: bool
    objects: dict[str, Object] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)

    def newest(self, key: str) -> int:
        return self.objects[key].version if key in self.objects else 0

    def write(self, key: str, given: int, parts: tuple[Any, ...], **more: Any) -> None:
        last = self.versions.get(key, 0)
        exact = key in self.objects or not self.may_jump
        assert given == last + 1 if exact else given > last, f"{key}: v{given} after v{last}"
        self.versions[key] = given
        self.objects[key] = Object(given, parts, **more)


class Machine(RuleBasedStateMachine):
    """One client with two dialects. Subclasses have a server."""

    server: Server
    durable: bool

    def __init__(self) -> None:
        super().__init__()
        self.app = f"model{os.getpid()}-{next(_applications)}"
        self.model = Model(may_jump=not self.durable)
        self.restarts = 0
        self.origin = Origin()
        self.raw = Documents(self.server.endpoint)

    def teardown(self) -> None:
        flamepy.delete_objects(f"{self.app}/*")
        self.raw.client.close()

    @initialize()
    def start(self) -> None:
        """The SDK of this process talks to this server."""
        os.environ["FLAME_CACHE_ENDPOINT"] = self.server.endpoint
        flamepy.reload_context()

    keys = st.tuples(st.sampled_from(SESSIONS), st.sampled_from(NAMES))
    values = st.one_of(
        st.integers(),
        st.text(max_size=20),
        st.binary(max_size=2000),
        st.builds(lambda byte, size: bytes([byte]) * size, st.integers(0, 255), st.just(BIG)),
    )
    conditions = st.sampled_from(["none", "none", "none", "right", "stale", "absent"])
    numbers = st.lists(st.integers(-(2**40), 2**40), max_size=50)

    def _key(self, key: tuple[str, str]) -> str:
        return f"{self.app}/{key[0]}/{key[1]}"

    def _ref(self, key: str, version: int = 1) -> ObjectRef:
        return ObjectRef(self.server.endpoint, key, version)

    def _condition(self, key: str, condition: str) -> tuple[Optional[int], bool]:
        """A version to ask for, and whether it is the newest one."""
        newest = self.model.newest(key)
        asked = {"none": None, "right": newest, "stale": newest + 1, "absent": 0}[condition]
        return asked, asked is None or asked == newest

    def _conflicted(self, key: str, holds: bool, conflict: VersionConflict) -> None:
        assert not holds
        assert conflict.current_version == self.model.newest(key)

    # The SDK

    @rule(key=keys, value=values, condition=conditions)
    def put(self, key: tuple[str, str], value: Any, condition: str) -> None:
        name = self._key(key)
        asked, holds = self._condition(name, condition)
        try:
            ref = flamepy.put_object(f"{self.app}/{key[0]}", value, name=key[1], if_version=asked)
        except VersionConflict as conflict:
            self._conflicted(name, holds, conflict)
        else:
            assert holds
            assert ref.key == name
            self.model.write(name, ref.version, (value,))

    @rule(key=keys, value=values)
    def update(self, key: tuple[str, str], value: Any) -> None:
        name = self._key(key)
        ref = flamepy.update_object(self._ref(name), value)
        self.model.write(name, ref.version, (value,))

    @rule(key=keys, rows=numbers)
    def put_table(self, key: tuple[str, str], rows: list[int]) -> None:
        name = self._key(key)
        ref = flamepy.update_object(self._ref(name), self._table(rows))
        self.model.write(name, ref.version, (rows,), table=True)

    @staticmethod
    def _table(rows: list[int]) -> pa.Table:
        return pa.table({"n": pa.array(rows, pa.int64())})

    @rule(key=keys, value=values, condition=conditions)
    def patch(self, key: tuple[str, str], value: Any, condition: str) -> None:
        name = self._key(key)
        asked, holds = self._condition(name, condition)
        before = self.model.objects.get(name)
        try:
            ref = flamepy.patch_object(self._ref(name), value, if_version=asked)
        except VersionConflict as conflict:
            self._conflicted(name, holds, conflict)
        except NotFound:
            assert before is None
        except WrongKind:
            assert before is not None
            assert before.table
        else:
            assert holds
            assert before is not None
            assert not before.table
            self.model.write(name, ref.version, (*before.parts, value))

    @rule(key=keys, rows=numbers)
    def append(self, key: tuple[str, str], rows: list[int]) -> None:
        name = self._key(key)
        before = self.model.objects.get(name)
        if before is not None and not before.table:
            return
        try:
            ref = flamepy.patch_object(self._ref(name), self._table(rows))
        except NotFound:
            assert before is None
        else:
            assert before is not None
            self.model.write(name, ref.version, (*before.parts, rows), table=True)

    @rule(key=keys, bypass=st.booleans())
    def get(self, key: tuple[str, str], bypass: bool) -> None:
        """Incremental where the client's cache holds an older version, unless it is bypassed."""
        name = self._key(key)
        expected = self.model.objects.get(name)
        ref = self._ref(name, 0 if bypass else 1)
        try:
            got = flamepy.get_object(ref, lambda base, patches: (base, *patches))
        except NotFound:
            assert expected is None, f"{name} v{expected.version} is gone"
            return
        assert expected is not None, f"{name} is there"
        if expected.table:
            assert [part["n"].to_pylist() for part in got] == list(expected.parts)
            whole = flamepy.get_object(ref)
            assert whole["n"].to_pylist() == [n for part in expected.parts for n in part]
        else:
            assert got == expected.parts

    @rule(key=keys, condition=conditions)
    def delete(self, key: tuple[str, str], condition: str) -> None:
        name = self._key(key)
        asked, holds = self._condition(name, condition)
        try:
            deleted = flamepy.delete_objects(name, if_version=asked)
        except VersionConflict as conflict:
            self._conflicted(name, holds, conflict)
        else:
            assert holds
            assert deleted == (1 if self.model.objects.pop(name, None) else 0)

    @rule(session=st.sampled_from([*SESSIONS, "*", "none"]))
    def delete_prefix(self, session: str) -> None:
        below = f"{self.app}/" if session == "*" else f"{self.app}/{session}/"
        gone = [name for name in self.model.objects if name.startswith(below)]
        assert flamepy.delete_objects(f"{self.app}/{session}") == len(gone)
        for name in gone:
            del self.model.objects[name]

    @rule(key=keys)
    def stat(self, key: tuple[str, str]) -> None:
        name = self._key(key)
        expected = self.model.objects.get(name)
        try:
            found = flamepy.stat_object(self._ref(name))
        except NotFound:
            assert expected is None
        else:
            assert expected is not None
            assert found.ref.version == expected.version
            assert found.patches == len(expected.parts) - 1

    # The stock dialect on the same keys

    @rule(key=keys, data=st.binary(max_size=100))
    def stock_put_and_patch(self, key: tuple[str, str], data: bytes) -> None:
        """Bytes that are no SDK object: read back raw, then replaced by one."""
        name = self._key(key)
        first = self.raw.put(name, data).version
        self.model.write(name, first, (data,))
        second = self.raw.patch(name, data + b"!").version
        self.model.write(name, second, (data, data + b"!"))
        rows = self.raw.get(f"{name}:0").rows
        assert [(v, d) for v, _, d in rows] == [(first, data), (second, data + b"!")]
        assert [(v, d) for v, _, d in self.raw.get(f"{name}:{first}").rows] == [
            (second, data + b"!")
        ]
        assert self.raw.get(f"{name}:{second}").not_modified
        third = flamepy.update_object(self._ref(name), 0)
        self.model.write(name, third.version, (0,))

    @rule(key=keys, behind=st.integers(0, 5))
    def stock_get(self, key: tuple[str, str], behind: int) -> None:
        name = self._key(key)
        expected = self.model.objects.get(name)
        known = max(0, self.model.versions.get(name, 0) - behind)
        try:
            reply = self.raw.get(f"{name}:{known}")
        except pa.ArrowKeyError:
            assert expected is None
            return
        assert expected is not None
        if known == expected.version:
            assert reply.not_modified
        elif not expected.table:
            kinds = ["base"] + ["patch"] * (len(expected.parts) - 1)
            rows = list(zip(itertools.count(expected.base_version), kinds))
            if known >= expected.base_version:
                rows = [row for row in rows if row[0] > known]
            assert [(version, kind) for version, kind, _ in reply.rows] == rows

    @rule(key=keys, value=st.binary(min_size=1, max_size=100), times=st.integers(1, 3))
    def retry(self, key: tuple[str, str], value: bytes, times: int) -> None:
        """One write, sent again as if its answers had been lost."""
        name = self._key(key)
        op_id = self.origin.next()
        hour = 3_600_000  # Nothing here lasts that long.
        first = self.raw.put_item(name, value, op_id=op_id, ttl_ms=hour)["version"]
        for _ in range(times):
            again = self.raw.put_item(name, value, op_id=op_id, ttl_ms=hour, retry=True)
            assert again["version"] == first, "applied twice"
        self.model.write(name, first, (value,))
        assert self.raw.get(name).value == value
        after = flamepy.update_object(self._ref(name), "after")
        self.model.write(name, after.version, ("after",))

    @rule(key=keys, life_ms=st.sampled_from([1, 20, 60]), patch=st.booleans())
    def expire(self, key: tuple[str, str], life_ms: int, patch: bool) -> None:
        """There until its time is over, and gone then: by clocks, so with bounds."""
        name = self._key(key)
        sent = time.time()
        first = self.raw.put_item(name, b"x", ttl_ms=life_ms)["version"]
        latest = time.time() + (life_ms + 2) / 1000
        self.model.write(name, first, (b"x",))
        if patch:  # Leaves the time as it is.
            answer = self.raw.put_item(name, b"y", op="patch")
            if "error" not in answer:
                self.model.write(name, answer["version"], (b"x", b"y"))
        while True:
            asked = time.time()
            if not self.raw.stat(name)["found"]:
                break
            assert asked < latest, "it outlived its time"
        # The server counts whole milliseconds, of two clocks.
        assert time.time() >= sent + (life_ms - 2) / 1000, "it went before its time"
        del self.model.objects[name]

    # The server's life

    @precondition(lambda self: self.restarts < 2 and len(self.model.objects) > 1)
    @rule(kill=st.booleans())
    def restart(self, kill: bool) -> None:
        self.restarts += 1
        if kill:
            self.server.kill()
        else:
            self.server.stop()
        self.server.start()
        self.raw.client.close()
        self.raw = Documents(self.server.endpoint)
        if not self.durable:
            self.model.objects.clear()

    @invariant()
    def listed(self) -> None:
        found = {o.ref.key: o.ref.version for o in flamepy.list_objects(f"{self.app}/*")}
        assert found == {name: o.version for name, o in self.model.objects.items()}


def run(machine: type[Machine], examples: int, steps: int) -> None:
    """Run `examples` programs of `steps` steps at most."""
    number = int(os.environ.get("FLAME_SEED") or time.time_ns() % 2**32)
    print(f"FLAME_SEED={number}")
    started, ran = time.monotonic(), [0]

    class Counted(machine):  # type: ignore[valid-type, misc]
        def __init__(self) -> None:
            super().__init__()
            ran[0] += 1

    Counted.__name__ = machine.__name__
    run_state_machine_as_test(
        seed(number)(Counted),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            print_blob=True,
            verbosity=Verbosity.normal,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"{ran[0]} programs in {time.monotonic() - started:.0f} s")


def machine_for(server: Server, durable: bool) -> type[Machine]:
    return type("OnServer", (Machine,), {"server": server, "durable": durable})


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    """No settings of the caller's; the SDK forgets this server afterwards."""
    for name in [name for name in os.environ if name.startswith("FLAME_")]:
        if name not in ("FLAME_SEED", "FLAME_NIGHTLY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FLAME_CACHE_ENDPOINT", "")
    yield
    monkeypatch.undo()
    flamepy.reload_context()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("storage", ["none", "fs"])
def test_every_answer_is_that_of_a_dictionary(server_factory, environment, storage):
    server = server_factory(storage, args=MEMORY[storage], port=port_for_restarts())
    run(machine_for(server, storage == "fs"), examples=100, steps=25)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("storage", ["none", "fs"])
def test_every_answer_is_that_of_a_dictionary_for_long(server_factory, environment, storage):
    server = server_factory(storage, args=MEMORY[storage], port=port_for_restarts())
    run(machine_for(server, storage == "fs"), examples=2500, steps=50)
