"""Results into the cache, once: a task that is done again publishes nothing new."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple, Optional

from flamepy.core import objects
from flamepy.core.buffers import assemble, size_of
from flamepy.core.client import default_client
from flamepy.core.conditions import WriteOptions
from flamepy.core.errors import NotSupported, VersionConflict
from flamepy.core.native import NativeData
from flamepy.core.refs import ObjectRef

__all__ = ["Published", "publish", "result_name"]


class Published(NamedTuple):
    """A result in the cache.

    Attributes
    ----------
    ref : ObjectRef
    inline : bytes or None
        Its encoded bytes, if there are few of them and they are no table.
    """

    ref: ObjectRef
    inline: Optional[bytes]


def result_name(common_data: bytes, task_id: str) -> str:
    """The name of a task's result: the same when the task is done again.

    Task numbers begin at 1 in each session and the ids of sessions may be used again, but not
    what a session was created with.
    """
    return f"r-{hashlib.sha256(common_data).hexdigest()[:16]}-{task_id}"


def publish(
    prefix: str, name: str, result: Any, *, replace: bool, inline_max: int, timeout: float
) -> Published:
    """Store a result as ``prefix/name``.

    Parameters
    ----------
    replace : bool
        False: if it is there already, that one stays and is taken.
    inline_max : int
        Bytes that `Published.inline` may have.
    """
    session = default_client()._session
    deadline = session.deadline(timeout)
    dialect = session.dialect(deadline)
    data = objects.encode(result)
    key = f"{prefix}/{name}"
    op_id = hashlib.sha256(key.encode()).digest()[:16]
    inline = None
    if not isinstance(data, NativeData) and sum(map(size_of, data)) <= inline_max:
        inline = bytes(assemble(data))
    try:
        options = WriteOptions(if_version=0, op_id=op_id)
        return Published(dialect.put(key, data, deadline, options=options), inline)
    except VersionConflict:
        if replace:
            return Published(dialect.put(key, data, deadline), inline)
        return Published(default_client().stat_object(key, timeout=timeout).ref, None)
    except NotSupported:  # A Flame 0.6 cache: every write is a new object.
        return Published(dialect.put(prefix, data, deadline, is_prefix=True), inline)
