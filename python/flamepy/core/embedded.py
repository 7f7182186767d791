"""The embedded default: where nothing is configured and no server answers, a private one.

The first call starts it, every process of the user shares it, and it ends by itself when
nobody uses it. How: docs/internals/embedded.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from typing import Callable, Optional

from flamepy.core.context import DEFAULT_FLAME_CACHE_ENDPOINT
from flamepy.core.errors import InvalidConfig, Unavailable
from flamepy.core.private_place import SCHEME, Place, make_private_folder, place
from flamepy.core.server_program import find_server, is_running, start_detached

try:
    import fcntl
except ImportError:  # No Unix: there is no embedded server.
    fcntl = None  # type: ignore[assignment]

__all__ = ["CHANGE_SECONDS", "default_endpoint", "forget", "is_own", "prepare"]

CHANGE_SECONDS = 10.0
"""How long a server that stops may keep its storage from the next one."""

DEFAULT_IDLE = "10m"

_SETTINGS = {"FLAME_CACHE_HTTP_ENDPOINT": "off"}
"""A private server has no business on a port; servers that know no such thing don't mind."""

_START_SECONDS = 60.0
_LOG_MAX_BYTES = 1 << 20
_LOG_KEPT_BYTES = 64 << 10
_IDLE = re.compile(r"\d+(ms|s|m|h|d)?|never")

_lock = threading.RLock()
_lock_file: Optional[int] = None  # Of the start that is under way in this process.
_chosen: Optional[tuple[Optional[Place], str]] = None
_announced = False


def default_endpoint(answers: Callable[[str], bool]) -> str:
    """Where a call goes when nothing is configured.

    Parameters
    ----------
    answers : callable
        Whether an object cache is at an endpoint; asked once, and again when it was lost.
    """
    global _chosen
    own = _own()
    chosen = _chosen
    if chosen is None or chosen[0] != own:
        with _lock:
            endpoint = DEFAULT_FLAME_CACHE_ENDPOINT
            always = os.environ.get("FLAME_EMBEDDED", "").lower() == "always"
            if own is not None and (always or not answers(endpoint)):
                endpoint = own.endpoint
            chosen = _chosen = (own, endpoint)
    return chosen[1]


def forget(endpoint: str) -> None:
    """Look again where calls go: the server at `endpoint` was lost."""
    global _chosen
    if _chosen is not None and _chosen[1] == endpoint:
        _chosen = None


def is_own(endpoint: str) -> bool:
    """Whether a private server of this user and storage is meant."""
    if not endpoint.startswith(SCHEME):
        return False
    own = _own()
    return own is not None and own.endpoint == endpoint


def prepare(endpoint: str) -> int:
    """See to it that somebody listens on a Unix socket; starts the private server.

    Returns
    -------
    int
        Process id of the server; 0 if the system does not tell.

    Raises
    ------
    Unavailable
        Nobody listens and this process cannot change that.
    InvalidConfig
        The folder for the socket is not safe.
    """
    path = endpoint[len(SCHEME) :]
    own = _own()
    private = own is not None and own.endpoint == endpoint
    if private:
        make_private_folder(own.folder)
        _trim(own.log)
    pid = _listener(path)
    end = time.monotonic() + CHANGE_SECONDS
    while pid is None and private and time.monotonic() < end:
        with _lock:
            _start(own)
        pid = _listener(path)  # None again, if it ended for want of use: we may have slept.
    if pid is None:
        raise Unavailable(_why_nobody(path))
    return pid


def _listener(path: str) -> Optional[int]:
    """Process id of the server that accepts connections on a Unix socket; None if none does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            return None
        except socket.timeout:
            return 0  # It has more to do than to let us in.
        except PermissionError as error:
            raise Unavailable(
                f"{path}: this Unix socket belongs to another user; objects of a private cache "
                "server can be read by its user only"
            ) from error
        if not hasattr(socket, "SO_PEERCRED"):
            return 0
        return struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]


def _listening(path: str) -> bool:
    return _listener(path) is not None


def _own() -> Optional[Place]:
    if fcntl is None or os.environ.get("FLAME_EMBEDDED", "").lower() in ("0", "off", "false", "no"):
        return None
    return place()


def _why_nobody(path: str) -> str:
    where = f"no server listens on the Unix socket {path} of {socket.gethostname()}"
    if os.path.exists(path):
        return f"{where}: it has ended; start it again"
    return (
        f"{where}: the reference was made on another machine, in another container or by another "
        "user, or its server has ended. Only a server with a TCP endpoint (FLAME_CACHE_ENDPOINT) "
        "can be shared between machines"
    )


def _start(own: Place) -> None:
    """Start the server unless somebody else does it first. Needs `_lock`."""
    end = time.monotonic() + _START_SECONDS
    with _starting(own, end) as first:
        if not first:
            return
        program = find_server()
        if program is None:
            raise Unavailable(
                f"no cache server answers at {DEFAULT_FLAME_CACHE_ENDPOINT}, and there is no "
                "program to start a private one: pip install flamepy-server, set FLAME_SERVER to "
                "the program, or FLAME_CACHE_ENDPOINT to a server"
            )
        _write_config(own)
        patience = time.monotonic() + CHANGE_SECONDS
        while True:
            failure = _launch(own, program, end)
            if failure is None:
                return
            # The one before us may be about to end: wait until it has let go of the storage.
            # Or ours has ended already, for want of use: on a machine that was asleep.
            passing = not failure or "another server" in failure
            if not passing or time.monotonic() > patience:
                raise Unavailable(
                    f"cannot start a private cache server: {failure} (log: {own.log}). Mend this, "
                    "or set FLAME_CACHE_ENDPOINT to a server"
                )
            time.sleep(0.05)
            if _listening(own.socket):
                return


@contextlib.contextmanager
def _starting(own: Place, end: float) -> Iterator[bool]:
    """Hold the right to start the server; False when it listens meanwhile."""
    global _lock_file
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    _lock_file = os.open(own.start_lock, flags, 0o600)
    try:
        while True:
            try:
                fcntl.flock(_lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                yield not _listening(own.socket)
                return
            if _listening(own.socket):
                yield False
                return
            if time.monotonic() > end:
                raise Unavailable(f"another process is starting {own.socket} and does not finish")
            time.sleep(0.02)
    finally:
        # Not only closed: a child forked meanwhile may have the descriptor too.
        fcntl.flock(_lock_file, fcntl.LOCK_UN)
        os.close(_lock_file)
        _lock_file = None


def _launch(own: Place, program: str, end: float) -> Optional[str]:
    """Start the program and wait until it listens; the error that it ends with instead."""
    global _announced
    before = os.path.getsize(own.log) if os.path.exists(own.log) else 0
    pid = start_detached([program, "--config", own.config], own.log, _SETTINGS)
    while not _listening(own.socket):
        if not is_running(pid):
            with open(own.log, encoding="utf-8", errors="replace") as file:
                file.seek(before)
                lines = file.read().strip().splitlines()
            if lines and lines[-1].endswith(" stopped"):
                return ""
            return next((line for line in reversed(lines) if "Error" in line), str(lines[-1:]))
        if time.monotonic() > end:
            raise Unavailable(f"the private cache server (pid {pid}) is not ready; see {own.log}")
        time.sleep(0.005)
    if is_running(pid) and not _announced:
        _announced = True
        _say(
            f"flamepy: no cache server is configured, so a private one was started (pid {pid}, "
            f"socket {own.socket}, objects in {own.storage}); it ends after {_idle()} without "
            "use; FLAME_EMBEDDED=0 turns this off"
        )
    return None


def _write_config(own: Place) -> None:
    text = (
        "# Written by flamepy whenever it starts the private server of this user.\n"
        "cache:\n"
        f"  endpoint: {json.dumps(own.endpoint)}\n"
        f"  storage: {json.dumps(own.storage)}\n"
        f"  runtime_dir: {json.dumps(own.folder)}\n"
        f"  exit_when_idle: {_idle()}\n"
    )
    partial = f"{own.config}.part"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(partial)
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    os.replace(partial, own.config)


def _idle() -> str:
    text = os.environ.get("FLAME_EMBEDDED_IDLE") or DEFAULT_IDLE
    if not _IDLE.fullmatch(text):
        raise InvalidConfig(
            f"FLAME_EMBEDDED_IDLE is {text!r}; write a duration as 30s, 10m or 2h, or never"
        )
    return text


def _trim(log: str) -> None:
    """Keep the log small: its last lines move to ``.1``. The server goes on appending."""
    with contextlib.suppress(OSError):
        if os.path.getsize(log) > _LOG_MAX_BYTES:
            with open(log, "rb") as old, open(f"{log}.1", "wb") as kept:
                old.seek(-_LOG_KEPT_BYTES, os.SEEK_END)
                shutil.copyfileobj(old, kept)
            os.truncate(log, 0)


def _say(line: str) -> None:
    with contextlib.suppress(Exception):  # Programs without a standard error work too.
        print(line, file=sys.stderr, flush=True)


def _after_fork() -> None:
    """The lock may have been held by a thread that the child does not have."""
    global _lock, _lock_file
    _lock = threading.RLock()
    if _lock_file is not None:
        with contextlib.suppress(OSError):
            os.close(_lock_file)
        _lock_file = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
