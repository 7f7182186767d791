"""What a write asks for beside its data: a condition, and how long the object lives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Optional, Union

from bson.int64 import Int64

from flamepy.core.errors import InvalidArgument

__all__ = ["UNCONDITIONAL", "Seconds", "WriteOptions"]

Seconds = Union[float, timedelta]
"""A span of time: a number of seconds, or a `timedelta`."""

_MAX_TTL_MS = 1000 * 365 * 86_400_000  # A thousand years: what a `datetime` can still show.


@dataclass(frozen=True)
class WriteOptions:
    """Options of one write, checked.

    Attributes
    ----------
    if_version : int or None
        Write only if this is the newest version; 0 = only if there is none.
    ttl_ms : int or None
        The object expires so many milliseconds after this write.
    op_id : bytes or None
        16 bytes: the identity of this write, for one that may be done again by another
        process. None: one is drawn.

    Examples
    --------
    >>> WriteOptions.of(ttl=1.5).ttl_ms
    1500
    >>> WriteOptions.of(ttl=timedelta(minutes=1)).ttl_ms
    60000
    >>> WriteOptions.of(ttl=-1)
    Traceback (most recent call last):
    flamepy.core.errors.InvalidArgument: ttl is -1, expected seconds above 0 or a timedelta
    """

    if_version: Optional[int] = None
    ttl_ms: Optional[int] = None
    op_id: Optional[bytes] = None

    @classmethod
    def of(cls, if_version: Optional[int] = None, ttl: Optional[Seconds] = None) -> WriteOptions:
        """Check what a caller gave."""
        if if_version is None and ttl is None:
            return UNCONDITIONAL
        return cls(if_version, None if ttl is None else _milliseconds(ttl))

    def to_document(self) -> dict[str, Any]:
        """The fields of a command document."""
        fields = {"if_version": self.if_version, "ttl_ms": self.ttl_ms}
        return {name: Int64(value) for name, value in fields.items() if value is not None}


UNCONDITIONAL = WriteOptions()


def _milliseconds(ttl: Seconds) -> int:
    """Whole milliseconds, rounded up: an object lives at least as long as it was told to."""
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
        raise InvalidArgument(f"ttl is {ttl!r}, expected seconds above 0 or a timedelta")
    if seconds * 1000 > _MAX_TTL_MS:
        raise InvalidArgument(f"ttl is {ttl!r}, at most {_MAX_TTL_MS // 1000} seconds are allowed")
    return math.ceil(round(seconds * 1000, 3))
