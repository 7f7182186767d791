"""Reads what tasks were given and what they returned: for tools that look at sessions."""

from __future__ import annotations

from typing import Any, Optional

import cloudpickle

from flamepy.core.cache import get_object
from flamepy.core.errors import FlameError, InvalidArgument
from flamepy.core.refs import ObjectRef
from flamepy.runner.errors import ErrorType, RunnerError
from flamepy.runner.payloads import NOTHING, is_pickle, map_nested, read_answer
from flamepy.runner.types import RunnerRequest

__all__ = ["get_data"]


def get_data(data: bytes) -> dict[str, Any]:
    """The input or output of a task of a runner, references resolved.

    Unpickles, so use it for your own sessions only.

    Returns
    -------
    dict
        ``{"type": "input", "method", "args", "kwargs", "metadata"}``, or
        ``{"type": "output", "result", "metadata"}``; the metadata may hold ``object_ref_key``.

    Raises
    ------
    RunnerError
        With its `error_type`.
    """
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise RunnerError(
            ErrorType.DATA_FORMAT_ERROR, "expected bytes", data_type=type(data).__name__
        )
    raw = bytes(data)
    ref: Optional[ObjectRef] = None
    if is_pickle(raw):
        value = _unpickle(raw)
    else:
        try:
            found = read_answer(raw)
            ref = found.ref
        except InvalidArgument as error:
            raise RunnerError(
                ErrorType.DECODE_ERROR, "neither a pickle nor a reference", error, data_type="bytes"
            ) from error
        value = found.value()  # What rode along may not be in the cache yet.
        if value is NOTHING:
            value = _fetch(ref)
        if isinstance(value, bytes) and is_pickle(value):
            value = _unpickle(value)
    metadata: dict[str, Any] = {} if ref is None else {"object_ref_key": ref.key}
    if isinstance(value, RunnerRequest):
        return {
            "type": "input",
            "method": value.method,
            "args": map_nested(value.args, ObjectRef, _fetch),
            "kwargs": map_nested(value.kwargs, ObjectRef, _fetch),
            "metadata": metadata,
        }
    return {"type": "output", "result": map_nested(value, ObjectRef, _fetch), "metadata": metadata}


def _unpickle(raw: bytes) -> Any:
    try:
        return cloudpickle.loads(raw)
    except Exception as error:
        raise RunnerError(ErrorType.DECODE_ERROR, "cannot be unpickled", error) from error


def _fetch(ref: ObjectRef) -> Any:
    try:
        return get_object(ref)
    except FlameError as error:
        raise RunnerError(
            ErrorType.CACHE_RETRIEVAL_ERROR, "cannot be read from the cache", error, key=ref.key
        ) from error
