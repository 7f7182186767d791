"""Calls that the published client does not make, with its messages: many watches at once, later names, refusals."""

from __future__ import annotations

from harness import remote
from harness.session_manager import application


def _wire(endpoint):
    """Everything at once: each call is a line of the answer."""
    import grpc
    from flamepy.proto import frontend_pb2 as f
    from flamepy.proto import types_pb2 as t

    channel = grpc.insecure_channel(endpoint.removeprefix("http://"))
    seen = {}

    def unary(name, request, reply):
        call = channel.unary_unary(
            f"/flame.v1.Frontend/{name}", type(request).SerializeToString, reply.FromString
        )
        try:
            return call(request, timeout=30)
        except grpc.RpcError as error:
            return error.code().name, error.details()

    def watch(session, task):
        call = channel.unary_stream(
            "/flame.v1.Frontend/WatchTask",
            f.WatchTaskRequest.SerializeToString,
            t.Task.FromString,
        )
        try:
            request = f.WatchTaskRequest(session_id=session, task_id=task)
            return [(m.status.state, len(m.status.events)) for m in call(request, timeout=30)]
        except grpc.RpcError as error:
            return error.code().name, error.details()

    done = f.WatchTaskRequest(session_id="s", task_id="1")
    many = channel.stream_stream(
        "/flame.v1.Frontend/WatchTasks", f.WatchTaskRequest.SerializeToString, t.Task.FromString
    )
    create = channel.unary_unary(
        "/flame.v1.Frontend/CreateTask",
        f.CreateTaskRequest.SerializeToString,
        t.Task.FromString,
    )
    ids = [
        create(f.CreateTaskRequest(task=t.TaskSpec(session_id="s", input=b"echo x"))).metadata.id
        for _ in range(20)
    ]
    last = {}
    requests = [f.WatchTaskRequest(session_id="s", task_id=i) for i in ids]
    for message in many(iter(requests), timeout=60):
        last[message.metadata.id] = (message.status.state, message.spec.output)
    seen["many"] = sorted(set(last.values())), len(last)
    seen["done"] = watch("s", "1")
    seen["no task"] = watch("s", "999")
    seen["no session"] = watch("none", "1")
    seen["no number"] = watch("s", "x")
    assert done.task_id == "1"

    seen["applications"] = len(
        unary("ListApplications", f.ListApplicationRequest(), t.ApplicationList).applications
    )
    seen["sessions"] = len(unary("ListSessions", f.ListSessionRequest(), t.SessionList).sessions)
    node = unary("ListNodes", f.ListNodesRequest(), t.NodeList).nodes[0]
    seen["node"] = (node.status.state, node.status.capacity.cpu > 0)
    seen["get node"] = (
        unary(
            "GetNode", f.GetNodeRequest(name=node.metadata.name), f.GetNodeResponse
        ).node.spec.hostname
        == node.spec.hostname
    )
    seen["no node"] = unary("GetNode", f.GetNodeRequest(name="x"), f.GetNodeResponse)
    seen["get task"] = unary("GetTask", f.GetTaskRequest(session_id="s", task_id="x"), t.Task)[0]
    seen["bad id"] = unary(
        "CreateSession",
        f.CreateSessionRequest(session_id="../x", session=t.SessionSpec(application="app")),
        t.Session,
    )
    seen["no spec"] = unary("CreateSession", f.CreateSessionRequest(session_id="x"), t.Session)[0]
    seen["open delete"] = unary("DeleteSession", f.DeleteSessionRequest(session_id="s"), t.Session)
    bad = t.ApplicationSpec(working_directory="relative")
    seen["relative"] = unary(
        "RegisterApplication",
        f.RegisterApplicationRequest(name="b", application=bad),
        t.Result,
    )[0]
    result = unary(
        "RegisterApplication",
        f.RegisterApplicationRequest(name="app", application=t.ApplicationSpec()),
        t.Result,
    )
    seen["again"] = (result.return_code, result.message)
    large = t.TaskSpec(session_id="s", input=bytes(66 << 20))
    seen["too large"] = unary("CreateTask", f.CreateTaskRequest(task=large), t.Task)[0]
    return seen


def test_every_other_call(manager, connect):
    client = connect(manager)
    client(remote.register, name="app", attributes=application())
    client(remote.create, session="s", app="app")
    client(remote.outcomes, session="s", texts=["echo x"])

    seen = client(_wire, endpoint=manager.endpoint)

    assert seen["many"] == ([(2, b"x")], 20)
    # The final state at once, with its events.
    assert seen["done"] == [(2, 3)]
    assert seen["no task"] == ("NOT_FOUND", "Task 999 of session s not found")
    assert seen["no session"] == ("NOT_FOUND", "Session none not found")
    assert seen["no number"][0] == "INVALID_ARGUMENT"
    assert seen["applications"] == 4
    assert seen["sessions"] == 1
    assert seen["node"] == (1, True)
    assert seen["get node"]
    assert seen["no node"] == ("NOT_FOUND", "node x not found")
    assert seen["get task"] == "INVALID_ARGUMENT"
    assert seen["bad id"] == (
        "INVALID_ARGUMENT",
        "invalid session id: it may not start with '.'",
    )
    assert seen["no spec"] == "INVALID_ARGUMENT"
    assert seen["open delete"][0] == "INTERNAL"
    assert seen["relative"] == "INVALID_ARGUMENT"
    assert seen["again"] == (-1, "Application 'app' already exists")
    assert seen["too large"] == "RESOURCE_EXHAUSTED"
