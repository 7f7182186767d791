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


@dataclass(frozen=True)
class Expiry:
    """When an object goes: not before `earliest`, and no later than `latest` (time.time())."""

    earliest: float
    latest: float

    @classmethod
    def after(cls, ttl_ms: int, sent: float, answered: float) -> Expiry:
        """The server counted from some moment between the call and its answer."""
        return cls(sent + ttl_ms / 1000, answered + ttl_ms / 1000 + CLOCK_STEP)


CLOCK_STEP = 0.002  # Seconds: the server counts in whole milliseconds.


@dataclass
class Pending:
    """An operation that was sent and not answered. `expiry`: of a put that is to expire."""

    operation: str
    data: str = ""
    expiry: Optional[Expiry] = None

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
    expiry: Optional[Expiry] = None
    highest: int = 0
    pending: Optional[Pending] = None
    contents: dict[int, str] = field(default_factory=dict)

    def acknowledged(
        self, operation: str, version: int, data: str, expiry: Optional[Expiry] = None
    ) -> None:
        """`expiry`: of a put that is to expire; a patch leaves it as it was."""
        assert version > self.highest, f"v{version} was given out after v{self.highest}"
        if self.state.present:
            assert version == self.state.version + 1, f"v{version} after v{self.state.version}"
        self.state = Pending(operation, data).outcome(self.state, version)
        if operation == "put":
            self.expiry = expiry
        self._saw(self.state)
        self.pending = None

    def acknowledged_delete(self) -> None:
        self.state = self.state.deleted()
        self.expiry = None
        self.pending = None

    def acknowledged_absence(self, now: float) -> None:
        """A patch found nothing to append to: it must have expired."""
        assert not self.state.present or (self.expiry and now >= self.expiry.earliest), (
            f"{_show(self.state)} is gone, although it does not expire"
            + (f" for another {self.expiry.earliest - now:.3f} s" if self.expiry else "")
        )
        self.acknowledged_delete()

    def may_be_present(self, now: float) -> bool:
        return self.state.present and not (self.expiry and now >= self.expiry.latest)

    def must_be_present(self, now: float) -> bool:
        return self.state.present and not (self.expiry and now >= self.expiry.earliest)

    def check(self, found: State, asked: float = 0, answered: float = 0) -> str:
        """Take what the store holds now as the truth, or describe why it cannot be.

        `asked` and `answered` are the times of the read, for objects that expire.
        """
        possible = [(self.state, self.expiry)]
        if self.pending:
            before = self.state
            version = found.version if found.present else before.version + 1
            after = self.pending.outcome(before, version)
            possible.append((after, self.expiry if after.rows[:-1] else self.pending.expiry))
        candidates = []
        for state, expiry in possible:
            if not (state.present and expiry and asked >= expiry.latest):
                candidates.append((state, expiry))
            if state.present and expiry and answered >= expiry.earliest:
                candidates.append((state.deleted(), None))
        matches = [(s, e) for s, e in candidates if s.rows == found.rows]
        if not matches:
            shown = " or ".join(_show(state) for state, _ in candidates)
            return f"found {_show(found)}, expected {shown}"
        if found.present and found.version < self.state.version:
            return f"v{found.version} came back after v{self.state.version}"
        unacknowledged = found.present and found != self.state
        if unacknowledged and found.version <= self.highest:
            return f"v{found.version} was used again: v{self.highest} had been given out"
        for version, data in found.rows:
            if self.contents.get(version, data) != data:
                return f"v{version} has had two contents"
        self.state = found if found.present else State(self.state.version)
        self.expiry = matches[0][1]
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
