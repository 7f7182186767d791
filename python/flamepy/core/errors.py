"""What can go wrong, as exceptions.

Every error of this package derives from :class:`FlameError`, and from the builtin that
Python code would expect in its place, so ``except KeyError`` and ``except TimeoutError``
work. A message says what was tried on which key, why it failed, and what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Optional

__all__ = [
    "AlreadyExists",
    "BatchError",
    "Cancelled",
    "ClientClosed",
    "Corrupt",
    "DecodeError",
    "FlameError",
    "FlameErrorCode",
    "InternalError",
    "InvalidArgument",
    "InvalidConfig",
    "InvalidKey",
    "InvalidState",
    "NoInstance",
    "NotFound",
    "NotSupported",
    "PickleRefused",
    "ResourceExhausted",
    "TaskCancelled",
    "TaskFailed",
    "Timeout",
    "TlsError",
    "TooLarge",
    "TooManyPatches",
    "Unavailable",
    "UnknownOutcome",
    "VersionConflict",
    "WrongKind",
]


class FlameErrorCode(IntEnum):
    """Coarse classes of errors; 0 to 5 are those of flamepy 0.6."""

    INVALID_CONFIG = 0
    INVALID_STATE = 1
    INVALID_ARGUMENT = 2
    INTERNAL = 3
    ALREADY_EXISTS = 4
    NOT_FOUND = 5
    VERSION_CONFLICT = 6
    TIMEOUT = 7
    UNAVAILABLE = 8
    RESOURCE_EXHAUSTED = 9
    CANCELLED = 10


class FlameError(Exception):
    """Base of all errors of this package.

    Attributes
    ----------
    code : FlameErrorCode
    message : str
    outcome : str or None
        After a failed write: ``"not_applied"`` (the object is as it was) or ``"unknown"``
        (read it before you write again); None when the question does not arise.

    Examples
    --------
    >>> error = FlameError(FlameErrorCode.INTERNAL, "the disk failed")
    >>> print(error)
    the disk failed
    >>> error.code.name
    'INTERNAL'
    """

    outcome: Optional[str] = None

    def __init__(self, code: FlameErrorCode, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


class _CodedError(FlameError):
    """An error whose class implies its code."""

    _code: FlameErrorCode

    def __init__(self, message: str, *, outcome: Optional[str] = None) -> None:
        super().__init__(self._code, message)
        self.args = (message,)  # What unpickling passes to this constructor.
        if outcome is not None:
            self.outcome = outcome

    def __str__(self) -> str:  # KeyError would show the repr of the message.
        return self.message


class NotFound(_CodedError, KeyError):
    """The key has no object: never put, deleted, or evicted from a memory-only server."""

    _code = FlameErrorCode.NOT_FOUND


class VersionConflict(_CodedError):
    """``if_version`` was not the newest version: somebody else has written since.

    Read the object again, redo the change, and retry with the version that you read.

    Attributes
    ----------
    current_version : int or None
        The newest version; 0 when the key is absent, None when the server did not say.
    """

    _code = FlameErrorCode.VERSION_CONFLICT

    def __init__(
        self, message: str, current_version: Optional[int] = None, *, outcome: Optional[str] = None
    ) -> None:
        super().__init__(message, outcome=outcome)
        self.args = (message, current_version)
        self.current_version = current_version


class Timeout(_CodedError, TimeoutError):
    """No answer within ``timeout`` seconds; a write may or may not have been applied."""

    _code = FlameErrorCode.TIMEOUT


class Unavailable(_CodedError, ConnectionError):
    """The server cannot be reached, or is shutting down."""

    _code = FlameErrorCode.UNAVAILABLE


class TlsError(Unavailable):
    """Client and server could not agree on a secure connection: nothing was sent.

    Attributes
    ----------
    reason : str or None
        ``"untrusted"``, ``"expired"``, ``"not_yet_valid"``, ``"wrong_host"``: the server's
        certificate is not accepted here. ``"client_certificate"``: the server wants one
        from us, or does not accept ours. ``"server_without_tls"``, ``"client_without_tls"``:
        only one of the two speaks TLS.
    """

    def __init__(
        self, message: str, reason: Optional[str] = None, *, outcome: Optional[str] = None
    ) -> None:
        super().__init__(message, outcome=outcome)
        self.args = (message, reason)
        self.reason = reason


class ResourceExhausted(_CodedError):
    """The server is out of memory budget or disk space; free some or try later."""

    _code = FlameErrorCode.RESOURCE_EXHAUSTED


class InvalidArgument(_CodedError, ValueError):
    """The request is malformed; sending it again cannot help."""

    _code = FlameErrorCode.INVALID_ARGUMENT


class InvalidKey(InvalidArgument):
    """A key or prefix does not follow ``app/session`` or ``app/session/object``."""


class NotSupported(InvalidArgument, NotImplementedError):
    """The server that was asked does not offer this, a Flame 0.6 server for example."""


class WrongKind(InvalidArgument):
    """The object is of another kind: opaque patch of a table, rows of another schema..."""


class TooLarge(InvalidArgument):
    """Over a limit of the server, or over what the client's format can carry."""


class TooManyPatches(InvalidArgument):
    """An object holds at most 1,000 patches; merge them with ``update_object``."""


class InvalidConfig(_CodedError, ValueError):
    """The client's configuration file or environment makes no sense."""

    _code = FlameErrorCode.INVALID_CONFIG


class InternalError(_CodedError):
    """The server failed in a way that is not the caller's fault; its log says more."""

    _code = FlameErrorCode.INTERNAL


class Corrupt(InternalError):
    """Stored bytes do not match their checksum; put the object anew."""


class UnknownOutcome(InternalError):
    """A write was sent twice and the server can no longer tell whether the first one held."""


class DecodeError(_CodedError, ValueError):
    """The object's bytes are not what their format says."""

    _code = FlameErrorCode.INTERNAL


class Cancelled(_CodedError):
    """The call was cancelled before it ended."""

    _code = FlameErrorCode.CANCELLED


class ClientClosed(_CodedError, RuntimeError):
    """The client was closed; its calls are over."""

    _code = FlameErrorCode.INVALID_STATE


class AlreadyExists(_CodedError):
    """A session or an application of this name is there already."""

    _code = FlameErrorCode.ALREADY_EXISTS


class InvalidState(_CodedError):
    """The session is not open, or its application takes no sessions."""

    _code = FlameErrorCode.INVALID_STATE


class TaskFailed(_CodedError):
    """A task's service failed; the message is the service's.

    Attributes
    ----------
    task_id, session_id : str or None
    remote_traceback : str or None
        Where it failed there, if the service tells.
    """

    _code = FlameErrorCode.INTERNAL

    def __init__(
        self,
        message: str,
        session_id: Optional[str] = None,
        task_id: Optional[str] = None,
        remote_traceback: Optional[str] = None,
        *,
        outcome: Optional[str] = None,
    ) -> None:
        super().__init__(message, outcome=outcome)
        self.args = (message, session_id, task_id, remote_traceback)
        self.session_id = session_id
        self.task_id = task_id
        self.remote_traceback = remote_traceback


class NoInstance(_CodedError):
    """No instance of the session could be started, and no more is tried: its task never runs.

    The message is that of the last attempt. The session stays open; close it.
    """

    _code = FlameErrorCode.INTERNAL


class TaskCancelled(Cancelled):
    """A task was cancelled before it ran: its session was closed, or its future cancelled."""


class PickleRefused(_CodedError, ValueError):
    """Reading this object needs unpickling, which can run code, and that is not allowed."""

    _code = FlameErrorCode.INVALID_STATE


class BatchError(FlameError):
    """Some items of `put_many` or `get_many` failed, and ``on_error="raise"`` was asked for.

    Attributes
    ----------
    results : list of ItemResult
        Of all items, also of those that succeeded.
    exceptions : tuple of Exception
        The errors among them, in the order of the items.
    """

    def __init__(
        self, message: str, results: Sequence[Any] = (), *, outcome: Optional[str] = None
    ) -> None:
        self.results = list(results)
        self.exceptions = tuple(r.error for r in self.results if r.error is not None)
        first = self.exceptions[0] if self.exceptions else None
        code = first.code if isinstance(first, FlameError) else FlameErrorCode.INTERNAL
        super().__init__(code, message)
        self.outcome = outcome
        self.args = (message, self.results)  # What unpickling passes to this constructor.
