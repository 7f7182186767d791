"""The other side: a service that the executor starts, and calls on a Unix socket.

The executor tells the socket in ``FLAME_INSTANCE_ENDPOINT``, waits until it is there, and calls
`on_session_enter` once, `on_task_invoke` for one task after the other, `on_session_leave` once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import threading
import traceback
from concurrent import futures
from dataclasses import dataclass
from typing import Any, Callable, Optional

from flamepy.core.errors import InvalidConfig, Unavailable
from flamepy.core.sessions import messages
from flamepy.core.sessions.rpc import grpc_module
from flamepy.core.sessions.wire import Message

__all__ = [
    "FLAME_INSTANCE_ENDPOINT",
    "FLAME_INSTANCE_PIPE",
    "ApplicationContext",
    "FlameService",
    "InstanceServer",
    "SessionContext",
    "TaskContext",
    "run",
]

FLAME_INSTANCE_ENDPOINT = "FLAME_INSTANCE_ENDPOINT"
FLAME_INSTANCE_PIPE = "FLAME_INSTANCE_PIPE"
"""Set to 1 by executors that bring tasks on a socket of their own, if there is one."""

_SERVICE = "flame.v1.Instance"
_LENGTH = struct.Struct("<I")
_THREADS = 10

logger = logging.getLogger(__name__)


@dataclass
class ApplicationContext:
    """The application that a session belongs to."""

    name: str
    image: Optional[str] = None
    command: Optional[str] = None
    working_directory: Optional[str] = None
    url: Optional[str] = None
    installer: Optional[str] = None


@dataclass
class SessionContext:
    """The session that this process works for."""

    _common_data: Optional[bytes]
    session_id: str
    application: ApplicationContext

    def common_data(self) -> Optional[bytes]:
        """What the session was created with."""
        return self._common_data


@dataclass
class TaskContext:
    """One task."""

    task_id: str
    session_id: str
    input: Optional[bytes] = None


class FlameService:
    """Base of services: override what you need.

    The methods are called one at a time. An exception fails the session's start, or the task;
    its text is what the caller sees.
    """

    def on_session_enter(self, context: SessionContext) -> None:
        """The session begins."""

    def on_task_invoke(self, context: TaskContext) -> Optional[bytes]:
        """Do a task; the result is its output."""
        raise NotImplementedError("the service does not say what a task is")

    def on_session_leave(self) -> None:
        """The session has ended; the process is stopped next."""


class InstanceServer:
    """Serves a `FlameService` on a Unix socket.

    Parameters
    ----------
    service : FlameService
    endpoint : str, optional
        Path of the socket; that of ``FLAME_INSTANCE_ENDPOINT`` by default.

    Raises
    ------
    InvalidConfig
        Neither says where, or the path is too long for a socket.
    """

    def __init__(self, service: FlameService, endpoint: Optional[str] = None) -> None:
        path = endpoint or os.environ.get(FLAME_INSTANCE_ENDPOINT)
        if not path:
            raise InvalidConfig(
                "FLAME_INSTANCE_ENDPOINT not found: a service is started by the executor, which "
                "sets it to the path of a socket"
            )
        self.path = path[len("unix://") :] if path.startswith("unix://") else path
        if len(self.path.encode()) > 107:
            raise InvalidConfig(f"{self.path} has more bytes than a Unix socket's path may have")
        self._service = service
        pipe = os.environ.get(FLAME_INSTANCE_PIPE) == "1" and len(self.path.encode()) < 106
        self._pipe_path = f"{self.path}.t" if pipe else None
        self._lock = threading.Lock()  # Services are not thread-safe.
        self._newer = False  # The caller expects the newer replies.
        grpc = grpc_module()
        self._server = grpc.server(
            futures.ThreadPoolExecutor(_THREADS, thread_name_prefix="flame-instance"),
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
            ],
        )
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                handler, request_deserializer=request.decode, response_serializer=Message.encode
            )
            for name, handler, request in (
                ("OnSessionEnter", self._enter, messages.SessionContext),
                ("OnTaskInvoke", self._invoke, messages.TaskContext),
                ("OnSessionLeave", self._leave, messages.Empty),
            )
        }
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_SERVICE, handlers),)
        )

    def start(self) -> None:
        """Listen; returns at once."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        # Only this user may call: whoever can, runs code here.
        before = os.umask(0o177)
        try:
            bound = self._server.add_insecure_port(f"unix://{os.path.abspath(self.path)}")
        except RuntimeError as error:
            raise Unavailable(f"cannot listen on {self.path}: {error}") from None
        finally:
            os.umask(before)
        if not bound:
            raise Unavailable(f"cannot listen on {self.path}")
        if self._pipe_path is not None:
            self._open_pipe(self._pipe_path)
        self._server.start()

    def _open_pipe(self, path: str) -> None:
        """Take tasks from a second socket, too: frames cost a fraction of a gRPC call."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        listener.listen(1)
        threading.Thread(
            target=self._serve_pipe, args=(listener,), name="flame-tasks", daemon=True
        ).start()

    def _serve_pipe(self, listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(ConnectionError):
                self._serve_frames(connection)

    def _serve_frames(self, connection: socket.socket) -> None:
        reading = connection.makefile("rb")
        while True:
            head = reading.read(_LENGTH.size)
            if len(head) < _LENGTH.size:
                return
            request = messages.TaskContext.decode(reading.read(_LENGTH.unpack(head)[0]))
            answer = self._invoke(request, None).encode()
            connection.sendall(_LENGTH.pack(len(answer)) + answer)

    def wait(self) -> None:
        """Block until the server was stopped."""
        self._server.wait_for_termination()

    def stop(self, grace: float = 1.0) -> None:
        """Stop; calls that are under way have `grace` seconds."""
        self._server.stop(grace).wait()

    def _enter(self, request: messages.SessionContext, _: Any) -> Message:
        application = request.application or messages.ApplicationContext()
        self._newer = request.workspace is not None or application.workspace is not None
        context = SessionContext(
            request.common_data,
            request.session_id,
            ApplicationContext(
                application.name,
                application.image,
                application.command,
                application.working_directory,
                application.url,
                application.installer,
            ),
        )
        return self._answer("session enter", lambda: self._service.on_session_enter(context))

    def _leave(self, _request: messages.Empty, _: Any) -> Message:
        return self._answer("session leave", self._service.on_session_leave)

    def _invoke(self, request: messages.TaskContext, _: Any) -> Message:
        context = TaskContext(request.task_id, request.session_id, request.input)
        try:
            with self._lock:
                output = self._service.on_task_invoke(context)
            if output is not None and not isinstance(output, (bytes, bytearray, memoryview)):
                raise TypeError(
                    f"on_task_invoke returned {type(output).__name__}, expected bytes or None"
                )
            output = None if output is None else bytes(output)
            result = messages.TaskResult(return_code=0, output=output)
        except BaseException as error:  # What is no Exception gRPC would never answer.
            logger.debug("task %s failed", request.task_id, exc_info=True)
            result = messages.TaskResult(return_code=-1, message=_text_of(error))
        return messages.TaskInvokeResponse(task_result=result) if self._newer else result

    def _answer(self, what: str, hook: Callable[[], Any]) -> Message:
        try:
            with self._lock:
                hook()
            result = messages.Result(return_code=0)
        except BaseException as error:
            logger.error("%s failed: %s", what, "".join(traceback.format_exc()))
            result = messages.Result(return_code=-1, message=_text_of(error))
        return messages.SessionEnterResponse(result=result) if self._newer_reply(what) else result

    def _newer_reply(self, what: str) -> bool:
        return self._newer and what == "session enter"


def _text_of(error: BaseException) -> str:
    if not isinstance(error, Exception):
        return f"{type(error).__name__}: {error}"
    return str(error) or type(error).__name__


def run(service: FlameService) -> None:
    """Serve a service where the executor wants it, until this process is stopped."""
    server = InstanceServer(service)
    server.start()
    server.wait()
