"""How much a package may hold: bounds against archives that were made to hurt."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFAULT_LIMITS", "Limits"]


@dataclass(frozen=True)
class Limits:
    """Bounds of one package. Immutable.

    Attributes
    ----------
    archive_bytes : int
        Of the archive itself, as it is fetched.
    total_bytes : int
        Of everything that comes out of it.
    ratio : int
        Bytes that come out per byte of the archive, once `ratio_from_bytes` have come out.
    members : int
        Files, directories and links.
    name_bytes, depth : int
        Of one member's path: bytes of UTF-8, and number of components.
    """

    archive_bytes: int = 2 << 30
    total_bytes: int = 8 << 30
    ratio: int = 200
    ratio_from_bytes: int = 64 << 20
    members: int = 200_000
    name_bytes: int = 1024
    depth: int = 64


DEFAULT_LIMITS = Limits()
