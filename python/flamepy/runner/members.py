"""One member of a package, and the rules that its path must keep, whatever it came in."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import Enum
from typing import Any, Callable, Optional

from flamepy.runner.errors import UnsafePackage
from flamepy.runner.limits import Limits

__all__ = ["Kind", "Member", "leads_out", "safe_path"]


class Kind(Enum):
    """What a member is; everything else (devices, pipes, sockets) is refused."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"


@dataclass(frozen=True)
class Member:
    """One entry of an archive, or of a directory tree.

    Attributes
    ----------
    path : str
        Safe: relative, with ``/``, without empty, ``.`` and ``..`` components. Empty: the root.
    kind : Kind
    mode : int
        Permission bits as the archive has them.
    size : int
        Bytes that a file claims to have.
    target : str
        Of a symlink: as it is written; of a hard link: a safe path.
    open : callable
        Of a file: a context with ``read(size)``; valid until the next member is asked for.
    """

    path: str
    kind: Kind
    mode: int = 0o644
    size: int = 0
    target: str = ""
    open: Optional[Callable[[], Any]] = None


def leads_out(path: str, target: str) -> bool:
    """Whether a symlink at `path`, as it is written, leads out of the package.

    Examples
    --------
    >>> leads_out("a/link", "../b"), leads_out("a/link", "../../b"), leads_out("a", "/etc")
    (False, True, True)
    """
    if not target or "\0" in target or target.startswith("/") or "\\" in target:
        return True
    depth = path.count("/")
    for part in target.split("/"):
        depth += -1 if part == ".." else part not in ("", ".")
        if depth < 0:
            return True
    return False


_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
_COMPONENT_MAX_BYTES = 255


def safe_path(name: str, limits: Limits, what: str = "member") -> str:
    """The path of a member, in its plain form.

    Raises
    ------
    UnsafePackage
        It is absolute, has ``..``, a drive, a backslash, control or direction-changing
        characters, is no valid text, would become any of these under Unicode's compatibility
        normalisation (a full-width slash, for example), or is too long or too deep.

    Examples
    --------
    >>> safe_path("./project//src/", Limits())
    'project/src'
    >>> safe_path("../etc/passwd", Limits())
    Traceback (most recent call last):
    flamepy.runner.errors.UnsafePackage: member '../etc/passwd' would leave the package: it has '..'
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise UnsafePackage(f"{what} {name!r} has a name that is not UTF-8") from None
    if size > limits.name_bytes:
        raise UnsafePackage(
            f"{what} {name[:60]!r}... has a name of {size} bytes, at most {limits.name_bytes} are "
            "allowed"
        )
    if any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in name):
        raise UnsafePackage(f"{what} {name!r} has a control character in its name")
    if not _BIDI.isdisjoint(name):
        raise UnsafePackage(f"{what} {name!r} changes the direction of writing to hide its name")
    plain = _plain(name, name, what)
    if not name.isascii():
        _plain(unicodedata.normalize("NFKC", name), name, what, len(plain))
    if len(plain) > limits.depth:
        raise UnsafePackage(
            f"{what} {name[:60]!r} lies {len(plain)} directories deep, at most {limits.depth} are allowed"
        )
    return "/".join(plain)


def _plain(name: str, shown: str, what: str, components: Optional[int] = None) -> list[str]:
    def refuse(why: str) -> UnsafePackage:
        return UnsafePackage(f"{what} {shown!r} would leave the package: {why}")

    if name.startswith("/"):
        raise refuse("it is absolute")
    if "\\" in name:
        raise refuse("it has a backslash, which separates directories on other systems")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise refuse("it has '..'")
    if parts and len(parts[0]) > 1 and parts[0][1] == ":" and parts[0][0].isalpha():
        raise refuse("it names a drive")
    if components is not None and len(parts) != components:
        raise refuse("it has characters that other systems take for a separator")
    for part in parts:
        if len(part.encode()) > _COMPONENT_MAX_BYTES:
            raise UnsafePackage(f"{what} {shown[:60]!r} has a component over 255 bytes")
    return parts
