"""A worker that has been started in advance: it has imported what workers need, and waits.

``python -m flamepy.runner.spare`` is what the session manager starts, with a socket as standard
input. When a session needs an instance, its orders come through the socket, and the process goes
on as ``flamepy.runner.runpy`` would, had it been started with them.

The orders: 32 bits of length (of this machine's byte order), then texts that end with a zero
byte: working directory, files for standard output and error, a directory that stands first in
the PYTHONPATH of what is executed anew, and the environment as ``NAME=value``.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import socket
import struct
import sys
from collections.abc import Iterable
from typing import NamedTuple, Optional

__all__ = ["main"]

_SUFFIXES = tuple(importlib.machinery.all_suffixes())


class _Orders(NamedTuple):
    directory: str
    output: str
    error: str
    guard: str
    environment: dict[str, str]


def main() -> None:
    """Wait for orders, then serve."""
    from flamepy.runner import runpy

    _import_the_rest()
    orders = _await_orders()
    if orders is None:
        return
    _take_files(orders)
    paths = [path for path in orders.environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    if _must_start_anew(orders, paths):
        _start_anew(orders)
    _take_environment(orders, paths)
    sys.argv = [runpy.__file__]
    runpy.main()


def _import_the_rest() -> None:
    """What a worker imports only when it is needed: serving, and the way to the cache."""
    for name in ("grpc", "pyarrow.flight", "numpy", "cloudpickle"):
        try:
            importlib.import_module(name)
        except ImportError:
            continue


def _await_orders() -> Optional[_Orders]:
    """None when the session manager needs this process no more."""
    with socket.socket(fileno=os.dup(0)) as manager:
        manager.sendall(b"R")
        size = _read(manager, 4)
        body = _read(manager, struct.unpack("=I", size)[0]) if size else b""
    if not body:
        return None
    directory, output, error, guard, *variables = (
        os.fsdecode(text) for text in body.split(b"\0")[:-1]
    )
    pairs = (text.split("=", 1) for text in variables)
    return _Orders(directory, output, error, guard, dict(pairs))


def _read(manager: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = manager.recv(size - len(data))
        if not more:
            return b""
        data += more
    return data


def _take_files(orders: _Orders) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW
    for number, (path, how) in enumerate(
        [(os.devnull, os.O_RDONLY), (orders.output, flags), (orders.error, flags)]
    ):
        opened = os.open(path, how, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(orders.directory)


def _must_start_anew(orders: _Orders, paths: Iterable[str]) -> bool:
    """Whether what is imported already is not what this worker would import."""
    if orders.environment.get("LD_LIBRARY_PATH") != os.environ.get("LD_LIBRARY_PATH"):
        return True  # Read when a program starts, and never again.
    imported = {name.partition(".")[0] for name in sys.modules}
    new = [path for path in [orders.directory, *paths] if path not in sys.path]
    return any(name in imported for path in new for name in _modules_of(path))


def _modules_of(path: str) -> Iterable[str]:
    try:
        names = os.listdir(path)
    except OSError:
        return []
    found = []
    for name in names:
        suffix = next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), None)
        if suffix is not None:
            found.append(name[: -len(suffix)])
        elif "." not in name:
            found.append(name)
    return found


def _start_anew(orders: _Orders) -> None:
    environment = dict(orders.environment)
    if orders.guard:
        rest = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([orders.guard, *([rest] if rest else [])])
    os.execve(sys.executable, [sys.executable, "-m", "flamepy.runner.runpy"], environment)


def _take_environment(orders: _Orders, paths: list[str]) -> None:
    before = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    # The first entry is the directory that this process was started in.
    rest = [path for path in sys.path[1:] if path not in before and path not in paths]
    sys.path[:] = [orders.directory, *paths, *rest]
    importlib.invalidate_caches()
    os.environ.clear()
    os.environ.update(orders.environment)


if __name__ == "__main__":
    main()
