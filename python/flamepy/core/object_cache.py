"""The client's cache: payloads that the server may confirm instead of sending again.

An entry is immutable but for its memo. A reader takes the entry, asks the server what
changed since, and derives a new entry from *that* one; it never merges into whatever the
cache holds by then. So no race can mix two versions: at worst work is done twice.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Optional, Union

from flamepy.core.buffers import Piece, size_of
from flamepy.core.native import NativeData

__all__ = ["Entry", "ObjectCache", "Payload", "payload_bytes"]

Payload = Union[Piece, NativeData]
"""An opaque object's bytes, or a native object's batches."""

MEMO_MAX_BYTES = 64 << 10
"""A result that is no view of the payload is remembered up to this size."""

_ENTRY_OVERHEAD_BYTES = 512


def payload_bytes(payload: Payload) -> int:
    """Bytes of data in a payload of either kind."""
    return payload.nbytes if isinstance(payload, NativeData) else size_of(payload)


@dataclass(frozen=True, eq=False)
class Entry:
    """One version of one object, as it came from the server.

    Attributes
    ----------
    version : int
        Newest version in it.
    base_version : int
        Version of the base; those in between are the patches'.
    base : Payload
    patches : tuple of Payload
        Oldest first.
    memo : list
        Empty, or the one immutable result made of this entry without a deserializer.
    """

    version: int
    base_version: int
    base: Payload
    patches: tuple[Payload, ...] = ()
    memo: list = field(default_factory=list, repr=False)

    @property
    def native(self) -> bool:
        """Whether the object is Arrow batches."""
        return isinstance(self.base, NativeData)

    @property
    def nbytes(self) -> int:
        """Bytes that this entry may keep in memory, its memo included."""
        payloads = payload_bytes(self.base) + sum(map(payload_bytes, self.patches))
        return payloads + min(payloads, MEMO_MAX_BYTES) + _ENTRY_OVERHEAD_BYTES

    def extended(self, version: int, patches: Sequence[Payload]) -> Entry:
        """The entry that `patches` turn this one into."""
        return replace(self, version=version, patches=(*self.patches, *patches), memo=[])


class ObjectCache:
    """Least recently used entries within a bound of bytes. Thread-safe.

    Parameters
    ----------
    max_bytes : int
        0 keeps nothing. An entry larger than this is not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()
        self._max_bytes = max_bytes
        self._bytes = 0

    def get(self, key: Hashable) -> Optional[Entry]:
        """The entry of `key`, now the most recently used."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
            return entry

    def put(self, key: Hashable, entry: Entry) -> None:
        """Keep `entry` instead of what was there."""
        with self._lock:
            self._drop(key)
            if entry.nbytes <= self._max_bytes:
                self._entries[key] = entry
                self._bytes += entry.nbytes
                self._shrink()

    def discard(self, key: Hashable) -> None:
        """Forget `key`."""
        with self._lock:
            self._drop(key)

    def discard_where(self, matches: Callable[[Any], bool]) -> None:
        """Forget every key that `matches`."""
        with self._lock:
            for key in [key for key in self._entries if matches(key)]:
                self._drop(key)

    def resize(self, max_bytes: int) -> None:
        """Change the bound, dropping what no longer fits."""
        with self._lock:
            self._max_bytes = max_bytes
            self._shrink()

    @property
    def max_bytes(self) -> int:
        """The bound."""
        return self._max_bytes

    @property
    def nbytes(self) -> int:
        """Bytes kept now; never more than `max_bytes`."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._entries)

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.nbytes

    def _shrink(self) -> None:
        while self._bytes > self._max_bytes:
            _, entry = self._entries.popitem(last=False)
            self._bytes -= entry.nbytes
