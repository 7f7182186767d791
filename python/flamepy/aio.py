"""The object cache for asyncio: an awaitable twin of every call of the package.

>>> import asyncio
>>> from flamepy import aio
>>> async def main():
...     ref = await aio.put_object("app/session", {"answer": 42})
...     return await aio.get_object(ref)
>>> asyncio.run(main())  # doctest: +SKIP
{'answer': 42}

Names, parameters, results and errors are those of the package itself; `list_objects` is to be
iterated with ``async for``, and so is what `watch_objects` brings.

Threads. pyarrow's Flight calls block, so each call is made by a daemon thread, at most
`MAX_CALLS` at once per client and event loop; further ones wait their turn. Encoding, decoding
and deserializers run there too, and the event loop never waits for them.

Cancellation. When the awaiting task is cancelled (also by `asyncio.wait_for`), it goes on at
once, and the call is given up: a stream that is being read is cancelled, an upload stops and
leaves nothing behind, a download removes its unfinished file, nothing is tried again. A write
that the server has already is applied, as after `Timeout`. A thread that waits for a server that
says nothing ends at the call's ``timeout=``, or when the connection is lost. One with an upload
that the server does not read ends only then: over TCP within a minute, after which the connection
is given up. When too many threads wait so, new calls raise `Unavailable`.
Pass ``timeout=``, or give it to `AsyncClient`.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import os
import weakref
from collections.abc import AsyncIterator, Iterable, Mapping
from functools import partial
from typing import Any, Callable, Optional, TypeVar, Union

from flamepy.core.client import Client, default_client
from flamepy.core.conditions import Seconds
from flamepy.core.listing import Event, Feed, ObjectInfo
from flamepy.core.many import ItemResult
from flamepy.core.objects import Deserializer
from flamepy.core.refs import ObjectRef
from flamepy.core.waiting import Call, start

__all__ = [
    "MAX_CALLS",
    "AsyncClient",
    "AsyncFeed",
    "configure_cache",
    "delete_objects",
    "download_object",
    "get_many",
    "get_object",
    "list_objects",
    "patch_object",
    "put_many",
    "put_object",
    "stat_object",
    "update_object",
    "upload_object",
    "watch_objects",
]

T = TypeVar("T")

MAX_CALLS = 32
"""Calls of one client that are made at once, per event loop."""

_PAGE = 1000


class AsyncFeed:
    """Events under a prefix; `async for` over it, or await `read`.

    Made by `AsyncClient.watch_objects`. One reader per feed.

    Attributes
    ----------
    cursor : bytes
        Position after the last event read. A `read` that is cancelled leaves it where it was.
    """

    def __init__(self, client: AsyncClient, feed: Feed) -> None:
        self._client = client
        self._feed = feed
        self.cursor = feed.cursor

    async def read(self, *, wait: float = 1.0, limit: int = _PAGE) -> list[Event]:
        """As `Feed.read`."""
        read = partial(self._feed.read_from, self.cursor, wait=wait, limit=limit)
        events, self.cursor = await self._client._call(read)
        return events

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            for event in await self.read():
                yield event


class AsyncClient:
    """`Client` for asyncio: every method of it, to be awaited.

    Parameters
    ----------
    endpoint, ca_file, cert_file, key_file, timeout, client_cache, allow_pickle, progress
        As for `Client`.

    Examples
    --------
    >>> async def main():
    ...     async with AsyncClient("grpc://127.0.0.1:9090", timeout=5) as client:
    ...         refs = [await client.put_object("app/session", i) for i in range(3)]
    ...         return await asyncio.gather(*map(client.get_object, refs))
    >>> asyncio.run(main())  # doctest: +SKIP
    [0, 1, 2]
    """

    def __init__(
        self,
        endpoint: Optional[str] = None,
        *,
        ca_file: Optional[Union[str, os.PathLike]] = None,
        cert_file: Optional[Union[str, os.PathLike]] = None,
        key_file: Optional[Union[str, os.PathLike]] = None,
        timeout: Optional[float] = None,
        client_cache: Optional[int] = None,
        allow_pickle: Optional[bool] = None,
        progress: Optional[bool] = None,
    ) -> None:
        self._use(
            Client(
                endpoint,
                ca_file=ca_file,
                cert_file=cert_file,
                key_file=key_file,
                timeout=timeout,
                client_cache=client_cache,
                allow_pickle=allow_pickle,
                progress=progress,
            )
        )

    @classmethod
    def over(cls, client: Client) -> AsyncClient:
        """The awaitable face of `client`; closing one closes both."""
        self = cls.__new__(cls)
        self._use(client)
        return self

    async def put_object(
        self,
        key_prefix: str,
        obj: Any,
        *older_form: Any,
        name: Optional[str] = None,
        if_version: Optional[int] = None,
        ttl: Optional[Seconds] = None,
        timeout: Optional[float] = None,
    ) -> ObjectRef:
        """As `Client.put_object`."""
        return await self._call(
            self._client.put_object,
            key_prefix,
            obj,
            *older_form,
            name=name,
            if_version=if_version,
            ttl=ttl,
            timeout=timeout,
        )

    async def get_object(
        self,
        ref: ObjectRef,
        deserializer: Optional[Deserializer] = None,
        *,
        copy: bool = False,
        allow_pickle: Optional[bool] = None,
        timeout: Optional[float] = None,
    ) -> Any:
        """As `Client.get_object`."""
        return await self._call(
            self._client.get_object,
            ref,
            deserializer,
            copy=copy,
            allow_pickle=allow_pickle,
            timeout=timeout,
        )

    async def update_object(
        self,
        ref: ObjectRef,
        new_obj: Any,
        *,
        if_version: Optional[int] = None,
        ttl: Optional[Seconds] = None,
        timeout: Optional[float] = None,
    ) -> ObjectRef:
        """As `Client.update_object`."""
        return await self._call(
            self._client.update_object,
            ref,
            new_obj,
            if_version=if_version,
            ttl=ttl,
            timeout=timeout,
        )

    async def patch_object(
        self,
        ref: ObjectRef,
        delta: Any,
        *,
        if_version: Optional[int] = None,
        ttl: Optional[Seconds] = None,
        timeout: Optional[float] = None,
    ) -> ObjectRef:
        """As `Client.patch_object`."""
        return await self._call(
            self._client.patch_object, ref, delta, if_version=if_version, ttl=ttl, timeout=timeout
        )

    async def delete_objects(
        self,
        key_prefix: str,
        *,
        if_version: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> int:
        """As `Client.delete_objects`."""
        return await self._call(
            self._client.delete_objects, key_prefix, if_version=if_version, timeout=timeout
        )

    async def put_many(
        self,
        items: Union[Mapping[str, Any], Iterable[Any]],
        *,
        ttl: Optional[Seconds] = None,
        on_error: str = "return",
        timeout: Optional[float] = None,
    ) -> list[ItemResult[ObjectRef]]:
        """As `Client.put_many`."""
        return await self._call(
            self._client.put_many, items, ttl=ttl, on_error=on_error, timeout=timeout
        )

    async def get_many(
        self,
        refs: Iterable[Union[ObjectRef, str]],
        deserializer: Optional[Deserializer] = None,
        *,
        copy: bool = False,
        allow_pickle: Optional[bool] = None,
        on_error: str = "return",
        timeout: Optional[float] = None,
    ) -> list[ItemResult[Any]]:
        """As `Client.get_many`."""
        return await self._call(
            self._client.get_many,
            refs,
            deserializer,
            copy=copy,
            allow_pickle=allow_pickle,
            on_error=on_error,
            timeout=timeout,
        )

    async def stat_object(
        self, ref: Union[ObjectRef, str], *, timeout: Optional[float] = None
    ) -> ObjectInfo:
        """As `Client.stat_object`."""
        return await self._call(self._client.stat_object, ref, timeout=timeout)

    async def list_objects(
        self, key_prefix: str = "", *, timeout: Optional[float] = None
    ) -> AsyncIterator[ObjectInfo]:
        """As `Client.list_objects`, for ``async for``."""
        infos = await self._call(self._client.list_objects, key_prefix, timeout=timeout)
        while page := await self._call(lambda: list(itertools.islice(infos, _PAGE))):
            for info in page:
                yield info

    async def watch_objects(
        self,
        key_prefix: str = "",
        *,
        cursor: Optional[bytes] = None,
        timeout: Optional[float] = None,
    ) -> AsyncFeed:
        """As `Client.watch_objects`."""
        feed = await self._call(
            self._client.watch_objects, key_prefix, cursor=cursor, timeout=timeout
        )
        return AsyncFeed(self, feed)

    async def upload_object(
        self,
        key_or_prefix: str,
        file_path: Union[str, os.PathLike],
        *,
        if_version: Optional[int] = None,
        ttl: Optional[Seconds] = None,
        timeout: Optional[float] = None,
        progress: Optional[bool] = None,
    ) -> ObjectRef:
        """As `Client.upload_object`."""
        return await self._call(
            self._client.upload_object,
            key_or_prefix,
            file_path,
            if_version=if_version,
            ttl=ttl,
            timeout=timeout,
            progress=progress,
        )

    async def download_object(
        self,
        ref: ObjectRef,
        dest_path: Union[str, os.PathLike],
        *,
        timeout: Optional[float] = None,
        progress: Optional[bool] = None,
    ) -> None:
        """As `Client.download_object`."""
        await self._call(
            self._client.download_object, ref, dest_path, timeout=timeout, progress=progress
        )

    async def configure_cache(self, *, max_bytes: int) -> None:
        """As `Client.configure_cache`."""
        await self._call(self._client.configure_cache, max_bytes=max_bytes)

    async def close(self) -> None:
        """As `Client.close`."""
        self._client.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return repr(self._client).replace("flamepy.Client", "flamepy.aio.AsyncClient")

    def _use(self, client: Client) -> None:
        self._client = client
        self._turns: weakref.WeakKeyDictionary[Any, asyncio.Semaphore] = weakref.WeakKeyDictionary()

    async def _call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Have a thread call `function`, within the context of this task."""
        loop = asyncio.get_running_loop()
        turns = self._turns.get(loop)
        if turns is None:
            turns = self._turns[loop] = asyncio.Semaphore(MAX_CALLS)
        context = contextvars.copy_context()
        async with turns:
            future: asyncio.Future[T] = loop.create_future()

            def done(result: Any, error: Optional[BaseException]) -> None:
                with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits.
                    loop.call_soon_threadsafe(_settle, future, result, error)

            call = Call()
            start(call, partial(context.run, partial(function, *args, **kwargs)), done)
            try:
                return await future
            except asyncio.CancelledError:
                call.give_up()
                raise


def _settle(future: asyncio.Future, result: Any, error: Optional[BaseException]) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


_default = AsyncClient.over(default_client())

configure_cache = _default.configure_cache
delete_objects = _default.delete_objects
download_object = _default.download_object
get_many = _default.get_many
get_object = _default.get_object
list_objects = _default.list_objects
patch_object = _default.patch_object
put_many = _default.put_many
put_object = _default.put_object
stat_object = _default.stat_object
update_object = _default.update_object
upload_object = _default.upload_object
watch_objects = _default.watch_objects
