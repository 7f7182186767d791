"""What the calls of one client share: connections, the cache of payloads, and choices."""

from __future__ import annotations

import dataclasses
import os
import threading
import weakref
from typing import Optional, Union

from flamepy.core.context import FlameClientTls, current_context, normalize_endpoint
from flamepy.core.dialects import Documents, Stock, dialect_of
from flamepy.core.errors import ClientClosed
from flamepy.core.object_cache import ObjectCache
from flamepy.core.progress import Transfers
from flamepy.core.transport import Connection, Deadline, connect

__all__ = ["ContextSession", "Session"]


class Session:
    """A client's connections, which nobody else uses, and its cache. Thread-safe.

    Parameters are those of `Client`.
    """

    def __init__(
        self,
        endpoint: Optional[str],
        *,
        tls: Optional[FlameClientTls] = None,
        timeout: Optional[float] = None,
        client_cache: Optional[int] = None,
        allow_pickle: Optional[bool] = None,
        progress: Optional[bool] = None,
    ) -> None:
        Deadline(timeout)  # Checks it.
        self.endpoint = None if endpoint is None else normalize_endpoint(endpoint)
        self.closed = False
        self._progress = progress
        self._tls = tls
        self._timeout = timeout
        self._cache_bytes = client_cache
        self._allow_pickle = allow_pickle
        self._cache: Optional[ObjectCache] = None
        self._connections: dict[str, Connection] = {}
        self._lock = threading.Lock()
        _sessions.add(self)

    def connect(self, endpoint: Optional[str] = None) -> Connection:
        """The connection to `endpoint`, or to this client's own."""
        if self.closed:
            raise ClientClosed("this client is closed; make another one")
        location = self.endpoint if endpoint is None else normalize_endpoint(endpoint)
        if location is None:
            location = self.endpoint = connect().endpoint  # Whatever the process uses now.
        with self._lock:
            connection = self._connections.get(location)
            if connection is None:
                connection = Connection(location, self._certificates(location))
                self._connections[location] = connection
        return connection

    def dialect(
        self,
        deadline: Deadline,
        endpoint: Optional[str] = None,
        progress: Optional[bool] = None,
    ) -> Union[Documents, Stock]:
        """How to talk to `endpoint`, or to this client's own server."""
        transfers = Transfers(self._progress if progress is None else progress)
        return dialect_of(self.connect(endpoint), deadline, transfers)

    def deadline(self, timeout: Optional[float]) -> Deadline:
        """When a call must have ended that the caller gave `timeout` seconds."""
        return Deadline(self._timeout if timeout is None else timeout)

    def storage(self) -> Optional[str]:
        """The server's directory, to put files into; an explicit client uses none."""
        return None

    def may_unpickle(self, per_call: Optional[bool]) -> bool:
        """Whether objects may be unpickled: the call decides, then the client, then the context."""
        for choice in (per_call, self._allow_pickle):
            if choice is not None:
                return choice
        return current_context().cache.allow_pickle

    @property
    def cache(self) -> ObjectCache:
        """What this client has read."""
        cache = self._cache
        if cache is None:
            with self._lock:
                cache = self._cache
                if cache is None:
                    limit = self._cache_bytes
                    if limit is None:
                        limit = current_context().cache.client_cache_bytes
                    cache = self._cache = ObjectCache(limit)
        return cache

    def close(self) -> None:
        """Refuse further calls; those that are under way end as they would have."""
        self.closed = True
        with self._lock:
            for connection in self._connections.values():
                connection.close()
            self._connections.clear()
            self._cache = None

    def _certificates(self, location: str) -> Optional[FlameClientTls]:
        if not location.startswith("grpc+tls://"):
            return None
        tls = current_context().cache_tls
        if self._tls is None:
            return tls
        own = {name: file for name, file in dataclasses.asdict(self._tls).items() if file}
        return dataclasses.replace(tls or FlameClientTls(), **own)

    def _start_process(self) -> None:
        """Forget what belongs to a parent: a thread that the child lacks may hold the lock."""
        self._cache, self._connections, self._lock = None, {}, threading.Lock()


class ContextSession(Session):
    """The connections of this process, which follow the context when it changes."""

    def __init__(self) -> None:
        super().__init__(None)

    def connect(self, endpoint: Optional[str] = None) -> Connection:
        """The pooled connection to `endpoint`, or to the context's server of the moment."""
        return connect(endpoint)

    def storage(self) -> Optional[str]:
        """The context's."""
        return current_context().cache.storage


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def _after_fork() -> None:
    for session in list(_sessions):
        session._start_process()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
