"""A session whose requests, replies and context are Python objects."""

from __future__ import annotations

from typing import Any, Optional, Union

import cloudpickle

from flamepy.core.cache import get_object, put_object
from flamepy.core.errors import InvalidArgument
from flamepy.core.refs import ObjectRef
from flamepy.core.sessions import ResourceRequirement, create_session, open_session
from flamepy.core.types import short_name

__all__ = ["Session"]

_PROTOCOL = 5


class Session:
    """A session of a service that is a `FlameInstance`. Thread-safe.

    Parameters
    ----------
    name : str, optional
        The application; opens a new session. Either this or `session_id`.
    ctx : Any, optional
        What `FlameInstance.context` gives; stored in the cache.
    session_id : str, optional
        Of a session that is open.
    resreq : ResourceRequirement or dict, optional
        Of each instance: ``{"cpu": 1, "memory": "1g"}``.

    Examples
    --------
    >>> with Session("app", {"factor": 2}) as session:  # doctest: +SKIP
    ...     session.invoke(21)
    42
    """

    def __init__(
        self,
        name: Optional[str] = None,
        ctx: Optional[Any] = None,
        session_id: Optional[str] = None,
        resreq: Optional[Union[ResourceRequirement, dict[str, Any]]] = None,
    ) -> None:
        if name is None and session_id is None:
            raise InvalidArgument("Either 'name' or 'session_id' must be provided")
        if name is not None and session_id is not None:
            raise InvalidArgument(
                "Cannot provide both 'name' and 'session_id'. They are mutually exclusive."
            )
        if session_id is not None:
            self._session = open_session(session_id)
            return
        assert name is not None, "one of them"
        if isinstance(resreq, dict):
            resreq = _resources(resreq)
        new_id = short_name(name)
        common_data = None
        if ctx is not None:
            pickled = cloudpickle.dumps(ctx, protocol=_PROTOCOL)
            common_data = put_object(f"{name}/{new_id}", pickled).encode()
        self._session = create_session(name, common_data, new_id, resreq=resreq)

    def invoke(self, req: Any, *, timeout: Optional[float] = None) -> Any:
        """Call the entry point; its result.

        Raises
        ------
        TaskFailed, TaskCancelled, Timeout
        """
        output = self._session.invoke(cloudpickle.dumps(req, protocol=_PROTOCOL), timeout=timeout)
        return None if output is None else cloudpickle.loads(output)

    def context(self) -> Any:
        """The context as it is now; None if there is none."""
        common_data = self._session.common_data()
        if common_data is None:
            return None
        return cloudpickle.loads(get_object(ObjectRef.decode(common_data)))

    def id(self) -> Optional[str]:
        """The session's id."""
        return self._session.id

    def close(self) -> None:
        """Close the session for everybody."""
        self._session.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _resources(wanted: dict[str, Any]) -> ResourceRequirement:
    memory = wanted.get("memory") or wanted.get("mem") or 0
    if isinstance(memory, str):
        memory = ResourceRequirement.from_string(f"mem={memory}").memory
    return ResourceRequirement(wanted.get("cpu", 0), memory, wanted.get("gpu", 0))
