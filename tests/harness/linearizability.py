"""Could the operations of each key have happened one after the other?

A history is linearizable if every operation can be given one moment between its call and its
answer so that, one by one in the order of these moments, they all make sense. In general that is
expensive to decide; here versions make it cheap. Each write tells its place in the order, and each
read of an object tells between which two writes it belongs. What is left to search is where deletes,
reads of nothing and unanswered writes belong.

The search goes through calls and answers in time ("just-in-time linearization", Lowe 2017): it keeps
every state that the key can be in, each with the pending operations that have taken effect to get
there. When an operation is answered, it must have taken effect in every state that is kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Optional

from harness.history import Operation, Rows

MAX_CONFIGURATIONS = 200_000  # Beyond it a history is too ambiguous to be of use.


@dataclass(frozen=True)
class State:
    """A key at one moment: the last version given out, and what is there."""

    version: int = 0
    rows: Rows = ()


Configuration = tuple[State, frozenset[int]]
"""A state, and the pending operations that have taken effect."""


def apply(state: State, operation: Operation) -> Optional[State]:
    """The state after `operation` took effect; None if its answer does not fit the state."""
    newest = state.version if state.rows else 0
    if operation.kind == "read":
        if operation.version != newest:
            return None
        return state if operation.rows in (None, state.rows) else None
    if operation.if_version is not None and operation.if_version != newest:
        return None
    if operation.kind == "delete":
        found = bool(state.rows)
        if operation.deleted is not None and operation.deleted != found:
            return None
        return State(state.version) if found else state
    version = state.version + 1
    if operation.version not in (None, version) or (operation.kind == "patch" and not state.rows):
        return None
    row = (version, operation.data)
    return State(version, (*state.rows, row) if operation.kind == "patch" else (row,))


def violations(history: Iterable[Operation]) -> list[str]:
    """For each key whose operations make no sense, why. Empty: the history is linearizable."""
    by_key: dict[str, list[Operation]] = defaultdict(list)
    for operation in history:
        by_key[operation.key].append(operation)
    found = []
    for key, operations in sorted(by_key.items()):
        problem = _used_twice(operations) or _first_contradiction(operations)
        if problem:
            found.append(f"{key}: {problem}")
    return found


def _used_twice(operations: list[Operation]) -> str:
    """Versions are unique, and mean the same bytes to everybody: a clear word for a common crime."""
    writers: dict[int, Operation] = {}
    contents: dict[int, str] = {}
    for operation in operations:
        if operation.kind in ("put", "patch") and operation.version:
            other = writers.setdefault(operation.version, operation)
            if other is not operation:
                return f"v{operation.version} was given out twice:\n  {other}\n  {operation}"
            rows: Rows = ((operation.version, operation.data),)
        else:
            rows = operation.rows or ()
        for version, data in rows:
            if contents.setdefault(version, data) != data:
                return f"v{version} has had two contents, {contents[version]} and {data}"
    return ""


def _first_contradiction(operations: list[Operation]) -> str:
    pending: dict[int, Operation] = {}
    configurations: set[Configuration] = {(State(), frozenset())}
    for index, is_call in _events(operations):
        operation = operations[index]
        if is_call:
            pending[index] = operation
            continue
        before = configurations
        configurations = set()
        for state, done in _reachable(before, pending, index):
            if index in done or operation.unanswered:
                configurations.add((state, done - {index}))
        del pending[index]
        if not configurations:
            earlier = [o for o in operations if o.answered <= operation.answered]
            earlier.sort(key=lambda o: o.answered)
            return _explain(operation, before, pending.values(), earlier[-8:-1])
    return ""


def _events(operations: list[Operation]) -> Iterator[tuple[int, bool]]:
    """(index, is it the call) in time; calls first where times are equal, to be lenient."""
    events = []
    for index, operation in enumerate(operations):
        assert operation.called <= operation.answered, str(operation)
        events.append((operation.called, 0, index))
        events.append((operation.answered, 1, index))
    for _, is_answer, index in sorted(events):
        yield index, not is_answer


def _reachable(
    configurations: set[Configuration], pending: dict[int, Operation], answered: int
) -> set[Configuration]:
    """All that is left if some of the pending operations take effect now, in any order.

    Those that got to `answered` are not followed further: what comes behind it can wait.
    """
    seen: set[Configuration] = set()
    stack = list(configurations)
    while stack:
        state, done = stack.pop()
        # Reads change nothing: to let them happen as soon as they fit excludes no other order.
        done = done.union(
            index
            for index, operation in pending.items()
            if index not in done and operation.kind == "read" and apply(state, operation) == state
        )
        if (state, done) in seen:
            continue
        seen.add((state, done))
        assert len(seen) < MAX_CONFIGURATIONS, "too many unanswered operations to decide"
        if answered in done:
            continue
        for index, operation in pending.items():
            if index in done or operation.kind == "read":
                continue
            after = apply(state, operation)
            if after is not None:
                stack.append((after, done | {index}))
    return seen


def _explain(
    operation: Operation,
    before: set[Configuration],
    pending: Iterable[Operation],
    earlier: list[Operation],
) -> str:
    states = sorted({state for state, _ in before}, key=lambda state: state.version)
    shown = ", ".join(_show(state) for state in states[:8])
    lines = [f"no order explains\n  {operation}\nthe key could be {shown}"]
    overlapping = [f"  {other}" for other in pending]
    if overlapping:
        lines += ["while these were under way:", *overlapping[:12]]
    lines += ["after these answers:", *(f"  {other}" for other in earlier)]
    return "\n".join(lines)


def _show(state: State) -> str:
    if not state.rows:
        return f"nothing (last v{state.version})"
    return f"v{state.version} " + " ".join(f"{v}:{d[:6]}" for v, d in state.rows[-3:])
