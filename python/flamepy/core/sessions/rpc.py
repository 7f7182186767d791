"""Calls of the session service: one channel, time-outs, errors of ours.

grpcio is imported when the first channel is made: clients of the object cache need none.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional, TypeVar
from urllib.parse import urlsplit

from flamepy.core.context import FlameClientTls
from flamepy.core.errors import (
    AlreadyExists,
    Cancelled,
    FlameError,
    InternalError,
    InvalidArgument,
    InvalidConfig,
    InvalidState,
    NotFound,
    NotSupported,
    ResourceExhausted,
    Timeout,
    TlsError,
    Unavailable,
)
from flamepy.core.sessions.wire import Message
from flamepy.core.tls import explain

__all__ = [
    "DEFAULT_TIMEOUT",
    "FRONTEND",
    "Channel",
    "Target",
    "error_of",
    "grpc_module",
    "translate",
]

FRONTEND = "/flame.v1.Frontend/"
DEFAULT_TIMEOUT = 60.0
"""Seconds for a call that is given no time."""

_DEFAULT_PORT = 8080
_CONNECT_SECONDS = 10.0
_TLS_SECONDS = 2.0
"""After so long without a connection we look whether TLS is the reason."""
_PAUSE_SECONDS = 0.05
_MAX_PAUSE_SECONDS = 1.0

M = TypeVar("M", bound=Message)


def grpc_module() -> Any:
    """The module grpc.

    Raises
    ------
    InvalidConfig
        It is not installed.
    """
    # It would tell of every lost connection on standard error; whoever wants that, sets it.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        import grpc
    except ImportError as error:
        raise InvalidConfig(
            f"sessions need grpcio, which cannot be imported ({error}): pip install 'flamepy[runner]'"
        ) from error
    return grpc


class Target:
    """Where a session service is, and how it is reached. Immutable.

    Parameters
    ----------
    address : str
        ``http://host:port`` (plain), ``https://host:port`` (TLS), or ``unix:///path``.
    tls : FlameClientTls, optional
    """

    def __init__(self, address: str, tls: Optional[FlameClientTls]) -> None:
        if not address:
            raise InvalidConfig("address cannot be empty; set FLAME_ENDPOINT=http://host:port")
        self.address = address
        if "://" not in address:
            address = f"http://{address}"
        parts = urlsplit(address)
        try:
            port = parts.port or _DEFAULT_PORT
        except ValueError as error:
            raise InvalidConfig(f"{self.address}: {error}") from None
        self.is_secure = parts.scheme in ("https", "grpcs")
        if parts.scheme == "unix":
            self.name = f"unix:{parts.path}"
        elif parts.hostname and parts.scheme in ("http", "https", "grpc", "grpcs"):
            host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
            self.name = f"{host}:{port}"
        else:
            raise InvalidConfig(f"{self.address} is not of the form http://host:port")
        self.tls = tls
        self.options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2000),
            # Notices a machine that is gone. More often, servers take pings for an attack.
            ("grpc.keepalive_time_ms", 330_000),
            ("grpc.keepalive_timeout_ms", 20_000),
        ]
        if parts.scheme == "unix" or parts.hostname in ("localhost", "127.0.0.1", "::1"):
            self.options.append(("grpc.enable_http_proxy", 0))

    def open(self, module: Any) -> Any:
        """A channel of `module`: grpc, or grpc.aio."""
        if not self.is_secure:
            return module.insecure_channel(self.name, options=self.options)
        return module.secure_channel(self.name, self._credentials(), options=self.options)

    def _credentials(self) -> Any:
        files = self.tls or FlameClientTls()

        def read(path: Optional[str]) -> Optional[bytes]:
            try:
                return None if path is None else Path(path).read_bytes()
            except OSError as error:
                raise InvalidConfig(f"cannot read {path}: {error.strerror}") from error

        return grpc_module().ssl_channel_credentials(
            read(files.ca_file), read(files.key_file), read(files.cert_file)
        )


class Channel:
    """A connection to a session service. Thread-safe; errors leave it translated."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._grpc = grpc_module()
        self._channel = target.open(self._grpc)
        self._calls: dict[tuple[str, type], Any] = {}
        self._other_names: dict[str, str] = {}

    def connect(self, seconds: float = _CONNECT_SECONDS) -> None:
        """Wait until the service can be reached.

        Raises
        ------
        Unavailable
            `TlsError` where that is the reason, which waiting would not change.
        """
        end = time.monotonic() + seconds
        ready = self._grpc.channel_ready_future(self._channel)
        while (left := end - time.monotonic()) > 0:
            try:
                return ready.result(timeout=min(left, _TLS_SECONDS))
            except self._grpc.FutureTimeoutError:
                if (error := self._tls_failure()) is not None:
                    ready.cancel()
                    raise error from None
        ready.cancel()
        raise Unavailable(
            f"timeout connecting to {self.target.address}: nobody answers there; is the session "
            "manager running? FLAME_ENDPOINT or cluster.endpoint says where"
        )

    def _tls_failure(self) -> Optional[TlsError]:
        """Why the channel is not ready, if TLS is the matter: a call that does not wait says it."""
        if not self.target.is_secure:
            return None
        address = self.target.address
        call = self._channel.unary_unary(FRONTEND + "ListNodes")
        try:
            call(b"", timeout=_TLS_SECONDS)
        except self._grpc.RpcError as error:
            has_certificate = self.target.tls is not None and bool(self.target.tls.cert_file)
            # In the words that Flight clients have for it.
            endpoint = address.replace("https://", "grpc+tls://", 1)
            return explain(
                error.details() or "", f"connect to {address}", endpoint, has_certificate
            )
        return None

    def unary(
        self,
        name: str,
        request: Message,
        reply: type[M],
        operation: str,
        *,
        timeout: Optional[float] = None,
        repeatable: bool = True,
        newer_name: Optional[str] = None,
        on_trailers: Optional[Callable[[dict[str, Any]], None]] = None,
    ) -> M:
        """One request, one reply.

        Parameters
        ----------
        operation : str
            What was tried: ``failed to <operation>: ...`` is the error's text.
        timeout : float, optional
            Seconds, repetitions included.
        repeatable : bool
            Try again while the service cannot be reached.
        newer_name : str, optional
            What newer servers call it.
        on_trailers : callable, optional
            Is told what the server says beside its reply.
        """
        seconds = DEFAULT_TIMEOUT if timeout is None else timeout
        if not seconds > 0:
            raise InvalidArgument(f"timeout is {timeout!r}, expected seconds above 0 or None")
        end = time.monotonic() + seconds
        pause = _PAUSE_SECONDS
        body = request.encode()
        while True:
            left = max(0.001, end - time.monotonic())
            try:
                call = self._unary(self._other_names.get(name, name))
                if on_trailers is None:
                    return reply.decode(call(body, timeout=left, wait_for_ready=True))
                answer, done = call.with_call(body, timeout=left, wait_for_ready=True)
                on_trailers(dict(done.trailing_metadata() or ()))
                return reply.decode(answer)
            except self._grpc.RpcError as error:
                code = error.code()
                if (
                    code is self._grpc.StatusCode.UNIMPLEMENTED
                    and newer_name is not None
                    and name not in self._other_names
                ):
                    self._other_names[name] = newer_name
                    continue
                lost = code is self._grpc.StatusCode.UNAVAILABLE
                if lost and repeatable and end - time.monotonic() > pause:
                    time.sleep(pause)
                    pause = min(pause * 2, _MAX_PAUSE_SECONDS)
                    continue
                raise translate(error, operation, self.target.address) from None
            except ValueError as error:  # The channel was closed by another thread.
                raise Unavailable(f"failed to {operation}: {error}") from None

    def stream(
        self, name: str, request: Message, reply: type[M], operation: str, timeout: Optional[float]
    ) -> Stream:
        """One request, many replies."""
        key = (name, reply)
        call = self._calls.get(key)
        if call is None:
            call = self._calls[key] = self._channel.unary_stream(_path(name))
        started = call(request.encode(), timeout=timeout, wait_for_ready=True)
        return Stream(started, reply, operation, self.target.address)

    def close(self) -> None:
        """End all calls."""
        self._channel.close()

    def _unary(self, name: str) -> Any:
        key = (name, Message)
        call = self._calls.get(key)
        if call is None:
            call = self._calls[key] = self._channel.unary_unary(_path(name))
        return call


class Stream:
    """Replies as they arrive. Confined to one thread, except for `cancel`."""

    def __init__(self, call: Any, reply: type[Message], operation: str, address: str) -> None:
        self._call = call
        self._reply = reply
        self._operation = operation
        self._address = address

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return self._reply.decode(next(self._call))
        except StopIteration:
            raise
        except grpc_module().RpcError as error:
            raise translate(error, self._operation, self._address) from None

    def cancel(self) -> None:
        """End it; a thread that waits gets `Cancelled`."""
        with contextlib.suppress(Exception):
            self._call.cancel()


def _path(name: str) -> str:
    """Of a call of the Frontend; other services' are written in full."""
    return name if name.startswith("/") else FRONTEND + name


def translate(error: Any, operation: str, address: str) -> FlameError:
    """The exception of this package that a gRPC error means."""
    code = error.code()
    name = code.name if code is not None else "UNKNOWN"
    return _error_named(name, error.details() or name, operation, address)


def error_of(code: int, details: str, operation: str) -> FlameError:
    """The exception that a code of gRPC's, as a number, means."""
    name = next((item.name for item in grpc_module().StatusCode if item.value[0] == code), "")
    return _error_named(name, details, operation, "the task socket")


def _error_named(name: str, details: str, operation: str, address: str) -> FlameError:
    text = f"failed to {operation}: {details}"
    if name == "INVALID_ARGUMENT" and "not open" in details:
        return InvalidState(f"{text}; open another one")
    if name == "DEADLINE_EXCEEDED":
        return Timeout(f"failed to {operation}: no answer from {address} in time; {details}")
    if name == "UNAVAILABLE":
        return Unavailable(f"{text}; is the session manager at {address} running?")
    return _BY_CODE.get(name, InternalError)(text)


_BY_CODE: dict[str, Any] = {
    "NOT_FOUND": NotFound,
    "ALREADY_EXISTS": AlreadyExists,
    "INVALID_ARGUMENT": InvalidArgument,
    "FAILED_PRECONDITION": InvalidState,
    "RESOURCE_EXHAUSTED": ResourceExhausted,
    "CANCELLED": Cancelled,
    "UNIMPLEMENTED": NotSupported,
}
