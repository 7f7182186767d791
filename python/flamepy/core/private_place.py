"""Where the private server of a user lives: names and folders, nothing that runs.

One server per user and storage: everybody who would store in the same folder computes the
same names. The name also tells machines apart, so that a reference that came from another
one is not mistaken for one of this.
"""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from typing import Optional

from flamepy.core.errors import InvalidConfig

__all__ = ["SCHEME", "Place", "make_private_folder", "place"]

SCHEME = "grpc+unix://"

_MAX_SOCKET_PATH = 107
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/-_.+,=@~")


@dataclass(frozen=True)
class Place:
    """The files of one private server.

    Attributes
    ----------
    folder : str
        Of this user alone; made by `make_private_folder`.
    storage : str
        The folder that the server stores in.
    socket, start_lock, log, config : str
        In `folder`.
    """

    folder: str
    storage: str
    name: str

    @property
    def socket(self) -> str:
        """What the server listens on."""
        return f"{self.folder}/{self.name}.sock"

    @property
    def start_lock(self) -> str:
        """Held by the process that is starting the server."""
        return f"{self.folder}/{self.name}.start"

    @property
    def log(self) -> str:
        """What the server says."""
        return f"{self.folder}/{self.name}.log"

    @property
    def config(self) -> str:
        """The server's configuration."""
        return f"{self.folder}/{self.name}.yaml"

    @property
    def endpoint(self) -> str:
        """What references to objects of this server carry."""
        return SCHEME + self.socket


def place() -> Place:
    """The place that this user's environment leads to."""
    env = os.environ
    return _place(
        os.geteuid(),
        env.get("XDG_RUNTIME_DIR", ""),
        env.get("XDG_DATA_HOME", ""),
        os.path.expanduser("~"),
        env.get("TMPDIR", ""),
    )


@lru_cache(maxsize=8)
def _place(uid: int, runtime: str, data: str, home: str, _tmpdir: str) -> Place:
    # As the server does it when it is told nothing.
    base = data if data.startswith("/") else f"{home}/.local/share"
    storage = os.path.realpath(f"{base}/flame/cache")
    identity = "\0".join([_machine(), str(uid), storage])
    name = "cache-" + hashlib.sha256(identity.encode()).hexdigest()[:12]
    # Jobs of cron have no variable for it, and after `sudo` it may be another user's.
    runtimes = [runtime.rstrip("/"), f"/run/user/{uid}"]
    candidates = [f"{folder}/flame" for folder in runtimes if _is_private(folder)]
    candidates += [f"{tempfile.gettempdir()}/flame-{uid}", f"/tmp/flame-{uid}"]
    for folder in candidates:
        found = Place(folder, storage, name)
        if len(found.socket) <= _MAX_SOCKET_PATH and _PLAIN.issuperset(found.socket):
            return found
    raise InvalidConfig(f"none of {', '.join(candidates)} can hold a Unix socket")


def make_private_folder(folder: str) -> None:
    """Make `folder` for this user alone, or make sure that it is so already.

    Raises
    ------
    InvalidConfig
        It is a link, or another user owns it or could have written to it.
    """
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise InvalidConfig(
            f"cannot make {folder} for the private cache server: {error.strerror}; set "
            "XDG_RUNTIME_DIR to a folder of yours, or FLAME_CACHE_ENDPOINT to a server"
        ) from error
    parent = os.stat(os.path.dirname(folder))
    if parent.st_mode & 0o022 and not parent.st_mode & stat.S_ISVTX:
        raise _untrusted(folder, "everybody may replace it")
    info = os.lstat(folder)
    if not stat.S_ISDIR(info.st_mode):
        raise _untrusted(folder, "it is no folder")
    if info.st_uid != os.geteuid():
        raise _untrusted(folder, f"it belongs to the user {info.st_uid}")
    if info.st_mode & 0o022:
        raise _untrusted(folder, "others may write to it")
    if info.st_mode & 0o077:
        os.chmod(folder, 0o700)


def _untrusted(folder: str, why: str) -> InvalidConfig:
    return InvalidConfig(
        f"{folder} is not safe for the private cache server: {why}; remove it, or set "
        "XDG_RUNTIME_DIR to a folder of yours"
    )


def _is_private(folder: str) -> bool:
    if not folder.startswith("/"):
        return False
    try:
        info = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid() and not info.st_mode & 0o022


def _machine() -> str:
    identity: Optional[str] = None
    try:
        with open("/etc/machine-id", encoding="ascii") as file:
            identity = file.read().strip()
    except OSError:
        pass
    return f"{identity}\n{socket.gethostname()}"  # Containers of one image share the first.
