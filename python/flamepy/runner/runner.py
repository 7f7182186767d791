"""The Runner: packs this directory, registers it as an application, and makes services of it."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Optional, Union

from flamepy.core.cache import delete_objects, put_object
from flamepy.core.context import FlamePackage, current_context
from flamepy.core.errors import AlreadyExists, FlameError, InvalidArgument, NotFound
from flamepy.core.keys import ObjectKey
from flamepy.core.refs import ObjectRef
from flamepy.core.sessions.client import Connection, connect, default_connection
from flamepy.core.sessions.model import ApplicationAttributes, ResourceRequirement
from flamepy.runner import storage
from flamepy.runner.embedded import TEMPLATE, Embedded, is_wanted
from flamepy.runner.futures import ObjectFuture, ObjectFutureIterator
from flamepy.runner.packages import pack
from flamepy.runner.services import RunnerService
from flamepy.runner.types import RunnerContext, RunnerServiceKind

__all__ = ["Runner"]

_LEAVE_SECONDS = 5.0  # Workers take up to four.
_LOOK_SECONDS = 0.01
_COPIED = (
    "image",
    "labels",
    "command",
    "arguments",
    "max_instances",
    "delay_release",
    "schema",
    "installer",
)
"""What an application takes from its template as it is."""

logger = logging.getLogger(__name__)


class Runner:
    """An application made of this program. Thread-safe.

    The current directory is packed and uploaded, and the application registered. If there is an
    application of that name already, it is used as it is, and stays when this is closed.

    Parameters
    ----------
    name : str
        Of the application.
    fail_if_exists : bool
        Raise `AlreadyExists` instead of using what is there.
    dependencies : list of str, optional
        Requirements that workers need, if the directory has no metadata of its own.
    python_version : str, optional
        Of the workers, ``"3.12"``; this one's has to be the same for functions of ``__main__``.
    engine : str, optional
        Address of the session manager, instead of the context's; ``"embedded"``: one of this
        process's own. That is also used where nothing is configured and none answers.
    directory : path, optional
        What to pack, instead of the current directory.
    close_timeout : float
        Seconds that `close` waits for calls that are under way.

    Raises
    ------
    AlreadyExists, NotFound, Unavailable, InvalidConfig

    Examples
    --------
    >>> with Runner("app") as rr:  # doctest: +SKIP
    ...     square = rr.service(lambda x: x * x)
    ...     rr.get([square(i) for i in range(4)])
    [0, 1, 4, 9]
    """

    def __init__(
        self,
        name: str,
        fail_if_exists: bool = False,
        dependencies: Optional[list[str]] = None,
        python_version: Optional[str] = None,
        *,
        engine: Union[str, Connection, None] = None,
        directory: Union[str, os.PathLike, None] = None,
        close_timeout: float = 60.0,
    ) -> None:
        ObjectKey(name, "shared")  # Checks it.
        self._name = name
        self._close_timeout = close_timeout
        self._lock = threading.Lock()
        self._services: list[RunnerService] = []
        self._closed = False
        self._registered = False
        self._url: Optional[str] = None
        self._own_connection: Optional[Connection] = None
        self._embedded: Optional[Embedded] = None
        if engine == "embedded" or (engine is None and is_wanted()):
            self._embedded = Embedded()
            engine = self._embedded.connection
        elif isinstance(engine, str):
            self._own_connection = engine = connect(engine)
        self._connection = engine or default_connection()
        try:
            self._start(
                fail_if_exists, dependencies, python_version, Path(directory or os.getcwd())
            )
        except BaseException:
            self._disconnect()
            raise

    @property
    def connection(self) -> Connection:
        """To the session manager."""
        return self._connection

    @property
    def name(self) -> str:
        """Of the application."""
        return self._name

    def service(
        self,
        execution_object: Any,
        autoscale: Union[bool, RunnerServiceKind, None] = None,
        warmup: int = 0,
        resreq: Optional[ResourceRequirement] = None,
        *,
        stateful: Optional[bool] = None,
        kind: Optional[RunnerServiceKind] = None,
    ) -> RunnerService:
        """Make a service of a function, a class or an object.

        Parameters
        ----------
        execution_object : Any
            A class is instantiated in each instance, without arguments. An object's state is kept
            in the cache between calls. Its attribute `_session_context`, a `SessionContext`,
            chooses the session.
        autoscale : bool, optional
            Instances come and go with the calls.
        warmup : int
            Instances to start at once.
        resreq : ResourceRequirement, optional
            Of each instance.
        kind : RunnerServiceKind, optional
            Older form of `stateful`, which follows from the object.

        Raises
        ------
        InvalidArgument
            A ``ValueError``: the choices contradict the object.
        """
        if isinstance(autoscale, RunnerServiceKind):  # The second parameter was `kind` once.
            autoscale, kind = None, autoscale
        context = RunnerContext(
            execution_object, stateful=stateful, autoscale=autoscale, warmup=warmup, kind=kind
        )
        if self._closed:
            raise InvalidArgument(f"the runner {self._name!r} was closed; make another one")
        made = RunnerService(
            self._name,
            execution_object,
            resreq=resreq,
            context=context,
            connection=self._connection,
        )
        with self._lock:
            self._services.append(made)
        return made

    def get(self, futures: Iterable[ObjectFuture], timeout: Optional[float] = None) -> list[Any]:
        """The values of all; `timeout` is for each."""
        return [future.get(timeout) for future in futures]

    def ref(
        self, futures: Iterable[ObjectFuture], timeout: Optional[float] = None
    ) -> list[ObjectRef]:
        """The references of all; `timeout` is for each."""
        return [future.ref(timeout) for future in futures]

    def wait(self, futures: Iterable[ObjectFuture], timeout: Optional[float] = None) -> None:
        """Wait for all; `timeout` is for each."""
        for future in futures:
            future.wait(timeout)

    def select(
        self, futures: Iterable[ObjectFuture], timeout: Optional[float] = None
    ) -> ObjectFutureIterator:
        """Iterate over futures as they end."""
        return ObjectFutureIterator(futures, timeout)

    def put_object(self, obj: Any) -> ObjectRef:
        """Store an object for all sessions of the application; removed when it is closed."""
        return put_object(str(ObjectKey.for_shared(self._name)), obj)

    def close(self) -> None:
        """Close the services, and remove the application if this has registered it.

        Waits for calls that are under way. What cannot be removed is logged. Idempotent.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            services, self._services = self._services, []
        for made in services:
            with self._logged(f"close the session {made.session_id}"):
                made.close(timeout=self._close_timeout)
        if self._registered:
            self._remove({made.session_id for made in services})
        self._disconnect()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<flamepy.Runner {self._name}{', closed' if self._closed else ''}>"

    def _start(
        self,
        fail_if_exists: bool,
        dependencies: Optional[list[str]],
        python_version: Optional[str],
        directory: Path,
    ) -> None:
        if self._connection.get_application(self._name) is not None:
            if fail_if_exists:
                raise AlreadyExists(
                    f"application {self._name!r} is registered already; choose another name, or "
                    "leave fail_if_exists out to use it"
                )
            logger.info("application %s is there: it is used as it is", self._name)
            return
        context = current_context()
        template_name = context.runner.template or "flmrun"
        if self._embedded is not None:
            template_name = TEMPLATE
        template = self._connection.get_application(template_name)
        if template is None:
            raise NotFound(
                f"the session manager has no application {template_name!r}, the template of "
                "runners; runner.template names another one"
            )
        package = context.package or FlamePackage()
        scratch = tempfile.mkdtemp(prefix="flame-runner-")
        try:
            archive = pack(
                directory,
                Path(scratch) / f"{self._name}.tar.gz",
                name=self._name,
                dependencies=dependencies or (),
                include=package.include,
                exclude=package.excludes,
            )
            self._url = storage.upload(archive, package.storage, self._name)
            attributes = ApplicationAttributes(
                shim=None,
                description=f"Runner application: {self._name}",
                url=self._url,
                environments=dict(template.environments or {}),
                **{field: getattr(template, field) for field in _COPIED},
            )
            if template.working_directory:
                attributes.working_directory = f"{template.working_directory}/{self._name}"
            if python_version:
                attributes.environments["FLAME_PYTHON_VERSION"] = python_version
            self._connection.register_application(self._name, attributes)
            self._registered = True
        except BaseException:
            if self._url is not None:
                with self._logged("remove the package"):
                    storage.delete(self._url)
            raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _disconnect(self) -> None:
        if self._own_connection is not None:
            self._own_connection.close()
        if self._embedded is not None:
            self._embedded.close()

    def _remove(self, sessions: set[str]) -> None:
        with self._logged(f"unregister the application {self._name}"):
            self._connection.unregister_application(self._name)
        with contextlib.suppress(FlameError):  # A server may not tell.
            self._await_workers(sessions)
        with self._logged(f"delete the objects of {self._name}"):
            delete_objects(str(ObjectKey.for_all_sessions(self._name)))
        if self._url is not None:
            with self._logged("remove the package"):
                storage.delete(self._url)

    def _await_workers(self, sessions: set[str]) -> None:
        """Until they have gone: small results are stored after they were answered."""
        end = time.monotonic() + _LEAVE_SECONDS
        while time.monotonic() < end:
            executors = self._connection.list_executors()
            if not any(e.status and e.status.session_id in sessions for e in executors):
                return
            time.sleep(_LOOK_SECONDS)

    @contextlib.contextmanager
    def _logged(self, what: str) -> Any:
        try:
            yield
        except (FlameError, OSError) as error:
            logger.error("runner %s: cannot %s: %s", self._name, what, error)
