"""Packages: a directory is packed here, and unpacked and made importable there.

Formats: ``.tar.gz .tgz .tar.bz2 .tbz2 .tar.xz .txz .tar .zip`` and plain directories. What is
unpacked lies in ``extracted_<stem>-<digest>`` in the working directory: other bytes, another
name, so that new code is never shadowed by old.

``python -m flamepy.runner.packages URL`` prepares a package in the current directory and prints
the directories for ``PYTHONPATH``, one per line. The session manager asks for
``--environment python`` or ``binary``: the variables of a process that uses the package, each as
one line ``NAME=value``.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional, Union

from flamepy.core.errors import FlameError
from flamepy.runner.archives import archive_stem, read_archive, read_directory
from flamepy.runner.extraction import (
    extract,
    hold_shared,
    is_alone,
    locked,
    remove_tree,
    writing_directory,
)
from flamepy.runner.fetching import Fetched, fetched, package_name
from flamepy.runner.globs import Selection
from flamepy.runner.installing import importable, install
from flamepy.runner.limits import DEFAULT_LIMITS, Limits
from flamepy.runner.members import Kind, Member
from flamepy.runner.metadata import find_project
from flamepy.runner.packing import pack
from flamepy.runner.reporting import Progress, Report

__all__ = [
    "DEFAULT_LIMITS",
    "Limits",
    "Package",
    "environment",
    "pack",
    "prepare",
    "release",
    "remove",
    "unpack",
]

_DIGEST_CHARACTERS = 16
_STEM = re.compile(r"[^A-Za-z0-9._-]+")
_STEM_MAX = 80
_LIBRARY_DEPTH = 3  # Directories below the installed one: its own files count as the first.


@dataclass(frozen=True)
class Package:
    """A package on this machine, unpacked.

    Attributes
    ----------
    root : Path
        ``extracted_<stem>-<digest>``.
    project : Path or None
        The directory with the metadata: the root, or one level down; None if there is none.
    dependencies : Path or None
        Where it was installed, if there was something to install.
    """

    root: Path
    project: Optional[Path] = None
    dependencies: Optional[Path] = None
    hold: Optional[int] = field(default=None, compare=False, repr=False)
    """Descriptor whose lock says that this process uses the package; see `release`."""

    @property
    def paths(self) -> list[str]:
        """For ``sys.path`` and ``PYTHONPATH``, in this order."""
        sources = importable(self.project or self.root)
        first = [] if self.dependencies is None else [self.dependencies]
        return [str(path) for path in [*first, *sources]]


def unpack(
    source: Union[str, os.PathLike],
    directory: Union[str, os.PathLike],
    *,
    include: Optional[Iterable[str]] = None,
    exclude: Optional[Iterable[str]] = None,
    limits: Limits = DEFAULT_LIMITS,
    progress: Optional[Progress] = None,
) -> Package:
    """Unpack an archive, or copy a directory, below `directory`.

    Safe for archives of anybody: no member leaves the target, devices are refused, sizes are
    bounded. It appears under its name when it is whole; one that is there already is taken.
    Threads and processes may do so at the same time.

    Raises
    ------
    UnsafePackage
        The archive was made to hurt, or is larger than `limits` allow.
    PackageError
        It is damaged, or no archive.
    """
    path = Path(source)
    where = Path(directory)
    with locked(where):
        return _unpack(
            Fetched(path, path.name), where, Selection(include, exclude), limits, Report(progress)
        )


def prepare(
    url: str,
    directory: Union[str, os.PathLike],
    *,
    include: Optional[Iterable[str]] = None,
    exclude: Optional[Iterable[str]] = None,
    installer: Optional[str] = None,
    fetch_timeout: float = 300.0,
    install_timeout: float = 600.0,
    limits: Limits = DEFAULT_LIMITS,
    roots: Optional[Sequence[os.PathLike]] = None,
    progress: Optional[Progress] = None,
    hold: bool = False,
    only_unpack: bool = False,
) -> Package:
    """Fetch a package, unpack and install it below `directory`, so that it can be imported.

    Parameters
    ----------
    url : str
        ``file://``, ``http(s)://``, ``grpc(s)://`` (the object cache), or a path.
    directory : path
        The working directory; made if it is absent.
    include, exclude : iterable of str, optional
        Unpack only what these let pass, see `Selection`.
    installer : {"uv", "pip"}, optional
        By default uv where it is there.
    fetch_timeout, install_timeout : float
        Seconds.
    roots : sequence of paths, optional
        ``file://`` may lead below these only.
    progress : callable, optional
        See `flamepy.runner.reporting.Progress`.
    hold : bool
        Say that this process uses the package, until `release`.
    only_unpack : bool
        Install nothing, even if it is a Python project.

    Raises
    ------
    PackageError, InstallFailed, NotFound, Timeout, Unavailable

    Examples
    --------
    >>> package = prepare("grpc://127.0.0.1:9090/app/pkg/app.tar.gz", ".")  # doctest: +SKIP
    >>> sys.path[:0] = package.paths  # doctest: +SKIP
    """
    where = Path(directory)
    report = Report(progress)
    selection = Selection(include, exclude)
    with locked(where):
        package = _known(url, where, selection)
        if package is None:
            with fetched(
                url, where, timeout=fetch_timeout, limits=limits, report=report, roots=roots
            ) as found:
                package = _unpack(found, where, selection, limits, report)
        if hold:
            package = replace(package, hold=hold_shared(package.root))
        if package.project is None or only_unpack:
            return package
        suffix = package.root.name[len("extracted_") :]
        final = where / f"installed_{suffix}"
        if not final.exists():
            log = where / f"install_{suffix}.log"
            with writing_directory(final) as partial:
                install(
                    package.project,
                    partial,
                    log,
                    timeout=install_timeout,
                    report=report,
                    installer=installer,
                )
        has_content = any(final.iterdir())
        return replace(package, dependencies=final if has_content else None)


def release(package: Package) -> bool:
    """This process uses a held package no more; it is removed if no other one does.

    Returns
    -------
    bool
        Whether it was removed. One that another process was killed with stays until somebody
        releases it again.
    """
    if package.hold is None:
        return False
    with locked(package.root.parent):
        alone = is_alone(package.hold)
        if alone:
            _remove(package)
    os.close(package.hold)
    return alone


def remove(package: Package) -> None:
    """Remove what `prepare` or `unpack` made, for a session that has ended.

    The caller knows that nobody else uses it.
    """
    with locked(package.root.parent):
        _remove(package)


def environment(package: Package, *, binary: bool = False) -> dict[str, str]:
    """What a process has in front of its variables of the same names, to use a package.

    Parameters
    ----------
    binary : bool
        It holds programs: ``bin`` and ``lib`` of the package matter, not its Python modules.

    Examples
    --------
    >>> environment(prepare("app.tar.gz", "."))  # doctest: +SKIP
    {'PYTHONPATH': '/var/lib/app/extracted_app-0123456789abcdef', 'FLAME_PYTHON_VERSION': '3.11'}
    """
    if binary:
        root = package.root
        programs = [root / "bin", root]
        libraries = [root / "libs", root / "lib"]
        found = {
            "FLAME_APP_DIR": [root],
            "PATH": [path for path in programs if path.is_dir()],
            "LD_LIBRARY_PATH": [path for path in libraries if path.is_dir()],
        }
    else:
        installed = package.dependencies
        found = {
            "PYTHONPATH": [Path(path) for path in package.paths],
            "PATH": [installed / "bin"] if installed and (installed / "bin").is_dir() else [],
            "LD_LIBRARY_PATH": _library_directories(installed) if installed else [],
        }
    variables = {
        name: os.pathsep.join(str(path) for path in paths) for name, paths in found.items() if paths
    }
    if not binary:
        variables["FLAME_PYTHON_VERSION"] = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return variables


def _library_directories(root: Path) -> list[Path]:
    """Directories with shared libraries, near the top: those that a program may link."""
    found = []
    for directory, below, files in os.walk(root):
        if any(name.endswith(".so") or ".so." in name for name in files):
            found.append(Path(directory))
        if len(Path(directory).relative_to(root).parts) >= _LIBRARY_DEPTH:
            below.clear()
    return sorted(found)


def _remove(package: Package) -> None:
    suffix = package.root.name[len("extracted_") :]
    remove_tree(package.root)
    remove_tree(package.root.with_name(f"installed_{suffix}"))
    package.root.with_name(f"install_{suffix}.log").unlink(missing_ok=True)


def _known(url: str, where: Path, selection: Selection) -> Optional[Package]:
    """The package, if the URL tells its digest and it has been unpacked before."""
    address, _, digest = url.partition("#sha256=")
    if not digest or not selection.everything or "://" not in address:
        return None
    root = where / _directory_name(package_name(address), digest.lower())
    return Package(root, find_project(root)) if root.is_dir() else None


def _directory_name(name: str, digest: str) -> str:
    stem = _STEM.sub("-", archive_stem(name))[:_STEM_MAX].strip(".") or "package"
    return f"extracted_{stem}-{digest[:_DIGEST_CHARACTERS]}"


def _unpack(
    found: Fetched, where: Path, selection: Selection, limits: Limits, report: Report
) -> Package:
    is_directory = found.path.is_dir()
    digest = (
        _digest_of_tree(found.path, selection, limits)
        if is_directory
        else _digest_of_file(found.path, selection)
    )
    root = where / _directory_name(found.name, digest)
    if not root.exists():
        with writing_directory(root) as partial:
            if is_directory:
                members, packed = _selected(found.path, selection, limits), None
            else:
                members = read_archive(found.path, limits)
                packed = found.path.stat().st_size
            count = extract(
                members,
                partial,
                archive_bytes=packed,
                selection=selection,
                limits=limits,
                report=report,
            )
            os.chmod(partial, 0o755)
        report.line("unpacked %s: %d files in %s", found.name, count, root.name)
    return Package(root, find_project(root))


def _selected(root: Path, selection: Selection, limits: Limits) -> Iterator[Member]:
    return read_directory(root, limits, selection.enters)


def _digest_of_file(path: Path, selection: Selection) -> str:
    digest = _digest(selection)
    with open(path, "rb") as file:
        for data in iter(lambda: file.read(1 << 20), b""):
            digest.update(data)
    return digest.hexdigest()


def _digest_of_tree(root: Path, selection: Selection, limits: Limits) -> str:
    digest = _digest(selection)
    for member in _selected(root, selection, limits):
        if member.kind is not Kind.DIRECTORY and selection.wants(member.path):
            digest.update(f"{member.path}\0{member.mode & 0o111}\0{member.target}\0".encode())
            if member.open is not None:
                with member.open() as stream:
                    inner = hashlib.sha256()
                    for data in iter(lambda: stream.read(1 << 20), b""):
                        inner.update(data)
                digest.update(inner.digest())
    return digest.hexdigest()


def _digest(selection: Selection) -> hashlib._Hash:
    """Begins with what is left out: it changes what comes out."""
    digest = hashlib.sha256()
    if not selection.everything:
        digest.update(repr((selection.include, selection.exclude)).encode())
    return digest


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m flamepy.runner.packages",
        description="Fetch, unpack and install a package; print the directories for PYTHONPATH.",
    )
    parser.add_argument("url")
    parser.add_argument("--directory", default=".", help="working directory (default: here)")
    parser.add_argument("--include", action="append", metavar="GLOB")
    parser.add_argument("--exclude", action="append", metavar="GLOB")
    parser.add_argument("--installer", choices=("uv", "pip"))
    parser.add_argument(
        "--environment",
        choices=("python", "binary"),
        help="print variables for such a process instead; binary: nothing is installed",
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        package = prepare(
            options.url,
            os.path.abspath(options.directory),
            include=options.include,
            exclude=options.exclude,
            installer=options.installer,
            only_unpack=options.environment == "binary",
        )
    except (FlameError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    if options.environment is None:
        print("\n".join(package.paths))
    else:
        variables = environment(package, binary=options.environment == "binary")
        print("\n".join(f"{name}={value}" for name, value in variables.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
