"""The bytes of calls and results: pickles in the published client's form, with our additions.

Additions are attributes that the published client's classes carry along and ignore, and one more
element in the reference that a worker of ours returns to a client of ours, and to nobody else.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any, Callable, Optional

import bson
import cloudpickle

from flamepy.core import payload
from flamepy.core.errors import InvalidArgument
from flamepy.core.refs import ObjectRef
from flamepy.runner.types import RunnerContext, RunnerRequest

__all__ = [
    "INLINE_MAX_BYTES",
    "NOTHING",
    "Answer",
    "Riding",
    "answer",
    "dumps",
    "failure_text",
    "is_pickle",
    "loads",
    "map_nested",
    "mark",
    "marks",
    "nested",
    "read_answer",
    "split_failure",
]

INLINE_MAX_BYTES = 64 << 10
"""Results up to so many bytes ride along with the answer."""

NOTHING = object()
"""No result rides along."""

_PROTOCOL = 5
_PICKLED = b"FLM\x00"
_MARKS = "_flame"
_INLINE = "inline"
_TRACEBACK = "\n\n--- remote traceback ---\n"
_TRACEBACK_MAX = 16_000
_DEPTH = 10


def dumps(obj: Any) -> bytes:
    """Pickle; functions and classes of ``__main__`` go by value."""
    return cloudpickle.dumps(obj, protocol=_PROTOCOL)


def loads(data: Any, kind: type) -> Any:
    """Unpickle, and check what it is.

    Raises
    ------
    InvalidArgument
        It is something else.
    """
    found = cloudpickle.loads(data)
    if not isinstance(found, kind):
        raise InvalidArgument(f"expected a {kind.__name__}, got {type(found).__name__}")
    if isinstance(found, (RunnerContext, RunnerRequest)):
        found.__post_init__()  # Whoever made it may not have checked.
    return found


def mark(request: RunnerRequest) -> RunnerRequest:
    """Tell a worker of ours that a client of ours asks."""
    vars(request)[_MARKS] = {"inline": INLINE_MAX_BYTES, "traceback": True}
    return request


def marks(request: RunnerRequest) -> dict[str, Any]:
    """What a client of ours has asked for; empty from others."""
    found = vars(request).get(_MARKS)
    return found if isinstance(found, dict) else {}


class Riding:
    """A small result as an argument of another call: unpickled, it is the object itself."""

    def __init__(self, pickled: bytes) -> None:
        self._pickled = pickled

    def __reduce__(self) -> Any:
        return pickle.loads, (self._pickled,)


class Answer:
    """What a task returned: a reference, and the encoded result if it is small.

    Attributes
    ----------
    inline : bytes or None
    """

    def __init__(self, document: dict[str, Any]) -> None:
        inline = document.get(_INLINE)
        self.inline: Optional[bytes] = None if inline is None else bytes(inline)
        self._document = document

    @property
    def ref(self) -> ObjectRef:
        """Of version 0 while only the worker knows whether the result is in the cache.

        Raises
        ------
        InvalidArgument
            The answer names no object.
        """
        return ObjectRef.from_document(self._document)

    def value(self) -> Any:
        """The result that rode along, or `NOTHING`."""
        return NOTHING if self.inline is None else payload.decode(self.inline, copy=True)

    def riding(self) -> Optional[Riding]:
        """The result that rode along as an argument, without unpickling it here."""
        if self.inline is None or not self.inline.startswith(_PICKLED):
            return None
        return Riding(self.inline[len(_PICKLED) :])


def answer(ref: ObjectRef, inline: Optional[bytes]) -> bytes:
    """The bytes of an answer."""
    if inline is None:
        return ref.encode()
    return bson.encode({**ref.to_document(), _INLINE: inline})


def read_answer(data: Optional[bytes]) -> Answer:
    """Read an answer.

    Raises
    ------
    InvalidArgument
        A service that is no runner has answered.
    """
    if data is None:
        raise InvalidArgument("the task returned nothing; its service is no runner")
    try:
        document = bson.decode(data)
    except (bson.errors.BSONError, TypeError, ValueError) as error:
        raise InvalidArgument(f"the task returned no object reference: {error}") from error
    found = Answer(document)
    if found.inline is None:
        _ = found.ref  # Is there one?
    return found


def failure_text(error: BaseException, traceback: Optional[str]) -> str:
    """What a failed task says: the exception's text, and for clients of ours where it was."""
    text = str(error)
    if traceback is None:
        return text
    if not text:
        text = type(error).__name__
    return f"{text}{_TRACEBACK}{traceback[-_TRACEBACK_MAX:]}"


def split_failure(text: str) -> tuple[str, Optional[str]]:
    """The exception's text, and the traceback if there is one."""
    message, found, traceback = text.partition(_TRACEBACK)
    return message, traceback if found else None


def nested(value: Any, kind: type, depth: int = _DEPTH) -> Iterator[Any]:
    """All of a kind in a value: itself, or in lists, tuples and dicts in it."""
    if isinstance(value, kind):
        yield value
    elif depth and type(value) in (list, tuple):
        for item in value:
            yield from nested(item, kind, depth - 1)
    elif depth and type(value) is dict:
        for item in value.values():
            yield from nested(item, kind, depth - 1)


def map_nested(value: Any, kind: type, change: Callable[[Any], Any], depth: int = _DEPTH) -> Any:
    """A value with all of a kind changed; what holds none of them is kept as it is."""
    if isinstance(value, kind):
        return change(value)
    if not depth or type(value) not in (list, tuple, dict):
        return value
    if next(nested(value, kind, depth), None) is None:
        return value
    if type(value) is dict:
        return {key: map_nested(item, kind, change, depth - 1) for key, item in value.items()}
    return type(value)(map_nested(item, kind, change, depth - 1) for item in value)


def is_pickle(data: bytes) -> bool:
    """Whether bytes begin as a pickle does."""
    return len(data) > 2 and data[0] == pickle.PROTO[0] and 2 <= data[1] <= 5
