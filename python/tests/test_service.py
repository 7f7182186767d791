"""The service side: called by the published client's stubs, and by the real session manager."""

from __future__ import annotations

import os
import signal
import socket as socket_module
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import flamepy
import pytest
from fake_manager import until
from flamepy.core.errors import InvalidArgument, InvalidConfig, TaskFailed
from flamepy.core.sessions import connect, messages
from flamepy.core.sessions.service import InstanceServer
from flamepy.service import FlameInstance, Session
from session_manager import SessionManager

_STOCK = Path(flamepy.__file__).parents[2] / ".venv/conformance/bin/python"

PLAIN = """
import os, flamepy
class Service(flamepy.FlameService):
    def on_session_enter(self, context):
        if context.common_data() == b"refuse":
            raise ValueError("no session for you")
        self.entered = f"{context.session_id} {context.application.name} {context.common_data()}"
    def on_task_invoke(self, context):
        if context.input == b"none":
            return None
        if context.input == b"text":
            return "text"
        if context.input == b"fail":
            raise KeyError("wrong")
        if context.input == b"silent":
            raise ValueError()
        if context.input == b"leave":
            raise SystemExit(3)
        if context.input == b"exit":
            os._exit(3)
        if context.input == b"sys.exit":
            raise SystemExit(4)
        return f"{self.entered} {context.task_id} {context.input}".encode()
flamepy.run(Service())
"""
INSTANCE = """
from flamepy.service import FlameInstance
instance = FlameInstance()
@instance.entrypoint
def scale(x):
    context = instance.context() or {"factor": 1}
    instance.update_context({**context, "calls": context.get("calls", 0) + 1})
    return x * context["factor"]
instance.run()
"""


@pytest.fixture
def socket() -> Iterator[str]:
    """A short path."""
    with tempfile.TemporaryDirectory(prefix="flame-", dir="/tmp") as folder:
        yield f"{folder}/instance.sock"


@pytest.fixture
def started(socket) -> Iterator[subprocess.Popen]:
    """The plain service in a process of its own."""
    environment = {**os.environ, "FLAME_INSTANCE_ENDPOINT": socket}
    process = subprocess.Popen([sys.executable, "-c", PLAIN], env=environment)
    until(lambda: os.path.exists(socket) or process.poll() is not None, "the socket is there")
    yield process
    process.kill()
    process.wait()


CALLER = """
import grpc
from flamepy.proto import shim_pb2_grpc, types_pb2, shim_pb2
channel = grpc.insecure_channel("unix:SOCKET")
stub = shim_pb2_grpc.InstanceStub(channel)
pb = shim_pb2
application = pb.ApplicationContext(name="app")
def enter(data):
    return stub.OnSessionEnter(
        pb.SessionContext(session_id="s", application=application, common_data=data),
        wait_for_ready=True, timeout=30)
def invoke(number, data):
    return stub.OnTaskInvoke(pb.TaskContext(task_id=number, session_id="s", input=data), timeout=30)
refused = enter(b"refuse")
assert refused.return_code == -1 and refused.message == "no session for you", refused
assert enter(b"c").return_code == 0
done = invoke("1", b"i")
assert done.return_code == 0 and done.output == b"s app b'c' 1 b'i'", done
assert not invoke("2", b"none").HasField("output")
for number, (data, why) in enumerate((
    (b"fail", "'wrong'"), (b"silent", "ValueError"), (b"text", "returned str, expected bytes"),
    (b"leave", "SystemExit: 3"),
)):
    failed = invoke(str(number), data)
    assert failed.return_code == -1 and why in failed.message, failed
large = b"x" * (20 << 20)
try:
    invoke("9", large)
except grpc.RpcError as error:
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, error  # The caller's own limit.
assert stub.OnSessionLeave(types_pb2.EmptyRequest(), timeout=30).return_code == 0
"""


def test_the_published_clients_stubs_call_a_service(started, socket, stock):
    stock(CALLER.replace("SOCKET", socket))
    mode = os.stat(socket).st_mode
    assert stat.S_IMODE(mode) & 0o077 == 0  # Whoever can call, runs code.


def test_newer_callers_get_the_newer_replies(socket):
    import grpc
    from flamepy.core.sessions import messages as m

    class Echo(flamepy.FlameService):
        def on_task_invoke(self, context):
            return context.input

    server = InstanceServer(Echo(), socket)
    server.start()
    with grpc.insecure_channel(f"unix:{socket}") as channel:

        def call(name, request):
            return channel.unary_unary(f"/flame.v1.Instance/{name}")(request.encode(), timeout=30)

        task = m.TaskContext(task_id="1", input=b"i")
        old = call("OnSessionEnter", m.SessionContext(session_id="s"))
        assert m.Result.decode(old).return_code == 0
        assert m.TaskResult.decode(call("OnTaskInvoke", task)).output == b"i"
        call("OnSessionEnter", m.SessionContext(session_id="s", workspace="w"))
        answer = m.TaskInvokeResponse.decode(call("OnTaskInvoke", task))
        assert answer.task_result.output == b"i"
        assert m.Result.decode(call("OnSessionLeave", m.Empty())).return_code == 0
    server.stop()


def test_where_a_service_listens(home):
    with pytest.raises(InvalidConfig, match="FLAME_INSTANCE_ENDPOINT not found"):
        flamepy.run(flamepy.FlameService())
    with pytest.raises(InvalidConfig, match="more bytes than"):
        InstanceServer(flamepy.FlameService(), "/tmp/" + "x" * 120)


def test_entry_points():
    instance = FlameInstance()
    with pytest.raises(InvalidArgument, match="no parameter, or one"):
        instance.entrypoint(lambda a, b: None)
    context = flamepy.TaskContext("1", "s", None)
    with pytest.raises(NotImplementedError):
        instance.on_task_invoke(context)

    @instance.entrypoint
    async def answer():
        return 42

    import cloudpickle

    assert cloudpickle.loads(instance.on_task_invoke(context)) == 42
    assert instance.context() is None
    instance.update_context(1)


@pytest.fixture(scope="module")
def manager(server, tmp_path_factory) -> Iterator[SessionManager]:
    """The real session manager."""
    home = tmp_path_factory.mktemp("sm")
    with SessionManager(home, server.endpoint) as running:
        scripts = {"plain": PLAIN, "instance": INSTANCE}
        with connect(running.address) as connection:
            for name, code in scripts.items():
                script = home / f"{name}.py"
                script.write_text(code)
                connection.register_application(
                    name, {"command": sys.executable, "arguments": [str(script)]}
                )
                if _STOCK.exists():  # The published client has its own flamepy: ours must go.
                    connection.register_application(
                        f"stock-{name}",
                        {
                            "command": str(_STOCK),
                            "arguments": [str(script)],
                            "environments": {"PYTHONPATH": ""},
                        },
                    )
        yield running


@pytest.fixture(params=["", "stock-"], ids=["ours", "published"])
def prefix(request, manager, client, monkeypatch) -> str:
    """Whose SDK the service is written with."""
    if request.param and not _STOCK.exists():
        pytest.fail(f"no flamepy 0.6 at {_STOCK}: run tools/setup")
    monkeypatch.setenv("FLAME_ENDPOINT", manager.address)
    return request.param


def test_a_service_under_the_session_manager(prefix):
    with flamepy.create_session(f"{prefix}plain", b"c") as session:
        wanted = f"{session.id} {prefix}plain b'c' 1 b'i'".encode()
        assert session.invoke(b"i", timeout=60) == wanted
        assert session.invoke(b"none", timeout=60) is None
        with pytest.raises(TaskFailed, match=r"^'wrong'$"):
            session.invoke(b"fail", timeout=60)
        assert session.invoke(b"i", timeout=60).endswith(b" 4 b'i'")


@pytest.mark.parametrize(
    ("how", "words"), [(b"exit", "it exited with code 3"), (b"sys.exit", "SystemExit: 4")]
)
def test_a_service_that_ends_fails_its_task_only(prefix, how, words):
    with flamepy.create_session(f"{prefix}plain", b"c", max_instances=1) as session:
        with pytest.raises(TaskFailed, match=words):
            session.invoke(how, timeout=60)
        assert session.invoke(b"i", timeout=60).endswith(b" 2 b'i'")


def test_objects_both_ways(prefix):
    with Session(f"{prefix}instance", {"factor": 2}) as session:
        assert session.invoke(21, timeout=60) == 42
        assert session.invoke("ab", timeout=60) == "abab"
        assert session.context()["calls"] == 2
        again = Session(session_id=session.id())
        assert again.invoke(1, timeout=60) == 2
    with Session(f"{prefix}instance", resreq={"cpu": 1, "memory": "256m"}) as session:
        assert session.invoke(5, timeout=60) == 5
        assert session.context() is None
    for bad in ({}, {"name": "a", "session_id": "b"}):
        with pytest.raises(ValueError):
            Session(**bad)


def test_a_service_ends_at_a_signal(started, socket):
    started.send_signal(signal.SIGTERM)
    assert started.wait(30) != 0


class Frames:
    """The executor's end of a pipe."""

    def __init__(self, path: str) -> None:
        self.socket = socket_module.socket(socket_module.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(path)

    def ask(self, **fields) -> messages.TaskResult:
        request = messages.TaskContext(**fields).encode()
        self.socket.sendall(struct.pack("<I", len(request)) + request)
        (size,) = struct.unpack("<I", self._read(4))
        return messages.TaskResult.decode(self._read(size))

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            assert more, "the service closed its pipe"
            data += more
        return data


def test_tasks_come_through_a_pipe_where_the_executor_wants_it(socket, monkeypatch):
    class Echo(flamepy.FlameService):
        def on_task_invoke(self, context):
            if context.input == b"fail":
                raise ValueError("no")
            return context.input

    monkeypatch.setenv("FLAME_INSTANCE_PIPE", "1")
    server = InstanceServer(Echo(), socket)
    server.start()
    assert stat.S_IMODE(os.stat(f"{socket}.t").st_mode) == 0o600
    for _ in range(2):  # An executor that comes again finds it again.
        pipe = Frames(f"{socket}.t")
        large = os.urandom(5 << 20)
        assert pipe.ask(task_id="1", session_id="s", input=large).output == large
        failed = pipe.ask(task_id="2", session_id="s", input=b"fail")
        assert (failed.return_code, failed.message) == (-1, "no")
        nothing = pipe.ask(task_id="3", session_id="s")
        assert (nothing.return_code, nothing.output) == (0, None)
        pipe.socket.sendall(b"\x05")  # Dies within a frame.
        pipe.socket.close()
    server.stop(0)


def test_there_is_no_pipe_where_nobody_asks_for_one(socket):
    server = InstanceServer(flamepy.FlameService(), socket)
    server.start()
    assert not os.path.exists(f"{socket}.t")
    server.stop(0)
