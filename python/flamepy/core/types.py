"""The names that code written for flamepy 0.6 imports from here."""

from __future__ import annotations

import random
import string

from flamepy.core.context import (
    DEFAULT_FLAME_CACHE_ENDPOINT,
    DEFAULT_FLAME_CONF,
    DEFAULT_FLAME_ENDPOINT,
    DEFAULT_FLAME_RUNNER_TEMPLATE,
    FlameClientCache,
    FlameClientTls,
    FlameContext,
    FlameContextRunner,
    FlamePackage,
)
from flamepy.core.errors import FlameError, FlameErrorCode

__all__ = [
    "DEFAULT_FLAME_CACHE_ENDPOINT",
    "DEFAULT_FLAME_CONF",
    "DEFAULT_FLAME_ENDPOINT",
    "DEFAULT_FLAME_RUNNER_TEMPLATE",
    "FlameClientCache",
    "FlameClientTls",
    "FlameContext",
    "FlameContextRunner",
    "FlameError",
    "FlameErrorCode",
    "FlamePackage",
    "short_name",
]


def short_name(prefix: str, length: int = 6) -> str:
    """Append `length` random letters and digits to a name.

    Examples
    --------
    >>> name = short_name("app")
    >>> name[:4], len(name)
    ('app-', 10)
    """
    letters = random.choices(string.ascii_letters + string.digits, k=length)
    return f"{prefix}-{''.join(letters)}"
