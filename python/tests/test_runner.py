"""The Runner: on threads of a fake manager, and on processes of the real one where it is built."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import flamepy
import numpy as np
import pytest
from fake_manager import FakeManager, until
from flamepy.core.errors import (
    AlreadyExists,
    FlameError,
    InvalidArgument,
    NotFound,
    TaskCancelled,
    TaskFailed,
    Timeout,
)
from flamepy.core.sessions import ApplicationAttributes, SessionState, connect
from flamepy.runner import (
    FlameRunpyService,
    ObjectFuture,
    Runner,
    RunnerContext,
    RunnerRequest,
    RunnerServiceKind,
    SessionContext,
    as_completed,
    get_data,
)
from session_manager import SessionManager

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def processes(server, tmp_path_factory) -> Iterator[SessionManager]:
    """The real session manager; its template runs this checkout, and leaves packages to it."""
    home = tmp_path_factory.mktemp("sm")
    with SessionManager(home, server.endpoint, "--spares", "2") as manager:  # As usual.
        with connect(manager.address) as connection:
            template = connection.get_application("flmrun")
            connection.register_application(
                "here",
                ApplicationAttributes(command=template.command, arguments=template.arguments),
            )
        yield manager


@pytest.fixture(params=["threads", "processes"])
def engine(request, client, home, tmp_path, monkeypatch) -> Iterator[str]:
    """A session manager that the context names, and a directory to pack."""
    (home / ".flame").mkdir()
    template = "here" if request.param == "processes" else "flmrun"
    (home / ".flame/flame.yaml").write_text(
        f"current-context: test\ncontexts:\n  - name: test\n    runner: {{template: {template}}}\n"
    )
    project = tmp_path / "project"
    project.mkdir()
    (project / "module_of_mine.py").write_text("ANSWER = 42\n")
    monkeypatch.chdir(project)
    if request.param == "processes":
        manager = request.getfixturevalue("processes")
        monkeypatch.setenv("FLAME_ENDPOINT", manager.address)
        yield request.param
        return
    monkeypatch.setattr(FlameRunpyService, "_prepare", lambda *_: None)  # All in one process.
    with FakeManager(FlameRunpyService) as manager:
        monkeypatch.setenv("FLAME_ENDPOINT", manager.address)
        flamepy.register_application("flmrun", {"command": "uv"})
        yield request.param


@pytest.fixture
def rr(engine, request) -> Iterator[Runner]:
    """A runner of the test's own."""
    name = request.node.originalname.replace("_", "-")[:50]
    with Runner(f"{name}-{os.getpid()}") as runner:
        yield runner


# Defined within functions, as in __main__: they travel by value.


def make_counter():
    class Counter:
        def __init__(self, start=0):
            self.count = start

        def add(self, value):
            self.count += value
            return self.count

        def fail(self):
            self.count += 1000
            raise RuntimeError("after a change")

        def spoil(self):
            self.lock = threading.Lock()

        def get(self):
            return self.count

        def close(self):
            return "hidden"

    return Counter


def test_flmrun_sum_function(rr):
    service = rr.service(lambda a, b: a + b)
    assert service(1, 2).get(60) == 3
    assert rr.get([service(i, i) for i in range(20)]) == [2 * i for i in range(20)]


def test_flmrun_class_method(rr):
    service = rr.service(make_counter())
    assert service.add(3).get(60) == 3


def test_flmrun_kwargs(rr):
    service = rr.service(lambda *args, **kwargs: (args, kwargs))
    assert service(1, x=2, y=[3]).get(60) == ((1,), {"x": 2, "y": [3]})


def test_flmrun_no_args(rr):
    assert rr.service(lambda: None)().get(60) is None


def test_flmrun_multiple_tasks(rr):
    service = rr.service(lambda i: i * i)
    futures = [service(i) for i in range(50)]
    assert sorted(f.get() for f in rr.select(futures, timeout=60)) == [i * i for i in range(50)]
    rr.wait(futures, timeout=60)
    refs = rr.ref(futures)
    assert [flamepy.get_object(ref) for ref in refs] == [i * i for i in range(50)]


def test_flmrun_stateful_class(rr):
    service = rr.service(make_counter()(10))
    futures = [service.add(i) for i in range(1, 11)]
    assert rr.get(futures) == [11, 13, 16, 20, 25, 31, 38, 46, 55, 65]
    assert service.get().get(60) == 65


def test_flmrun_lambda_function(rr):
    factor = 3
    assert rr.service(lambda x: x * factor)(14).get(60) == 42


def test_flmrun_complex_return_types(rr):
    def make(kind):
        import numpy
        import pyarrow

        return {
            "dict": {"a": [1, (2, {3})], "b": None},
            "array": numpy.arange(1000.0),
            "large": numpy.zeros(1 << 20),
            "table": pyarrow.table({"x": [1, 2, 3]}),
            "bytes": b"\x00" * 100_000,
            "ref-like": flamepy.ObjectRef("grpc://h:1", "a/b/c", 1).encode(),
        }[kind]

    service = rr.service(make)
    assert service("dict").get(60) == {"a": [1, (2, {3})], "b": None}
    assert np.array_equal(service("array").get(60), np.arange(1000.0))
    assert service("large").get(60).shape == (1 << 20,)
    assert service("table").get(60).to_pydict() == {"x": [1, 2, 3]}
    assert len(service("bytes").get(60)) == 100_000
    assert service("ref-like").get(60) == make("ref-like")
    # What looks like a reference and is none is handed on as it is.
    assert rr.service(lambda x: type(x))(make("ref-like")).get(60) is bytes


def test_runner_recursive_same_session(rr):
    name = rr.name

    class Recursive:
        _session_context = SessionContext(session_id=f"{name}-recursive")

        def compute(self, depth):
            if depth == 0:
                return 1
            with Runner(name) as inner:
                service = inner.service(type(self), autoscale=True)
                return 1 + service.compute(depth - 1).get(60)

    service = rr.service(Recursive, autoscale=True)
    assert service.compute(2).get(100) == 3
    assert service.session_id == f"{name}-recursive"


def test_futures_are_arguments_without_waiting(rr, tmp_path):
    gate = tmp_path / "gate"

    def slow(path):
        import pathlib
        import time

        while not pathlib.Path(path).exists():
            time.sleep(0.01)
        return 1

    first = rr.service(slow)(str(gate))
    add = rr.service(lambda *args, **kwargs: sum(args) + sum(kwargs.get("more", ())))
    began = time.monotonic()
    chained = add(first, 1)
    nested = add(chained, more=[first, {"x": 1}["x"], 5])
    assert time.monotonic() - began < 5
    assert not chained.done()
    gate.write_text("")
    assert chained.get(60) == 2
    assert nested.get(60) == 2 + 1 + 1 + 5


def test_calls_of_an_object_keep_their_order_whatever_they_wait_for(rr, tmp_path):
    gate = tmp_path / "gate"

    def slow(path):
        import pathlib
        import time

        while not pathlib.Path(path).exists():
            time.sleep(0.01)
        return 100

    service = rr.service(make_counter()())
    late = service.add(rr.service(slow)(str(gate)))
    futures = [service.add(1), service.add(2)]
    gate.write_text("")
    assert late.get(60) == 100
    assert rr.get(futures, timeout=60) == [101, 103]


def test_a_failure_shows_where_it_was(rr):
    def outer():
        def inner():
            raise KeyError("it went wrong")

        inner()

    service = rr.service(outer)
    future = service()
    with pytest.raises(TaskFailed, match="it went wrong") as caught:
        future.get(60)
    assert "in inner" in caught.value.remote_traceback
    assert "runpy" not in caught.value.remote_traceback
    assert str(caught.value) == "'it went wrong'"
    assert isinstance(future.exception(60), TaskFailed)
    assert future.done()
    dependent = rr.service(lambda x: x)(future)
    with pytest.raises(TaskFailed, match="it went wrong"):
        dependent.get(60)


def test_a_failed_call_leaves_the_state_as_it_was(rr):
    service = rr.service(make_counter()())
    assert service.add(1).get(60) == 1
    with pytest.raises(TaskFailed, match="after a change"):
        service.fail().get(60)
    assert service.add(1).get(60) == 2
    with pytest.raises(TaskFailed, match="state cannot be stored after the call"):
        service.spoil().get(60)
    assert service.add(1).get(60) == 3


def test_hidden_and_unknown_methods(rr, caplog):
    service = rr.service(make_counter()())
    assert "the method close of the service is hidden" in caplog.text
    assert service.call("close").get(60) == "hidden"
    assert "add" in dir(service)
    with pytest.raises(AttributeError, match="has no method 'gone'"):
        service.gone()
    with pytest.raises(TypeError, match="not callable"):
        service(1)
    with pytest.raises(AttributeError):
        service._private()


def test_references_are_arguments(rr):
    shared = rr.put_object({"k": [1, 2, 3]})
    assert shared.key.startswith(f"{rr.name}/shared/")
    service = rr.service(lambda x, deep=None: (x["k"], deep and deep[0]["y"]["k"]))
    assert service(shared, deep=[{"y": shared}]).get(60) == ([1, 2, 3], [1, 2, 3])
    gone = flamepy.ObjectRef(shared.endpoint, f"{rr.name}/shared/gone", 1)
    with pytest.raises(TaskFailed, match="Failed to resolve ObjectRef"):
        service(gone).get(60)


def test_large_arguments_and_results(rr):
    array = np.arange(4 << 20, dtype="f8")  # 32 MiB: above what other servers' messages carry.
    service = rr.service(lambda a, scale=1: a * scale)
    result = service(array, scale=2).get(60)
    assert np.array_equal(result, array * 2)


def test_times_out_and_gives_up(rr, tmp_path):
    gate = tmp_path / "gate"

    def slow(path):
        import pathlib
        import time

        while not pathlib.Path(path).exists():
            time.sleep(0.01)
        return "slow"

    service = rr.service(slow)
    future = service(str(gate))
    with pytest.raises(Timeout):
        future.get(timeout=0.1)
    with pytest.raises(Timeout, match="1 of 1 calls have not ended"):
        list(as_completed([future], timeout=0.1))
    dependent = rr.service(lambda x: x)(future)
    assert dependent.cancel()
    assert dependent.cancelled()
    with pytest.raises(TaskCancelled, match="given up"):
        dependent.get(60)
    gate.write_text("")
    assert future.get(60) == "slow"


def test_map_with_progress(rr):
    service = rr.service(lambda a, b: a * b)
    seen = []
    results = service.map(range(5), range(5), progress=lambda *x: seen.append(x), timeout=60)
    assert list(results) == [0, 1, 4, 9, 16]
    assert seen == [(i, 5) for i in range(1, 6)]
    counter = rr.service(make_counter()())
    assert list(counter.map([1, 2, 3], method="add")) == [1, 3, 6]


def test_awaiting(rr):
    service = rr.service(lambda x: x + 1)

    async def main():
        return await asyncio.gather(*(service(i) for i in range(10)))

    assert asyncio.run(main()) == list(range(1, 11))


def test_a_thousand_calls(rr):
    service = rr.service(lambda x: x)
    futures = [service(i) for i in range(1000)]
    assert rr.get(futures, timeout=100) == list(range(1000))


def test_a_closed_runner_leaves_nothing(engine, tmp_path):
    with Runner("clean") as rr:
        first = rr.service(lambda: 1)
        second = rr.service(make_counter()())
        assert first().get(60) == 1
        last = second.add(1)
        ids = (first.session_id, second.session_id)
        assert list(flamepy.list_objects("clean/*"))
    assert last.done()  # Closing waits for what is under way.
    assert flamepy.get_application("clean") is None
    left = [s for s in flamepy.list_sessions() if s.id in ids and s.state is SessionState.OPEN]
    assert left == []
    until(lambda: not list(flamepy.list_objects("clean/*")), "no object is left")
    rr.close()
    with pytest.raises(InvalidArgument, match="was closed"):
        rr.service(len)
    with pytest.raises(InvalidArgument, match="was closed"):
        first()


def test_an_application_that_is_there_is_used_and_stays(engine):
    with Runner("there") as rr:
        with pytest.raises(AlreadyExists, match="'there' is registered already"):
            Runner("there", fail_if_exists=True)
        with Runner("there") as again:
            inner = again.service(lambda: 2)
            assert inner().get(60) == 2
        assert flamepy.get_session(inner.session_id).state is SessionState.CLOSED
        assert flamepy.get_application("there") is not None
        assert rr.service(lambda: 1)().get(60) == 1


def test_a_start_that_fails_leaves_nothing(engine, monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise FlameError(flamepy.FlameErrorCode.INTERNAL, "refused")

    monkeypatch.setattr("flamepy.core.sessions.client.Connection.register_application", refuse)
    before = set(os.listdir())
    with pytest.raises(FlameError, match="refused"):
        Runner("broken")
    assert list(flamepy.list_objects("broken/*")) == []
    assert set(os.listdir()) == before


def test_the_template_is_named_when_it_is_absent(engine, home):
    (home / ".flame/flame.yaml").write_text(
        "current-context: test\ncontexts:\n  - name: test\n    runner: {template: gone}\n"
    )
    with pytest.raises(NotFound, match="no application 'gone', the template of runners"):
        Runner("x")


def test_the_first_runners_forms(rr):
    with pytest.warns(DeprecationWarning, match="kind= is deprecated"):
        context = RunnerContext(lambda a, b: a + b, kind=RunnerServiceKind.Stateless)
    with flamepy.create_session(rr.name, context) as session:
        request = RunnerRequest(method=None, args=(1, 2))
        ref = session.invoke(request, timeout=60)
        assert flamepy.cache.get_object(ref) == 3
        task = session.get_task("1")
        assert get_data(task.input)["args"] == (1, 2)
        assert get_data(task.output)["result"] == 3
        with pytest.raises(InvalidArgument, match="must be bytes"):
            session.invoke({"no": "request"})
    with pytest.warns(DeprecationWarning, match="kind= is deprecated"):
        counter = rr.service(make_counter()(), kind=RunnerServiceKind.Stateful)
    assert counter.add(1).get(60) == 1
    ref = flamepy.put_object(rr.name, "some-session", {"three": "arguments"})
    assert flamepy.get_object(ref) == {"three": "arguments"}


def test_a_task_that_is_done_again_publishes_once(client, home):
    """The instance died after its work: another one does it again."""
    calls = []
    ref = flamepy.put_object("again/s", flamepy.runner.payloads.dumps(RunnerContext(calls.append)))
    context = flamepy.SessionContext(ref.encode(), "s", flamepy.ApplicationContext("again"))
    data = flamepy.runner.payloads.dumps(RunnerRequest(None, (1,)))
    outputs = []
    for _ in range(2):
        service = FlameRunpyService()
        service.on_session_enter(context)
        outputs.append(service.on_task_invoke(flamepy.TaskContext("1", "s", data)))
    assert outputs[0] == outputs[1]
    assert len(list(flamepy.list_objects("again/s"))) == 2  # The context and one result.


def test_a_published_result_is_never_replaced(client, home):
    """Also when the server has forgotten the identity of the write that published it."""
    from flamepy.runner.publishing import publish

    first = flamepy.put_object("once/s", "first", name="r-1")
    options = {"replace": False, "inline_max": 0, "timeout": 30}
    assert publish("once/s", "r-1", "second", **options).ref == first
    assert flamepy.get_object(first) == "first"
    replaced = publish("once/s", "r-1", "third", **{**options, "replace": True}).ref
    assert flamepy.get_object(replaced) == "third"


def test_a_stateful_task_that_is_done_again_changes_the_state_once(client, home):
    from flamepy.runner.payloads import dumps

    ref = flamepy.put_object("twice/s", dumps(RunnerContext(make_counter()(0))))
    context = flamepy.SessionContext(ref.encode(), "s", flamepy.ApplicationContext("twice"))

    def invoke(task: str) -> int:
        service = FlameRunpyService()
        service.on_session_enter(context)
        data = dumps(RunnerRequest("add", (1,)))
        output = service.on_task_invoke(flamepy.TaskContext(task, "s", data))
        return flamepy.get_object(flamepy.ObjectRef.decode(output))

    assert [invoke("1"), invoke("1"), invoke("2"), invoke("2")] == [1, 1, 2, 2]


def test_a_zombie_cannot_overwrite_newer_state(client, home):
    from flamepy.runner.payloads import dumps

    class Slow:
        def __init__(self):
            self.count = 0

        def add(self, hook=None):
            self.count += 1
            if hook is not None:
                hook()
            return self.count

    ref = flamepy.put_object("zombie/s", dumps(RunnerContext(Slow())))
    context = flamepy.SessionContext(ref.encode(), "s", flamepy.ApplicationContext("zombie"))
    zombie, newer = FlameRunpyService(), FlameRunpyService()
    zombie.on_session_enter(context)
    newer.on_session_enter(context)
    hooks = [lambda: newer.on_task_invoke(flamepy.TaskContext("2", "s", plain))]
    plain = dumps(RunnerRequest("add"))
    globals()["_hook"] = lambda: hooks[0]()
    data = dumps(RunnerRequest("add", (_call_hook,)))
    with pytest.raises(flamepy.VersionConflict):
        zombie.on_task_invoke(flamepy.TaskContext("1", "s", data))
    zombie.on_task_invoke(flamepy.TaskContext("3", "s", plain))
    stored = flamepy.runner.payloads.loads(flamepy.get_object(ref), RunnerContext)
    assert stored.execution_object.count == 2


@pytest.mark.parametrize("stateful", [False, True])
def test_workers_use_a_cache_of_flame_0_6(client, home, monkeypatch, stateful):
    """No conditions and no names there: results get names of its choice."""
    from flamepy.core import transport
    from flamepy.runner.payloads import dumps

    made = make_counter()(5) if stateful else (lambda x: x + 5)
    ref = flamepy.put_object("older/s", dumps(RunnerContext(made)))
    monkeypatch.setattr(transport.Connection, "speaks_documents", lambda *_: False)
    context = flamepy.SessionContext(ref.encode(), "s", flamepy.ApplicationContext("older"))
    service = FlameRunpyService()
    service.on_session_enter(context)
    data = dumps(RunnerRequest("add" if stateful else None, (1,)))
    results = []
    for task in "12":
        output = service.on_task_invoke(flamepy.TaskContext(task, "s", data))
        results.append(flamepy.get_object(flamepy.ObjectRef.decode(output)))
    assert results == ([6, 7] if stateful else [6, 6])


def test_what_get_data_cannot_read(client, home):
    from flamepy.runner import ErrorType, RunnerError
    from flamepy.runner.payloads import dumps

    for data, kind in (
        ("text", ErrorType.DATA_FORMAT_ERROR),
        (b"neither", ErrorType.DECODE_ERROR),
        (b"\x80\x05broken", ErrorType.DECODE_ERROR),
        (flamepy.ObjectRef(client.endpoint, "a/b/gone").encode(), ErrorType.CACHE_RETRIEVAL_ERROR),
    ):
        with pytest.raises(RunnerError) as caught:
            get_data(data)
        assert caught.value.error_type is kind
    ref = flamepy.put_object("data/s", dumps([1, 2]))
    assert get_data(ref.encode()) == {
        "type": "output",
        "result": [1, 2],
        "metadata": {"object_ref_key": ref.key},
    }
    deep = dumps(RunnerRequest("m", ([{"x": flamepy.put_object("data/s", 7)}],)))
    assert get_data(deep)["args"] == ([{"x": 7}],)


def _call_hook():
    globals()["_hook"]()


def test_objects_of_a_session_are_its_own(rr):
    service = rr.service(lambda: 1)
    ref = service().ref(60)
    assert ref.key.startswith(f"{rr.name}/{service.session_id}/")
    assert isinstance(service(), ObjectFuture)


@pytest.mark.parametrize(
    ("made", "options", "why"),
    [
        (len, {"stateful": True}, "always stateless"),
        (dict, {"stateful": True}, "always stateless"),
        (object(), {"stateful": False}, "always stateful"),
        (object(), {"autoscale": True}, "always fixed"),
        (object(), {"warmup": 2}, "warmup=0 or warmup=1"),
        (len, {"warmup": -1}, "non-negative"),
    ],
)
def test_choices_that_contradict_the_object(made, options, why):
    with pytest.raises(ValueError, match=why):
        RunnerContext(made, **options)


@pytest.mark.parametrize(
    ("made", "options", "wanted"),
    [
        (len, {}, (False, True, 0, None)),
        (len, {"warmup": 2}, (False, True, 2, None)),
        (len, {"autoscale": False}, (False, False, 1, 1)),
        (len, {"autoscale": False, "warmup": 3}, (False, False, 3, 3)),
        (dict, {}, (False, True, 0, None)),
        (object(), {}, (True, False, 1, 1)),
        (object(), {"warmup": 1}, (True, False, 1, 1)),
    ],
)
def test_derived_configuration(made, options, wanted):
    context = RunnerContext(made, **options)
    found = (context.stateful, context.autoscale, context.min_instances, context.max_instances)
    assert found == wanted


def test_the_published_client_understands_our_payloads(stock):
    from flamepy.runner.payloads import dumps, mark

    ref = flamepy.ObjectRef("grpc://h:1", "a/b/c", 7)
    data = dumps(
        [RunnerContext(len, autoscale=False, warmup=2), mark(RunnerRequest("m", (ref,), {"k": 1}))]
    )
    code = """
import cloudpickle
from flamepy.runner import RunnerContext, RunnerRequest
from flamepy.core.cache import ObjectRef
context, request = cloudpickle.loads(data)
assert type(context) is RunnerContext and context.max_instances == 2, context
assert type(request) is RunnerRequest and request.kwargs == {"k": 1}, request
assert request.args == (ObjectRef("grpc://h:1", "a/b/c", 7),), request
output = cloudpickle.dumps([RunnerContext(len, warmup=1), RunnerRequest("n", (request.args[0],))])
"""
    import cloudpickle

    context, request = cloudpickle.loads(stock(code, data))
    assert type(context) is RunnerContext
    assert context.min_instances == 1
    assert request == RunnerRequest("n", (ref,))


def test_packages_reach_workers(engine, tmp_path):
    if engine != "processes":
        pytest.skip("threads have no packages")

    def answer():
        import module_of_mine

        return module_of_mine.ANSWER, module_of_mine.__file__

    with Runner("packaged") as rr:
        number, where = rr.service(answer)().get(60)
        assert number == 42
        assert "extracted_packaged-" in where
    Path("module_of_mine.py").write_text("ANSWER = 43\n")
    with Runner("packaged") as rr:
        assert rr.service(answer)().get(60)[0] == 43
