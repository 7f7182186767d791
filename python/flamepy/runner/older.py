"""Python objects straight into `create_session` and `Session.invoke`, as the first runner took them."""

from __future__ import annotations

from typing import Any, Optional

from flamepy.core.cache import put_object
from flamepy.core.errors import InvalidArgument
from flamepy.core.refs import ObjectRef
from flamepy.runner.futures import ObjectFuture
from flamepy.runner.payloads import dumps
from flamepy.runner.types import RunnerContext, RunnerRequest

__all__ = ["common_data", "invoke"]


def common_data(application: str, session_id: str, context: Any) -> bytes:
    """Common data of a runner's session, of a `RunnerContext`."""
    if not isinstance(context, RunnerContext):
        raise InvalidArgument("common_data must be bytes in core API, or a RunnerContext")
    return put_object(f"{application}/{session_id}", dumps(context)).encode()


def invoke(session: Any, request: Any, timeout: Optional[float]) -> ObjectRef:
    """Have a `RunnerRequest` done; the reference of its result."""
    if not isinstance(request, RunnerRequest):
        raise InvalidArgument("input_data must be bytes in core API, or a RunnerRequest")
    return ObjectFuture(session.run(dumps(request))).ref(timeout)
