"""Calls as bytes: small arguments travel in them, large ones go through the cache."""

from __future__ import annotations

import pickle
from typing import Any, Callable, Optional

from flamepy.core.pickling import is_plain
from flamepy.core.refs import ObjectRef
from flamepy.runner.payloads import Riding, dumps, mark, nested
from flamepy.runner.types import RunnerRequest

__all__ = ["MESSAGE_MAX_BYTES", "pack_call"]

MESSAGE_MAX_BYTES = 1 << 20
"""Calls that are larger bring their large arguments through the cache."""

_LARGE_BYTES = MESSAGE_MAX_BYTES // 8
_LARGE_AMONG_MANY_BYTES = 4 << 10
_DEPTH = 10
_REFERENCES = (ObjectRef, Riding)


def pack_call(
    method: Optional[str], args: tuple, kwargs: dict[str, Any], put: Callable[[Any], ObjectRef]
) -> bytes:
    """A request, with references in the places of large arguments.

    Parameters
    ----------
    put : callable
        Stores an argument.
    """
    if is_plain(args, _REFERENCES) and is_plain(kwargs, _REFERENCES):
        return pickle.dumps(_request(method, args, kwargs), 5)
    obvious = _Spill(put, lambda value: _size_at_sight(value) > MESSAGE_MAX_BYTES)
    args, kwargs = obvious.all(args, kwargs)
    data = _dump(method, args, kwargs)
    # With many arguments, small ones may be too much as well.
    for large in (_LARGE_BYTES, _LARGE_AMONG_MANY_BYTES):
        if len(data) <= MESSAGE_MAX_BYTES:
            break
        spill = _Spill(put, lambda value, large=large: _size(value) > large)
        args, kwargs = spill.all(args, kwargs)
        data = _dump(method, args, kwargs)
    return data


class _Spill:
    """Replaces what `is_large` by references; also beside references in lists, tuples and dicts."""

    def __init__(self, put: Callable[[Any], ObjectRef], is_large: Callable[[Any], bool]) -> None:
        self._put = put
        self._is_large = is_large

    def all(self, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """Every argument by itself."""
        return (
            tuple(self.one(value, _DEPTH) for value in args),
            {name: self.one(value, _DEPTH) for name, value in kwargs.items()},
        )

    def one(self, value: Any, depth: int) -> Any:
        """A value that holds references stays: they would not be found within another object."""
        if isinstance(value, ObjectRef) or not depth:
            return value
        if next(nested(value, ObjectRef), None) is None:
            return self._put(value) if self._is_large(value) else value
        if type(value) is dict:
            return {key: self.one(item, depth - 1) for key, item in value.items()}
        return type(value)(self.one(item, depth - 1) for item in value)


def _dump(method: Optional[str], args: tuple, kwargs: dict[str, Any]) -> bytes:
    return dumps(_request(method, args, kwargs))


def _request(method: Optional[str], args: tuple, kwargs: dict[str, Any]) -> RunnerRequest:
    return mark(RunnerRequest(method, args or None, kwargs or None))


def _size_at_sight(value: Any) -> int:
    """Of bytes, texts, arrays and tables; 0 of anything else."""
    if isinstance(value, (bytes, bytearray, str)):
        return len(value)
    size = getattr(type(value), "nbytes", None)
    if size is None:
        return 0
    found = value.nbytes
    return found if isinstance(found, int) else 0


def _size(value: Any) -> int:
    return _size_at_sight(value) or len(dumps(value))
