"""What users see of the session service: attributes, states, tasks, events, applications."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import IntEnum
from typing import Any, Optional, Union

from flamepy.core.errors import InvalidArgument
from flamepy.core.sessions import messages

__all__ = [
    "Application",
    "ApplicationAttributes",
    "ApplicationSchema",
    "ApplicationState",
    "Event",
    "ExecutorState",
    "NodeState",
    "ResourceRequirement",
    "SessionAttributes",
    "SessionState",
    "Shim",
    "Task",
    "TaskInformer",
    "TaskState",
    "application_spec",
    "from_application",
    "from_event",
    "from_task",
    "moment",
    "session_spec",
]


class SessionState(IntEnum):
    """A session is opened once and closed once."""

    OPEN = 0
    CLOSED = 1


class TaskState(IntEnum):
    """The last three are final."""

    PENDING = 0
    RUNNING = 1
    SUCCEED = 2
    FAILED = 3
    CANCELLED = 4


class ApplicationState(IntEnum):
    """Whether sessions can be opened."""

    ENABLED = 0
    DISABLED = 1


class Shim(IntEnum):
    """What kind of process serves an application."""

    HOST = 0
    WASM = 1


class ExecutorState(IntEnum):
    """Of one instance; ``list_executors()[i].status.state`` is such a number."""

    UNKNOWN = 0
    VOID = 1
    IDLE = 2
    BINDING = 3
    BOUND = 4
    UNBINDING = 5
    RELEASING = 6
    RELEASED = 7


class NodeState(IntEnum):
    """Of one machine; ``list_nodes()[i].status.state`` is such a number."""

    UNKNOWN = 0
    READY = 1
    NOT_READY = 2


_AMOUNT = re.compile(r"(\d+)\s*(?:([kmgtp])i?b?|b)?", re.IGNORECASE)


@dataclass
class ResourceRequirement:
    """What one instance needs.

    Attributes
    ----------
    cpu : int
        Whole cores.
    memory : int
        Bytes.
    gpu : int
        Whole devices.
    """

    cpu: int = 0
    memory: int = 0
    gpu: int = 0

    @classmethod
    def from_string(cls, s: str) -> ResourceRequirement:
        """Read ``cpu=1,mem=1g,gpu=0``; units of memory are powers of 1024.

        Raises
        ------
        ValueError

        Examples
        --------
        >>> ResourceRequirement.from_string("cpu=2,mem=512MiB")
        ResourceRequirement(cpu=2, memory=536870912, gpu=0)
        """
        if not s.strip():
            raise InvalidArgument("resource requirement cannot be empty; write 'cpu=1,mem=1g'")
        found: dict[str, int] = {}
        for item in s.split(","):
            key, _, value = (part.strip() for part in item.partition("="))
            name = _RESOURCES.get(key.lower())
            if name is None:
                raise InvalidArgument(
                    f"unknown resource requirement key {key!r} in {s!r}: known are cpu, mem, gpu"
                )
            match = _AMOUNT.fullmatch(value)
            if match is None or (match.group(2) and name != "memory"):
                raise InvalidArgument(f"{value!r} is no amount of {key} in {s!r}")
            unit = (match.group(2) or " ").lower()
            found[name] = int(match.group(1)) * 1024 ** " kmgtp".index(unit)
        return cls(**found)


_RESOURCES = {"cpu": "cpu", "mem": "memory", "memory": "memory", "gpu": "gpu"}


@dataclass
class Event:
    """Something that happened to a session or a task.

    Attributes
    ----------
    code : int
        Of a task's event, its new state; 1001 and 1002 are failures of a session's instances.
    message : str or None
    creation_time : datetime or None
        UTC.
    """

    code: int
    message: Optional[str] = None
    creation_time: Optional[datetime] = None


@dataclass
class Task:
    """A task as it was when it was asked for; it does not change by itself."""

    id: str
    session_id: str
    state: TaskState
    creation_time: datetime
    input: Optional[bytes] = None
    output: Optional[bytes] = None
    completion_time: Optional[datetime] = None
    events: Optional[list[Event]] = None

    def is_completed(self) -> bool:
        """Whether it has ended: succeeded, failed or cancelled."""
        return self.state >= TaskState.SUCCEED

    def is_failed(self) -> bool:
        """Whether its service failed."""
        return self.state == TaskState.FAILED

    def failure(self) -> str:
        """Why it failed."""
        for event in self.events or ():
            if event.code == TaskState.FAILED and event.message:
                return event.message
        return "Task failed without error message"


class TaskInformer:
    """Is told of a task's changes. Called by a thread of this package: be quick."""

    def on_update(self, task: Task) -> None:
        """The task has changed."""

    def on_error(self, error: Exception) -> None:
        """Nothing more will be told."""


@dataclass
class ApplicationSchema:
    """JSON schemas, as text."""

    input: Optional[str] = None
    output: Optional[str] = None
    common_data: Optional[str] = None


@dataclass
class ApplicationAttributes:
    """An application to register.

    Attributes
    ----------
    command, arguments, environments, working_directory
        How an instance is started; ``${NAME}`` is expanded there.
    delay_release : int or None
        Seconds that an idle instance waits for more work.
    url, installer : str or None
        A package, and what installs it.
    """

    shim: Optional[Shim] = None
    image: Optional[str] = None
    description: Optional[str] = None
    labels: Optional[list[str]] = None
    command: Optional[str] = None
    arguments: Optional[list[str]] = None
    environments: Optional[dict[str, str]] = None
    working_directory: Optional[str] = None
    max_instances: Optional[int] = None
    delay_release: Optional[int] = None
    schema: Optional[ApplicationSchema] = None
    url: Optional[str] = None
    installer: Optional[str] = None


@dataclass
class Application:
    """A registered application."""

    id: str
    name: str
    state: ApplicationState
    creation_time: datetime
    shim: Optional[Shim] = None
    image: Optional[str] = None
    description: Optional[str] = None
    labels: Optional[list[str]] = None
    command: Optional[str] = None
    arguments: Optional[list[str]] = None
    environments: Optional[dict[str, str]] = None
    working_directory: Optional[str] = None
    max_instances: Optional[int] = None
    delay_release: Optional[int] = None
    schema: Optional[ApplicationSchema] = None
    url: Optional[str] = None
    installer: Optional[str] = None


@dataclass
class SessionAttributes:
    """A session to open.

    Attributes
    ----------
    application : str
    id : str or None
        The caller's choice; one is drawn if there is none.
    common_data : bytes or None
        Given to each instance.
    min_instances : int
        Started without waiting for tasks.
    max_instances : int or None
        None: no limit.
    batch_size : int
        For older servers.
    resreq : ResourceRequirement or None
        Of each instance; None: the cluster's default.
    """

    application: str
    id: Optional[str] = None
    common_data: Any = None
    min_instances: int = 0
    max_instances: Optional[int] = None
    batch_size: int = 1
    resreq: Optional[ResourceRequirement] = field(default=None)


_SIMPLE = (
    "description",
    "image",
    "command",
    "working_directory",
    "max_instances",
    "delay_release",
    "url",
    "installer",
)


def session_spec(attributes: SessionAttributes) -> messages.SessionSpec:
    """The message of it, checked."""
    common = attributes.common_data
    if common is not None and not isinstance(common, (bytes, bytearray, memoryview)):
        raise InvalidArgument("common_data must be bytes in core API")
    resreq = attributes.resreq
    low, high = attributes.min_instances, attributes.max_instances
    if low < 0 or (high is not None and (high < 1 or high < low)):
        raise InvalidArgument(
            f"min_instances is {low} and max_instances is {high}: expected 0 or more, and at least "
            "as many, or None"
        )
    return messages.SessionSpec(
        application=attributes.application,
        common_data=None if common is None else bytes(common),
        min_instances=low,
        max_instances=high,
        batch_size=attributes.batch_size,
        resreq=None if resreq is None else messages.ResourceRequirement(**vars(resreq)),
    )


def application_spec(
    attributes: Union[ApplicationAttributes, dict[str, Any]],
) -> messages.ApplicationSpec:
    """The message of it, checked."""
    if isinstance(attributes, dict):
        unknown = attributes.keys() - ApplicationAttributes.__dataclass_fields__.keys()
        if unknown:
            raise InvalidArgument(f"an application has no {', '.join(sorted(unknown))}")
        attributes = ApplicationAttributes(**attributes)
    environments = attributes.environments or {}
    schema = attributes.schema
    if isinstance(schema, dict):
        schema = ApplicationSchema(**schema)
    return messages.ApplicationSpec(
        shim=int(attributes.shim or Shim.HOST),
        labels=list(attributes.labels or ()),
        arguments=list(attributes.arguments or ()),
        environments=[
            messages.Environment(name=str(name), value=str(value))
            for name, value in environments.items()
        ],
        schema=None if schema is None else messages.ApplicationSchema(**vars(schema)),
        **{name: getattr(attributes, name) for name in _SIMPLE},
    )


def from_application(found: messages.Application) -> Application:
    """As users see it."""
    spec = found.spec or messages.ApplicationSpec()
    status = found.status or messages.ApplicationStatus()
    metadata = found.metadata or messages.Metadata()
    return Application(
        id=metadata.id,
        name=metadata.name,
        state=ApplicationState(status.state),
        creation_time=moment(status.creation_time),
        shim=Shim(spec.shim) if spec.shim in tuple(Shim) else None,
        labels=list(spec.labels),
        arguments=list(spec.arguments),
        environments={item.name: item.value for item in spec.environments},
        schema=None if spec.schema is None else ApplicationSchema(**vars(spec.schema)),
        **{name: getattr(spec, name) for name in _SIMPLE},
    )


def from_task(found: messages.Task) -> Task:
    """As users see it."""
    spec, status = found.spec or messages.TaskSpec(), found.status or messages.TaskStatus()
    completed = status.completion_time
    return Task(
        id=found.metadata.id if found.metadata else "",
        session_id=spec.session_id,
        state=TaskState(status.state),
        creation_time=moment(status.creation_time),
        input=spec.input,
        output=spec.output,
        completion_time=None if completed is None else moment(completed),
        events=[from_event(event) for event in status.events],
    )


def from_event(found: messages.Event) -> Event:
    """As users see it."""
    return Event(found.code, found.message, moment(found.creation_time))


def moment(milliseconds: int) -> datetime:
    """Milliseconds since 1970 as a time in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, tz=timezone.utc)
