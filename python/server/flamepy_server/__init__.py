"""The programs `flame-object-cache` and `flame-session-manager`, as pip installs them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["PROGRAMS", "main"]

#: The folder that they are in.
PROGRAMS = Path(__file__).parent / "bin"


def main() -> None:
    """Become the program that was called, with its arguments: signals and exit code are its own."""
    # Workers of the session manager are this Python, unless another one is named.
    os.environ.setdefault("FLAME_PYTHON", sys.executable)
    program = PROGRAMS / Path(sys.argv[0]).name
    os.execv(program, [program.name, *sys.argv[1:]])
