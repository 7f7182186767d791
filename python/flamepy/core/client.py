"""A client of the object cache: what the functions of the package are methods of.

Results of `get_object` are yours: mutating one never changes what another call returns.
Arrays and Arrow data are read-only views without a copy; ``copy=True`` makes them private.
Every call is thread-safe and takes ``timeout=`` seconds; Ctrl-C ends every wait.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Optional, Union

from flamepy.core import files, listing, many, objects
from flamepy.core.conditions import Seconds, WriteOptions
from flamepy.core.context import FlameClientTls
from flamepy.core.errors import InvalidArgument
from flamepy.core.listing import Feed, ObjectInfo
from flamepy.core.many import ItemResult
from flamepy.core.objects import Deserializer, Reading
from flamepy.core.refs import ObjectRef
from flamepy.core.session import ContextSession, Session

__all__ = ["Client", "default_client"]


class Client:
    """A client with connections, a cache and choices of its own. Thread-safe.

    Most programs need none: the functions of the package, ``flamepy.put_object`` for
    example, are the methods of one client for the whole process, which follows the
    configuration.

    Parameters
    ----------
    endpoint : str, optional
        ``grpc://host:port``; the context's at the first call if there is none.
    ca_file : path, optional
        Root certificates for TLS, instead of the context's.
    cert_file, key_file : path, optional
        This client's certificate and its private key, for servers that ask for one; likewise.
    timeout : float, optional
        Seconds for each call that is given none.
    client_cache : int, optional
        Bytes kept of what has been read, instead of the context's; 0 keeps nothing.
    allow_pickle : bool, optional
        False: `get_object` refuses what needs unpickling, unless a call says otherwise.
        The default is the context's (``FLAME_ALLOW_PICKLE``), and there True.
    progress : bool, optional
        False: no progress bars on the terminal.

    Examples
    --------
    >>> with Client("grpc://127.0.0.1:9090", timeout=5) as client:  # doctest: +SKIP
    ...     ref = client.put_object("app/session", {"answer": 42})
    ...     client.get_object(ref)
    {'answer': 42}
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
        if client_cache is not None and client_cache < 0:
            raise InvalidArgument(f"client_cache is {client_cache}, expected 0 or more bytes")
        self._session = Session(
            endpoint,
            tls=_tls_files(ca_file, cert_file, key_file),
            timeout=timeout,
            client_cache=client_cache,
            allow_pickle=allow_pickle,
            progress=progress,
        )

    def put_object(
        self,
        key_prefix: str,
        obj: Any,
        *older_form: Any,
        name: Optional[str] = None,
        if_version: Optional[int] = None,
        ttl: Optional[Seconds] = None,
        timeout: Optional[float] = None,
    ) -> ObjectRef:
        """Store an object under a prefix.

        Also accepted: ``put_object(app, session, obj)``, and ``put_object(session, obj)`` for
        the application ``default``.

        Parameters
        ----------
        key_prefix : str
            ``app/session``. The server draws the name of the object.
        obj : Any
            Tables and frames (pyarrow, pandas, polars, anything with ``__arrow_c_stream__``)
            are stored as Arrow batches, numpy arrays as tensors, the rest as a pickle.
        name : str, optional
            Store it as ``app/session/name`` instead, creating or replacing it.
        if_version : int, optional
            With `name`: only if this is the newest version; 0 = only if there is none.
        ttl : float or timedelta, optional
            Seconds, or a `timedelta`, after which the object expires.
        timeout : float, optional
            Seconds.

        Returns
        -------
        ObjectRef

        Raises
        ------
        InvalidKey
            A ``ValueError``: not a prefix. Nothing was sent.
        VersionConflict, TooLarge, ResourceExhausted, Unavailable, Timeout

        Examples
        --------
        >>> ref = put_object("app/session", {"answer": 42})  # doctest: +SKIP
        >>> get_object(ref)  # doctest: +SKIP
        {'answer': 42}
        """
        return objects.put(
            self._session,
            key_prefix,
            obj,
            older_form,
            name,
            WriteOptions.of(if_version, ttl),
            timeout,
        )

    def get_object(
        self,
        ref: ObjectRef,
        deserializer: Optional[Deserializer] = None,
        *,
        copy: bool = False,
        allow_pickle: Optional[bool] = None,
        timeout: Optional[float] = None,
    ) -> Any:
        """Read the newest version of an object.

        The server is always asked, so the result is never stale; what this process has already
        is not sent again. ``ref.version == 0`` bypasses the client's cache.

        Parameters
        ----------
        ref : ObjectRef
        deserializer : callable, optional
            ``deserializer(base, patches)`` makes the result; it gets objects of its own. Without
            one, the base of an opaque object is returned, and a table with all appended rows.
        copy : bool
            Give arrays memory of their own that may be written to.
        allow_pickle : bool, optional
            False: refuse what needs unpickling, which runs code that the object's writer
            chose. Tables, numeric arrays, text, bytes and files are read in any case.
        timeout : float, optional
            Seconds.

        Raises
        ------
        NotFound
            A ``KeyError``: never put, deleted, or evicted.
        DecodeError
            The bytes are no object; those of an uploaded file are read by `download_object`.
        PickleRefused
            A ``ValueError``: it must be unpickled, and that is not allowed.
        Unavailable, Timeout
        """
        reading = Reading(self._session, deserializer, copy, allow_pickle)
        return objects.get(self._session, ref, reading, self._session.deadline(timeout))

    def update_object(
        self,
        ref: ObjectRef,
        new_obj: Any,
        *,
        if_version: Optional[int] = None,
        ttl: Optional[Seconds] = None,
        timeout: Optional[float] = None,
    ) -> ObjectRef:
        """Replace an object, its patches included; an absent one is created.

        Parameters
        ----------
        ref : ObjectRef
        new_obj : Any
            As for `put_object`; may be of another type than before.
        if_version : int, optional
            Only if this is the newest version; 0 = only if there is none.
        ttl : float or timedelta, optional
            Seconds, or a `timedelta`, after which the object expires.
        timeout : float, optional
            Seconds.

        Returns
        -------
        ObjectRef
            With the new version.

        Raises
        ------
        VersionConflict
            With `current_version`; read the object again and redo the change.
        """
        options = WriteOptions.of(if_version, ttl)
        return objects.update(self._session, ref, new_obj, options, timeout)

    def patch_object(
        self,
        ref: ObjectRef,
        delta: Any,
        *,
        if_version: Optional[int] = None,
        ttl: Optional[Seconds] = None,
        timeout: Optional[float] = None,
    ) -> ObjectRef:
        """Append to an object without sending it again.

        Rows (a table, batch or frame) are appended to a table of the same schema. Everything
        else becomes a delta, which a deserializer given to `get_object` applies.

        Parameters
        ----------
        ref : ObjectRef
        delta : Any
        if_version : int, optional
            Only if this is the newest version.
        ttl : float or timedelta, optional
            Seconds, or a `timedelta`, after which the object, base and deltas, expires.
        timeout : float, optional
            Seconds.

        Returns
        -------
        ObjectRef
            With the new version.

        Raises
        ------
        NotFound
            A ``KeyError``: there is nothing to append to.
        WrongKind
            Rows of another schema, or a delta that is no rows, for an object that is a table.
        TooManyPatches
            Merge them with `update_object`.
        """
        options = WriteOptions.of(if_version, ttl)
        return objects.patch(self._session, ref, delta, options, timeout)

    def delete_objects(
        self,
        key_prefix: str,
        *,
        if_version: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> int:
        """Delete an object, or all objects under a prefix.

        Parameters
        ----------
        key_prefix : str
            ``app/session/object``, ``app/session``, or ``app/*``.
        if_version : int, optional
            For a full key: only if this is the newest version.
        timeout : float, optional
            Seconds.

        Returns
        -------
        int
            How many objects were deleted; nothing to delete is no error. -1 from a Flame 0.6
            server, which does not tell.
        """
        return objects.delete(self._session, key_prefix, if_version, timeout)

    def put_many(
        self,
        items: Union[Mapping[str, Any], Iterable[Any]],
        *,
        ttl: Optional[Seconds] = None,
        on_error: str = "return",
        timeout: Optional[float] = None,
    ) -> list[ItemResult[ObjectRef]]:
        """Store many objects; small ones share round trips.

        Parameters
        ----------
        items : mapping or iterable
            A dict of keys and objects, or any number of ``(key, obj)`` or `PutItem`. A key
            is ``app/session/object``, or ``app/session`` to let the server draw the name.
            Taken one after the other, so a generator need not hold them all.
        ttl : float or timedelta, optional
            Seconds, or a `timedelta`, after which each of them expires.
        on_error : {"return", "raise"}
            Failed items: told in their results, or raised as one `BatchError` at the end.
        timeout : float, optional
            Seconds for the whole call.

        Returns
        -------
        list of ItemResult
            In the order of the items, each with a reference or an error.

        Raises
        ------
        BatchError
            With ``on_error="raise"``; it has the results of all items.

        Examples
        --------
        >>> results = put_many({"app/session/a": 1, "app/session/b": 2})  # doctest: +SKIP
        >>> [result.unwrap().version for result in results]  # doctest: +SKIP
        [1, 1]
        """
        return many.put_many(self._session, items, ttl, on_error, timeout)

    def get_many(
        self,
        refs: Iterable[Union[ObjectRef, str]],
        deserializer: Optional[Deserializer] = None,
        *,
        copy: bool = False,
        allow_pickle: Optional[bool] = None,
        on_error: str = "return",
        timeout: Optional[float] = None,
    ) -> list[ItemResult[Any]]:
        """Read the newest versions of many objects; small ones share round trips.

        What this client has already is not sent again, as with `get_object`.

        Parameters
        ----------
        refs : iterable of ObjectRef or str
            A key is looked up on this client's own server.
        deserializer, copy, allow_pickle
            As for `get_object`.
        on_error : {"return", "raise"}
            Failed items: told in their results, or raised as one `BatchError` at the end.
        timeout : float, optional
            Seconds for the whole call.

        Returns
        -------
        list of ItemResult
            In the order of `refs`, each with an object or an error.

        Raises
        ------
        BatchError
            With ``on_error="raise"``; it has the results of all items.

        Examples
        --------
        >>> [result.value for result in get_many(refs)]  # doctest: +SKIP
        [1, 2]
        """
        reading = Reading(self._session, deserializer, copy, allow_pickle)
        return many.get_many(self._session, refs, reading, on_error, timeout)

    def stat_object(
        self, ref: Union[ObjectRef, str], *, timeout: Optional[float] = None
    ) -> ObjectInfo:
        """Look at an object without reading it.

        Parameters
        ----------
        ref : ObjectRef or str
            A key is looked up on the context's server.
        timeout : float, optional
            Seconds.

        Raises
        ------
        NotFound
            A ``KeyError``.
        """
        return listing.stat(self._session, ref, timeout)

    def list_objects(
        self, key_prefix: str = "", *, timeout: Optional[float] = None
    ) -> Iterator[ObjectInfo]:
        """Iterate over the objects under a prefix, in key order.

        Pages are fetched as they are needed; what is put or deleted meanwhile may be missed.

        Parameters
        ----------
        key_prefix : str
            ``app/session``, ``app/*``, or empty for all objects.
        timeout : float, optional
            Seconds for each page.
        """
        pages = listing.list_pages(self._session, key_prefix, timeout)
        return (info for page in pages for info in page)

    def watch_objects(
        self,
        key_prefix: str = "",
        *,
        cursor: Optional[bytes] = None,
        timeout: Optional[float] = None,
    ) -> Feed:
        """Follow what happens to the objects under a prefix.

        Parameters
        ----------
        key_prefix : str
            ``app/session``, ``app/*``, a full key, or empty for all objects.
        cursor : bytes, optional
            `Feed.cursor` of an earlier feed; without one, events from now on.
        timeout : float, optional
            Seconds that each call may take beyond the time it waits for events.

        Returns
        -------
        Feed
            Iterate over it, or call `Feed.read`.
        """
        return Feed(self._session, key_prefix, cursor, timeout)

    def upload_object(
        self,
        key_or_prefix: str,
        file_path: Union[str, os.PathLike],
        *,
        if_version: Optional[int] = None,
        ttl: Optional[Seconds] = None,
        timeout: Optional[float] = None,
        progress: Optional[bool] = None,
    ) -> ObjectRef:
        """Store a file's bytes as they are.

        Parameters
        ----------
        key_or_prefix : str
            ``app/session/object``, or ``app/session`` to let the server draw the name.
        file_path : path
            A regular file; may be empty. It must not change meanwhile.
        if_version : int, optional
            Write only if this is the newest version of the key; 0 = only if it is absent.
        ttl : float or timedelta, optional
            Seconds, or a `timedelta`, after which the object expires.
        timeout : float, optional
            Seconds for the whole upload.
        progress : bool, optional
            False: show no progress bar. Otherwise a large transfer shows one on a terminal.

        Returns
        -------
        ObjectRef

        Raises
        ------
        FileNotFoundError
        InvalidKey
            A ``ValueError``; also for ``app/*``.
        VersionConflict, Unavailable, Timeout, ResourceExhausted
        """
        options = WriteOptions.of(if_version, ttl)
        return files.upload(self._session, key_or_prefix, file_path, options, timeout, progress)

    def download_object(
        self,
        ref: ObjectRef,
        dest_path: Union[str, os.PathLike],
        *,
        timeout: Optional[float] = None,
        progress: Optional[bool] = None,
    ) -> None:
        """Write an object's bytes, as they are stored, to a file.

        The file appears, with its directories, only when all bytes have arrived; what was
        there before stays until then. An empty object makes an empty file.

        Parameters
        ----------
        ref : ObjectRef
        dest_path : path
        timeout : float, optional
            Seconds for the whole download.
        progress : bool, optional
            False: show no progress bar. Otherwise a large transfer shows one on a terminal.

        Raises
        ------
        NotFound
            A ``KeyError``.
        WrongKind
            The object is a table or has patches, so it is not a file's bytes.
        """
        files.download(self._session, ref, dest_path, timeout, progress)

    def configure_cache(self, *, max_bytes: int) -> None:
        """Bound the bytes that this process keeps of objects it has read.

        Parameters
        ----------
        max_bytes : int
            0 keeps nothing. The default is the context's ``cache.client_cache``.
        """
        if max_bytes < 0:
            raise InvalidArgument(f"max_bytes is {max_bytes}, expected 0 or more")
        self._session.cache.resize(max_bytes)

    def close(self) -> None:
        """Give the connections and the cache back; further calls raise `ClientClosed`.

        Calls of other threads that are under way end as they would have. The client of the
        process itself goes on with new connections.
        """
        self._session.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self is _default:
            return "<flamepy.Client of this process>"
        state = "closed" if self._session.closed else self._session.endpoint or "not connected"
        return f"<flamepy.Client {state}>"

    def __reduce__(self) -> Any:
        if self is _default:  # So that functions that use `flamepy.get_object` can be pickled.
            return default_client, ()
        raise TypeError("a client with connections of its own cannot be pickled: make it there")


def _tls_files(
    *files: Optional[Union[str, os.PathLike]],
) -> Optional[FlameClientTls]:
    ca_file, cert_file, key_file = (None if file is None else os.fspath(file) for file in files)
    if (cert_file is None) != (key_file is None):
        raise InvalidArgument("a client certificate needs both cert_file and key_file")
    return FlameClientTls(ca_file, cert_file, key_file) if ca_file or cert_file else None


class _ProcessClient(Client):
    def __init__(self) -> None:
        self._session = ContextSession()


_default = _ProcessClient()


def default_client() -> Client:
    """The client whose methods are the functions of this package."""
    return _default
