"""A disk that fails, refuses or is slow when the test says so, for a real server.

Preloaded (faulty_disk.c) rather than mounted: the kernel offers no file system that turns
read-only under open files and comes back, and this one needs no privileges.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_suffix(".c")
WRITES, NAMES, SYNCS = 1, 2, 4


class FaultyDisk:
    """What a server is given as its environment; then told how to behave, at any time."""

    def __init__(self, folder: Path):
        self.storage = folder / "storage"
        self._library = folder / "faulty_disk.so"
        command = ["cc", "-O1", "-shared", "-fPIC", "-o", self._library, _SOURCE]
        subprocess.run(command, check=True)
        control = folder / "control"
        control.write_bytes(bytes(12))
        with open(control, "r+b") as file:
            self._control = mmap.mmap(file.fileno(), 12)
        inherited = os.environ.get("ASAN_OPTIONS", "")
        self.env = {
            "LD_PRELOAD": " ".join(
                filter(None, [os.environ.get("LD_PRELOAD"), str(self._library)])
            ),
            "FLAME_FAULTY_CONTROL": str(control),
            "FLAME_FAULTY_FOLDER": str(self.storage),
            "ASAN_OPTIONS": f"{inherited}:verify_asan_link_order=0".lstrip(":"),
        }

    def fail(self, error: int = errno.EIO, calls: int = WRITES | NAMES | SYNCS) -> None:
        self._set(error, 0, calls)

    def read_only(self) -> None:
        self._set(errno.EROFS, 0, WRITES | NAMES)

    def hang(self, calls: int = WRITES | NAMES | SYNCS) -> None:
        """Every call waits until `heal`, and then succeeds."""
        self._set(0, 600_000, calls)

    def heal(self) -> None:
        self._set(0, 0, 0)

    def _set(self, error: int, wait_ms: int, calls: int) -> None:
        self._control[:] = struct.pack("=iii", error, wait_ms, calls)
