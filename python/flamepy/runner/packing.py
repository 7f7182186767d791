"""Makes a package of a directory: the same files always give the same bytes."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import shutil
import tarfile
import uuid
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Optional, Union

from flamepy.core.errors import InvalidArgument
from flamepy.runner.archives import EXTENSIONS, format_of, read_directory
from flamepy.runner.globs import DEFAULT_EXCLUDES, METADATA_FILES, Selection
from flamepy.runner.limits import DEFAULT_LIMITS, Limits
from flamepy.runner.members import Kind, Member, leads_out
from flamepy.runner.metadata import generate_pyproject
from flamepy.runner.reporting import Progress, Report, logger, size_text

__all__ = ["pack"]

_EPOCH_OF_ZIP = (1980, 1, 1, 0, 0, 0)


def pack(
    source: Union[str, os.PathLike],
    destination: Union[str, os.PathLike],
    *,
    name: Optional[str] = None,
    dependencies: Iterable[str] = (),
    include: Optional[Iterable[str]] = None,
    exclude: Optional[Iterable[str]] = None,
    limits: Limits = DEFAULT_LIMITS,
    progress: Optional[Progress] = None,
) -> Path:
    """Pack a directory.

    The files lie at the archive's root; a ``dist`` directory at the top is left out, and so is
    what no package needs (`DEFAULT_EXCLUDES`). Owners and times are not kept, so that equal
    files make equal archives. If there is no project metadata, a pyproject.toml is added.

    Parameters
    ----------
    source : path
        A directory; it must not change meanwhile.
    destination : path
        The archive to write or replace; its extension is the format.
    name : str, optional
        Of the project in generated metadata; the destination's stem by default.
    dependencies : iterable of str
        Requirements for generated metadata. A project's own metadata decides by itself.
    include, exclude : iterable of str, optional
        Patterns, see `Selection`.
    limits : Limits
        What the package may hold.
    progress : callable, optional
        See `flamepy.runner.reporting.Progress`.

    Returns
    -------
    Path
        `destination`.

    Raises
    ------
    InvalidArgument
        The source is no directory, or the extension none that we know.
    UnsafePackage
        A file is a device, or has a name that other machines could not unpack.
    """
    root, target = Path(source), Path(destination)
    kind = format_of(target.name)
    if not root.is_dir():
        raise InvalidArgument(f"cannot pack {root}: it is no directory")
    if kind is None:
        raise InvalidArgument(
            f"cannot pack into {target.name}: its name must end in one of {', '.join(EXTENSIONS)}"
        )
    report = Report(progress)
    selection = Selection(include, [*DEFAULT_EXCLUDES, *(exclude or ())])
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name[:200]}.{uuid.uuid4()}.part")
    count = size = 0
    has_metadata = False
    try:
        with _archive(partial, kind) as archive:
            for member in _wanted(root, selection, limits):
                if member.path in METADATA_FILES:
                    has_metadata = True
                archive.add(member)
                count += 1
                size += member.size
                report.step("pack", count)
            if not has_metadata:
                text = generate_pyproject(name or target.name.partition(".")[0], dependencies)
                archive.add(_generated(text.encode()))
            elif dependencies:
                report.line("%s has metadata of its own: its dependencies count", root)
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    report.end("pack", count)
    packed = size_text(target.stat().st_size)
    report.line("packed %s: %d files, %s in %s", target.name, count, size_text(size), packed)
    return target


def _wanted(root: Path, selection: Selection, limits: Limits) -> Iterator[Member]:
    def enters(path: str) -> bool:
        return path != "dist" and selection.enters(path)

    for member in read_directory(root, limits, enters):
        if member.kind is Kind.DIRECTORY:
            if not selection.include:
                yield member
        elif selection.wants(member.path):
            if member.kind is Kind.SYMLINK and leads_out(member.path, member.target):
                logger.warning("left out %s: it is a link to %s", member.path, member.target)
            else:
                yield member


def _generated(text: bytes) -> Member:
    return Member("pyproject.toml", Kind.FILE, 0o644, len(text), open=lambda: io.BytesIO(text))


@contextlib.contextmanager
def _archive(path: Path, kind: str) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(path, "xb"))
        if kind == "zip":
            yield _Zip(stack.enter_context(zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED)))
            return
        if kind == "gzip":  # tarfile's own would write the time and the name into the header.
            stream = stack.enter_context(gzip.GzipFile("", "wb", 6, file, mtime=0))
            tar = tarfile.TarFile(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT)
        else:
            mode: Any = {"tar": "w", "bzip2": "w:bz2", "xz": "w:xz"}[kind]
            tar = tarfile.open(fileobj=file, mode=mode, format=tarfile.PAX_FORMAT)  # noqa: SIM115
        yield _Tar(stack.enter_context(tar))


class _Tar:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar

    def add(self, member: Member) -> None:
        info = tarfile.TarInfo(member.path)
        info.mode = 0o755 if member.kind is Kind.DIRECTORY or member.mode & 0o111 else 0o644
        if member.kind is Kind.DIRECTORY:
            info.type = tarfile.DIRTYPE
            self._tar.addfile(info)
        elif member.kind is Kind.SYMLINK:
            info.type, info.linkname = tarfile.SYMTYPE, member.target
            self._tar.addfile(info)
        else:
            info.size = member.size
            assert member.open is not None, "a file"
            with member.open() as stream:
                self._tar.addfile(info, stream)


class _Zip:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._zip = archive

    def add(self, member: Member) -> None:
        directory = member.kind is Kind.DIRECTORY
        info = zipfile.ZipInfo(member.path + ("/" if directory else ""), _EPOCH_OF_ZIP)
        info.create_system = 3  # Unix: the upper half of external_attr is a mode.
        info.compress_type = zipfile.ZIP_DEFLATED
        mode = 0o755 if directory or member.mode & 0o111 else 0o644
        kind = {Kind.DIRECTORY: 0o040000, Kind.SYMLINK: 0o120000}.get(member.kind, 0o100000)
        info.external_attr = (kind | mode) << 16
        if directory:
            self._zip.writestr(info, b"")
        elif member.kind is Kind.SYMLINK:
            self._zip.writestr(info, member.target.encode("utf-8", "surrogateescape"))
        else:
            info.file_size = member.size
            assert member.open is not None, "a file"
            with member.open() as stream, self._zip.open(info, "w") as out:
                shutil.copyfileobj(stream, out, 1 << 20)
