"""Archives that were made to hurt: name, bytes, and what is wrong with each."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from typing import Callable, NamedTuple, Optional

MIB = 1 << 20


class Hostile(NamedTuple):
    """One archive; `why` must be in the error."""

    label: str
    name: str
    make: Callable[[], bytes]
    why: str


def tar(*members: tuple, mode: str = "w:gz", **options) -> bytes:
    """A tar of (name, what): bytes, or a change to its TarInfo, or both."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, **options) as archive:
        for name, *what in members:
            info = tarfile.TarInfo(name)
            data = b""
            for item in what:
                if isinstance(item, bytes):
                    data = item
                else:
                    for field, value in item.items():
                        setattr(info, field, value)
            if info.isreg():
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zipped(*members: tuple, **options) -> bytes:
    """A zip of (name, bytes[, external_attr >> 16])."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, data, *mode in members:
            info = zipfile.ZipInfo("x")
            info.filename = name  # The constructor would tidy it.
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (mode[0] if mode else 0o100644) << 16
            archive.writestr(info, data)
    return out.getvalue()


def link(target: str, kind: bytes = tarfile.SYMTYPE) -> dict:
    return {"type": kind, "linkname": target}


def cut(data: bytes, part: float) -> bytes:
    return data[: int(len(data) * part)]


def _noise(size: int) -> bytes:
    """Bytes that do not compress, the same each time."""
    state, out = 1, bytearray()
    while len(out) < size:
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        out += struct.pack("<Q", state)
    return bytes(out[:size])


def _without_end() -> bytes:
    """A tar that ends at a member's boundary, where tarfile takes it for whole."""
    plain = tar(("a", b"1" * 512), ("b", b"2" * 512), mode="w")
    return plain[: 2 * 1024]


def _broken_middle() -> bytes:
    """The header of the second member is damaged: tarfile would stop there without a word."""
    plain = bytearray(tar(("a", b"1" * 512), ("b", b"2" * 512), mode="w"))
    plain[1024 + 100] ^= 0xFF
    return bytes(plain)


def _size_lie(delta: int) -> bytes:
    """The second member's header claims another size than there are bytes."""
    plain = bytearray(tar(("a", b"1"), ("b", b"2" * 512), mode="w"))
    header = plain[1024:1536]
    size = int(header[124:135], 8) + delta
    header[124:136] = b"%011o\0" % size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    plain[1024:1536] = header
    return bytes(plain)


def _huge_pax_header() -> bytes:
    """An extended header of 64 MiB, which tarfile would hold in memory."""
    info = tarfile.TarInfo("a")
    info.type, info.size = tarfile.XHDTYPE, 64 * MIB
    return gzip.compress(info.tobuf() + bytes(64 * MIB) + bytes(1024))


def _overlapping_zip() -> bytes:
    """Many entries of the directory share the bytes of one member."""
    one = zipped(("a", bytes(4 * MIB)))
    end = one.rindex(b"PK\x05\x06")
    start = one.index(b"PK\x01\x02")
    entry, rest = one[start:end], one[:start]
    count = 100
    entries = entry * count
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(entries), len(rest), 0)
    return rest + entries + tail


def _zip_with_nul() -> bytes:
    return zipped(("safe.py", b"1")).replace(b"safe.py", b"saf\0.py")


def _encrypted_zip() -> bytes:
    data = bytearray(zipped(("a", b"1")))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    return bytes(data)


def _bad_crc_zip() -> bytes:
    data = bytearray(zipped(("a", b"x" * 100)))
    for mark, offset in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        data[data.index(mark) + offset] ^= 0xFF
    return bytes(data)


def _xz_with_huge_dictionary() -> bytes:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 20}]
    data = bytearray(lzma.compress(tar(("a", b"1"), mode="w"), lzma.FORMAT_XZ, filters=filters))
    # Block header: size, flags, filter id 0x21, properties size 1, dictionary size code.
    place = 12
    assert data[place + 2 : place + 4] == b"\x21\x01"
    data[place + 4] = 40  # 4 GiB - 1.
    size = (data[place] + 1) * 4
    import zlib

    data[place + size - 4 : place + size] = struct.pack(
        "<I", zlib.crc32(data[place : place + size - 4])
    )
    return bytes(data)


_DEVICES = {
    "character device": tarfile.CHRTYPE,
    "block device": tarfile.BLKTYPE,
    "pipe": tarfile.FIFOTYPE,
    "contiguous file of an unknown type": b"Z",
}
_ABSOLUTE = {
    "absolute": ("/etc/passwd", "absolute"),
    "two slashes": ("//etc/passwd", "absolute"),
    "parent": ("../evil", "'..'"),
    "parent inside": ("a/../../evil", "'..'"),
    "parent that stays inside": ("a/../b", "'..'"),
    "parent at the end": ("a/..", "'..'"),
    "drive": ("C:/evil", "drive"),
    "backslash": ("..\\evil", "backslash"),
    "backslash inside": ("a\\b", "backslash"),
    "newline": ("a\nb", "control"),
    "escape sequence": ("a\x1b[2Jb", "control"),
    "C1 control": ("a\x9bb", "control"),
    "right to left": ("gnp\u202eexe.py", "direction"),
    "full-width dots and slash": ("\uff0e\uff0e\uff0fevil", "would leave"),
    "two dot leader": ("\u2025/evil", "would leave"),
    "full-width slash": ("a\uff0fb", "separator"),
    "long component": ("a" * 256, "255 bytes"),
    "long name": ("/".join(["a" * 200] * 6), "bytes"),
    "deep": ("/".join("a" * 65), "deep"),
}


def corpus() -> Iterator[Hostile]:
    """All of them."""
    for label, (name, why) in _ABSOLUTE.items():
        yield Hostile(f"tar, {label}", "x.tar.gz", lambda n=name: tar((n, b"1")), why)
        yield Hostile(f"zip, {label}", "x.zip", lambda n=name: zipped((n, b"1")), why)
    for label, kind in _DEVICES.items():
        yield Hostile(label, "x.tar", lambda k=kind: tar(("d", {"type": k}), mode="w"), "device")
    pairs: tuple[tuple[str, Callable[[], bytes], str], ...] = (
        ("symlink to /", lambda: tar(("l", link("/etc/passwd"))), "would leave"),
        ("symlink up", lambda: tar(("a/l", link("../../etc"))), "would leave"),
        ("symlink to nothing", lambda: tar(("l", link(""))), "would leave"),
        ("through a symlink", lambda: tar(("l", link("/tmp")), ("l/evil", b"1")), "and a file"),
        ("through a harmless symlink", lambda: tar(("l", link(".")), ("l/x", b"1")), "and a file"),
        ("symlink over a directory", lambda: tar(("l/x", b"1"), ("l", link("/tmp"))), "twice"),
        (
            "symlinks that lead out together",
            lambda: tar(("a/b/x", b"1"), ("a/c", link("b/..")), ("d", link("a/c/../../.."))),
            "would leave",
        ),
        (
            "symlink through a symlink",
            lambda: tar(
                ("p/q/r/x", b"1"), ("s", link("p/q/r")), ("t/u", link("../s/../../../../z"))
            ),
            "would leave",
        ),
        (
            "symlink that looks deeper than it leads",
            lambda: tar(
                ("deep/er/f", b"1"),
                ("deep/er/top", link("../..")),
                ("evil", link("deep/er/top/../../etc")),
            ),
            "'evil' .* would leave",
        ),
        ("hard link to /", lambda: tar(("l", link("/etc/passwd", tarfile.LNKTYPE))), "would leave"),
        ("hard link up", lambda: tar(("l", link("../x", tarfile.LNKTYPE))), "would leave"),
        ("hard link to nothing", lambda: tar(("l", link("x", tarfile.LNKTYPE))), "no file"),
        ("hard link to itself", lambda: tar(("l", link("l", tarfile.LNKTYPE))), "comes later"),
        (
            "hard link to a symlink",
            lambda: tar(("s", link("x")), ("x", b"1"), ("l", link("s", tarfile.LNKTYPE))),
            "no file",
        ),
        ("twice", lambda: tar(("a", b"1"), ("a", b"2")), "twice"),
        ("twice in other words", lambda: tar(("a", b"1"), ("./a", b"2")), "twice"),
        ("file and directory", lambda: tar(("a", b"1"), ("a/b", b"2")), "and a file"),
        ("directory and file", lambda: tar(("a/b", b"1"), ("a", b"2")), "twice"),
        ("no name", lambda: tar((".", b"1")), "no name"),
        ("header of 64 MiB", _huge_pax_header, "header of the archive claims"),
        ("bomb", lambda: tar(("a", bytes(16 * MIB))), "times as many"),
        (
            "bomb of members",
            lambda: tar(*((f"{i}", b"") for i in range(1001))),
            "more than 1000 members",
        ),
        ("bomb of headers", lambda: gzip.compress(bytes(512) * 60_000), "more than"),
        ("cut in half", lambda: cut(tar(("a", _noise(100_000))), 0.5), "damaged"),
        ("without its checksum", lambda: tar(("a", b"1"))[:-8], "damaged"),
        ("wrong checksum", lambda: tar(("a", b"1"))[:-8] + b"12345678", "damaged"),
        ("is a zip", lambda: zipped(("a", b"1")), "found zip"),
        ("is text", lambda: b"<html>404</html>", "something else"),
        ("is empty", lambda: b"", "something else"),
    )
    for label, make, why in pairs:
        yield Hostile(label, "x.tar.gz", make, why)
    plain: tuple[tuple[str, str, Callable[[], bytes], str], ...] = (
        ("no end mark", "x.tar", _without_end, "before its end"),
        ("cut in a member", "x.tar", lambda: tar(("a", b"1" * 4096), mode="w")[:2000], "damaged"),
        ("damaged second header", "x.tar", _broken_middle, "before its end"),
        ("size too large", "x.tar", lambda: _size_lie(10**9), "damaged|unpacks to more|times as"),
        ("size too small", "x.tar", lambda: _size_lie(-512), "damaged"),
        ("is empty", "x.tar", lambda: b"", "damaged"),
        ("bzip2, cut", "x.tar.bz2", lambda: cut(bz2.compress(_noise(50_000)), 0.6), "damaged"),
        (
            "bzip2 bomb",
            "x.tbz2",
            lambda: tar(("a", bytes(16 * MIB)), mode="w:bz2"),
            "times as many",
        ),
        ("xz, cut", "x.txz", lambda: cut(tar(("a", _noise(9000)), mode="w:xz"), 0.6), "too early"),
        ("xz that wants 4 GiB", "x.tar.xz", _xz_with_huge_dictionary, "damaged"),
        ("zip with a NUL", "x.zip", _zip_with_nul, "control"),
        ("zip, encrypted", "x.zip", _encrypted_zip, "encrypted"),
        ("zip, wrong checksum", "x.zip", _bad_crc_zip, "damaged"),
        ("zip, cut", "x.zip", lambda: cut(zipped(("a", _noise(5000))), 0.5), "damaged"),
        ("zip, is a tar", "x.zip", lambda: tar(("a", b"1")), "found gzip"),
        (
            "zip, after other data",
            "x.zip",
            lambda: b"#!/bin/sh\n" + zipped(("a", b"1")),
            "something",
        ),
        ("zip, symlink up", "x.zip", lambda: zipped(("l", b"../x", 0o120777)), "would leave"),
        ("zip, symlink to /", "x.zip", lambda: zipped(("l", b"/etc", 0o120777)), "would leave"),
        ("zip, huge symlink", "x.zip", lambda: zipped(("l", b"a" * 5000, 0o120777)), "target of"),
        ("zip, device", "x.zip", lambda: zipped(("d", b"", 0o020666)), "device"),
        ("zip, pipe", "x.zip", lambda: zipped(("d", b"", 0o010666)), "device"),
        ("zip, twice", "x.zip", lambda: zipped(("a", b"1"), ("a", b"2")), "twice"),
        ("zip bomb", "x.zip", lambda: zipped(("a", bytes(16 * MIB))), "times as many"),
        ("zip of overlapping members", "x.zip", _overlapping_zip, "comes twice|overlap|damaged"),
        (
            "zip, bzip2 inside",
            "x.zip",
            lambda: _zip_of(zipfile.ZIP_BZIP2),
            "bounded memory",
        ),
    )
    for label, name, make, why in plain:
        yield Hostile(label, name, make, why)


def _zip_of(compression: int, data: Optional[bytes] = None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr("a", data or bytes(1000))
    return out.getvalue()
