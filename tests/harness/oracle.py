"""What a store must hold, from the point of view of its clients.

Each key belongs to one client, who knows its history: what was acknowledged, and the one operation
whose answer never came. `Record.check` says whether a state found later can be the truth.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from typing import Optional


def content(label: str, size: int) -> bytes:
    """Bytes that name their write: no two writes of a run have the same."""
    return random.Random(label).randbytes(size)


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()


@dataclass(frozen=True)
class State:
    """An object as a client sees it: digests of base and patches, or nothing at all."""

    version: int = 0
    rows: tuple[tuple[int, str], ...] = ()

    @property
    def present(self) -> bool:
        return bool(self.rows)

    def put(self, version: int, data: str) -> State:
        return State(version, ((version, data),))

    def patch(self, version: int, data: str) -> State:
        return State(version, (*self.rows, (version, data)))

    def deleted(self) -> State:
        return State(self.version)


@dataclass
class Pending:
    """An operation that was sent and not answered."""

    operation: str
    data: str = ""

    def outcome(self, before: State, version: int) -> State:
        if self.operation == "put":
            return before.put(version, self.data)
        if self.operation == "patch":
            return before.patch(version, self.data)
        return before.deleted()


@dataclass
class Record:
    """One key. `highest` is the highest version that anybody was ever told of it."""

    state: State = State()
    highest: int = 0
    pending: Optional[Pending] = None
    contents: dict[int, str] = field(default_factory=dict)

    def acknowledged(self, operation: str, version: int, data: str) -> None:
        assert version > self.highest, f"v{version} was given out after v{self.highest}"
        if self.state.present:
            assert version == self.state.version + 1, f"v{version} after v{self.state.version}"
        self.state = Pending(operation, data).outcome(self.state, version)
        self._saw(self.state)
        self.pending = None

    def acknowledged_delete(self) -> None:
        self.state = self.state.deleted()
        self.pending = None

    def check(self, found: State) -> str:
        """Take what the store holds now as the truth, or describe why it cannot be."""
        candidates = [self.state]
        if self.pending:
            before = self.state
            version = found.version if found.present else before.version + 1
            candidates.append(self.pending.outcome(before, version))
        matches = [c for c in candidates if c.present == found.present and c.rows == found.rows]
        if not matches:
            return f"found {_show(found)}, expected {' or '.join(map(_show, candidates))}"
        if found.present and found.version < self.state.version:
            return f"v{found.version} came back after v{self.state.version}"
        unacknowledged = found.present and found != self.state
        if unacknowledged and found.version <= self.highest:
            return f"v{found.version} was used again: v{self.highest} had been given out"
        for version, data in found.rows:
            if self.contents.get(version, data) != data:
                return f"v{version} has had two contents"
        self.state = found if found.present else State(self.state.version)
        self._saw(self.state)
        self.pending = None
        return ""

    def _saw(self, state: State) -> None:
        self.highest = max(self.highest, state.version)
        self.contents.update(state.rows)


def _show(state: State) -> str:
    if not state.present:
        return "nothing"
    return f"v{state.version} " + " ".join(f"{version}:{data[:6]}" for version, data in state.rows)
