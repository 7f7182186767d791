"""Where packages are kept for workers: put, found again, removed."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import flamepy
import pytest
from flamepy.core.errors import InvalidConfig, NotFound, Unavailable
from flamepy.runner import storage
from flamepy.runner.packages import pack, prepare


@pytest.fixture
def archive(tmp_path) -> Path:
    """A small package."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source/module.py").write_text("X = 1\n")
    return pack(tmp_path / "source", tmp_path / "my app.tar.gz")


class _Handler(http.server.BaseHTTPRequestHandler):
    files: dict[str, bytes] = {}  # noqa: RUF012
    refuse = False

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.refuse:
            self.files[self.path] = data
        self.send_response(507 if self.refuse else 201)
        self.end_headers()

    def do_GET(self) -> None:
        data = self.files.get(self.path)
        self.send_response(200 if data else 404)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")

    def do_DELETE(self) -> None:
        self.send_response(204 if self.files.pop(self.path, None) else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[str]:
    """A web server that takes files."""
    _Handler.files, _Handler.refuse = {}, False
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/packages/"
        server.shutdown()


@pytest.fixture(params=["file", "http", "cache", "grpc"])
def place(request, web, tmp_path, client):
    """A storage of each kind."""
    (tmp_path / "kept here").mkdir()
    return {
        "file": f"file://{tmp_path}/kept%20here",
        "http": web,
        "cache": None,
        "grpc": client.endpoint,
    }[request.param]


def test_put_fetch_and_remove(place, archive, tmp_path):
    url = storage.upload(archive, place, "app")
    assert storage.upload(archive, place, "app") == url  # Equal bytes, equal name.
    package = prepare(url, tmp_path / "work")
    assert (package.root / "module.py").read_text() == "X = 1\n"
    storage.delete(url)
    with pytest.raises(NotFound):
        prepare(url, tmp_path / "other")
    storage.delete(url)


def test_changed_sources_have_another_url(place, archive, tmp_path):
    first = storage.upload(archive, place, "app")
    (tmp_path / "source/module.py").write_text("X = 2\n")
    second = storage.upload(pack(tmp_path / "source", archive), place, "app")
    assert first != second
    assert (prepare(second, tmp_path / "w").root / "module.py").read_text() == "X = 2\n"
    storage.delete(first)
    storage.delete(second)


def test_what_is_no_storage(archive, tmp_path, web):
    with pytest.raises(InvalidConfig, match="no such directory"):
        storage.upload(archive, f"file://{tmp_path}/gone", "app")
    with pytest.raises(InvalidConfig, match=r"package\.storage is 's3://x'"):
        storage.upload(archive, "s3://x", "app")
    _Handler.refuse = True
    with pytest.raises(Unavailable, match="answered 507"):
        storage.upload(archive, web, "app")


def test_the_configuration_says_what_a_package_holds(home):
    (home / ".flame").mkdir()
    (home / ".flame/flame.yaml").write_text(
        "current-context: a\ncontexts:\n  - name: a\n    package:\n"
        "      include: ['src/*']\n      excludes: ['*.csv']\n"
    )
    package = flamepy.FlameContext().package
    assert package.storage is None
    assert package.include == ["src/*"]
    assert "*.csv" in package.excludes
    (home / ".flame/flame.yaml").write_text(
        "current-context: a\ncontexts:\n  - name: a\n    package: {include: text}\n"
    )
    with pytest.raises(InvalidConfig, match=r"package\.include"):
        flamepy.FlameContext()
