"""The members of a package, one after the other: tar in its compressions, zip, directories.

Nothing here writes. Every reader gives `Member` objects with safe paths, and fails with
`PackageError` for what is damaged: a truncated archive never looks like a shorter one.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, Callable, Optional, cast

from flamepy.runner.errors import PackageError, UnsafePackage
from flamepy.runner.limits import Limits
from flamepy.runner.members import Kind, Member, safe_path

__all__ = ["EXTENSIONS", "archive_stem", "format_of", "read_archive", "read_directory"]

EXTENSIONS = (
    ".tar.gz",
    ".tar.bz2",
    ".tar.xz",
    ".tgz",
    ".tbz2",
    ".txz",
    ".tar",
    ".zip",
)

_FORMATS = {
    ".tar.gz": "gzip",
    ".tgz": "gzip",
    ".tar.bz2": "bzip2",
    ".tbz2": "bzip2",
    ".tar.xz": "xz",
    ".txz": "xz",
    ".tar": "tar",
    ".zip": "zip",
}
_MAGIC = (
    ("gzip", 0, b"\x1f\x8b"),
    ("bzip2", 0, b"BZh"),
    ("xz", 0, b"\xfd7zXZ\x00"),
    ("zip", 0, b"PK\x03\x04"),
    ("zip", 0, b"PK\x05\x06"),  # One without members.
    ("tar", 257, b"ustar"),
)
_BLOCK = 512
_READ_MAX_BYTES = 8 << 20  # What one header may make tarfile take into memory.
_LINK_MAX_BYTES = 4096
_XZ_MEMORY_BYTES = 256 << 20  # `xz -9` needs 65 MiB.
_DAMAGED = (
    EOFError,
    OSError,
    lzma.LZMAError,
    struct.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    UnicodeError,
)


def format_of(name: str) -> Optional[str]:
    """What a file name promises: gzip, bzip2, xz, tar or zip; None if it is no archive's.

    Examples
    --------
    >>> format_of("a.TGZ"), format_of("a.tar"), format_of("a.whl")
    ('gzip', 'tar', None)
    """
    extension = _extension(name)
    return _FORMATS[extension] if extension else None


def archive_stem(name: str) -> str:
    """A file name without the extension of an archive.

    Examples
    --------
    >>> archive_stem("my.app-1.2.tar.gz"), archive_stem("plain")
    ('my.app-1.2', 'plain')
    """
    extension = _extension(name)
    return name[: -len(extension)] if extension else name


def read_archive(path: Path, limits: Limits) -> Iterator[Member]:
    """The members of the archive at `path`, in its order.

    Raises
    ------
    PackageError
        The extension is none of `EXTENSIONS`, the bytes are not what it says, or are damaged.
    UnsafePackage
        A member is a device or has an unsafe path, or the archive unpacks to too much.
    """
    kind = format_of(path.name)
    if kind is None:
        raise PackageError(
            f"{path.name} is no package: its name must end in one of {', '.join(EXTENSIONS)}"
        )
    found = _sniff(path)
    if found != kind and not (kind == "tar" and found is None):
        raise PackageError(
            f"{path.name} is not what its name says: expected {kind} data, found "
            f"{found or 'something else'}; give the file its right extension"
        )
    reader = _read_zip if kind == "zip" else partial(_read_tar, compression=kind)
    with _judging(path.name):
        for member in reader(path, limits):
            if member.open is None:
                yield member
            else:
                yield replace(member, open=partial(_Judged, member.open, path.name))


@contextlib.contextmanager
def _judging(name: str) -> Iterator[None]:
    """What the decoders raise about damaged data, as an error of ours."""
    try:
        yield
    except PackageError:
        raise
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # The disk, not the archive.
        raise PackageError(f"{name} is damaged: {error or type(error).__name__}") from error


class _Judged:
    """The bytes of a member; errors are those of `_judging`."""

    def __init__(self, opener: Callable[[], BinaryIO], name: str) -> None:
        self._name = name
        with _judging(name):
            self._stream = opener()

    def __enter__(self) -> _Judged:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end."""
        with _judging(self._name):
            return self._stream.read(size)


def read_directory(root: Path, limits: Limits, enters: Callable[[str], bool]) -> Iterator[Member]:
    """The files below a directory, sorted, as members; symlinks stay symlinks.

    Parameters
    ----------
    enters : callable
        Whether to look into the directory at a relative path.
    """
    stack = [""]
    while stack:
        base = stack.pop()
        with os.scandir(root / base) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        below = []
        for entry in found:
            path = safe_path(f"{base}/{entry.name}" if base else entry.name, limits, "file")
            info = entry.stat(follow_symlinks=False)
            mode = stat.S_IMODE(info.st_mode)
            if entry.is_symlink():
                yield Member(path, Kind.SYMLINK, mode, target=os.readlink(entry.path))
            elif entry.is_dir(follow_symlinks=False):
                if enters(path):
                    yield Member(path, Kind.DIRECTORY, mode)
                    below.append(path)
            elif entry.is_file(follow_symlinks=False):
                yield Member(
                    path, Kind.FILE, mode, info.st_size, open=partial(_open, Path(entry.path))
                )
            else:
                raise UnsafePackage(f"file {path!r} is a device, pipe or socket")
        stack += reversed(below)


def _open(path: Path) -> BinaryIO:
    return open(path, "rb")


def _extension(name: str) -> Optional[str]:
    lower = name.lower()
    for extension in EXTENSIONS:
        if lower.endswith(extension) and len(name) > len(extension):
            return extension
    return None


def _sniff(path: Path) -> Optional[str]:
    with open(path, "rb") as file:
        start = file.read(_BLOCK)
    for kind, offset, magic in _MAGIC:
        if start[offset : offset + len(magic)] == magic:
            return kind
    return None


class _Counted:
    """What tarfile reads from: counts, bounds, and knows whether the end was a proper one."""

    def __init__(self, stream: BinaryIO, archive_bytes: int, limits: Limits) -> None:
        self._stream = stream
        most = max(limits.ratio_from_bytes, limits.ratio * archive_bytes)
        self._limit = min(most, limits.total_bytes) + limits.members * 4 * _BLOCK
        self._position = 0
        self.last = b""  # The last block of what was read; empty at the end of the stream.

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > _READ_MAX_BYTES:
            raise UnsafePackage(f"a header of the archive claims {size} bytes")
        parts = []
        while size:
            data = self._stream.read(size)
            if not data:
                break
            parts.append(data)
            size -= len(data)
        result = b"".join(parts)
        self._position += len(result)
        if self._position > self._limit:
            raise UnsafePackage(
                f"the archive unpacks to more than {self._limit} bytes, which is what one of its "
                "size may"
            )
        self.last = result[-_BLOCK:]
        return result

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        """Forward only; tarfile skips what nobody reads."""
        while self._position < position:
            if not self.read(min(1 << 20, position - self._position)):
                raise EOFError("the archive ends in the middle of a member")
        if position < self._position:
            raise PackageError("the archive has members that overlap")
        return self._position


class _XzStream:
    """Reads .xz data with a bound on the memory that its header may ask for."""

    def __init__(self, path: Path, _mode: str) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 - closed by __exit__
        self._decompressor = self._start()

    def __enter__(self) -> _XzStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        while True:
            if self._decompressor.eof:
                rest = self._decompressor.unused_data.lstrip(b"\0") or self._file.read(1)
                if not rest:
                    return b""
                self._decompressor = self._start()
                data = rest
            elif self._decompressor.needs_input:
                data = self._file.read(1 << 16)
                if not data:
                    raise EOFError("the compressed data ends too early")
            else:
                data = b""
            result = self._decompressor.decompress(data, size)
            if result:
                return result

    @staticmethod
    def _start() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)


_OPENERS: dict[str, Callable] = {
    "gzip": gzip.open,
    "bzip2": bz2.open,
    "xz": _XzStream,
    "tar": open,
}


def _read_tar(path: Path, limits: Limits, compression: str) -> Iterator[Member]:
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(_OPENERS[compression](path, "rb"))
        counted = _Counted(raw, path.stat().st_size, limits)
        tar = stack.enter_context(
            tarfile.TarFile(
                fileobj=cast("BinaryIO", counted), encoding="utf-8", errors="surrogateescape"
            )
        )
        while True:
            info = tar.next() if tar.offset else None  # Python 3.9 stumbles over an empty one.
            tar.members = []  # It would keep every one of them.
            if info is None:
                break
            yield from _tar_member(tar, info, limits)
        if counted.last.strip(b"\0") or not counted.last:
            raise PackageError(f"{path.name} is damaged: it ends before its end mark")
        while counted.read(1 << 20):  # The checksum of the compression comes last.
            pass


def _tar_member(tar: tarfile.TarFile, info: tarfile.TarInfo, limits: Limits) -> Iterator[Member]:
    path = safe_path(info.name, limits)
    if info.isdir():
        yield Member(path, Kind.DIRECTORY, info.mode)
    elif info.issym():
        yield Member(path, Kind.SYMLINK, info.mode, target=info.linkname)
    elif info.islnk():
        yield Member(
            path, Kind.HARDLINK, info.mode, target=safe_path(info.linkname, limits, "link to")
        )
    elif info.isreg():
        if info.size < 0:
            raise PackageError(f"member {info.name!r} claims {info.size} bytes")
        yield Member(path, Kind.FILE, info.mode, info.size, open=partial(_extract, tar, info))
    else:
        raise UnsafePackage(f"member {info.name!r} is a device, pipe or unknown thing")


def _extract(tar: tarfile.TarFile, info: tarfile.TarInfo) -> BinaryIO:
    if info.issparse():
        raise UnsafePackage(f"member {info.name!r} is a sparse file; pack it without --sparse")
    stream = tar.extractfile(info)
    assert stream is not None, "a regular file"
    return cast("BinaryIO", stream)


def _read_zip(path: Path, limits: Limits) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        if len(infos) > limits.members:
            raise UnsafePackage(
                f"{path.name} has {len(infos)} members, at most {limits.members} are allowed"
            )
        for info in infos:
            name = safe_path(info.orig_filename, limits)
            mode = info.external_attr >> 16
            kind = stat.S_IFMT(mode)
            if info.flag_bits & 0x1:
                raise PackageError(f"member {name!r} of {path.name} is encrypted")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise PackageError(
                    f"member {name!r} of {path.name} has a compression that cannot be unpacked in "
                    "bounded memory; pack it with deflate"
                )
            if kind == stat.S_IFLNK:
                if info.file_size > _LINK_MAX_BYTES:
                    raise UnsafePackage(f"the link {name!r} has a target of {info.file_size} bytes")
                with archive.open(info) as stream:
                    target = stream.read(_LINK_MAX_BYTES).decode("utf-8", "surrogateescape")
                yield Member(name, Kind.SYMLINK, mode, target=target)
            elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UnsafePackage(f"member {name!r} is a device, pipe or socket")
            elif info.is_dir():
                yield Member(name, Kind.DIRECTORY, stat.S_IMODE(mode) or 0o755)
            else:
                yield Member(
                    name,
                    Kind.FILE,
                    stat.S_IMODE(mode) or 0o644,
                    info.file_size,
                    open=cast("Callable[[], BinaryIO]", partial(archive.open, info)),
                )
