"""Configuration of a client: ``~/.flame/flame.yaml``, then the environment.

========================  =====================================================  ===============
variable                  meaning                                                file
========================  =====================================================  ===============
``FLAME_ENDPOINT``        session service, ``http://host:port``                  cluster.endpoint
``FLAME_CACHE_ENDPOINT``  object cache, ``grpc://host:port``                     cache.endpoint
``FLAME_CACHE_STORAGE``   directory shared with the server: local mode           cache.storage
``FLAME_CLIENT_CACHE``    bytes of the client's cache, ``256M``; 0 turns it off  cache.client_cache
``FLAME_ALLOW_PICKLE``    0: read nothing that needs unpickling                  cache.allow_pickle
``FLAME_CA_FILE``         root certificates where the file names none            \\*.tls.ca_file
``FLAME_EMBEDDED``        0: start no private server where nothing is configured
``FLAME_CERT_FILE``       this client's certificate, likewise                    cache.tls.cert_file
``FLAME_KEY_FILE``        its private key                                        cache.tls.key_file
========================  =====================================================  ===============
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Optional, Union
from urllib.parse import urlsplit

import yaml

from flamepy.core.errors import InvalidConfig

__all__ = [
    "DEFAULT_CLIENT_CACHE_BYTES",
    "DEFAULT_FLAME_CACHE_ENDPOINT",
    "DEFAULT_FLAME_CONF",
    "DEFAULT_FLAME_ENDPOINT",
    "FlameClientCache",
    "FlameClientTls",
    "FlameContext",
    "FlameContextRunner",
    "FlamePackage",
    "current_context",
    "default_file",
    "normalize_endpoint",
    "parse_size",
    "reload_context",
    "settings_in_environment",
]

DEFAULT_FLAME_CONF = "flame.yaml"
DEFAULT_FLAME_ENDPOINT = "http://127.0.0.1:8080"
DEFAULT_FLAME_CACHE_ENDPOINT = "grpc://127.0.0.1:9090"
DEFAULT_FLAME_RUNNER_TEMPLATE = "flmrun"
DEFAULT_CLIENT_CACHE_BYTES = 256 << 20
DEFAULT_PACKAGE_EXCLUDES = (".venv", "__pycache__", ".gitignore", "*.pyc")

_VARIABLES = (
    "FLAME_ENDPOINT",
    "FLAME_CACHE_ENDPOINT",
    "FLAME_CACHE_STORAGE",
    "FLAME_CLIENT_CACHE",
    "FLAME_ALLOW_PICKLE",
    "FLAME_CA_FILE",
    "FLAME_EMBEDDED",
    "FLAME_CERT_FILE",
    "FLAME_KEY_FILE",
)
_CONFIGURING = ("FLAME_ENDPOINT", "FLAME_CACHE_ENDPOINT", "FLAME_CACHE_STORAGE")
_DEFAULT_FLAME_HOME = "/var/lib/flame"
_SCHEMES = {"http": "grpc", "https": "grpc+tls", "grpcs": "grpc+tls", "unix": "grpc+unix"}
_SIZE = re.compile(r"\s*([0-9.]+)\s*(?:([kmgtp])i?b?|b)?\s*", re.IGNORECASE)

_FLAGS = {"1": True, "true": True, "yes": True, "on": True}
_FLAGS.update({"0": False, "false": False, "no": False, "off": False})

logger = logging.getLogger(__name__)
_announced: set = set()  # Deprecation lines already logged by this process.


@dataclass(frozen=True)
class FlameClientTls:
    """PEM files. A certificate of this client's is for servers that ask for one (mutual TLS)."""

    ca_file: Optional[str] = None
    """What a server's certificate must chain to; None means the system's roots."""
    cert_file: Optional[str] = None
    key_file: Optional[str] = None


@dataclass(frozen=True)
class FlameClientCache:
    """Where the object cache is and how this client uses it."""

    endpoint: str = DEFAULT_FLAME_CACHE_ENDPOINT
    tls: Optional[FlameClientTls] = None
    storage: Optional[str] = None
    """Directory of the server that this host shares: `put_object` writes files there."""
    client_cache_bytes: int = DEFAULT_CLIENT_CACHE_BYTES
    allow_pickle: bool = True
    """Whether objects may be unpickled, which runs code of their writers."""
    embedded: bool = field(default=False, repr=False)
    """Nothing is configured: where no server answers, a private one is started."""


@dataclass(frozen=True)
class FlamePackage:
    """Where packages go (None: into the object cache), which files they hold and leave out."""

    storage: Optional[str] = None
    excludes: list[str] = field(default_factory=lambda: list(DEFAULT_PACKAGE_EXCLUDES))
    include: list[str] = field(default_factory=list)
    """Only files that match one of these patterns; empty: all."""


@dataclass(frozen=True)
class FlameContextRunner:
    """Options of the runner."""

    template: Optional[str] = None


class FlameContext:
    """The configuration in force when it is made; it does not change afterwards.

    Parameters
    ----------
    config_file : path, optional
        Instead of ``~/.flame/flame.yaml``. A file that does not exist means defaults.
    environ : mapping, optional
        Instead of ``os.environ``.

    Raises
    ------
    InvalidConfig
        The file is no YAML, names no current context, or has a value of a wrong type.

    Examples
    --------
    >>> context = FlameContext(config_file="/nonexistent", environ={})
    >>> context.cache_endpoint
    'grpc://127.0.0.1:9090'
    >>> FlameContext(config_file="/nonexistent", environ={"FLAME_CACHE_STORAGE": "none"}).cache
    FlameClientCache(endpoint='grpc://127.0.0.1:9090', tls=None, storage=None, \
client_cache_bytes=268435456, allow_pickle=True)
    """

    def __init__(
        self,
        *,
        config_file: Optional[Union[str, os.PathLike]] = None,
        environ: Optional[Mapping[str, str]] = None,
    ) -> None:
        path = Path(default_file() if config_file is None else config_file)
        env = os.environ if environ is None else environ
        section = _read_file(path)
        cluster = _mapping(section, "cluster")
        cache = _mapping(section, "cache")
        ca_file = env.get("FLAME_CA_FILE") or None

        self.endpoint: str = (
            env.get("FLAME_ENDPOINT") or _text(cluster, "endpoint") or DEFAULT_FLAME_ENDPOINT
        )
        self.tls: Optional[FlameClientTls] = _tls(cluster, FlameClientTls(ca_file))
        self.cache = FlameClientCache(
            endpoint=normalize_endpoint(
                env.get("FLAME_CACHE_ENDPOINT")
                or _text(cache, "endpoint")
                or DEFAULT_FLAME_CACHE_ENDPOINT
            ),
            tls=_tls(
                cache,
                FlameClientTls(
                    ca_file, env.get("FLAME_CERT_FILE") or None, env.get("FLAME_KEY_FILE") or None
                ),
            ),
            storage=_local_directory(
                env.get("FLAME_CACHE_STORAGE") or _text(cache, "storage"), env
            ),
            client_cache_bytes=parse_size(
                env.get("FLAME_CLIENT_CACHE")
                or cache.get("client_cache", DEFAULT_CLIENT_CACHE_BYTES)
            ),
            allow_pickle=_flag(
                "allow_pickle", env.get("FLAME_ALLOW_PICKLE") or cache.get("allow_pickle", True)
            ),
            embedded=not path.exists()
            and not any(env.get(name) for name in _CONFIGURING)
            and env.get("FLAME_EMBEDDED", "").lower() not in ("0", "off", "false", "no"),
        )
        self.package: Optional[FlamePackage] = _package(section)
        self.runner = FlameContextRunner(
            _text(_mapping(section, "runner"), "template") or DEFAULT_FLAME_RUNNER_TEMPLATE
        )

    @property
    def cache_endpoint(self) -> str:
        """Endpoint of the object cache."""
        return self.cache.endpoint

    @property
    def cache_tls(self) -> Optional[FlameClientTls]:
        """TLS options for every object cache, also for one that a reference names."""
        return self.cache.tls


_lock = threading.Lock()
_current: Optional[tuple[tuple, FlameContext]] = None


def current_context() -> FlameContext:
    """The process's context, read anew when the file or the environment has changed.

    Thread-safe; costs one ``stat`` when nothing changed.
    """
    global _current
    fingerprint = _fingerprint()
    current = _current
    if current is None or current[0] != fingerprint:
        with _lock:
            current = _current = (fingerprint, FlameContext())
    return current[1]


def reload_context() -> FlameContext:
    """Read file and environment again now, whatever their time stamps say.

    Examples
    --------
    >>> reload_context().cache_endpoint  # doctest: +SKIP
    'grpc://cache.example:9090'
    """
    global _current
    with _lock:
        _current = (_fingerprint(), FlameContext())
        return _current[1]


def _after_fork() -> None:
    """The lock may have been held by a thread that the child does not have."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def normalize_endpoint(endpoint: str) -> str:
    """Spell an endpoint the way Arrow Flight does.

    Examples
    --------
    >>> normalize_endpoint("grpcs://cache.example:9090")
    'grpc+tls://cache.example:9090'
    >>> normalize_endpoint("http://127.0.0.1:9090/")
    'grpc://127.0.0.1:9090'
    >>> normalize_endpoint("unix:///run/flame/cache.sock")
    'grpc+unix:///run/flame/cache.sock'
    """
    scheme, separator, rest = endpoint.partition("://")
    if not separator or not rest:
        raise InvalidConfig(f"endpoint {endpoint!r} is not of the form grpc://host:port")
    return f"{_SCHEMES.get(scheme, scheme)}://{rest.rstrip('/')}"


def parse_size(size: Any) -> int:
    """Read a number of bytes; units are powers of 1024.

    Examples
    --------
    >>> parse_size("256M"), parse_size("1.5 KiB"), parse_size(4096)
    (268435456, 1536, 4096)
    """
    match = _SIZE.fullmatch(str(size))
    try:
        number = float(match.group(1)) if match else -1
    except ValueError:
        number = -1
    if match is None or number < 0:
        raise InvalidConfig(f"{size!r} is not a size: write bytes, or a number and K, M, G, T, P")
    unit = (match.group(2) or "").lower()
    return int(number * 1024 ** (" kmgtp".index(unit) if unit else 0))


def default_file() -> str:
    """Where the configuration is looked for."""
    return os.path.join(os.path.expanduser("~"), ".flame", DEFAULT_FLAME_CONF)


def settings_in_environment() -> list[str]:
    """The variables that are set, as ``NAME=value``."""
    return [f"{name}={os.environ[name]}" for name in _VARIABLES if os.environ.get(name)]


def _fingerprint() -> tuple:
    """What the context was made from. Every call looks at it: no text is decoded for it."""
    path = _file_below(_read_variable(_HOME))
    try:
        status = os.stat(path)
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
    except OSError:
        stamp = None
    return (path, stamp, *map(_read_variable, _RAW_VARIABLES))


_HOME: Any
if os.supports_bytes_environ:
    _read_variable = os.environb.get
    _HOME, _RAW_VARIABLES = b"HOME", tuple(name.encode() for name in _VARIABLES)
else:
    _read_variable = os.environ.get
    _HOME, _RAW_VARIABLES = "USERPROFILE", _VARIABLES


@lru_cache(maxsize=1)
def _file_below(home: Any) -> str:
    """`default_file`; `home` is what it depends on."""
    return default_file()


def _read_file(path: Path) -> dict:
    """The current context's section, older layouts rewritten to today's."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"cannot read {path}: {error}") from error
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidConfig(f"{path} is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise InvalidConfig(f"{path} must be a mapping with `current-context` and `contexts`")

    section = dict(_current_section(document, path))
    if "package" in document:
        _announce(path, "a top-level `package:` is deprecated; move it into the context")
        section.setdefault("package", document["package"])
    if isinstance(section.get("cache"), str):
        _announce(path, "`cache: <url>` is deprecated; write `cache: {endpoint: grpc://...}`")
        section["cache"] = {"endpoint": section["cache"]}
    return section


def _current_section(document: dict, path: Path) -> dict:
    if "clusters" in document and "contexts" not in document:
        _announce(path, "`clusters:` is deprecated; write `contexts:` and `current-context:`")
        clusters = document["clusters"]
        name = document.get("current-cluster", document.get("current-context"))
        if name is None and isinstance(clusters, list) and len(clusters) == 1:
            name = isinstance(clusters[0], dict) and clusters[0].get("name")
        old = _named(clusters, name, path)
        cluster = {key: old[key] for key in ("endpoint", "tls") if key in old}
        return {"cluster": cluster, **{k: v for k, v in old.items() if k not in cluster}}
    name = document.get("current-context")
    if name is not None:
        return _named(document.get("contexts"), name, path)
    if "package" in document and "contexts" not in document:
        return {}
    raise InvalidConfig(f"{path} has no `current-context`")


def _named(entries: Any, name: Any, path: Path) -> dict:
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("name") == name:
            return entry
    raise InvalidConfig(f"{path} has no context named {name!r}")


def _announce(path: Path, line: str) -> None:
    if (path, line) not in _announced:
        _announced.add((path, line))
        logger.warning("%s: %s", path, line)


def _mapping(section: dict, key: str) -> dict:
    value = section.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidConfig(f"`{key}` must be a mapping, not {value!r}")
    return value


def _text(section: dict, key: str) -> Optional[str]:
    value = section.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidConfig(f"`{key}` must be text, not {value!r}")
    return value or None


def _flag(name: str, value: Any) -> bool:
    """Read yes or no, however it is spelled; a typing error must not turn a protection off."""
    text = str(value).strip().lower()
    if text not in _FLAGS:
        raise InvalidConfig(f"{name} is {value!r}, expected 1 or 0 (true, false, yes, no, on, off)")
    return _FLAGS[text]


def _tls(section: dict, default: FlameClientTls) -> Optional[FlameClientTls]:
    files = _mapping(section, "tls")
    ca_file = _text(files, "ca_file") or default.ca_file
    cert_file, key_file = _text(files, "cert_file"), _text(files, "key_file")
    if cert_file is None and key_file is None:
        cert_file, key_file = default.cert_file, default.key_file
    if (cert_file is None) != (key_file is None):
        raise InvalidConfig(
            f"a client certificate needs both cert_file and key_file, not only "
            f"{cert_file or key_file}"
        )
    return FlameClientTls(ca_file, cert_file, key_file) if ca_file or cert_file else None


def _package(section: dict) -> Optional[FlamePackage]:
    if section.get("package") is None:
        return None
    package = _mapping(section, "package")
    patterns = {}
    for name in ("excludes", "include"):
        found = patterns[name] = package.get(name) or []
        if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
            raise InvalidConfig(f"`package.{name}` must be a list of texts, not {found!r}")
    merged = list(dict.fromkeys([*DEFAULT_PACKAGE_EXCLUDES, *patterns["excludes"]]))
    return FlamePackage(_text(package, "storage"), merged, patterns["include"])


def _local_directory(value: Optional[str], env: Mapping[str, str]) -> Optional[str]:
    """The directory a storage setting names, or None.

    The server reads the same variable, where ``none`` means memory only and ``fs://rel``
    lies under its home; a URL of another scheme names no directory of this host.
    """
    if not value or value.lower() == "none":
        return None
    if "://" not in value:
        return value
    url = urlsplit(value)
    if url.scheme not in ("fs", "file"):
        return None
    path = url.netloc + url.path
    if not path:
        return None
    return os.path.join(env.get("FLAME_HOME") or _DEFAULT_FLAME_HOME, path)
