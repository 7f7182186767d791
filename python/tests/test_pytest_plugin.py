"""The pytest plugin for users' own tests, in real inner sessions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import flamepy
import pytest
from flamepy.core.server_program import is_running
from flamepy.testing import LocalServer

pytest_plugins = "pytester"

PYTHON = str(Path(flamepy.__file__).parents[1])


@pytest.fixture
def session(pytester, binary, home, monkeypatch):
    """Run tests as a user would; the plugin is named because nothing is installed here."""
    monkeypatch.setenv("FLAME_SERVER", str(binary))
    monkeypatch.setenv("PYTHONPATH", PYTHON)

    def run(code: str, *arguments: str, **outcomes: int) -> str:
        pytester.makepyfile(code)
        result = pytester.runpytest_subprocess(
            "-p", "pytest_flamepy", "-s", *arguments, timeout=100
        )
        result.assert_outcomes(**outcomes)
        return result.stdout.str()

    return run


def test_a_test_has_a_server_and_a_prefix_of_its_own(session):
    out = session(
        """
import flamepy, os
def test_put(flame_prefix, flame_server):
    ref = flamepy.put_object(flame_prefix, [1])
    assert ref.endpoint == flame_server.endpoint == os.environ["FLAME_CACHE_ENDPOINT"]
    assert flamepy.get_object(ref) == [1]
    print("PID", flame_server.pid, "PREFIX", flame_prefix)
def test_clean(flame_prefix):
    assert list(flamepy.list_objects(flame_prefix)) == []
    assert list(flamepy.list_objects()) == []  # What the other test put has been deleted.
def test_app(flame_app):
    flamepy.put_object(f"{flame_app}/session", 1)
    flamepy.put_object(f"{flame_app}/another", 1)
def test_that_is_clean_too(flame_app):
    assert list(flamepy.list_objects()) == []
""",
        passed=4,
    )
    pid = int(out.partition("PID ")[2].split()[0])
    assert not is_running(pid)
    assert "PREFIX test_put-" in out


def test_what_a_failed_test_put_is_deleted_too(session):
    session(
        """
import flamepy, pytest
@pytest.mark.parametrize("x", ["a/b", "..", "\\u00e9"])
def test_fails(flame_prefix, x):
    flamepy.put_object(flame_prefix, 1)
    assert False
def test_clean(flame_endpoint):
    assert list(flamepy.list_objects()) == []
""",
        failed=3,
        passed=1,
    )


def test_the_environment_is_as_before_afterwards(session, pytester, monkeypatch):
    monkeypatch.setenv("FLAME_CACHE_ENDPOINT", "grpc://elsewhere:1")
    monkeypatch.setenv("FLAME_CACHE_STORAGE", "/elsewhere")
    pytester.makeconftest(
        """
import os
def pytest_unconfigure():
    print("AFTER", os.environ["FLAME_CACHE_ENDPOINT"], os.environ["FLAME_CACHE_STORAGE"])
"""
    )
    code = """
import flamepy
def test_put(flame_prefix):
    flamepy.put_object(flame_prefix, 1)
"""
    assert "AFTER grpc://elsewhere:1 /elsewhere" in session(code, passed=1)


def test_workers_of_xdist_have_servers_of_their_own(session):
    pytest.importorskip("xdist")
    session(
        """
import flamepy, pytest
@pytest.mark.parametrize("i", range(12))
def test_put(flame_prefix, i):
    ref = flamepy.put_object(flame_prefix, i)
    assert [info.ref for info in flamepy.list_objects()] == [ref]
""",
        "-n",
        "3",
        passed=12,
    )


def test_flags_for_the_server(session, pytester):
    pytester.makeini("[pytest]\nflame_server_args = --patches-max 1")
    session(
        """
import flamepy, pytest
def test_patches(flame_prefix):
    ref = flamepy.patch_object(flamepy.put_object(flame_prefix, 1), 2)
    with pytest.raises(flamepy.TooManyPatches):
        flamepy.patch_object(ref, 3)
""",
        passed=1,
    )


@pytest.mark.parametrize("how", ["option", "ini"])
def test_an_external_server_is_used_and_left_as_it_was(session, pytester, server, how, client):
    mine = flamepy.put_object("mine/session", 1)
    if how == "ini":
        pytester.makeini(f"[pytest]\nflame_endpoint = {server.endpoint}")
    session(
        f"""
import flamepy
def test_put(flame_prefix, flame_noproc, flame_endpoint):
    ref = flamepy.put_object(flame_prefix, 1)
    assert ref.endpoint == flame_noproc == flame_endpoint == {server.endpoint!r}
""",
        *(["--flame-endpoint", server.endpoint] if how == "option" else []),
        passed=1,
    )
    assert flamepy.get_object(mine) == 1
    assert list(flamepy.list_objects("test_put*/*")) == []
    assert not [info for info in flamepy.list_objects() if info.key.startswith("test_put-")]


def test_without_one_the_fixture_for_it_says_so(session):
    out = session("def test_it(flame_noproc): pass", errors=1)
    assert "--flame-endpoint" in out


def test_without_a_program_the_error_says_what_to_install(session, monkeypatch):
    monkeypatch.delenv("FLAME_SERVER")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert "pip install flamepy-server" in session("def test_it(flame_server): pass", errors=1)


def test_a_run_that_does_not_use_it_does_not_import_flamepy(session):
    session("import sys\ndef test_it(): assert 'flamepy' not in sys.modules", passed=1)


class TestLocalServer:
    """What the fixtures are made of."""

    @pytest.fixture(autouse=True)
    def _program(self, binary, home, monkeypatch):
        monkeypatch.setenv("FLAME_SERVER", str(binary))

    def test_it_goes_on_where_it_was(self, tmp_path, monkeypatch):
        server = LocalServer(storage=str(tmp_path / "storage")).start()
        monkeypatch.setenv("FLAME_CACHE_ENDPOINT", server.endpoint)
        ref = flamepy.put_object("a/b", [1])
        server.stop()
        with pytest.raises(flamepy.Unavailable):
            flamepy.get_object(ref)
        with server:
            assert flamepy.get_object(ref) == [1]
            assert "Error" not in server.log()

    def test_a_server_that_cannot_start_says_why(self):
        with pytest.raises(flamepy.Unavailable, match="--no-such-flag"):
            LocalServer("--no-such-flag").start()

    def test_what_is_configured_outside_does_not_matter(self, home, monkeypatch):
        (home / ".flame").mkdir()
        (home / ".flame/flame-cluster.yaml").write_text("cache: {nonsense: 1}")
        monkeypatch.setenv("FLAME_CACHE_SYNC", "nonsense")
        with LocalServer() as server:
            assert server.endpoint.startswith("grpc://127.0.0.1:")


def test_the_entry_point_is_the_plugin():
    """What pyproject.toml promises pytest is there."""
    code = """
import tomllib, importlib, sys
project = tomllib.load(open("pyproject.toml", "rb"))
module = importlib.import_module(project["project"]["entry-points"]["pytest11"]["flamepy"])
assert module.pytest_addoption
"""
    root = Path(PYTHON).parent
    env = {**os.environ, "PYTHONPATH": PYTHON}
    subprocess.run([sys.executable, "-c", code], cwd=root, env=env, check=True)
