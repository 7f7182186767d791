"""A session manager for unit tests: real gRPC on a real socket, services in threads.

It is no model of the scheduler: one thread per instance, tasks in order. What it can be told to
do is what servers really do to clients: stream no events, know no WatchTasks, end a stream
without a word, restart.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from concurrent import futures
from typing import Any, Callable, Optional

import grpc
from flamepy.core.sessions import messages as m
from flamepy.core.sessions.service import (
    ApplicationContext,
    FlameService,
    SessionContext,
    TaskContext,
)
from flamepy.core.sessions.wire import Message
from harness.server import port_for_restarts

FINAL = 2


class _Session:
    def __init__(self, spec: m.SessionSpec) -> None:
        self.spec = spec
        self.open = True
        self.tasks: dict[str, m.Task] = {}
        self.queue: queue.SimpleQueue = queue.SimpleQueue()
        self.events: list[m.Event] = []
        self.instances = 0


class FakeManager:
    """Serves until `close`; `make_service` makes the service of each instance."""

    def __init__(
        self,
        make_service: Callable[[], FlameService],
        *,
        multiplexed: bool = True,
        events_in_watch: bool = True,
        silent_ends: int = 0,
        instances: int = 4,
        port: int = 0,
    ) -> None:
        self.make_service = make_service
        self.multiplexed = multiplexed
        self.events_in_watch = events_in_watch
        self.silent_ends = silent_ends
        self.instances = instances
        self.sessions: dict[str, _Session] = {}
        self.applications: dict[str, m.ApplicationSpec] = {}
        self.calls: list[str] = []
        self.changed = threading.Condition()
        self.stopped = False
        self.start(port)

    def start(self, port: int = 0) -> None:
        self.server = grpc.server(futures.ThreadPoolExecutor(200))
        self.server.add_generic_rpc_handlers((_Handlers(self),))
        self.port = self.server.add_insecure_port(f"127.0.0.1:{port or port_for_restarts()}")
        assert self.port, "the port is free"
        self.server.start()
        self.address = f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """As a restart does: calls end, state stays."""
        self.server.stop(None).wait()

    def close(self) -> None:
        with self.changed:
            self.stopped = True
            self.changed.notify_all()
        self.stop()
        for session in self.sessions.values():
            for _ in range(session.instances):
                session.queue.put(None)

    def __enter__(self) -> FakeManager:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What the RPCs do.

    def register_application(self, request: Any, context: Any) -> Message:
        if request.name in self.applications:
            return m.Result(return_code=-1, message=f"Application '{request.name}' already exists")
        self.applications[request.name] = request.application
        return m.Result()

    def unregister_application(self, request: Any, context: Any) -> Message:
        open_ones = [
            s for s in self.sessions.values() if s.open and s.spec.application == request.name
        ]
        if open_ones:
            return m.Result(return_code=-1, message=f"{request.name} has open sessions")
        if self.applications.pop(request.name, None) is None:
            return m.Result(return_code=-1, message="not found")
        return m.Result()

    def get_application(self, request: Any, context: Any) -> Message:
        spec = self.applications.get(request.name)
        if spec is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"application {request.name} not found")
        return self._application(request.name, spec)

    def list_application(self, request: Any, context: Any) -> Message:
        found = [self._application(*item) for item in self.applications.items()]
        return m.ApplicationList(applications=found)

    def _application(self, name: str, spec: Any) -> m.Application:
        return m.Application(
            metadata=m.Metadata(id=name, name=name),
            spec=spec,
            status=m.ApplicationStatus(creation_time=1_700_000_000_123),
        )

    def list_executor(self, request: Any, context: Any) -> Message:
        one = m.Executor(
            metadata=m.Metadata(id="e", name="e"),
            spec=m.ExecutorSpec(node="n", resreq=m.ResourceRequirement(cpu=1)),
            status=m.ExecutorStatus(state=4, session_id="s"),
        )
        return m.ExecutorList(executors=[one])

    def list_nodes(self, request: Any, context: Any) -> Message:
        status = m.NodeStatus(state=1, capacity=m.ResourceRequirement(cpu=2, memory=1 << 33))
        return m.NodeList(nodes=[m.Node(spec=m.NodeSpec(hostname="h"), status=status)])

    def create_session(self, request: Any, context: Any) -> Message:
        name = request.session_id
        if name in self.sessions:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f"Session '{name}' already exists")
        if request.session.application not in self.applications:
            context.abort(grpc.StatusCode.NOT_FOUND, "application not found")
        self.sessions[name] = _Session(request.session)
        return self._session(name)

    def open_session(self, request: Any, context: Any) -> Message:
        session = self.sessions.get(request.session_id)
        if session is None and request.session is not None:
            return self.create_session(request, context)
        if session is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Session {request.session_id} not found")
        if not session.open:
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"Session {request.session_id} is not open"
            )
        return self._session(request.session_id)

    def get_session(self, request: Any, context: Any) -> Message:
        if request.session_id not in self.sessions:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Session {request.session_id} not found")
        return self._session(request.session_id)

    def close_session(self, request: Any, context: Any) -> Message:
        self.get_session(request, context)
        session = self.sessions[request.session_id]
        with self.changed:
            if any(task.status.state == 1 for task in session.tasks.values()):
                context.abort(grpc.StatusCode.INTERNAL, "Cannot close session with running tasks")
            session.open = False
            for task in session.tasks.values():
                if task.status.state == 0:
                    task.status.state = 4
            self.changed.notify_all()
        return self._session(request.session_id)

    def list_session(self, request: Any, context: Any) -> Message:
        return m.SessionList(sessions=[self._session(name) for name in self.sessions])

    def _session(self, name: str) -> m.Session:
        session = self.sessions[name]
        states = [task.status.state for task in session.tasks.values()]
        return m.Session(
            metadata=m.Metadata(id=name, name=name),
            spec=session.spec,
            status=m.SessionStatus(
                state=0 if session.open else 1,
                creation_time=1_700_000_000_123,
                completion_time=None if session.open else 1_700_000_001_000,
                events=session.events,
                **{
                    field: states.count(state)
                    for state, field in enumerate(
                        ("pending", "running", "succeed", "failed", "cancelled")
                    )
                },
            ),
        )

    def create_task(self, request: Any, context: Any) -> Message:
        session = self.sessions.get(request.task.session_id)
        if session is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "session not found")
        if not session.open:
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "Cannot create task in closed session: not open"
            )
        with self.changed:
            number = str(len(session.tasks) + 1)
            task = m.Task(
                metadata=m.Metadata(id=number, name=number),
                spec=request.task,
                status=m.TaskStatus(creation_time=1_700_000_000_123),
            )
            session.tasks[number] = task
        session.queue.put(task)
        if session.instances < min(self.instances, session.spec.max_instances or 1 << 30):
            session.instances += 1
            threading.Thread(
                target=self._instance, args=(request.task.session_id,), daemon=True
            ).start()
        return task

    def _instance(self, session_id: str) -> None:
        session = self.sessions[session_id]
        spec = self.applications[session.spec.application]
        service = self.make_service()
        application = ApplicationContext(
            session.spec.application, spec.image, spec.command, spec.working_directory, spec.url
        )
        try:
            service.on_session_enter(
                SessionContext(session.spec.common_data, session_id, application)
            )
        except Exception as error:
            session.events.append(m.Event(code=1001, message=f"failed to bind session: {error}"))
            return
        while True:
            task = session.queue.get()
            if task is None:
                break
            if task.status.state != 0:
                continue
            self._set(task, 1)
            try:
                context = TaskContext(task.metadata.id, session_id, task.spec.input)
                task.spec.output = service.on_task_invoke(context)
                self._set(task, 2)
            except Exception as error:
                self._set(task, 3, str(error))
        service.on_session_leave()

    def _set(self, task: m.Task, state: int, text: Optional[str] = None) -> None:
        with self.changed:
            task.status.state = state
            task.status.events.append(m.Event(code=state, message=text))
            self.changed.notify_all()

    def get_task(self, request: Any, context: Any) -> Message:
        session = self.sessions.get(request.session_id)
        task = session and session.tasks.get(request.task_id)
        if task is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"task {request.task_id} not found")
        return task

    def list_task(self, request: Any, context: Any) -> Any:
        session = self.sessions.get(request.session_id)
        if session is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Session {request.session_id} not found")
        yield from list(session.tasks.values())

    def watch_task(self, request: Any, context: Any) -> Any:
        """As upstream: the next change, or the final state; unknown: the end, without a word."""
        session = self.sessions.get(request.session_id)
        task = session and session.tasks.get(request.task_id)
        if task is None:
            return
        if self.silent_ends > 0:
            self.silent_ends -= 1
            return
        seen = task.status.state if task.status.state < FINAL else -1
        while context.is_active() and not self.stopped:
            with self.changed:
                if task.status.state == seen:
                    self.changed.wait(0.2)
            if task.status.state != seen:
                seen = task.status.state
                yield self._streamed(task)
            if seen >= FINAL:
                return

    def _streamed(self, task: m.Task) -> m.Task:
        if self.events_in_watch:
            return task
        copy = m.Task.decode(task.encode())
        copy.status.events = []
        return copy

    def watch_tasks(self, requests: Any, context: Any) -> Any:
        answers: queue.SimpleQueue = queue.SimpleQueue()

        def follow(request: Any) -> None:
            session = self.sessions.get(request.session_id)
            if session and request.task_id in session.tasks:
                answers.put(self._streamed(session.tasks[request.task_id]))  # The present state.
            for task in self.watch_task(request, context):
                answers.put(task)

        def read() -> None:
            with contextlib.suppress(grpc.RpcError, ValueError):
                for request in requests:
                    threading.Thread(target=follow, args=(request,), daemon=True).start()

        threading.Thread(target=read, daemon=True).start()
        while context.is_active() and not self.stopped:
            with contextlib.suppress(queue.Empty):
                yield answers.get(timeout=0.2)


_UNARY = {
    "RegisterApplication": m.RegisterApplicationRequest,
    "UnregisterApplication": m.Named,
    "GetApplication": m.Named,
    "ListApplication": m.Empty,
    "ListExecutor": m.Empty,
    "ListNodes": m.Empty,
    "CreateSession": m.SessionRequest,
    "OpenSession": m.SessionRequest,
    "CloseSession": m.SessionNamed,
    "GetSession": m.SessionNamed,
    "ListSession": m.Empty,
    "CreateTask": m.CreateTaskRequest,
    "GetTask": m.TaskNamed,
}


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, manager: FakeManager) -> None:
        self._manager = manager

    def service(self, details: Any) -> Any:
        name = details.method.rpartition("/")[2]
        manager = self._manager
        manager.calls.append(name)
        snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
        out = Message.encode
        if name in _UNARY:
            return grpc.unary_unary_rpc_method_handler(
                getattr(manager, snake), _UNARY[name].decode, out
            )
        if name == "ListTask":
            return grpc.unary_stream_rpc_method_handler(
                manager.list_task, m.SessionNamed.decode, out
            )
        if name == "WatchTask":
            return grpc.unary_stream_rpc_method_handler(manager.watch_task, m.TaskNamed.decode, out)
        if name == "WatchTasks" and manager.multiplexed:
            return grpc.stream_stream_rpc_method_handler(
                manager.watch_tasks, m.TaskNamed.decode, out
            )
        return None


def until(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.01)
