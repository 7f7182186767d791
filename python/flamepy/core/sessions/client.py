"""The session service's client: applications, sessions, tasks.

Every call takes ``timeout=`` seconds; the default is 60. Everything here is thread-safe, except
iterators. The functions use one connection for the whole process, made at the first call and
following the context; `connect` makes one of your own.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import datetime
from typing import TYPE_CHECKING, Any, Optional, Union

from flamepy.core.context import FlameClientTls, current_context
from flamepy.core.errors import (
    Cancelled,
    FlameError,
    FlameErrorCode,
    InvalidArgument,
    NotFound,
    TaskCancelled,
    TaskFailed,
    Timeout,
)
from flamepy.core.sessions import messages
from flamepy.core.sessions.model import (
    Application,
    ApplicationAttributes,
    Event,
    ResourceRequirement,
    SessionAttributes,
    SessionState,
    Task,
    TaskInformer,
    TaskState,
    application_spec,
    from_application,
    from_event,
    from_task,
    moment,
    session_spec,
)
from flamepy.core.sessions.rpc import DEFAULT_TIMEOUT, Channel, Stream, Target
from flamepy.core.sessions.task_socket import INPUT_MAX_BYTES, Lost, TaskSocket
from flamepy.core.types import short_name

if TYPE_CHECKING:
    from flamepy.core.sessions.watching import Watcher

__all__ = [
    "Connection",
    "Session",
    "TaskFuture",
    "TaskWatcher",
    "close_session",
    "connect",
    "create_session",
    "default_connection",
    "get_application",
    "get_session",
    "list_applications",
    "list_executors",
    "list_nodes",
    "list_sessions",
    "open_session",
    "register_application",
    "unregister_application",
]


class Connection:
    """A connection to a session service. Make one with `connect`; thread-safe."""

    def __init__(self, target: Target) -> None:
        self.addr = target.address
        self._channel = Channel(target)
        from flamepy.core.sessions.watching import Watcher  # Imports asyncio.

        self._watcher = Watcher(target)
        self._lock = threading.Lock()
        self._tasks: Optional[TaskSocket] = None
        self._tasks_key: Any = None  # Of the last door that was told of, and tried.
        self._closed = False

    def close(self) -> None:
        """End it; futures that have no answer yet get `Cancelled`."""
        with self._lock:
            tasks, self._tasks = self._tasks, None
            self._closed = True
        if tasks is not None:
            tasks.close()
        self._watcher.close()
        self._channel.close()

    def _told(self, trailers: dict[str, Any]) -> None:
        """The service may offer a shorter way for tasks: once for each time that it is started."""
        path, key = trailers.get("flame-task-socket-bin"), trailers.get("flame-task-key")
        if not path or not key or key == self._tasks_key:
            return
        with self._lock:
            if key == self._tasks_key or self._closed:
                return
            self._tasks_key = key
            # It must not keep this alive: a connection that is forgotten ends.
            self._tasks = TaskSocket.open(path, key.encode(), _ByWatching(self._watcher))
            if self._tasks is not None:
                weakref.finalize(self, self._tasks.close)

    def _task_socket(self, data: Optional[bytes]) -> Optional[TaskSocket]:
        """For a task with this input; None when it goes by gRPC."""
        tasks = self._tasks
        if tasks is None or not tasks.usable:
            return None
        return tasks if data is None or len(data) <= INPUT_MAX_BYTES else None

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def register_application(
        self,
        name: str,
        app_attrs: Union[ApplicationAttributes, dict[str, Any]],
        *,
        timeout: Optional[float] = None,
    ) -> None:
        """Register an application.

        Raises
        ------
        FlameError
            With the code INTERNAL and the service's words, if it refuses.
        """
        request = messages.RegisterApplicationRequest(
            name=name, application=application_spec(app_attrs)
        )
        self._command("RegisterApplication", request, "register application", timeout)

    def unregister_application(self, name: str, *, timeout: Optional[float] = None) -> None:
        """Remove an application; refused while sessions of it are open."""
        request = messages.Named(name=name)
        self._command("UnregisterApplication", request, "unregister application", timeout)

    def list_applications(self, *, timeout: Optional[float] = None) -> list[Application]:
        """All applications."""
        found = self._channel.unary(
            "ListApplication",
            messages.Empty(),
            messages.ApplicationList,
            "list applications",
            timeout=timeout,
            newer_name="ListApplications",
        )
        return [from_application(item) for item in found.applications]

    def get_application(
        self, name: str, *, timeout: Optional[float] = None
    ) -> Optional[Application]:
        """An application; None if there is none of that name."""
        try:
            found = self._channel.unary(
                "GetApplication",
                messages.Named(name=name),
                messages.Application,
                "get application",
                timeout=timeout,
            )
        except NotFound:
            return None
        return from_application(found)

    def list_executors(self, *, timeout: Optional[float] = None) -> list[messages.Executor]:
        """All instances, as the service describes them (``spec``, ``status``)."""
        found = self._channel.unary(
            "ListExecutor",
            messages.Empty(),
            messages.ExecutorList,
            "list executors",
            timeout=timeout,
            newer_name="ListExecutors",
        )
        return found.executors

    def list_nodes(self, *, timeout: Optional[float] = None) -> list[messages.Node]:
        """All machines, as the service describes them (``spec``, ``status``)."""
        found = self._channel.unary(
            "ListNodes", messages.Empty(), messages.NodeList, "list nodes", timeout=timeout
        )
        return found.nodes

    def create_session(
        self, attrs: SessionAttributes, *, timeout: Optional[float] = None
    ) -> Session:
        """Create a session; its id must be new."""
        request = messages.SessionRequest(
            session_id=attrs.id or short_name(attrs.application), session=session_spec(attrs)
        )
        found = self._channel.unary(
            "CreateSession",
            request,
            messages.Session,
            "create session",
            timeout=timeout,
            repeatable=False,
            on_trailers=self._told,
        )
        return Session(self, found)

    def open_session(
        self,
        session_id: str,
        spec: Optional[SessionAttributes] = None,
        *,
        timeout: Optional[float] = None,
    ) -> Session:
        """Open a session that is there; with `spec`, create it if it is not.

        Raises
        ------
        NotFound
            There is none, and no `spec`.
        InvalidState
            It was closed.
        InvalidArgument
            It has another specification.
        """
        request = messages.SessionRequest(
            session_id=session_id, session=None if spec is None else session_spec(spec)
        )
        found = self._channel.unary(
            "OpenSession",
            request,
            messages.Session,
            "open session",
            timeout=timeout,
            on_trailers=self._told,
        )
        return Session(self, found)

    def get_session(self, session_id: str, *, timeout: Optional[float] = None) -> Session:
        """A session, open or closed, as it is now."""
        return self._session("GetSession", session_id, "get session", timeout)

    def close_session(self, session_id: str, *, timeout: Optional[float] = None) -> Session:
        """Close a session: its waiting tasks are cancelled. Refused while a task runs."""
        return self._session("CloseSession", session_id, "close session", timeout)

    def list_sessions(self, *, timeout: Optional[float] = None) -> list[Session]:
        """All sessions, open and closed."""
        found = self._channel.unary(
            "ListSession",
            messages.Empty(),
            messages.SessionList,
            "list sessions",
            timeout=timeout,
            newer_name="ListSessions",
        )
        return [Session(self, item) for item in found.sessions]

    def _session(
        self, name: str, session_id: str, operation: str, timeout: Optional[float]
    ) -> Session:
        request = messages.SessionNamed(session_id=session_id)
        found = self._channel.unary(name, request, messages.Session, operation, timeout=timeout)
        return Session(self, found)

    def _command(self, name: str, request: Any, operation: str, timeout: Optional[float]) -> None:
        result = self._channel.unary(
            name, request, messages.Result, operation, timeout=timeout, repeatable=False
        )
        if result.return_code != 0:
            raise FlameError(
                FlameErrorCode.INTERNAL,
                result.message or f"failed to {operation}: return code {result.return_code}",
            )


class Session:
    """A session: a plain handle, with the counters of the moment when it was asked for.

    Attributes
    ----------
    id, application : str
    state : SessionState
    creation_time, completion_time : datetime
    pending, running, succeed, failed, cancelled : int
        Tasks.
    min_instances, priority : int
    max_instances : int or None
        None: as many as there is room for.
    resreq : ResourceRequirement
        Of each instance.
    events : list of Event
        Codes 1001 and 1002: an instance could not be started, and no more is tried.
    """

    def __init__(self, connection: Connection, found: messages.Session) -> None:
        spec = found.spec or messages.SessionSpec()
        status = found.status or messages.SessionStatus()
        self.connection = connection
        self.id: str = found.metadata.id if found.metadata else ""
        self.application: str = spec.application
        self.state = SessionState(status.state)
        self.creation_time: datetime = moment(status.creation_time)
        completed = status.completion_time
        self.completion_time = None if completed is None else moment(completed)
        self.pending: int = status.pending
        self.running: int = status.running
        self.succeed: int = status.succeed
        self.failed: int = status.failed
        self.cancelled: int = status.cancelled
        self.events: list[Event] = [from_event(event) for event in status.events]
        self.min_instances: int = spec.min_instances
        self.max_instances: Optional[int] = spec.max_instances
        self.priority: int = spec.priority
        wanted = spec.resreq or messages.ResourceRequirement()
        self.resreq = ResourceRequirement(wanted.cpu, wanted.memory, wanted.gpu)
        self._common_data: Optional[bytes] = spec.common_data

    def common_data(self) -> Optional[bytes]:
        """What each instance was given."""
        return self._common_data

    def create_task(self, input_data: bytes, *, timeout: Optional[float] = None) -> Task:
        """Have a task done.

        Raises
        ------
        InvalidArgument
            The input is not bytes.
        InvalidState
            The session is closed.
        """
        data = _checked(input_data)
        request = messages.CreateTaskRequest(task=messages.TaskSpec(session_id=self.id, input=data))
        found = self.connection._channel.unary(
            "CreateTask",
            request,
            messages.Task,
            "create task",
            timeout=timeout,
            repeatable=False,
            on_trailers=self.connection._told,
        )
        return from_task(found)

    def get_task(self, task_id: str, *, timeout: Optional[float] = None) -> Task:
        """A task with its events."""
        request = messages.TaskNamed(task_id=str(task_id), session_id=self.id)
        found = self.connection._channel.unary(
            "GetTask", request, messages.Task, "get task", timeout=timeout
        )
        return from_task(found)

    def list_tasks(self, *, timeout: Optional[float] = None) -> Iterator[Task]:
        """All tasks."""
        request = messages.SessionNamed(session_id=self.id)
        stream = self.connection._channel.stream(
            "ListTask", request, messages.Task, "list tasks", timeout
        )
        return (from_task(found) for found in stream)

    def watch_task(self, task_id: str, timeout: Optional[float] = None) -> TaskWatcher:
        """Iterate over a task's changes until it has ended.

        Parameters
        ----------
        timeout : float, optional
            Seconds without a change after which `Timeout` is raised.
        """
        return TaskWatcher(self, str(task_id), timeout)

    def run(
        self,
        input_data: Any,
        informer: Optional[TaskInformer] = None,
        *,
        timeout: Optional[float] = None,
    ) -> TaskFuture:
        """Have a task done, and give a future of its output.

        Parameters
        ----------
        timeout : float, optional
            Seconds to hand the task over; the future's own calls have theirs.
        """
        data = _checked(input_data)
        tasks = self.connection._task_socket(data) if informer is None else None
        if tasks is not None:
            future = TaskFuture(self.id)
            accepted: Future = Future()
            with contextlib.suppress(Lost):
                tasks.submit(self.id, data, future, accepted)
                future.task_id = _accepted(accepted, timeout)
                return future
        task = self.create_task(data, timeout=timeout)
        future = TaskFuture(self.id, task.id)
        watched = self.connection._watcher.watch(self.id, task.id)
        watched.add_done_callback(lambda done: _settle(future, done, informer))
        return future

    def run_for(self, future: Future, input_data: bytes) -> None:
        """Have a task done, and give its output, or what goes wrong, to a future.

        Whether the service takes the task is not waited for: the future tells.
        """
        data = _checked(input_data)
        tasks = self.connection._task_socket(data)
        if tasks is not None:
            with contextlib.suppress(Lost):
                tasks.submit(self.id, data, future)
                return
        task = self.create_task(data)
        _ByWatching(self.connection._watcher).explain(future, self.id, task.id)

    def invoke(self, input_data: Any, *, timeout: Optional[float] = None) -> Any:
        """Have a task done, and wait for its output.

        Raises
        ------
        TaskFailed
            Its service failed; the message is the service's.
        TaskCancelled
            The session was closed before it ran.
        Timeout
            It has not ended after `timeout` seconds; it goes on.
        """
        if input_data is None or isinstance(input_data, (bytes, bytearray, memoryview)):
            return self.run(input_data, timeout=timeout).result(timeout)
        from flamepy.runner import older  # Python objects, as the first runner took them.

        return older.invoke(self, input_data, timeout)

    def close(self, *, timeout: Optional[float] = None) -> None:
        """Close the session for everybody, see `Connection.close_session`."""
        self.connection.close_session(self.id, timeout=timeout)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<flamepy.Session {self.id} of {self.application}, {self.state.name.lower()}>"


class TaskFuture(Future):
    """A future of a task's output. Thread-safe; it gets an answer in any case.

    Attributes
    ----------
    task_id, session_id : str

    `cancel` gives the result up here; there is no call that stops a task.
    """

    def __init__(self, session_id: str, task_id: str = "") -> None:
        super().__init__()
        self.task_id = task_id
        self.session_id = session_id

    def result(self, timeout: Optional[float] = None) -> Any:
        """The output: bytes, or None.

        Raises
        ------
        TaskFailed, TaskCancelled
        Timeout
            After `timeout` seconds; the task goes on.
        """
        try:
            return super().result(timeout)
        except FutureTimeout as error:
            if self.done():
                raise
            raise self._expired(timeout) from error

    def exception(self, timeout: Optional[float] = None) -> Optional[BaseException]:
        """What `result` would raise; None if it would not."""
        try:
            return super().exception(timeout)
        except FutureTimeout as error:
            raise self._expired(timeout) from error

    def _expired(self, timeout: Optional[float]) -> Timeout:
        return Timeout(
            f"task {self.task_id} of session {self.session_id} has not ended after {timeout} s; "
            "wait longer"
        )


def _settle(future: Future, watched: Future, informer: Optional[TaskInformer] = None) -> None:
    """Give a future what came of its task, once the watcher knows it."""
    error = watched.exception()
    if not future.set_running_or_notify_cancel():
        return
    if error is not None:
        if informer is not None:
            informer.on_error(error)
        future.set_exception(error)
        return
    task = from_task(watched.result())
    if informer is not None:
        informer.on_update(task)
    if task.state == TaskState.SUCCEED:
        future.set_result(task.output)
    elif task.state == TaskState.FAILED:
        future.set_exception(TaskFailed(task.failure(), task.session_id, task.id))
    else:
        future.set_exception(
            TaskCancelled(
                f"task {task.id} of session {task.session_id} was cancelled: the session was "
                "closed before it ran"
            )
        )


class _ByWatching:
    """What comes of tasks, as the watcher finds it. Thread-safe."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def explain(self, future: Future, session_id: str, task_id: str) -> None:
        try:
            watched = self._watcher.watch(session_id, task_id)
        except FlameError as error:  # The connection was closed.
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
            return
        watched.add_done_callback(lambda done: _settle(future, done))

    def given_up(self, session_id: str) -> Future:
        return self._watcher.given_up(session_id)


def _checked(input_data: Any) -> Optional[bytes]:
    if input_data is not None and not isinstance(input_data, (bytes, bytearray, memoryview)):
        raise InvalidArgument("input_data must be bytes in core API")
    return None if input_data is None else bytes(input_data)


def _accepted(accepted: Future, timeout: Optional[float]) -> str:
    """The id of a task, when the service has it."""
    seconds = DEFAULT_TIMEOUT if timeout is None else timeout
    if not seconds > 0:
        raise InvalidArgument(f"timeout is {timeout!r}, expected seconds above 0 or None")
    try:
        return accepted.result(seconds)
    except FutureTimeout:
        raise Timeout(
            f"failed to create task: the session manager has not taken it in {seconds:g} s"
        ) from None


class TaskWatcher:
    """Iterates over a task's changes. Confined to one thread."""

    def __init__(self, session: Session, task_id: str, timeout: Optional[float]) -> None:
        request = messages.TaskNamed(task_id=task_id, session_id=session.id)
        self._what = f"task {task_id} of session {session.id}"
        self._timeout = timeout
        self._stream: Optional[Stream] = session.connection._channel.stream(
            "WatchTask", request, messages.Task, "watch task", None
        )
        self._ask = lambda: session.get_task(task_id)

    def __iter__(self) -> TaskWatcher:
        return self

    def __next__(self) -> Task:
        if self._stream is None:
            raise StopIteration
        expired = threading.Event()
        timer = None
        if self._timeout is not None:
            timer = threading.Timer(self._timeout, self._expire, [self._stream, expired])
            timer.daemon = True
            timer.start()
        try:
            task = from_task(next(self._stream))
        except StopIteration:
            task = self._ask()
            if not task.is_completed():
                raise NotFound(f"{self._what}: the service does not watch it any more") from None
        except Cancelled:
            if expired.is_set():
                raise Timeout(f"{self._what} has not changed for {self._timeout} s") from None
            raise
        finally:
            if timer is not None:
                timer.cancel()
        if task.is_completed():
            self.close()
            if task.is_failed() and not task.events:
                task = self._ask()
        return task

    def close(self) -> None:
        """Stop watching."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()

    @staticmethod
    def _expire(stream: Stream, expired: threading.Event) -> None:
        expired.set()
        stream.cancel()


def connect(
    addr: Optional[str] = None,
    tls_config: Optional[FlameClientTls] = None,
    *,
    timeout: float = 10.0,
) -> Connection:
    """Connect to a session service.

    Parameters
    ----------
    addr : str, optional
        ``http://host:port`` or ``https://host:port``; the context's by default.
    tls_config : FlameClientTls, optional
        For ``https://``; the context's by default.
    timeout : float
        Seconds until it must be reached.

    Raises
    ------
    Unavailable
        Nobody answers there.
    InvalidConfig
        The address makes no sense, or grpcio is not installed.
    """
    context = current_context()
    target = Target(context.endpoint if addr is None else addr, tls_config or context.tls)
    connection = Connection(target)
    try:
        connection._channel.connect(timeout)
    except BaseException:
        connection.close()
        raise
    return connection


_lock = threading.Lock()
_default: Optional[tuple[tuple, Connection]] = None


def default_connection() -> Connection:
    """The connection of this process, to the context's service of the moment."""
    global _default
    context = current_context()
    wanted = (context.endpoint, context.tls)
    current = _default
    if current is None or current[0] != wanted:
        with _lock:
            current = _default
            if current is None or current[0] != wanted:
                current = _default = (wanted, connect())
    return current[1]


def _after_fork() -> None:
    """gRPC's threads are the parent's: the child connects anew."""
    global _default, _lock
    _default, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def create_session(
    application: str,
    common_data: Any = None,
    session_id: Optional[str] = None,
    min_instances: int = 0,
    max_instances: Optional[int] = None,
    batch_size: int = 1,
    resreq: Optional[ResourceRequirement] = None,
    *,
    timeout: Optional[float] = None,
) -> Session:
    """Create a session of an application.

    Parameters
    ----------
    common_data : bytes or RunnerContext, optional
        Given to each instance.
    session_id : str, optional
        One is drawn if there is none.
    min_instances, max_instances : int, optional
    resreq : ResourceRequirement, optional
        Of each instance.

    Raises
    ------
    NotFound
        There is no such application.
    AlreadyExists
        There is a session of that id.
    """
    session_id = session_id or short_name(application)
    if common_data is not None and not isinstance(common_data, (bytes, bytearray, memoryview)):
        from flamepy.runner import older

        common_data = older.common_data(application, session_id, common_data)
    attributes = SessionAttributes(
        application=application,
        id=session_id,
        common_data=common_data,
        min_instances=min_instances,
        max_instances=max_instances,
        batch_size=batch_size,
        resreq=resreq,
    )
    return default_connection().create_session(attributes, timeout=timeout)


def open_session(
    session_id: str, spec: Optional[SessionAttributes] = None, *, timeout: Optional[float] = None
) -> Session:
    """See `Connection.open_session`."""
    return default_connection().open_session(session_id, spec, timeout=timeout)


def get_session(session_id: str, *, timeout: Optional[float] = None) -> Session:
    """See `Connection.get_session`."""
    return default_connection().get_session(session_id, timeout=timeout)


def close_session(session_id: str, *, timeout: Optional[float] = None) -> Session:
    """See `Connection.close_session`."""
    return default_connection().close_session(session_id, timeout=timeout)


def list_sessions(*, timeout: Optional[float] = None) -> list[Session]:
    """See `Connection.list_sessions`."""
    return default_connection().list_sessions(timeout=timeout)


def register_application(
    name: str,
    app_attrs: Union[ApplicationAttributes, dict[str, Any]],
    *,
    timeout: Optional[float] = None,
) -> None:
    """See `Connection.register_application`."""
    default_connection().register_application(name, app_attrs, timeout=timeout)


def unregister_application(name: str, *, timeout: Optional[float] = None) -> None:
    """See `Connection.unregister_application`."""
    default_connection().unregister_application(name, timeout=timeout)


def get_application(name: str, *, timeout: Optional[float] = None) -> Optional[Application]:
    """See `Connection.get_application`."""
    return default_connection().get_application(name, timeout=timeout)


def list_applications(*, timeout: Optional[float] = None) -> list[Application]:
    """See `Connection.list_applications`."""
    return default_connection().list_applications(timeout=timeout)


def list_executors(*, timeout: Optional[float] = None) -> list[messages.Executor]:
    """See `Connection.list_executors`."""
    return default_connection().list_executors(timeout=timeout)


def list_nodes(*, timeout: Optional[float] = None) -> list[messages.Node]:
    """See `Connection.list_nodes`."""
    return default_connection().list_nodes(timeout=timeout)
