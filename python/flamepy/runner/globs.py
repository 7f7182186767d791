"""Which files of a tree are wanted: include and exclude patterns."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from typing import Optional

__all__ = ["DEFAULT_EXCLUDES", "METADATA_FILES", "Selection"]

METADATA_FILES = ("pyproject.toml", "setup.py", "setup.cfg")
"""What makes a directory a Python project, in the order in which they are looked for."""

DEFAULT_EXCLUDES = (
    ".venv",
    "venv",
    "__pycache__",
    ".pytest_cache",
    ".ruff_cache",
    ".mypy_cache",
    "*.egg-info",
    ".git",
    ".tox",
    "node_modules",
    "*.pyc",
    "*.pyo",
    ".DS_Store",
)
"""What no package needs; always left out when one is packed."""


class Selection:
    """Decides by path which files of a tree are wanted. Immutable and thread-safe.

    A pattern is that of a shell (``*``, ``?``, ``[...]``; ``*`` also matches ``/``). It applies to a
    path, and to each tail of one that begins at a component: ``data/*.csv`` also matches
    ``project/data/x.csv``. A directory that matches stands for everything below it.

    Parameters
    ----------
    include : iterable of str, optional
        Take only files that match one of these; project metadata at the root, or one level
        down, is taken in any case. None or empty: all.
    exclude : iterable of str, optional
        Leave out what matches one of these, whatever `include` says.

    Examples
    --------
    >>> only = Selection(include=["src", "*.toml"], exclude=["*.pyc"])
    >>> [only.wants(p) for p in ("src/a/b.py", "src/a/b.pyc", "docs/x.md", "setup.py")]
    [True, False, False, True]
    """

    def __init__(
        self, include: Optional[Iterable[str]] = None, exclude: Optional[Iterable[str]] = None
    ) -> None:
        self.include = tuple(include or ())
        self.exclude = tuple(exclude or ())
        self._include = _compile(self.include)
        self._exclude = _compile(self.exclude)

    def wants(self, path: str) -> bool:
        """Whether the file at `path` (relative, with ``/``) is wanted."""
        if self._exclude is not None and self._exclude.search(path):
            return False
        if self._include is None or self._include.search(path):
            return True
        return path.count("/") <= 1 and path.rpartition("/")[2] in METADATA_FILES

    def enters(self, path: str) -> bool:
        """Whether anything below the directory at `path` can be wanted."""
        return self._exclude is None or not self._exclude.search(path)

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self._include is None and self._exclude is None


def _compile(patterns: tuple[str, ...]) -> Optional[re.Pattern]:
    """One expression: begins at a component, ends at one, or at the end of the path."""
    if not patterns:
        return None
    bodies = []
    for pattern in patterns:
        body = fnmatch.translate(pattern.strip("/"))
        bodies.append(body[: body.rindex(")")] + ")")  # Without the anchor at the end.
    return re.compile(rf"(?:^|/)(?:{'|'.join(bodies)})(?=/|\Z)", re.DOTALL)
