"""Where a package's Python project lies, and whether there is anything to install."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Optional

from flamepy.core.errors import InvalidArgument
from flamepy.runner.errors import PackageError
from flamepy.runner.globs import METADATA_FILES

__all__ = ["find_project", "generate_pyproject", "generated_dependencies", "has_metadata"]

_MARK = "# Made by flamepy because the package had no metadata of its own."
_NAME = re.compile(r"[^a-zA-Z0-9._-]+")
_DEPENDENCIES = re.compile(r'^dependencies\s*=\s*\[((?:\s|,|"(?:[^"\\]|\\.)*")*)\]', re.MULTILINE)
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')


def has_metadata(directory: Path) -> bool:
    """Whether a directory is a Python project."""
    return any((directory / name).is_file() for name in METADATA_FILES)


def find_project(root: Path) -> Optional[Path]:
    """The project of an unpacked package: at its root, or one level down.

    Returns
    -------
    Path or None
        None: there is no metadata, only sources.

    Raises
    ------
    PackageError
        Several directories one level down are projects.
    """
    if has_metadata(root):
        return root
    below = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.is_symlink())
    projects = [entry for entry in below if has_metadata(entry)]
    if len(projects) > 1:
        names = ", ".join(project.name for project in projects)
        raise PackageError(
            f"the package holds several projects ({names}); pack one of them, or put a "
            "pyproject.toml at the root"
        )
    return projects[0] if projects else None


def generate_pyproject(name: str, dependencies: Iterable[str] = ()) -> str:
    """Metadata for sources that have none: enough for an installer to bring dependencies.

    Examples
    --------
    >>> print(generate_pyproject("my app", ["numpy>=2"]).splitlines()[5])
    name = "my-app"
    """
    listed = "".join(f"  {_quoted(item)},\n" for item in sorted(set(dependencies)))
    return f"""{_MARK}
[build-system]
requires = ["setuptools>=61"]
build-backend = "setuptools.build_meta"
[project]
name = "{_NAME.sub("-", name).strip("-._") or "package"}"
version = "0.1.0"
requires-python = ">=3.9"
dependencies = [
{listed}]
[tool.setuptools]
py-modules = []
"""


def generated_dependencies(project: Path) -> Optional[Sequence[str]]:
    """What a generated project depends on; None when the metadata is the author's own.

    A generated project (ours, or the published client's) builds to nothing: its sources are
    importable as they lie, so that only its dependencies need an installer.
    """
    path = project / "pyproject.toml"
    if not path.is_file() or any((project / name).exists() for name in METADATA_FILES[1:]):
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines()]
    if "py-modules = []" not in lines or any(
        line.startswith(("scripts", "[project.", "dynamic", "packages")) for line in lines
    ):
        return None
    match = _DEPENDENCIES.search(text)
    if match is None:
        return None if re.search(r"^dependencies", text, re.MULTILINE) else ()
    return tuple(re.sub(r"\\(.)", r"\1", item) for item in _TEXT.findall(match[1]))


def _quoted(text: str) -> str:
    if not text.strip() or any(ord(c) < 0x20 for c in text):
        raise InvalidArgument(f"{text!r} is no dependency; write one like 'numpy>=2'")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
