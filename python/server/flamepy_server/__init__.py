"""The `flame-object-cache` program, as pip installs it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["PROGRAM", "main"]

#: Path of the program.
PROGRAM = Path(__file__).parent / "bin" / "flame-object-cache"


def main() -> None:
    """Become the program, with this process's arguments: signals and exit code are its own."""
    os.execv(PROGRAM, [PROGRAM.name, *sys.argv[1:]])
