"""Writes the members of a package below a directory, and nowhere else.

Directories and files first, into a directory of our own in which there is no link yet, so that
no path can lead out of it. Links last, each checked when all are there. The result appears under
its name, whole, by one rename.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Optional

from flamepy.runner.errors import PackageError, UnsafePackage
from flamepy.runner.globs import Selection
from flamepy.runner.limits import Limits
from flamepy.runner.members import Kind, Member, leads_out
from flamepy.runner.reporting import Report

try:
    import fcntl
except ImportError:  # No Unix.
    fcntl = None  # type: ignore[assignment]

__all__ = ["extract", "hold_shared", "is_alone", "locked", "remove_tree", "writing_directory"]

_CHUNK_BYTES = 1 << 20


def extract(
    members: Iterable[Member],
    target: Path,
    *,
    archive_bytes: Optional[int],
    selection: Selection,
    limits: Limits,
    report: Report,
) -> int:
    """Write the wanted members into the new directory `target`; how many they are.

    Parameters
    ----------
    archive_bytes : int, optional
        What the members came in, to judge the ratio; None: they were not packed.

    Raises
    ------
    UnsafePackage
        A member leaves the directory, comes twice, or is too much. Nothing is left behind.
    PackageError
        A member has not the bytes that it claims to have.
    """
    writer = _Writer(target, archive_bytes, limits)
    count = 0
    for seen, member in enumerate(members, 1):
        if seen > limits.members:
            raise UnsafePackage(f"the package has more than {limits.members} members")
        if selection.everything or selection.wants(member.path):
            count += member.kind is not Kind.DIRECTORY
            writer.add(member)
            report.step("unpack", count)
    writer.make_links()
    report.end("unpack", count)
    return count


@contextlib.contextmanager
def writing_directory(final: Path) -> Iterator[Path]:
    """A directory beside `final` that gets its name when all went well, and is gone otherwise.

    The caller holds the lock of the directory above (`locked`): what a process that died left
    under the temporary name is removed.
    """
    partial = final.with_name(f".{final.name}.partial")
    remove_tree(partial)
    partial.mkdir(mode=0o700)
    try:
        yield partial
        os.rename(partial, final)
    except BaseException:
        remove_tree(partial)
        raise


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One process at a time works in `directory`; a process that dies lets go of it."""
    directory.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def hold_shared(directory: Path) -> Optional[int]:
    """A descriptor whose lock says that this process uses `directory`; None where there are none.

    The caller holds the lock of the directory above. The lock ends with the process.
    """
    if fcntl is None:
        return None
    descriptor = os.open(directory, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def is_alone(descriptor: int) -> bool:
    """Whether no other process holds the directory; the lock above is held."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def remove_tree(path: Path) -> None:
    """Remove a directory with all that is in it, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


class _Writer:
    def __init__(self, root: Path, archive_bytes: Optional[int], limits: Limits) -> None:
        self._root = root
        self._archive_bytes = archive_bytes
        self._limits = limits
        self._written = 0
        self._directories = {""}
        self._files: set[str] = set()
        self._links: list[Member] = []

    def add(self, member: Member) -> None:
        if member.kind is Kind.DIRECTORY:
            self._make_directory(member.path)
            return
        if not member.path:
            raise UnsafePackage("a member that is no directory has no name")
        if member.path in self._files or member.path in self._directories:
            raise UnsafePackage(f"member {member.path!r} comes twice; pack it once")
        self._make_directory(member.path.rpartition("/")[0])
        self._files.add(member.path)
        if member.kind is Kind.FILE:
            self._write(member)
        else:
            self._links.append(member)

    def make_links(self) -> None:
        hard = [link for link in self._links if link.kind is Kind.HARDLINK]
        soft = [link for link in self._links if link.kind is Kind.SYMLINK]
        symlinks = {link.path for link in soft}
        for link in hard:
            if link.target not in self._files or link.target in symlinks:
                raise UnsafePackage(
                    f"hard link {link.path!r} points to {link.target!r}, which is no file of the "
                    "package that is unpacked"
                )
            try:
                os.link(self._root / link.target, self._root / link.path)
            except FileNotFoundError:
                raise UnsafePackage(
                    f"hard link {link.path!r} points to {link.target!r}, which comes later"
                ) from None
        for link in soft:
            if leads_out(link.path, link.target):
                raise _leaving(link)
            os.symlink(link.target, self._root / link.path)
        real_root = os.path.realpath(self._root)
        for link in soft:
            # Now that all are there: a link may lead through others.
            real = os.path.realpath(self._root / link.path)
            if real != real_root and not real.startswith(real_root + os.sep):
                raise _leaving(link)

    def _make_directory(self, path: str) -> None:
        if path in self._directories:
            return
        if path in self._files:
            raise UnsafePackage(f"member {path!r} is a directory and a file; pack it once")
        self._make_directory(path.rpartition("/")[0])
        os.mkdir(self._root / path, 0o755)
        self._directories.add(path)

    def _write(self, member: Member) -> None:
        assert member.open is not None, "a file"
        self._check_total(member, member.size)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        mode = 0o755 if member.mode & 0o111 else 0o644
        descriptor = os.open(self._root / member.path, flags, mode)
        written = 0
        with open(descriptor, "wb") as file, member.open() as stream:
            while True:
                data = stream.read(_CHUNK_BYTES)
                if not data:
                    break
                written += len(data)
                if written > member.size:
                    break
                self._written += len(data)
                self._check_total(member, 0)
                file.write(data)
        if written != member.size:
            raise PackageError(
                f"member {member.path!r} claims {member.size} bytes and has "
                f"{'more' if written > member.size else written}: the package is damaged"
            )

    def _check_total(self, member: Member, more: int) -> None:
        total = self._written + more
        limits = self._limits
        if total > limits.total_bytes:
            raise UnsafePackage(
                f"member {member.path!r} brings the package to {total} bytes unpacked, at most "
                f"{limits.total_bytes} are allowed"
            )
        if self._archive_bytes is None or total <= limits.ratio_from_bytes:
            return
        if total > limits.ratio * self._archive_bytes:
            raise UnsafePackage(
                f"member {member.path!r}: {self._archive_bytes} bytes would unpack to {total}, more "
                f"than {limits.ratio} times as many"
            )


def _leaving(link: Member) -> UnsafePackage:
    return UnsafePackage(f"symlink {link.path!r} -> {link.target!r} would leave the package")
