"""A worker that has been started in advance: it has done what every worker does, and waits.

``python -m flamepy.runner.spare`` is what the session manager starts, with a socket as standard
input. It imports what workers need, listens where its session will call it, connects to the
cache, and says ``R``: it is ready. When a session needs an instance, its orders come through the
socket. The process is then as ``flamepy.runner.runpy`` would be, had it been started with them,
and says ``S``: it serves. Where that cannot be, it executes that module, and the socket is closed.

The orders: 32 bits of length (of this machine's byte order), then texts that end with a zero
byte: working directory, files for standard output and error, a directory that stands first in
the PYTHONPATH of what is executed anew, and the environment as ``NAME=value``.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import os
import socket
import struct
import sys
from collections.abc import Iterable
from typing import NamedTuple, Optional

__all__ = ["main"]

_IMPORTED_LATE = ("pyarrow.flight", "numpy", "cloudpickle", "flamepy.runner.packages")
_CONNECT_SECONDS = 2.0
_SUFFIXES = tuple(importlib.machinery.all_suffixes())


class _Orders(NamedTuple):
    directory: str
    output: str
    error: str
    guard: str
    environment: dict[str, str]


def main() -> None:
    """Be ready, wait for orders, then serve."""
    given = set(os.environ)
    from flamepy.core.sessions.service import InstanceServer
    from flamepy.runner import runpy

    _import_the_rest()
    server = InstanceServer(runpy.FlameRunpyService())
    server.start()
    _connect_to_the_cache()
    with socket.socket(fileno=os.dup(0)) as manager:
        orders = _await_orders(manager)
        if orders is None:
            return
        _take_files(orders)
        paths = [
            path for path in orders.environment.get("PYTHONPATH", "").split(os.pathsep) if path
        ]
        if _must_start_anew(orders, paths):
            _start_anew(orders, server.path)
        _take_environment(orders, paths, given)
        sys.argv = [runpy.__file__]
        runpy.set_up_logging()
        manager.sendall(b"S")
    server.wait()


def _import_the_rest() -> None:
    """What a worker imports only when it is needed: the ways to the cache, packages."""
    for name in _IMPORTED_LATE:
        try:
            importlib.import_module(name)
        except ImportError:
            continue


def _connect_to_the_cache() -> None:
    """Where one is configured: the first connection of a process costs several calls."""
    if not os.environ.get("FLAME_CACHE_ENDPOINT"):
        return
    from flamepy.core import transport
    from flamepy.core.errors import FlameError

    try:
        connection = transport.connect()
        try:
            connection.speaks_documents(transport.Deadline(_CONNECT_SECONDS))
        except FlameError:
            connection.close()  # Or gRPC would wait before it tries again.
    except FlameError:
        return  # A worker says so when it needs the cache.


def _await_orders(manager: socket.socket) -> Optional[_Orders]:
    """None when the session manager needs this process no more."""
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


def _start_anew(orders: _Orders, listening: str) -> None:
    for path in (listening, f"{listening}.t"):  # Nobody serves there until it listens again.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    environment = dict(orders.environment)
    if orders.guard:
        rest = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([orders.guard, *([rest] if rest else [])])
    os.execve(sys.executable, [sys.executable, "-m", "flamepy.runner.runpy"], environment)


def _take_environment(orders: _Orders, paths: list[str], given: set[str]) -> None:
    """`given`: variables that this process was started with; what libraries set, stays."""
    before = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    # The first entry is the directory that this process was started in.
    rest = [path for path in sys.path[1:] if path not in before and path not in paths]
    sys.path[:] = [orders.directory, *paths, *rest]
    importlib.invalidate_caches()
    for name in given - orders.environment.keys():
        os.environ.pop(name, None)
    for name, value in orders.environment.items():  # Threads may read what does not change.
        if os.environ.get(name) != value:
            os.environ[name] = value


if __name__ == "__main__":
    main()
