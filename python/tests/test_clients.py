"""Clients of one's own."""

from __future__ import annotations

import inspect
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import cloudpickle
import flamepy
import pytest
from flamepy import Client
from flamepy.core.client import default_client

CALLS = [
    name
    for name in flamepy.__all__
    if inspect.ismethod(getattr(flamepy, name)) and name != "reload_context"
]


def test_the_functions_of_the_package_are_methods_of_a_client():
    assert len(CALLS) == 13
    for name in CALLS:
        assert getattr(flamepy, name) == getattr(default_client(), name)
    public = {name for name in vars(Client) if not name.startswith("_")} - {"close"}
    assert public == set(CALLS)


def test_a_client_has_a_server_of_its_own(start_server, client):
    other = start_server()
    with Client(other.endpoint) as mine:
        ref = mine.put_object("a/b", [1], name="n")
        assert ref.endpoint == other.endpoint
        assert mine.get_object(ref) == flamepy.get_object(ref) == [1]
        assert [info.key for info in mine.list_objects()] == ["a/b/n"]
        assert mine.stat_object("a/b/n").version == 1
        feed = mine.watch_objects()
        assert mine.update_object(ref, [2]).version == 2
        assert mine.patch_object(ref, 3).version == 3
        assert [event.version for event in feed.read()] == [2, 3]
        assert mine.delete_objects("a/b") == 1


def test_a_closed_client_says_so(client, tmp_path):
    mine = Client(client.endpoint)
    ref = mine.put_object("a/b", 1)
    feed = mine.watch_objects()
    mine.close()
    mine.close()
    for call in (
        lambda: mine.put_object("a/b", 1),
        lambda: mine.get_object(ref),
        lambda: mine.update_object(ref, 1),
        lambda: mine.patch_object(ref, 1),
        lambda: mine.delete_objects("a/b"),
        lambda: mine.put_many([("a/b", 1)])[0].unwrap(),
        lambda: mine.get_many([ref])[0].unwrap(),
        lambda: mine.stat_object(ref),
        lambda: list(mine.list_objects()),
        lambda: mine.watch_objects(),
        lambda: mine.upload_object("a/b", __file__),
        lambda: mine.download_object(ref, tmp_path / "file"),
        feed.read,
    ):
        with pytest.raises(flamepy.ClientClosed, match="closed"):
            call()
    assert flamepy.get_object(ref) == 1


def test_the_client_of_the_process_survives_close(client):
    ref = flamepy.put_object("a/b", [1])
    default_client().close()
    assert flamepy.get_object(ref) == [1]


def test_caches_are_apart(client):
    ref = flamepy.put_object("a/b", [1])
    with Client(client.endpoint, client_cache=0) as none, Client(client.endpoint) as some:
        for each in (none, some):
            assert each.get_object(ref) == [1]
        assert len(none._session.cache) == 0
        assert len(some._session.cache) == 1
        some.configure_cache(max_bytes=0)
        assert len(some._session.cache) == 0
    with pytest.raises(ValueError, match="client_cache"):
        Client(client.endpoint, client_cache=-1)


def test_a_client_has_a_timeout_for_all_calls(start_server, home):
    server = start_server()
    with Client(server.endpoint, timeout=0.2) as mine:
        ref = mine.put_object("a/b", [1], timeout=10)
        os.kill(server.pid, signal.SIGSTOP)
        os.waitpid(server.pid, os.WUNTRACED)
        try:
            with pytest.raises(TimeoutError):
                mine.get_object(ref)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert mine.get_object(ref, timeout=10) == [1]
    with pytest.raises(ValueError, match="timeout"):
        Client(server.endpoint, timeout=0)


def test_without_an_endpoint_it_is_the_contexts(client):
    with Client() as mine:
        assert mine.put_object("a/b", 1).endpoint == client.endpoint


def test_an_endpoint_that_is_none(home):
    with pytest.raises(flamepy.InvalidConfig):
        Client("127.0.0.1:9090")


def test_a_forked_child_goes_on_with_the_same_client(client):
    code = f"""
import flamepy, os
mine = flamepy.Client({client.endpoint!r})
ref = mine.put_object("a/b", [1])
child = os.fork()
if child == 0:
    os._exit(7 if mine.get_object(ref) == [1] else 8)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), mine.get_object(ref))
"""
    path = str(Path(flamepy.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert (done.stdout, done.stderr) == ("7 [1]\n", "")


def test_functions_that_use_the_package_can_be_pickled(client):
    get = pickle.loads(pickle.dumps(flamepy.get_object))
    assert get == flamepy.get_object

    def task(number):
        return put(f"a/{number}", number)

    put = flamepy.put_object
    ref = pickle.loads(cloudpickle.dumps(task))(7)
    assert get(ref) == 7
    with pytest.raises(TypeError, match="make it there"):
        pickle.dumps(Client(client.endpoint))


def test_how_a_client_shows_itself(client):
    mine = Client("http://127.0.0.1:1")
    assert repr(mine) == "<flamepy.Client grpc://127.0.0.1:1>"
    mine.close()
    assert repr(mine) == "<flamepy.Client closed>"
    assert "this process" in repr(default_client())
