"""put_many and get_many: few round trips, and a result of its own for each item."""

from __future__ import annotations

import os
import pickle
import signal
import uuid

import flamepy
import numpy as np
import pyarrow as pa
import pytest
from flamepy import BatchError, ObjectRef, PutItem, get_many, put_many
from flamepy.core.client import default_client
from flamepy.core.transport import Connection


@pytest.fixture(params=["documents", "stock"])
def dialect(request, monkeypatch) -> str:
    """Ours, and that of a Flame 0.6 server: the client believes so."""
    if request.param == "stock":
        monkeypatch.setattr(Connection, "speaks_documents", lambda *_: False)
    return request.param


@pytest.fixture
def session(client) -> str:
    return f"many/{uuid.uuid4()}"


@pytest.fixture
def actions(monkeypatch) -> list[str]:
    """The names of the actions that are sent from now on."""
    sent: list[str] = []
    send = Connection.raw_action

    def record(self, name, *rest):
        sent.append(name)
        return send(self, name, *rest)

    monkeypatch.setattr(Connection, "raw_action", record)
    return sent


OBJECTS = [{"a": 1}, b"", np.arange(6.0), pa.table({"a": [1, 2]}), np.zeros(200_000), "text"]


def test_objects_come_back_in_order(dialect, session):
    written = put_many((f"{session}/{i}", obj) for i, obj in enumerate(OBJECTS))
    assert [(result.index, result.key) for result in written] == [
        (i, f"{session}/{i}") for i in range(len(OBJECTS))
    ]
    refs = [result.unwrap() for result in written]
    for _ in range(2):  # The second time out of the client's cache.
        results = get_many(refs)
        assert [result.key for result in results] == [ref.key for ref in refs]
        for result, obj in zip(results, OBJECTS):
            np.testing.assert_equal(result.unwrap(), obj)
            assert type(result.value) is type(obj)


def test_prefixes_mappings_and_keys(dialect, session):
    results = put_many({f"{session}/one": 1, session: 2})
    assert results[0].unwrap().key == f"{session}/one"
    assert results[1].unwrap().key.startswith(f"{session}/")
    keys = [result.unwrap().key for result in results]
    assert [result.unwrap() for result in get_many(keys)] == [1, 2]


def test_small_objects_share_round_trips(session, actions):
    refs = [result.unwrap() for result in put_many((session, i) for i in range(2500))]
    assert actions.count("flame.put") == 3
    assert len({ref.key for ref in refs}) == 2500
    actions.clear()
    assert [result.unwrap() for result in get_many(refs)] == list(range(2500))
    assert actions == ["flame.get"] * 10


def test_batches_are_bounded_in_bytes(session, actions):
    assert all(result.ok for result in put_many((session, bytes(200_000)) for _ in range(100)))
    assert actions.count("flame.put") == 3


def test_writes_of_one_key_stay_in_order(session):
    values = [1, np.zeros(100_000), 2, np.ones(100_000), 3]
    results = put_many((f"{session}/n", value) for value in values)
    assert [result.unwrap().version for result in results] == [1, 2, 3, 4, 5]
    assert flamepy.get_object(results[-1].unwrap()) == 3


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("cannot be pickled")


def test_failures_are_told_per_item(session):
    items = [
        (f"{session}/a", 1),
        ("no-prefix", 2),
        (f"{session}/b", Unpicklable()),
        PutItem(f"{session}/a", 3, if_version=9),
        PutItem(session, 4, if_version=1),
        PutItem(f"{session}/c", 5, ttl=-1),
        (f"{session}/d", 6, None, None, "too much"),
        ("many/*", 7),
        PutItem(f"{session}/a", 8, if_version=1),
    ]
    results = put_many(items)
    assert [result.ok for result in results] == [True] + [False] * 7 + [True]
    errors = [result.error for result in results]
    assert isinstance(errors[1], flamepy.InvalidKey)
    assert str(errors[2]) == "cannot be pickled"
    assert isinstance(errors[3], flamepy.VersionConflict)
    assert (errors[3].current_version, errors[3].outcome) == (1, "not_applied")
    assert isinstance(errors[4], flamepy.InvalidArgument)
    assert isinstance(errors[5], flamepy.InvalidArgument)
    assert isinstance(errors[6], TypeError)
    assert isinstance(errors[7], flamepy.InvalidKey)
    with pytest.raises(flamepy.VersionConflict):
        results[3].unwrap()
    assert results[8].unwrap().version == 2


def test_missing_objects_are_told_per_item(dialect, session):
    ref = flamepy.put_object(session, [1])
    gone = flamepy.put_object(session, [2])
    assert get_many([gone])[0].ok
    flamepy.delete_objects(gone.key)
    broken = ObjectRef(ref.endpoint, "only/prefix", 1)
    results = get_many([gone, ref, broken, f"{session}/never"])
    assert [type(result.error) for result in results] == [
        flamepy.NotFound,
        type(None),
        flamepy.InvalidKey,
        flamepy.NotFound,
    ]
    assert default_client()._session.cache.get((gone.endpoint, gone.key)) is None


def test_the_one_error_for_all(session):
    with pytest.raises(BatchError, match=r"put: 2 of 3 items failed; the first is 'x'") as caught:
        put_many([("x", 1), (f"{session}/a", 2), ("y", 3)], on_error="raise")
    error = caught.value
    assert isinstance(error, flamepy.FlameError)
    assert [type(e) for e in error.exceptions] == [flamepy.InvalidKey] * 2
    assert error.code == flamepy.FlameErrorCode.INVALID_ARGUMENT
    assert [result.ok for result in error.results] == [False, True, False]
    copy = pickle.loads(pickle.dumps(error))
    assert [result.key for result in copy.results] == ["x", f"{session}/a", "y"]
    with pytest.raises(BatchError, match="get: 1 of 1"):
        get_many([f"{session}/never"], on_error="raise")
    assert get_many([], on_error="raise") == put_many([], on_error="raise") == []
    with pytest.raises(ValueError, match="on_error"):
        get_many([], on_error="ignore")


def test_only_what_is_new_is_sent(session, actions):
    refs = [result.unwrap() for result in put_many((session, [i]) for i in range(3))]
    get_many(refs)
    flamepy.patch_object(refs[1], "delta")
    cache = default_client()._session.cache
    before = [cache.get((ref.endpoint, ref.key)) for ref in refs]
    results = get_many(refs, lambda base, patches: (base, patches))
    assert [result.unwrap() for result in results] == [([0], []), ([1], ["delta"]), ([2], [])]
    after = [cache.get((ref.endpoint, ref.key)) for ref in refs]
    assert after[0] is before[0]
    assert after[1].base is before[1].base
    flamepy.update_object(refs[0], [9])
    put_many([(refs[2].key, [8])])
    assert [result.unwrap() for result in get_many(refs)] == [[9], [1], [8]]
    assert [r.unwrap() for r in get_many([ObjectRef(refs[0].endpoint, refs[0].key, 0)])] == [[9]]


def test_results_belong_to_the_caller(session):
    ref = flamepy.put_object(session, [1])
    first, second = get_many([ref, ref])
    first.unwrap().append(2)
    assert second.unwrap() == get_many([ref])[0].unwrap() == [1]


def test_a_deserializer_that_fails_spoils_only_its_item(session):
    refs = [result.unwrap() for result in put_many([(session, 0), (session, 2)])]
    results = get_many(refs, lambda base, _: 1 / base)
    assert isinstance(results[0].error, ZeroDivisionError)
    assert results[1].unwrap() == 0.5


def test_ttl(session):
    results = put_many([(session, 1), PutItem(session, 2, ttl=5), (session, bytes(900_000))], ttl=9)
    infos = [flamepy.stat_object(result.unwrap()) for result in results]
    left = [info.expires_at_ms - info.modified_ms for info in infos]
    assert left == pytest.approx([9000, 5000, 9000], abs=1000)  # Two looks at one clock.
    with pytest.raises(ValueError, match="ttl is"):
        put_many([(session, 1)], ttl=0)


def test_a_batch_that_found_a_dead_connection_is_repeated(start_server, home, monkeypatch):
    server = start_server("fs")
    monkeypatch.setenv("FLAME_CACHE_ENDPOINT", server.endpoint)
    assert put_many({"a/b/n": 1})[0].unwrap().version == 1
    server.kill()
    server.start()
    assert put_many({"a/b/n": 2, "a/b/m": 1})[0].unwrap().version == 2


def test_a_silent_server_costs_one_timeout(start_server, home, monkeypatch):
    server = start_server()
    monkeypatch.setenv("FLAME_CACHE_ENDPOINT", server.endpoint)
    refs = [result.unwrap() for result in put_many((f"a/b/{i}", i) for i in range(600))]
    os.kill(server.pid, signal.SIGSTOP)
    os.waitpid(server.pid, os.WUNTRACED)
    try:
        results = get_many(refs, timeout=0.3)
        assert {type(result.error) for result in results} == {flamepy.Timeout}
        results = put_many(((f"a/b/{i}", i) for i in range(2000)), timeout=0.3)
        assert {type(result.error) for result in results} == {flamepy.Timeout}
        assert {result.error.outcome for result in results[:1000]} == {"unknown"}
        assert {result.error.outcome for result in results[1000:]} == {"not_applied"}
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert [result.unwrap() for result in get_many(refs, timeout=30)] == list(range(600))


def test_two_servers(start_server, session):
    with flamepy.Client(start_server().endpoint) as other:
        here, there = flamepy.put_object(session, "here"), other.put_object(session, "there")
        assert [r.unwrap() for r in get_many([there, here, there])] == ["there", "here", "there"]
