"""A Unix socket as endpoint, and beside one: who may connect, and who takes whose place."""

import contextlib
import os
import shutil
import socket
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest
from harness.documents import Documents
from harness.errors import refused
from harness.flight import Flight
from harness.server import run_binary
from harness.wait import until
from pyarrow import flight as fl


@pytest.fixture
def folder():
    """A short one: the path of a socket has at most 107 bytes."""
    path = tempfile.mkdtemp(prefix="flame-", dir="/tmp")
    yield Path(path)
    shutil.rmtree(path)


@pytest.fixture
def url(folder):
    return f"grpc+unix://{folder}/run/cache.sock"


def mode(path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def test_a_unix_socket_serves_both_dialects_and_is_what_refs_carry(server_factory, url):
    server = server_factory(args=("--endpoint", url))
    assert server.endpoint == url
    assert server.ready_line.endswith(f"(listening on {url[12:]}, storage none)")
    with Flight(url) as client:
        ref = client.put("app/s/o", b"x")
        assert ref.endpoint == url
        assert client.get("app/s/o").value == b"x"
        [location] = client.info("app/s/o").endpoints[0].locations
        assert location.uri.decode() == url
    with Documents(url) as client:
        assert client.put("app/s/o", b"y").version == 2
    server.stop()


def test_refs_are_right_from_the_first_moment(server_factory, url):
    """The first call can come before the server has said that it is ready."""
    server = server_factory(args=("--endpoint", url), start=False)

    def put():
        with contextlib.suppress(fl.FlightUnavailableError), Flight(url) as client:
            return client.put("app/s/o", b"x")

    for _ in range(20):
        server.launch()
        assert until(put, "an answer").endpoint == url
        server.await_ready()
        server.stop()


def test_unix_is_a_shorter_name_of_the_scheme(server_factory, folder):
    server = server_factory(args=("--endpoint", f"unix://{folder}/c.sock"))
    assert server.endpoint == f"grpc+unix://{folder}/c.sock"


def test_only_the_user_of_the_server_can_connect(server_factory, url, folder):
    before = os.umask(0)
    try:
        server_factory(args=("--endpoint", url))
    finally:
        os.umask(before)
    assert mode(folder / "run") == 0o700
    assert mode(folder / "run/cache.sock") == 0o600


def test_a_socket_beside_an_address_serves_the_same_objects(server_factory, folder):
    path = folder / "c.sock"
    server = server_factory(args=("--unix-socket", str(path)))
    assert server.endpoint == f"grpc://127.0.0.1:{server.port}"
    assert f"listening on 127.0.0.1:{server.port} and {path}," in server.ready_line
    assert mode(path) == 0o600
    with Flight(f"grpc+unix://{path}") as local, Flight(server.endpoint) as remote:
        assert local.put("app/s/o", b"x").endpoint == server.endpoint
        assert remote.get("app/s/o").value == b"x"
    server.stop()
    assert not path.exists()


def test_a_clean_stop_leaves_nothing_behind(server_factory, url, folder):
    server = server_factory(args=("--endpoint", url))
    server.stop()
    assert list((folder / "run").iterdir()) == []


def test_the_socket_of_a_killed_server_is_replaced(server_factory, url, folder):
    server = server_factory(args=("--endpoint", url))
    for _ in range(3):
        server.kill()
        assert (folder / "run/cache.sock").exists()
        server.start()
        with Flight(url) as client:
            client.put("app/s/o", b"x")
    server.stop()
    assert list((folder / "run").iterdir()) == []


def test_a_restart_keeps_its_own_socket(server_factory, url):
    """The old server's clean-up must not hit the new one's socket."""
    server = server_factory(args=("--endpoint", url))
    for _ in range(10):
        server.restart()
        with Flight(url) as client:
            client.put("app/s/o", b"x")


def test_a_living_servers_socket_is_one_clear_line_and_1(server_factory, url, tmp_path):
    server = server_factory(args=("--endpoint", url))
    done = run_binary(tmp_path, "--endpoint", url, "--storage", "none", "--http-endpoint", "off")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"Error: cannot listen on {url[12:]}: another server listens there")
    with Flight(url) as client:
        client.put("app/s/o", b"x")
    assert server.alive()


def test_another_programs_socket_is_left_to_it(url, folder, tmp_path):
    path = folder / "run/cache.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        done = run_binary(
            tmp_path, "--endpoint", url, "--storage", "none", "--http-endpoint", "off"
        )
    assert done.returncode == 1
    assert "another server listens there" in done.stderr
    assert path.exists()


def test_a_file_in_the_way_is_left_alone(url, folder, tmp_path):
    path = folder / "run/cache.sock"
    path.parent.mkdir()
    path.write_text("mine")
    done = run_binary(tmp_path, "--endpoint", url, "--storage", "none", "--http-endpoint", "off")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "no socket" in line
    assert path.read_text() == "mine"


def test_a_path_that_is_too_long_is_one_clear_line_and_1(tmp_path):
    path = "/tmp/" + "a" * 103
    done = run_binary(tmp_path, "--endpoint", f"unix://{path}", "--storage", "none")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "has 108 bytes" in line
    assert "107" in line


def test_the_longest_path_works(server_factory, folder):
    path = f"{folder}/".ljust(107, "a")
    server = server_factory(args=("--endpoint", f"unix://{path}"))
    with Flight(server.endpoint) as client:
        client.put("app/s/o", b"x")


def test_versions_go_on_over_a_restart_without_storage(server_factory, url):
    server = server_factory(args=("--endpoint", url))
    with Flight(url) as client:
        assert client.put("app/s/o", b"x").version == 1
    server.restart()
    with Flight(url) as client:
        with refused("not_found"):
            client.get("app/s/o")
        assert client.put("app/s/o", b"x").version > 1


def test_the_stock_client_works_over_a_unix_socket(server_factory, url):
    from harness.stock import PYTHON

    server = server_factory(args=("--endpoint", url))
    code = """
from flamepy.core.cache import get_object, put_object
ref = put_object("app/s", {"answer": 42})
print(ref.endpoint, get_object(ref))
"""
    done = subprocess.run(
        [PYTHON, "-c", code],
        env={"HOME": str(server.home), "FLAME_CACHE_ENDPOINT": url, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{url} {{'answer': 42}}"
