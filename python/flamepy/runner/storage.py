"""Where packages are kept for workers: a directory, a web server, or the object cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import urllib.parse
import urllib.request
import uuid
from pathlib import Path
from typing import Optional

from flamepy.core.cache import delete_objects, upload_object
from flamepy.core.errors import InvalidConfig, NotFound
from flamepy.runner.archives import archive_stem
from flamepy.runner.fetching import open_url

__all__ = ["delete", "digest_name", "upload"]

_UPLOAD_SECONDS = 300.0
_DELETE_SECONDS = 60.0


def digest_name(archive: Path) -> str:
    """The archive's name with a digest of its bytes: changed sources, another URL.

    Returns
    -------
    str
        ``app-<16 hexadecimal digits>.tar.gz``
    """
    with open(archive, "rb") as file:
        digest = hashlib.sha256()
        for data in iter(lambda: file.read(1 << 20), b""):
            digest.update(data)
    stem = archive_stem(archive.name)
    return f"{stem}-{digest.hexdigest()[:16]}{archive.name[len(stem) :]}"


def upload(archive: Path, storage: Optional[str], app: str) -> str:
    """Put a package where workers find it; its URL.

    Parameters
    ----------
    storage : str, optional
        ``file:///directory``, ``http(s)://host/path``; None or ``grpc(s)://``: the object cache.

    Raises
    ------
    InvalidConfig
        The storage is of another form, or its directory is absent.
    Unavailable, Timeout
    """
    name = digest_name(archive)
    scheme = urllib.parse.urlsplit(storage).scheme if storage else "grpc"
    if scheme == "file":
        return _into_directory(archive, name, str(storage))
    if scheme in ("http", "https"):
        url = f"{str(storage).rstrip('/')}/{urllib.parse.quote(name)}"
        with open(archive, "rb") as file:
            request = urllib.request.Request(url, data=file.read(), method="PUT")
        request.add_header("Content-Type", "application/octet-stream")
        with open_url(request, _UPLOAD_SECONDS, f"upload {url}"):
            return url
    if scheme.startswith("grpc"):
        ref = upload_object(f"{app}/pkg/{name}", archive, timeout=_UPLOAD_SECONDS)
        endpoint = ref.endpoint.replace("grpc+tls://", "grpcs://")
        return f"{endpoint}/{urllib.parse.quote(ref.key)}"
    raise InvalidConfig(
        f"package.storage is {storage!r}: expected file://, http://, https://, grpc:// or grpcs://"
    )


def delete(url: str) -> None:
    """Remove what `upload` has put; nothing there is no error."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "file":
        Path(urllib.parse.unquote(parts.path)).unlink(missing_ok=True)
    elif parts.scheme in ("http", "https"):
        request = urllib.request.Request(url, method="DELETE")
        with contextlib.suppress(NotFound), open_url(request, _DELETE_SECONDS, f"delete {url}"):
            pass
    else:
        key = "/".join(urllib.parse.unquote(part) for part in url.rsplit("/", 3)[1:])
        delete_objects(key, timeout=_DELETE_SECONDS)


def _into_directory(archive: Path, name: str, storage: str) -> str:
    directory = Path(urllib.parse.unquote(urllib.parse.urlsplit(storage).path))
    if not directory.is_dir():
        raise InvalidConfig(f"package.storage is {storage}, and there is no such directory")
    final = directory / name
    if not final.exists():
        partial = directory / f".{uuid.uuid4()}.part"
        try:
            shutil.copyfile(archive, partial)
            os.replace(partial, final)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    return f"file://{urllib.parse.quote(str(final.resolve()))}"
