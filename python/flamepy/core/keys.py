"""Object keys: ``app/session/object``, prefixes ``app/session``, and ``app/*``."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import lru_cache
from typing import Optional

from flamepy.core.errors import InvalidKey

__all__ = ["MAX_PART_BYTES", "WILDCARD_SESSION", "ObjectKey"]

WILDCARD_SESSION = "*"
"""As the session of a prefix: every session of the application (delete and list only)."""

MAX_PART_BYTES = 240
_RESERVED_APP = ".flame"
_SHARED_SESSION = "shared"
_FORMS = "'<app>/<session>' or '<app>/<session>/<object>'"


@dataclass(frozen=True)
class ObjectKey:
    """A key or a prefix, checked when it is made.

    Parts are case sensitive and not trimmed. Refused in a part: empty, ``.``, any ``..``,
    ``\\``, control characters, more than 240 bytes of UTF-8, a lone ``*`` (but as the
    session of a prefix); and the application ``.flame``.

    Parameters
    ----------
    app_name, session_id : str
    object_id : str, optional
        Absent in a prefix.

    Raises
    ------
    InvalidKey
        A ``ValueError`` that names the part and the rule.

    Examples
    --------
    >>> ObjectKey.from_path("app/session/object")
    ObjectKey(app_name='app', session_id='session', object_id='object')
    >>> str(ObjectKey.for_shared("app"))
    'app/shared'
    >>> ObjectKey.from_path("app/*").matches_key("app/session/object")
    True
    >>> ObjectKey("app", "..")
    Traceback (most recent call last):
    flamepy.core.errors.InvalidKey: session_id '..' contains '..'
    """

    app_name: str
    session_id: str
    object_id: Optional[str] = None

    def __post_init__(self) -> None:
        _check_part("app_name", self.app_name)
        if self.app_name == _RESERVED_APP:
            raise InvalidKey(f"app_name {_RESERVED_APP!r} is reserved for the server")
        if self.session_id == WILDCARD_SESSION:
            if self.object_id is not None:
                raise InvalidKey("wildcard session '*' cannot have an object_id")
            return
        _check_part("session_id", self.session_id)
        if self.object_id is not None:
            _check_part("object_id", self.object_id)

    @classmethod
    def from_path(cls, path: str) -> ObjectKey:
        """Parse a key or a prefix."""
        return _parse(path)

    @classmethod
    def from_prefix(cls, prefix: str) -> ObjectKey:
        """Parse ``app/session`` or ``app/*``; a full key is refused."""
        key = _parse(prefix)
        if key.object_id is not None:
            raise InvalidKey(f"invalid key prefix {prefix!r}: expected '<app>/<session>'")
        return key

    @classmethod
    def from_key(cls, key: str) -> ObjectKey:
        """Parse ``app/session/object``; a prefix is refused."""
        parsed = _parse(key)
        if parsed.object_id is None:
            raise InvalidKey(f"invalid object key {key!r}: expected '<app>/<session>/<object>'")
        return parsed

    @classmethod
    def for_shared(cls, app_name: str) -> ObjectKey:
        """The prefix of what all sessions of an application share."""
        return cls(app_name, _SHARED_SESSION)

    @classmethod
    def for_all_sessions(cls, app_name: str) -> ObjectKey:
        """The prefix of everything that an application holds."""
        return cls(app_name, WILDCARD_SESSION)

    def is_all_sessions(self) -> bool:
        """Whether this is ``app/*``."""
        return self.session_id == WILDCARD_SESSION

    def with_generated_id(self) -> ObjectKey:
        """A full key under this prefix, with a random UUID as its object part."""
        return ObjectKey(self.app_name, self.session_id, str(uuid.uuid4()))

    def to_prefix(self) -> str:
        """``app/session``, without the object part."""
        return f"{self.app_name}/{self.session_id}"

    def to_key(self) -> Optional[str]:
        """``app/session/object``; None for a prefix."""
        if self.object_id is None:
            return None
        return f"{self.app_name}/{self.session_id}/{self.object_id}"

    def matches_key(self, key: str) -> bool:
        """Whether the object ``key`` is this one, or lies under this prefix."""
        if self.object_id is not None:
            return key == self.to_key()
        app, _, rest = key.partition("/")
        session, _, name = rest.partition("/")
        return (
            app == self.app_name
            and (self.is_all_sessions() or session == self.session_id)
            and bool(session and name)
            and "/" not in name
        )

    def __str__(self) -> str:
        return self.to_key() or self.to_prefix()


@lru_cache(maxsize=4096)
def _parse(path: str) -> ObjectKey:
    if not isinstance(path, str):
        raise InvalidKey(f"a key is a str, not {type(path).__name__}: {path!r}")
    parts = path.split("/")
    if len(parts) not in (2, 3):
        raise InvalidKey(f"invalid object key path {path!r}: expected {_FORMS}")
    return ObjectKey(*parts)


def _check_part(name: str, value: str) -> None:
    if not isinstance(value, str):
        raise InvalidKey(f"{name} is a str, not {type(value).__name__}: {value!r}")
    if not value:
        raise InvalidKey(f"{name} cannot be empty")
    if value == WILDCARD_SESSION:
        raise InvalidKey(f"wildcard '*' is not allowed for {name}")
    if value == ".":
        raise InvalidKey(f"{name} cannot be '.'")
    for forbidden in ("..", "\\", "/"):
        if forbidden in value:
            raise InvalidKey(f"{name} {value!r} contains {forbidden!r}")
    if not value.isprintable() and any(ord(c) < 0x20 or ord(c) == 0x7F for c in value):
        raise InvalidKey(f"{name} {value!r} contains a control character")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidKey(f"{name} {value!r} is not valid Unicode") from None
    if size > MAX_PART_BYTES:
        raise InvalidKey(f"{name} has {size} bytes, at most {MAX_PART_BYTES} are allowed")
