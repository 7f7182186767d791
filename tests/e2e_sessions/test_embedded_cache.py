"""The manager hosts the object cache, and removes the results of closed sessions after a time."""

from __future__ import annotations

import subprocess
import sys

import pytest
from harness import remote
from harness.flight import Flight
from harness.server import clean_environment
from harness.session_manager import application
from harness.wait import until


def _configuration(folder, **settings):
    lines = {"endpoint": '"grpc://127.0.0.1:0"', "storage": f'"fs://{folder}/cache"', **settings}
    text = "cache:\n" + "".join(f"  {name}: {value}\n" for name, value in lines.items())
    file = folder / "flame-cluster.yaml"
    file.write_text(text + '  http:\n    endpoint: "off"\n')
    return file


@pytest.fixture
def hosting(managers, tmp_path):
    """Start a manager that hosts a cache with these settings."""

    def start(*flags, storage="fs", **settings):
        file = _configuration(tmp_path, **settings)
        return managers(storage, "--embed-cache", "--config", str(file), *flags)

    return start


def test_services_are_told_of_the_cache_and_use_it(hosting, connect):
    manager = hosting()
    client = connect(manager)
    client(remote.register, name="app", attributes=application())
    client(remote.create, session="s", app="app")
    assert client(remote.outcomes, session="s", texts=["env FLAME_CACHE_ENDPOINT"]) == [
        manager.cache
    ]
    with Flight(manager.cache) as cache:
        cache.put("app/s/o", b"x")
        assert cache.keys("app") == ["app/s/o"]
    manager.stop()


def test_instances_end_before_the_cache(hosting, connect):
    manager = hosting()
    client = connect(manager)
    client(remote.register, name="app", attributes=application())
    client(remote.create, session="s", app="app", data=b"store app/s")
    client(remote.outcomes, session="s", texts=["echo x"])
    manager.stop()
    assert "Error" not in manager.log()
    manager.start()
    with Flight(manager.cache) as cache:
        assert [key[:6] for key in cache.keys("app")] == ["app/s/"]


def test_the_acceptance_run_with_nothing_but_a_manager(hosting, connect, tmp_path):
    manager = hosting("--python", sys.executable)
    template = application(
        command=sys.executable, arguments=["-m", "flamepy.runner.runpy"], installer="python"
    )
    connect(manager)(remote.register, name="here", attributes=template)
    home = tmp_path / "home"
    (home / ".flame").mkdir(parents=True)
    (home / ".flame/flame.yaml").write_text(
        "current-context: test\ncontexts:\n  - name: test\n    runner: {template: here}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "flamepy.runner.e2e", "--tasks", "4"],
        env=clean_environment(
            home,
            FLAME_ENDPOINT=manager.endpoint,
            FLAME_CACHE_ENDPOINT=manager.cache,
            FLAME_EMBEDDED="0",
        ),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_cache_that_cannot_start_is_an_error(hosting, managers, tmp_path):
    other = hosting()
    flags = ("--embed-cache", "--config", str(_configuration(tmp_path, storage="none")))
    second = managers("none", *flags, "--cache-endpoint", other.cache, start=False)
    ended = subprocess.run(second.command(), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "cannot listen on" in ended.stderr


def _results(cache, session):
    return [key for key in cache.keys("app") if key.startswith(f"app/{session}/")]


@pytest.mark.parametrize("where", ["embedded", "remote"])
def test_results_of_closed_sessions_go_after_a_time(
    where, hosting, managers, server_factory, connect
):
    if where == "embedded":
        manager = hosting(session_ttl="100ms", storage="none")
    else:
        other = server_factory("none")
        manager = managers("none", "--cache-endpoint", other.endpoint, "--session-ttl", "100ms")
    client = connect(manager)
    client(remote.register, name="app", attributes=application())
    with Flight(manager.cache or other.endpoint) as cache:
        for session in ("s", "t", "st"):
            client(remote.create, session=session, app="app")
            cache.put(f"app/{session}/result", b"x")
        cache.put("other/s/result", b"x")
        client(remote.close, session="s")
        until(lambda: not _results(cache, "s"), "its results are gone")
        assert _results(cache, "t") == ["app/t/result"]
        assert _results(cache, "st") == ["app/st/result"]
        assert cache.keys("other") == ["other/s/result"]


def test_the_time_goes_on_while_the_manager_is_away(managers, server_factory, connect):
    other = server_factory("none")
    to = ("--cache-endpoint", other.endpoint)
    manager = managers("fs", *to, "--session-ttl", "1h")
    client = connect(manager)
    client(remote.register, name="app", attributes=application())
    client(remote.create, session="s", app="app")
    with Flight(other.endpoint) as cache:
        cache.put("app/s/result", b"x")
        client(remote.close, session="s")
        manager.kill()
        again = managers(manager.storage, *to, "--session-ttl", "1ms")
        until(lambda: not _results(cache, "s"), "its results are gone")
        again.stop()


def test_a_cache_that_is_away_is_asked_again(managers, server_factory, connect):
    other = server_factory("fs")
    manager = managers("none", "--cache-endpoint", other.endpoint, "--session-ttl", "1ms")
    client = connect(manager)
    client(remote.register, name="app", attributes=application())
    client(remote.create, session="s", app="app")
    with Flight(other.endpoint) as cache:
        cache.put("app/s/result", b"x")
    other.stop()
    client(remote.close, session="s")
    until(lambda: "again later" in manager.log(), "the first try failed")
    other.start()
    with Flight(other.endpoint) as cache:
        until(lambda: not _results(cache, "s"), "its results are gone")
