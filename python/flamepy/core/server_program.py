"""The programs: where they are, and how to start the server so that it outlives this process."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

from flamepy.core.errors import InvalidConfig, Unavailable

__all__ = ["find_program", "find_server", "is_running", "start_detached"]

_PASSED_ON = (
    "FLAME_LOG",
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "LOGNAME",
    "PATH",
    "TMPDIR",
    "TZ",
    "USER",
    "ASAN_OPTIONS",
    "LSAN_OPTIONS",
    "TSAN_OPTIONS",
    "UBSAN_OPTIONS",
)
"""What a detached server needs of the environment; the rest may hold secrets, or settings."""

_DETACH = 'umask 077; log=$1; shift; "$@" </dev/null >>"$log" 2>&1 & echo $!'


def find_program(name: str, variable: str) -> Optional[str]:
    """Path of a program: what ``variable`` names, else flamepy-server's, else on the PATH.

    Raises
    ------
    InvalidConfig
        The variable names no program.
    """
    named = os.environ.get(variable)
    if named:
        if not (os.path.isfile(named) and os.access(named, os.X_OK)):
            raise InvalidConfig(f"{variable} is {named}, which is no program")
        return os.path.abspath(named)
    if importlib.util.find_spec("flamepy_server") is not None:
        program = Path(importlib.import_module("flamepy_server").PROGRAMS) / name
        if program.is_file():
            return str(program)
    return shutil.which(name)


def find_server() -> Optional[str]:
    """Path of the cache server: as `find_program`, with ``FLAME_SERVER``."""
    return find_program("flame-object-cache", "FLAME_SERVER")


def start_detached(command: Sequence[str], log: str, settings: Mapping[str, str]) -> int:
    """Start a program in a session of its own, and return its process id.

    It has no standard input, appends what it says to `log`, and inherits no descriptor. It
    is no child of this process, which so never has to wait for it. Its environment is
    `settings` and the little of ours that a program needs.
    """
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment.update(settings)
    shell = subprocess.run(
        ["/bin/sh", "-c", _DETACH, "sh", log, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd="/",
        start_new_session=True,
    )
    if shell.returncode != 0 or not shell.stdout.strip().isdigit():
        raise Unavailable(f"cannot start {command[0]}: /bin/sh ended with {shell.returncode}")
    return int(shell.stdout)


def is_running(pid: int) -> bool:
    """Whether a process lives; one that only waits to be reaped does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        if os.path.isdir("/proc/self"):
            return False
    except ProcessLookupError:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
