"""Gets a package to this machine: from a file, over HTTP, or out of the object cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

from flamepy.core.client import default_client
from flamepy.core.context import normalize_endpoint
from flamepy.core.errors import InvalidConfig, NotFound, Timeout, Unavailable
from flamepy.core.refs import ObjectRef
from flamepy.runner.archives import EXTENSIONS, archive_stem, format_of
from flamepy.runner.errors import PackageError, UnsafePackage
from flamepy.runner.limits import Limits
from flamepy.runner.reporting import Report, size_text

__all__ = ["Fetched", "cache_location", "fetched", "open_url", "package_name"]

_CHUNK_BYTES = 1 << 20
_STALL_SECONDS = 60.0  # A server that sends nothing for so long has been lost.

_TIMED_OUT = (TimeoutError, socket.timeout)  # Two things before Python 3.10.


class Fetched:
    """A package on this machine.

    Attributes
    ----------
    path : Path
        An archive, or a directory.
    name : str
        Its file name as the URL has it.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name


@contextlib.contextmanager
def fetched(
    url: str,
    directory: Path,
    *,
    timeout: float,
    limits: Limits,
    report: Report,
    roots: Optional[Sequence[os.PathLike]] = None,
) -> Iterator[Fetched]:
    """The package at `url`, for the time of the context; a copy that was made is removed.

    Parameters
    ----------
    url : str
        ``file://``, ``http(s)://``, ``grpc(s)://host:port/app/session/name``, or a path. A
        fragment ``#sha256=<hex>`` is checked against the archive's bytes.
    directory : Path
        Where a download is put meanwhile.
    timeout : float
        Seconds for all of it.
    roots : sequence of paths, optional
        A file must lie below one of these; None: anywhere.

    Raises
    ------
    NotFound
        Nothing is there.
    Timeout, Unavailable
    PackageError
        Larger than `limits` allow, of another digest, of a scheme or form that we do not know.
    """
    address, _, fragment = url.partition("#")
    name = package_name(address)
    scheme = urllib.parse.urlsplit(address).scheme if "://" in address else ""
    if scheme in ("", "file"):
        path = _local(address, roots)
        if path.is_file():
            _check_size(url, path.stat().st_size, limits)
            _check_digest(url, path, fragment)
        yield Fetched(path, path.name)
        return
    if format_of(name) is None:
        raise PackageError(
            f"{url} is no package: its name must end in one of {', '.join(EXTENSIONS)}"
        )
    copy = directory / f".fetch-{uuid.uuid4()}{name[len(archive_stem(name)) :]}"
    began = time.monotonic()
    try:
        if scheme in ("http", "https"):
            _over_http(address, copy, timeout, limits, report)
        elif scheme.startswith("grpc"):
            _from_cache(address, copy, timeout, limits)
        else:
            raise InvalidConfig(
                f"{url}: packages come from file://, http://, https://, grpc:// and grpcs://"
            )
        _check_digest(url, copy, fragment)
        size = copy.stat().st_size
        report.end("fetch", size)
        report.line("fetched %s: %s in %.1f s", name, size_text(size), time.monotonic() - began)
        yield Fetched(copy, name)
    finally:
        copy.unlink(missing_ok=True)


def package_name(address: str) -> str:
    """The file name at the end of a URL or path.

    Examples
    --------
    >>> package_name("http://host/a/my%20app.tar.gz?x=1")
    'my app.tar.gz'
    """
    if "://" not in address:
        return os.path.basename(address.rstrip("/"))
    path = urllib.parse.unquote(urllib.parse.urlsplit(address).path)
    return path.rstrip("/").rpartition("/")[2]


def cache_location(address: str) -> tuple[str, str]:
    """Endpoint and key of an object that a URL names.

    Examples
    --------
    >>> cache_location("grpc://127.0.0.1:9090/app/pkg/app.tar.gz")
    ('grpc://127.0.0.1:9090', 'app/pkg/app.tar.gz')
    >>> cache_location("grpc+unix:///run/cache.sock/app/pkg/app.tar.gz")
    ('grpc+unix:///run/cache.sock', 'app/pkg/app.tar.gz')
    """
    parts = address.rsplit("/", 3)
    endpoint, key = parts[0], "/".join(urllib.parse.unquote(part) for part in parts[1:])
    if len(parts) != 4 or not endpoint.partition("://")[2] or not all(parts):
        raise PackageError(f"{address} is not of the form grpc://host:port/app/session/object")
    return endpoint, key


def open_url(
    request: urllib.request.Request, seconds: float, operation: str
) -> contextlib.AbstractContextManager[Any]:
    """Send an HTTP request; its reply. Redirections may lead to HTTP only.

    Raises
    ------
    NotFound, Timeout, Unavailable
    """
    try:
        return _opener.open(request, timeout=seconds)
    except urllib.error.HTTPError as error:
        with error:
            if error.code in (404, 410):
                raise NotFound(f"{operation}: the server has no such file ({error.code})") from None
            raise Unavailable(
                f"{operation}: the server answered {error.code} {error.reason}"
            ) from None
    except _TIMED_OUT:
        raise Timeout(f"{operation}: no answer within {seconds:.0f} s") from None
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, _TIMED_OUT):
            raise Timeout(f"{operation}: no answer within {seconds:.0f} s") from None
        raise Unavailable(f"{operation}: {reason}; check the address") from error


class _OnlyHttp(urllib.request.HTTPRedirectHandler):
    """Redirections that lead to files are refused by urllib, to FTP by this."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str):  # type: ignore[no-untyped-def]
        if not newurl.startswith(("http://", "https://")):
            raise PackageError(f"{req.full_url} redirects to {newurl}, which is not HTTP")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_opener = urllib.request.build_opener(_OnlyHttp)


def _local(address: str, roots: Optional[Sequence[os.PathLike]]) -> Path:
    if address.startswith("file://"):
        parts = urllib.parse.urlsplit(address)
        if parts.netloc not in ("", "localhost"):
            raise PackageError(f"{address} names the host {parts.netloc}; write file:///path")
        path = Path(urllib.parse.unquote(parts.path))
        if not path.is_absolute():
            raise PackageError(f"{address} is not absolute; write file:///path")
    else:
        path = Path(address)
    real = path.resolve()
    if roots is not None and not any(
        Path(root).resolve() in (real, *real.parents) for root in roots
    ):
        raise UnsafePackage(f"{address} lies below none of the directories for packages")
    if not (path.is_file() or path.is_dir()):
        raise NotFound(f"there is no package at {address}: upload it, or correct the URL")
    return path


def _over_http(address: str, copy: Path, timeout: float, limits: Limits, report: Report) -> None:
    operation = f"fetch {address}"
    end = time.monotonic() + timeout
    request = urllib.request.Request(address, headers={"User-Agent": "flamepy"})
    patience = min(timeout, _STALL_SECONDS)
    with open_url(request, patience, operation) as reply:
        declared = reply.headers.get("Content-Length")
        total = int(declared) if declared and declared.isdigit() else None
        if total is not None:
            _check_size(address, total, limits)
        done = 0
        with open(copy, "xb") as file:
            while True:
                if time.monotonic() >= end:
                    raise Timeout(f"{operation}: {timeout} s are over after {done} bytes")
                try:
                    data = reply.read1(_CHUNK_BYTES)
                except _TIMED_OUT:
                    raise Timeout(f"{operation}: nothing came for {patience:g} s") from None
                except OSError as error:
                    raise Unavailable(f"{operation}: {error}") from error
                if not data:
                    break
                done += len(data)
                _check_size(address, done, limits)
                file.write(data)
                report.step("fetch", done, total)
        if total is not None and done != total:
            raise Unavailable(f"{operation}: the connection ended after {done} of {total} bytes")


def _from_cache(address: str, copy: Path, timeout: float, limits: Limits) -> None:
    endpoint, key = cache_location(address)
    client = default_client()  # It may be connected to that cache already.
    end = time.monotonic() + timeout
    ref = ObjectRef(normalize_endpoint(endpoint), key)
    with contextlib.suppress(NotImplementedError):  # A Flame 0.6 server tells no sizes.
        _check_size(address, client.stat_object(ref, timeout=timeout).nbytes, limits)
    client.download_object(ref, copy, timeout=max(0.001, end - time.monotonic()))
    _check_size(address, copy.stat().st_size, limits)


def _check_size(url: str, size: int, limits: Limits) -> None:
    if size > limits.archive_bytes:
        raise UnsafePackage(
            f"{url} has {size_text(size)} or more, at most {size_text(limits.archive_bytes)} are allowed"
        )


def _check_digest(url: str, path: Path, fragment: str) -> None:
    name, _, wanted = fragment.partition("=")
    if name != "sha256" or not wanted:
        return
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for data in iter(lambda: file.read(_CHUNK_BYTES), b""):
            digest.update(data)
    if digest.hexdigest() != wanted.lower():
        raise PackageError(
            f"{url}: the file's SHA-256 is {digest.hexdigest()}, not the one in the URL; it was "
            "changed or damaged on the way"
        )
