"""--strict-upstream: the manager answers as the existing server does, also where that is worse."""

from __future__ import annotations

import pytest
from harness import remote
from harness.session_manager import application


def _watch(endpoint, session, task):
    """(states and numbers of events) of a watch, and how it ended."""
    import grpc
    from flamepy.proto import frontend_pb2 as f
    from flamepy.proto import types_pb2 as t

    channel = grpc.insecure_channel(endpoint.removeprefix("http://"))
    call = channel.unary_stream(
        "/flame.v1.Frontend/WatchTask", f.WatchTaskRequest.SerializeToString, t.Task.FromString
    )(f.WatchTaskRequest(session_id=session, task_id=task), timeout=60)
    seen = []
    try:
        for message in call:
            seen.append((message.status.state, len(message.status.events)))
    except grpc.RpcError as error:
        return seen, error.code().name
    return seen, "OK"


def _unary(endpoint, calls):
    """The codes of calls: (name, request's class, its fields, reply's class)."""
    import grpc
    from flamepy.proto import frontend_pb2 as f
    from flamepy.proto import types_pb2 as t

    channel = grpc.insecure_channel(endpoint.removeprefix("http://"))
    codes = []
    for name, request, fields, reply in calls:
        if "input" in fields:
            fields = {"task": t.TaskSpec(session_id="s", input=bytes(fields["input"]))}
        make = getattr(f, request)
        get = getattr(t, reply)
        streams = name in ("ListTasks", "ListTask")
        kind = channel.unary_stream if streams else channel.unary_unary
        call = kind(f"/flame.v1.Frontend/{name}", make.SerializeToString, get.FromString)
        try:
            answer = call(make(**fields), timeout=30)
            if streams:
                answer = list(answer)
            codes.append("OK")
        except grpc.RpcError as error:
            codes.append(error.code().name)
    return codes


def _session_with_events(session):
    """Events and the time of the start, of what closing and getting answer."""
    import os

    from flamepy.core import client
    from flamepy.proto import frontend_pb2 as f

    connection = client.connect(os.environ["FLAME_ENDPOINT"])
    frontend = connection._frontend
    got = frontend.GetSession(f.GetSessionRequest(session_id=session))
    closed = frontend.CloseSession(f.CloseSessionRequest(session_id=session))
    return len(got.status.events), len(closed.status.events), got.status.creation_time % 1000


@pytest.fixture
def strict(managers):
    return managers("none", "--strict-upstream", "--retry-limit", "1")


def test_watches_have_no_snapshot_and_no_events_and_end_silently(strict, connect, tmp_path):
    client = connect(strict)
    client(remote.register, name="app", attributes=application())
    client(remote.create, session="s", app="app")
    assert client(remote.outcomes, session="s", texts=["echo x"]) == ["x"]
    watch = {"endpoint": strict.endpoint, "session": "s"}
    assert client(_watch, **watch, task="1") == ([(2, 0)], "OK")
    assert client(_watch, **watch, task="99") == ([], "OK")
    assert client(_watch, endpoint=strict.endpoint, session="none", task="1") == ([], "OK")
    # The published client then has nothing to say about a failure; the task itself knows.
    (text,) = client(remote.outcomes, session="s", texts=["raise no model"])
    assert "no model" not in text
    assert (3, "no model") in [tuple(e) for e in client(remote.events, session="s", task="2")]


def test_a_running_task_is_not_shown_at_the_start_of_a_watch(strict, connect, tmp_path):
    client = connect(strict)
    client(remote.register, name="app", attributes=application())
    gate, notes = tmp_path / "gate", tmp_path / "notes"
    client(remote.create, session="s", app="app", data=f"notes {notes}".encode())
    gate.touch()
    client(remote.submit, session="s", texts=[f"wait-for {gate}"])
    seen, end = client(_watch, endpoint=strict.endpoint, session="s", task="1")
    assert end == "OK"
    assert seen[-1] == (2, 0)
    assert (0, 0) not in seen  # Pending was the state at the start.


def test_names_sizes_and_codes(strict, connect):
    client = connect(strict)
    client(remote.register, name="app", attributes=application())
    client(remote.create, session="s", app="app")
    codes = client(
        _unary,
        endpoint=strict.endpoint,
        calls=[
            ("ListApplications", "ListApplicationRequest", {}, "ApplicationList"),
            ("ListSessions", "ListSessionRequest", {}, "SessionList"),
            ("ListExecutors", "ListExecutorRequest", {}, "ExecutorList"),
            ("ListTasks", "ListTaskRequest", {"session_id": "s"}, "Task"),
            ("ListSession", "ListSessionRequest", {}, "SessionList"),
            ("ListTask", "ListTaskRequest", {"session_id": "s"}, "Task"),
            ("GetSession", "GetSessionRequest", {"session_id": "none"}, "Session"),
            ("CreateTask", "CreateTaskRequest", {"input": (4 << 20) + 1}, "Task"),
            ("CreateTask", "CreateTaskRequest", {"input": 3 << 20}, "Task"),
        ],
    )
    assert codes[:4] == ["UNIMPLEMENTED"] * 4
    assert codes[4:7] == ["OK", "OK", "NOT_FOUND"]
    assert codes[7] in ("RESOURCE_EXHAUSTED", "OUT_OF_RANGE")
    assert codes[8] == "OK"


def test_outputs_over_four_mebibytes_fail(strict, connect):
    client = connect(strict)
    client(remote.register, name="app", attributes=application())
    client(remote.create, session="s", app="app")
    small, large = client(
        remote.outcomes, session="s", texts=[f"zeros {1 << 20}", f"zeros {5 << 20}"]
    )
    assert small == "\0" * (1 << 20)
    assert "\0" not in large


def test_only_some_answers_carry_a_sessions_events(strict, connect):
    client = connect(strict)
    client(remote.register, name="app", attributes=application(command="/no/such/program"))
    client(remote.create, session="s", app="app", min_instances=1)
    from harness.wait import until

    until(lambda: len(client(remote.look, session="s")["events"]) == 2, "it could not start")
    assert client(_session_with_events, session="s") == (2, 0, 0)
