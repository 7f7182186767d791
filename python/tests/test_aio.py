"""The awaitable twins."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import os
import signal
import threading
import time
import uuid

import flamepy
import numpy as np
import pytest
from flamepy import aio
from flamepy.core import waiting
from flamepy.core.client import Client
from harness.wait import until

CALLS = [name for name in flamepy.__all__ if inspect.ismethod(getattr(flamepy, name))]
CALLS.remove("reload_context") if "reload_context" in CALLS else None


@pytest.fixture
def session(client) -> str:
    return f"aio/{uuid.uuid4()}"


@pytest.fixture
def stopped(start_server, home, monkeypatch):
    """A server that says nothing, until the test is over."""
    server = start_server()
    monkeypatch.setenv("FLAME_CACHE_ENDPOINT", server.endpoint)
    flamepy.put_object("a/b", [1], name="n")
    os.kill(server.pid, signal.SIGSTOP)
    os.waitpid(server.pid, os.WUNTRACED)
    yield server
    os.kill(server.pid, signal.SIGCONT)
    until(lambda: not waiting._left_behind, "calls that were given up end")


def surface(owner: object) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(member)
        for name, member in inspect.getmembers(owner, callable)
        if not name.startswith("_")
    }


def test_every_call_has_a_twin_with_the_same_parameters():
    """A call that is added to `Client` needs one in `AsyncClient`, and a function for each."""
    theirs = surface(aio.AsyncClient)
    del theirs["over"]
    ours = surface(Client)
    assert list(theirs) == list(ours)
    for name, signature in ours.items():
        assert theirs[name].parameters == signature.parameters, name
        assert inspect.iscoroutinefunction(getattr(aio.AsyncClient, name)) or (
            inspect.isasyncgenfunction(getattr(aio.AsyncClient, name))
        )
    parameters = inspect.signature(aio.AsyncClient).parameters
    assert parameters == inspect.signature(Client).parameters
    assert set(CALLS) == set(ours) - {"close"}
    for name in CALLS:
        assert getattr(aio, name).__self__ is aio._default
        assert inspect.signature(getattr(aio, name)) == inspect.signature(
            getattr(aio._default, name)
        )
        assert name in aio.__all__
    assert {n for n in dir(flamepy.Feed) if n[0] != "_"} - {"read_from"} <= {"read", "cursor"}
    assert inspect.signature(aio.AsyncFeed.read).parameters == (
        inspect.signature(flamepy.Feed.read).parameters
    )


def test_every_call_works(session, tmp_path):
    (tmp_path / "file").write_bytes(b"content")

    async def main():
        feed = await aio.watch_objects(session)
        ref = await aio.put_object(session, [1], name="n", ttl=100)
        ref = await aio.update_object(ref, [2], if_version=1)
        ref = await aio.patch_object(ref, 3)
        assert await aio.get_object(ref, lambda base, patches: base + patches) == [2, 3]
        assert (await aio.stat_object(ref)).version == 3
        events = await feed.read(wait=5)
        while len(events) < 3:
            events += await feed.read(wait=5)
        assert [event.event for event in events] == ["put", "put", "patch"]
        file = await aio.upload_object(session, tmp_path / "file")
        await aio.download_object(file, tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == b"content"
        async for event in feed:
            assert event.key == file.key
            break
        results = await aio.put_many((session, i) for i in range(1500))
        many = await aio.get_many([result.unwrap() for result in results])
        assert [result.unwrap() for result in many] == list(range(1500))
        infos = [info async for info in aio.list_objects(session)]
        assert len(infos) == 1502
        async with aio.AsyncClient() as mine:
            await mine.configure_cache(max_bytes=0)
            assert mine._client._session.cache.max_bytes == 0
        assert await aio.delete_objects(session) == 1502
        with pytest.raises(KeyError):
            await aio.get_object(ref)

    asyncio.run(main())


def test_calls_are_made_at_the_same_time(session):
    async def main():
        feeds = [await aio.watch_objects(session) for _ in range(10)]
        reads = [asyncio.ensure_future(feed.read(wait=30)) for feed in feeds]
        await aio.put_object(session, 1)
        for events in await asyncio.gather(*reads):
            assert [event.event for event in events] == ["put"]

    asyncio.run(main())


def test_the_loop_is_never_held_up(stopped):
    async def main():
        read = asyncio.ensure_future(aio.get_object(await ref(), timeout=0.5))
        ticks = 0
        while not read.done():
            await asyncio.sleep(0.001)
            ticks += 1
        with pytest.raises(flamepy.Timeout):
            read.result()
        assert ticks > 20

    async def ref():
        return flamepy.ObjectRef(stopped.endpoint, "a/b/n", 1)

    asyncio.run(main())


@pytest.mark.parametrize("call", ["get", "put", "upload", "stat", "feed", "list", "many"])
def test_a_cancelled_wait_ends_at_once(stopped, tmp_path, call):
    (tmp_path / "file").write_bytes(bytes(50_000_000))
    ref = flamepy.ObjectRef(stopped.endpoint, "a/b/n", 1)

    async def main():
        calls = {
            "get": lambda: aio.get_object(ref),
            "put": lambda: aio.update_object(ref, np.zeros(5_000_000)),
            "upload": lambda: aio.upload_object("a/b", tmp_path / "file"),
            "stat": lambda: aio.stat_object(ref),
            "feed": lambda: aio.watch_objects("a/b"),
            "list": lambda: all_of(aio.list_objects("a/b")),
            "many": lambda: aio.get_many([ref] * 1000),
        }
        start = time.monotonic()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(calls[call](), 0.2)
        assert time.monotonic() - start < 5

    asyncio.run(main())


async def all_of(iterator):
    return [item async for item in iterator]


def test_a_cancelled_write_is_whole_or_absent(session):
    """And what has been cancelled never comes back: no retry, no half upload."""
    big = np.arange(4_000_000)

    async def main():
        ref = await aio.put_object(session, big, name="n")
        for delay in (0, 0.001, 0.005, 0.01, 0.02, 0.04):
            task = asyncio.ensure_future(aio.update_object(ref, big + 1))
            await asyncio.sleep(delay)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        return ref

    ref = asyncio.run(main())
    until(lambda: not waiting._left_behind, "calls that were given up end")
    found = flamepy.get_object(ref)
    assert found[0] in (0, 1)
    assert np.array_equal(found, big + found[0])


def test_a_cancelled_download_leaves_no_file(session, tmp_path):
    (tmp_path / "file").write_bytes(bytes(60_000_000))
    ref = flamepy.upload_object(session, tmp_path / "file")
    folder = tmp_path / "folder"

    async def main():
        task = asyncio.ensure_future(aio.download_object(ref, folder / "copy"))
        while not folder.exists():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    until(lambda: not waiting._left_behind, "the download ends")
    assert not list(folder.iterdir())


def test_a_cancelled_read_of_a_feed_loses_nothing(session):
    async def main():
        feed = await aio.watch_objects(session)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(feed.read(wait=5), 0.1)
        await aio.put_object(session, 1)
        assert [event.event for event in await feed.read(wait=5)] == ["put"]

    asyncio.run(main())


def test_cancelled_calls_do_not_pile_up(stopped, monkeypatch):
    monkeypatch.setattr(waiting, "_MAX_LEFT_BEHIND", 5)
    ref = flamepy.ObjectRef(stopped.endpoint, "a/b/n", 1)

    async def main():
        for _ in range(5):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(aio.get_object(ref), 0.02)
        with pytest.raises(flamepy.Unavailable, match="still wait"):
            await aio.get_object(ref)

    asyncio.run(main())


def test_no_more_calls_than_allowed_are_made_at_once(session, monkeypatch):
    most = 0

    def count(*_):
        nonlocal most
        names = [thread.name for thread in threading.enumerate()]
        most = max(most, names.count("flamepy-call"))
        return 1

    async def main():
        ref = await aio.put_object(session, 1)
        await asyncio.gather(*(aio.get_object(ref, count) for _ in range(500)))

    asyncio.run(main())
    assert 1 <= most <= aio.MAX_CALLS + waiting._MAX_IDLE


def test_context_variables_reach_deserializers(session):
    variable = contextvars.ContextVar("variable")

    async def main():
        ref = await aio.put_object(session, 1)
        variable.set("mine")
        assert await aio.get_object(ref, lambda *_: variable.get()) == "mine"

    asyncio.run(main())


def test_a_client_of_ones_own(session, client):
    async def main():
        async with aio.AsyncClient(client.endpoint, client_cache=0) as mine:
            ref = await mine.put_object(session, [1])
            assert await mine.get_object(ref) == [1]
            assert "AsyncClient grpc://" in repr(mine)
        with pytest.raises(flamepy.ClientClosed):
            await mine.get_object(ref)
        return ref

    first = asyncio.run(main())
    assert asyncio.run(main()) != first  # Another loop.


def test_errors_are_those_of_the_package(session):
    async def main():
        with pytest.raises(flamepy.InvalidKey):
            await aio.put_object("no/such/prefix", 1)
        with pytest.raises(flamepy.VersionConflict):
            await aio.put_object(session, 1, name="n", if_version=7)
        with pytest.raises(flamepy.BatchError):
            await aio.get_many([f"{session}/never"], on_error="raise")

    asyncio.run(main())
