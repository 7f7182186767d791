"""How arguments and results travel between our client and our workers: with the messages, or as references."""

from __future__ import annotations

import os
from collections.abc import Iterator

import bson
import flamepy
import numpy as np
import pytest
from flamepy.core.sessions import connect
from flamepy.runner import Runner
from flamepy.runner.arguments import MESSAGE_MAX_BYTES
from flamepy.runner.payloads import INLINE_MAX_BYTES
from harness.wait import until
from session_manager import PROGRAM, SessionManager

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def manager(server, tmp_path_factory) -> Iterator[SessionManager]:
    assert PROGRAM.exists(), f"no session manager at {PROGRAM}: build it"
    with SessionManager(tmp_path_factory.mktemp("sm"), server.endpoint) as running:
        with connect(running.address) as connection:
            template = connection.get_application("flmrun")
            connection.register_application(
                "here", {"command": template.command, "arguments": template.arguments}
            )
        yield running


@pytest.fixture
def make_runner(manager, client, home, tmp_path, monkeypatch):
    """Runners of the real session manager; closed at the end."""
    (home / ".flame").mkdir()
    (home / ".flame/flame.yaml").write_text(
        "current-context: test\ncontexts:\n  - name: test\n    runner: {template: here}\n"
    )
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    monkeypatch.setenv("FLAME_ENDPOINT", manager.address)
    made = []

    def make(name: str) -> Runner:
        made.append(Runner(f"{name}-{os.getpid()}"))
        return made[-1]

    yield make
    for runner in made:
        runner.close()


@pytest.fixture
def rr(make_runner, request) -> Runner:
    return make_runner(request.node.originalname.replace("_", "-")[:50])


def task_of(service):
    """The last task of a service as the session manager has it."""
    return max(service.session.list_tasks(), key=lambda task: int(task.id))


def test_references_are_found_in_lists_tuples_and_dicts(rr):
    refs = [rr.put_object({"n": n}) for n in range(4)]
    service = rr.service(lambda *args, **kwargs: (args, kwargs))
    nested = [[refs[0], (refs[1], "x")], {"a": {"b": [refs[2]]}}]
    args, kwargs = service(*nested, deep={"list": [(1, {"here": refs[3]})]}, none=None).get(60)
    assert args == ([{"n": 0}, ({"n": 1}, "x")], {"a": {"b": [{"n": 2}]}})
    assert kwargs == {"deep": {"list": [(1, {"here": {"n": 3}})]}, "none": None}


def test_futures_and_references_of_one_call_may_be_mixed(rr):
    double = rr.service(lambda x: 2 * x)
    total = rr.service(lambda parts: sum(part["v"] for part in parts))
    parts = [{"v": double(1)}, {"v": double(double(2))}, {"v": rr.put_object(100)}]
    assert total(parts).get(60) == 2 + 8 + 100


def test_small_arguments_and_results_ride_along(rr):
    service = rr.service(lambda text: text.upper())
    future = service("a word that is nowhere else")
    assert future.get(60) == "A WORD THAT IS NOWHERE ELSE"
    task = task_of(service)
    assert b"a word that is nowhere else" in task.input
    assert b"A WORD THAT IS NOWHERE ELSE" in bson.decode(task.output)["inline"]
    # It is in the cache all the same, for whoever gets the reference.
    assert flamepy.get_object(future.ref(60)) == "A WORD THAT IS NOWHERE ELSE"
    assert rr.service(lambda x: x.lower())(future.ref()).get(60) == "a word that is nowhere else"


def test_every_small_result_reaches_the_cache(rr):
    """Also those that nobody asks a reference of, and the last ones before the session ends."""
    service = rr.service(lambda x: x)
    calls = [service(n) for n in range(150)]
    assert [call.get(60) for call in calls] == list(range(150))
    prefix = f"{rr.name}/{service.session_id}"
    service.close()

    def stored():
        return [info for info in flamepy.list_objects(prefix) if "/r-" in info.key]

    until(lambda: len(stored()) == 150, "all results are in the cache", 30)
    assert sorted(flamepy.get_object(info.ref) for info in stored()) == list(range(150))


def test_a_reference_of_a_small_result_is_published_once(rr):
    service = rr.service(lambda: "small")
    future = service()
    first = future.ref(60)
    assert first.version > 0
    assert future.ref() == first
    service.close()  # What the worker had still to publish, it has published.
    until(lambda: not service.session.connection.list_executors(), "the worker has left", 30)
    assert flamepy.stat_object(first).ref == first


def test_small_results_are_arguments_without_the_cache(rr):
    service = rr.service(lambda x: [*x, len(x)])
    assert service(service(service([]))).get(60) == [0, 1, 2]
    keys = b"".join(task.input for task in service.session.list_tasks())
    assert b"flamepy.core.cache" not in keys  # No reference in any of them.


@pytest.mark.parametrize("size", [INLINE_MAX_BYTES // 2, INLINE_MAX_BYTES + 1])
def test_results_above_the_limit_are_only_in_the_cache(rr, size):
    service = rr.service(lambda n: b"r" * n)
    assert service(size).get(60) == b"r" * size
    assert ("inline" in bson.decode(task_of(service).output)) == (size < INLINE_MAX_BYTES)


def test_large_arguments_go_through_the_cache(rr):
    service = rr.service(lambda a, b=None: (a[-1], b and b[-1]))
    data = b"0123456789" * 300_000
    assert service(data, b=data).get(60) == (data[-1], data[-1])
    assert len(task_of(service).input) < MESSAGE_MAX_BYTES // 8
    array = np.arange(1 << 20)
    assert service(array).get(60)[0] == (1 << 20) - 1
    assert len(task_of(service).input) < MESSAGE_MAX_BYTES // 8


def test_large_values_beside_references_go_through_the_cache(rr):
    service = rr.service(lambda box: (box["ref"], len(box["large"]), box["small"]))
    box = {"ref": rr.put_object("r"), "large": bytes(3 << 20), "small": 7}
    assert service(box).get(60) == ("r", 3 << 20, 7)
    assert len(task_of(service).input) < MESSAGE_MAX_BYTES


def test_many_arguments_of_medium_size_go_through_the_cache(rr):
    service = rr.service(lambda *parts: sum(map(len, parts)))
    parts = [os.urandom(50_000) for _ in range(40)]
    assert service(*parts).get(60) == 40 * 50_000
    assert len(task_of(service).input) < MESSAGE_MAX_BYTES


def test_objects_are_seen_across_sessions_and_applications(rr, make_runner):
    shared = rr.put_object([1, 2, 3])
    assert shared.key.startswith(f"{rr.name}/shared/")
    producer = rr.service(lambda: bytes(INLINE_MAX_BYTES * 2))
    made = producer().ref(60)
    producer.close()
    other = make_runner("another-application")
    seen = other.service(lambda a, b: (a, len(b)))
    assert seen(shared, made).get(60) == ([1, 2, 3], INLINE_MAX_BYTES * 2)


def test_a_task_passes_references_on_without_fetching(rr):
    """What a worker returns as a reference, stays one."""
    shared = rr.put_object("value")
    keep = rr.service(lambda text: flamepy.ObjectRef.decode(text))
    assert keep(shared.encode()).get(60) == shared
