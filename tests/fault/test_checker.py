"""The test of the tests: the checker accepts what can be, and notices each kind of lie."""

import random

import pytest
from harness.history import Operation, load, save
from harness.linearizability import State, apply, violations

KEY = "app/s/o"


def put(called, answered, version, data, **more):
    return Operation("put", KEY, called, answered, data, version, **more)


def patch(called, answered, version, data, **more):
    return Operation("patch", KEY, called, answered, data, version, **more)


def delete(called, answered, found):
    return Operation("delete", KEY, called, answered, deleted=found)


def lost(kind, called, gone, data=""):
    return Operation(kind, KEY, called, gone, data, unanswered=True)


def read(called, answered, version, *data, base=None):
    first = base or version - len(data) + 1
    rows = tuple((first + i, d) for i, d in enumerate(data))
    return Operation("read", KEY, called, answered, version=version, rows=rows)


def absent(called, answered):
    return Operation("read", KEY, called, answered, version=0, rows=())


def newest_was(called, answered, version):
    """A refused if_version, or a stat: the version without the contents."""
    return Operation("read", KEY, called, answered, version=version)


POSSIBLE = {
    "one after the other": [
        absent(0, 1),
        put(2, 3, 1, "a"),
        patch(4, 5, 2, "b"),
        read(6, 7, 2, "a", "b"),
        delete(8, 9, True),
        absent(10, 11),
        put(12, 13, 2 + 1, "c"),
    ],
    "a read that overlaps a write sees either side": [
        put(0, 1, 1, "a"),
        put(2, 9, 2, "b"),
        read(3, 4, 1, "a"),
        read(5, 6, 2, "b"),
    ],
    "writes are ordered by what they overlap, not by their answers": [
        put(0, 9, 1, "a"),
        put(1, 8, 2, "b"),
        read(10, 11, 2, "b"),
    ],
    "a delete between two writes that overlap it": [
        put(0, 1, 1, "a"),
        put(2, 9, 2, "b"),
        delete(3, 8, True),
        absent(4, 5),
        read(10, 11, 2, "b"),
    ],
    "of two deletes one finds it": [
        put(0, 1, 1, "a"),
        delete(2, 5, True),
        delete(2, 5, False),
        absent(6, 7),
    ],
    "an unanswered write happened": [
        put(0, 1, 1, "a"),
        lost("patch", 2, 5, "b"),
        read(6, 7, 2, "a", "b"),
    ],
    "an unanswered write did not happen": [
        put(0, 1, 1, "a"),
        lost("patch", 2, 5, "b"),
        read(6, 7, 1, "a"),
        put(8, 9, 2, "c"),
    ],
    "an unanswered write happened and was deleted": [
        lost("put", 0, 9, "a"),
        delete(1, 2, True),
        absent(3, 4),
        put(10, 11, 2, "b"),
    ],
    "a refusal tells what is there": [
        newest_was(0, 1, 0),
        put(2, 3, 1, "a", if_version=0),
        newest_was(4, 5, 1),
    ],
}


@pytest.mark.parametrize("name", POSSIBLE)
def test_what_can_be_is_accepted(name):
    assert violations(POSSIBLE[name]) == []


IMPOSSIBLE = {
    "a read that goes back in time": (
        [put(0, 1, 1, "a"), put(2, 3, 2, "b"), read(4, 5, 1, "a")],
        "no order explains",
    ),
    "two readers see a write, and then not": (
        [put(0, 1, 1, "a"), put(2, 9, 2, "b"), read(3, 4, 2, "b"), read(5, 6, 1, "a")],
        "no order explains",
    ),
    "not modified, but it is": (
        [put(0, 1, 1, "a"), patch(2, 3, 2, "b"), newest_was(4, 5, 1)],
        "no order explains",
    ),
    "an acknowledged write is gone": ([put(0, 1, 1, "a"), absent(2, 3)], "no order explains"),
    "a version is given out twice": (
        [put(0, 9, 1, "a"), put(0, 9, 1, "b")],
        "v1 was given out twice",
    ),
    "a version is used again after a delete": (
        [put(0, 1, 1, "a"), delete(2, 3, True), put(4, 5, 1, "b")],
        "v1 was given out twice",
    ),
    "a version is skipped": ([put(0, 1, 1, "a"), put(2, 3, 3, "b")], "no order explains"),
    "versions against the order of time": (
        [put(0, 1, 2, "a"), put(2, 3, 1, "b")],
        "no order explains",
    ),
    "a lost patch": (
        [put(0, 1, 1, "a"), patch(2, 3, 2, "b"), patch(4, 5, 3, "c"), read(6, 7, 3, "a", "c")],
        "two contents",
    ),
    "a missing base": (
        [put(0, 1, 1, "a"), patch(2, 3, 2, "b"), read(4, 5, 2, "b")],
        "no order explains",
    ),
    "bytes of another write": ([put(0, 1, 1, "a"), read(2, 3, 1, "x")], "two contents"),
    "a version has two contents": (
        [lost("put", 0, 9, "a"), read(1, 2, 1, "a"), read(3, 4, 1, "b")],
        "two contents",
    ),
    "a condition that did not hold": (
        [put(0, 1, 1, "a"), put(2, 3, 2, "b"), put(4, 5, 3, "c", if_version=1)],
        "no order explains",
    ),
    "two writers whose condition cannot hold for both": (
        [
            put(0, 1, 1, "a"),
            put(2, 9, 2, "b", if_version=1),
            put(2, 9, 3, "c", if_version=1),
        ],
        "no order explains",
    ),
    "a patch of nothing": ([patch(0, 1, 1, "a")], "no order explains"),
    "two deletes find the same object": (
        [put(0, 1, 1, "a"), delete(2, 5, True), delete(2, 5, True)],
        "no order explains",
    ),
    "a deleted object comes back": (
        [put(0, 1, 1, "a"), delete(2, 3, True), read(4, 5, 1, "a")],
        "no order explains",
    ),
    "an unanswered write takes effect after its server was gone": (
        [put(0, 1, 1, "a"), lost("put", 2, 3, "b"), read(4, 5, 1, "a"), read(6, 7, 2, "b")],
        "no order explains",
    ),
    "an unanswered write takes effect twice": (
        [lost("put", 0, 9, "a"), read(1, 2, 1, "a"), read(3, 4, 2, "a")],
        "no order explains",
    ),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_cannot_be_is_noticed(name):
    history, words = IMPOSSIBLE[name]
    found = violations(history)
    assert len(found) == 1
    assert words in found[0]


def test_other_keys_do_not_matter():
    other = Operation("read", "app/s/other", 0, 1, version=0, rows=())
    assert violations([put(0, 1, 1, "a"), other]) == []


def random_history(rng: random.Random, clients: int, count: int) -> list[Operation]:
    """A real order, blurred: each operation took effect somewhere between call and answer."""
    state, history, now = State(), [], 0
    busy_until = [0] * clients
    for number in range(count):
        now += rng.randint(1, 5)
        client = min(range(clients), key=lambda c: busy_until[c])
        called = rng.randint(min(busy_until[client], now), now)
        now = max(now, busy_until[client]) + 1
        answered = now + rng.randint(1, 20)
        busy_until[client] = answered + 1
        data = f"{number:06d}"
        kind = rng.choice(["put", "patch", "delete", "read", "read", "lost"])
        if kind == "patch" and not state.rows:
            kind = "read"
        if kind == "read":
            operation = Operation(
                "read",
                KEY,
                called,
                answered,
                version=state.version if state.rows else 0,
                rows=state.rows,
            )
        elif kind == "delete":
            operation = delete(called, answered, bool(state.rows))
        elif kind == "lost":
            operation = lost("put", called, answered, data)
            if rng.random() < 0.5:
                history.append(operation)
                continue
        else:
            operation = Operation(kind, KEY, called, answered, data, state.version + 1)
        after = apply(state, operation)
        assert after is not None
        state = after
        history.append(operation)
    return history


def test_random_possible_histories_are_accepted(rng):
    for _ in range(100):
        assert violations(random_history(rng, clients=5, count=100)) == []


def test_a_late_old_read_in_a_long_history_is_noticed(rng):
    for _ in range(50):
        history = random_history(rng, clients=5, count=100)
        reads = [o for o in history if o.kind == "read" and o.rows and o.version < 20]
        if not reads or not any(o.version and o.version > 40 for o in history):
            continue
        old = rng.choice(reads)
        end = max(o.answered for o in history) + 1
        late = Operation("read", KEY, end, end + 1, version=old.version, rows=old.rows)
        assert violations([*history, late])


def test_a_history_survives_its_file(tmp_path, rng):
    history = random_history(rng, clients=3, count=20)
    save(tmp_path / "history", history)
    assert load([tmp_path / "history"]) == history
