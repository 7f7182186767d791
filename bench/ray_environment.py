"""Ray in an environment of its own below build/, made when first wanted.

A machine on which it does not install does without.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from workers import PYTHONS

REQUIREMENTS = Path(__file__).resolve().parent.parent / "tools/requirements-bench-ray.txt"
SECONDS = 240


def prepare() -> str | None:
    """None: it is there; else why it is not."""
    python = PYTHONS["ray"]
    folder = python.parent.parent
    stamp = folder / ".requirements"
    wanted = REQUIREMENTS.read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return None
    try:
        subprocess.run([sys._base_executable, "-m", "venv", folder], check=True, timeout=SECONDS)
        subprocess.run(
            [
                *(python, "-m", "pip", "install", "-q", "--disable-pip-version-check"),
                *("--retries", "1", "-r", REQUIREMENTS),
            ],
            check=True,
            timeout=SECONDS,
            capture_output=True,
        )
    except (subprocess.SubprocessError, OSError) as error:
        return f"ray: left out, it does not install here ({type(error).__name__})"
    stamp.write_text(wanted)
    return None
