"""Turns what Arrow Flight raises into the exceptions of `errors`: the only place that does.

Our server ends a message in ``[flame:<code> <name>=<value>...]`` and puts the same facts
in error documents; other servers tell no more than a gRPC code.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

import pyarrow as pa
from pyarrow import flight

from flamepy.core import errors, tls
from flamepy.core.errors import FlameError

__all__ = ["connection_lost", "from_document", "never_begun", "translate", "translated", "writing"]

_BY_CODE: dict[str, type[FlameError]] = {
    "invalid": errors.InvalidArgument,
    "not_found": errors.NotFound,
    "conflict": errors.VersionConflict,
    "wrong_kind": errors.WrongKind,
    "too_large": errors.TooLarge,
    "too_many_patches": errors.TooManyPatches,
    "exhausted": errors.ResourceExhausted,
    "read_only": errors.ResourceExhausted,
    "corrupt": errors.Corrupt,
    "io": errors.InternalError,
    "unknown_outcome": errors.UnknownOutcome,
    "timeout": errors.Timeout,
    "cancelled": errors.Cancelled,
    "unavailable": errors.Unavailable,
    "not_owner": errors.Unavailable,
    "not_ready": errors.Unavailable,
    "lost": errors.Unavailable,
}

_BY_EXCEPTION: tuple[tuple[type, type[FlameError], str], ...] = (
    (pa.ArrowKeyError, errors.NotFound, "put it first"),
    (pa.ArrowNotImplementedError, errors.InvalidArgument, "the server does not offer this"),
    (
        flight.FlightUnavailableError,
        errors.Unavailable,
        "check the endpoint and that the server runs",
    ),
    (
        flight.FlightTimedOutError,
        errors.Timeout,
        "pass a larger timeout=, or look at the server's load",
    ),
    (flight.FlightCancelledError, errors.Cancelled, "try again"),
    (pa.ArrowInvalid, errors.InvalidArgument, "correct the request"),
)
_OTHERWISE = (errors.InternalError, "see the server's log")

_TAG = "[flame:"
_NOISE = ("gRPC client debug context:", "Client context:", "Additionally, could not", "Detail:")
_NOT_CONNECTED = "failed to connect to all addresses"
_LEADS = ("with message: ", "Unknown: ")


def translate(
    error: BaseException, operation: str, endpoint: str = "", has_certificate: bool = False
) -> FlameError:
    """The exception of this package that tells what `error` means.

    Parameters
    ----------
    error : BaseException
        Raised by pyarrow.
    operation : str
        What was tried, ``get app/session/object`` for example.
    endpoint : str
        Where, if that is known.
    has_certificate : bool
        Whether the client has shown one of its own.
    """
    text = _own_words(str(error.args[0]) if error.args else str(error))
    tag = text.rfind(_TAG)
    if tag >= 0:
        code, *pairs = text[tag + len(_TAG) :].partition("]")[0].split()
        details = dict(pair.partition("=")[::2] for pair in pairs)
        return _make(code, text[:tag].rstrip(), details.get("outcome"), details.get("version"))
    if isinstance(error, flight.FlightUnavailableError):
        about_tls = tls.explain(text, operation, endpoint, has_certificate)
        if about_tls is not None:
            return about_tls
    kind, advice = next(
        (entry[1:] for entry in _BY_EXCEPTION if isinstance(error, entry[0])), _OTHERWISE
    )
    return kind(f"{operation}: {text}; {advice}")  # type: ignore[call-arg]


def from_document(document: dict, operation: str) -> FlameError:
    """The exception for an error document of our server."""
    return _make(
        str(document.get("code")),
        str(document.get("message") or operation),
        document.get("outcome"),
        document.get("version"),
    )


@contextmanager
def translated(operation: str, endpoint: str = "", has_certificate: bool = False) -> Iterator[None]:
    """Raise what pyarrow raises inside as an exception of this package."""
    try:
        yield
    except FlameError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise translate(error, operation, endpoint, has_certificate) from error


@contextmanager
def writing() -> Iterator[None]:
    """Mark errors inside with ``outcome="unknown"`` where the server did not tell."""
    try:
        yield
    except (errors.Timeout, errors.Unavailable, errors.Cancelled, errors.InternalError) as error:
        nothing_sent = isinstance(error, errors.TlsError)
        error.outcome = error.outcome or ("not_applied" if nothing_sent else "unknown")
        raise


def connection_lost(error: BaseException) -> bool:
    """Whether no server answered: another try on a new connection may find one."""
    cause = error.__cause__
    return (
        isinstance(error, errors.Unavailable)
        and isinstance(cause, flight.FlightUnavailableError)
        and _TAG not in str(cause)
    )


def never_begun(error: BaseException, private: bool) -> bool:
    """Whether no server can have begun the call, so that it may be made again in any case.

    Parameters
    ----------
    private : bool
        The server is one that ends by itself: then what it refused because it ends counts.
    """
    if not isinstance(error, errors.Unavailable):
        return False
    cause = error.__cause__
    if _TAG in str(cause):
        return private and error.outcome == "not_applied"
    return isinstance(cause, flight.FlightUnavailableError) and _NOT_CONNECTED in str(cause)


def _make(code: str, message: str, outcome: Optional[str], version: object) -> FlameError:
    kind = _BY_CODE.get(code, errors.InternalError)
    if kind is errors.VersionConflict:
        return errors.VersionConflict(
            message, None if version is None else int(str(version)), outcome=outcome
        )
    return kind(message, outcome=outcome)  # type: ignore[call-arg]


def _own_words(text: str) -> str:
    """The message without what gRPC and Arrow wrap around it."""
    for noise in _NOISE:
        text = text.partition(noise)[0]
    for lead in _LEADS:
        start = text.find(lead)
        if start >= 0:
            text = text[start + len(lead) :]
    return text.strip().rstrip(".")
