"""What the session manager knows, as dictionaries: for programs as they are, for tables to pick from."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any, Optional

from flamepy.core.sessions import messages
from flamepy.core.sessions.client import Session
from flamepy.core.sessions.model import (
    Application,
    Event,
    ExecutorState,
    NodeState,
    ResourceRequirement,
    Task,
)

__all__ = ["View", "application", "event", "executor", "node", "seconds", "session", "task"]

View = dict[str, Any]


def seconds(since: Optional[datetime], until: Optional[datetime]) -> Optional[float]:
    """Between two moments; None if one of them is not known."""
    return None if since is None or until is None else (until - since).total_seconds()


def application(found: Application) -> View:
    """As it was registered."""
    return {
        "name": found.name,
        "state": found.state.name.lower(),
        "created": _moment(found.creation_time),
        "description": found.description,
        "command": found.command,
        "arguments": found.arguments or [],
        "environments": found.environments or {},
        "working_directory": found.working_directory,
        "image": found.image,
        "labels": found.labels or [],
        "max_instances": found.max_instances,
        "delay_release": found.delay_release,
        "url": found.url,
        "installer": found.installer,
    }


def session(found: Session) -> View:
    """With its counters, without its common data's bytes."""
    data = found.common_data()
    return {
        "id": found.id,
        "application": found.application,
        "state": found.state.name.lower(),
        "created": _moment(found.creation_time),
        "completed": _moment(found.completion_time),
        "pending": found.pending,
        "running": found.running,
        "succeeded": found.succeed,
        "failed": found.failed,
        "cancelled": found.cancelled,
        "priority": found.priority,
        "min_instances": found.min_instances,
        "max_instances": found.max_instances,
        "resreq": _resources(found.resreq),
        "common_data_bytes": None if data is None else len(data),
        "events": [event(item) for item in found.events],
    }


def task(found: Task, *, payloads: bool = False) -> View:
    """With the sizes of its input and output, or with their bytes in base64."""
    view: View = {
        "id": found.id,
        "session": found.session_id,
        "state": found.state.name.lower(),
        "created": _moment(found.creation_time),
        "completed": _moment(found.completion_time),
        "seconds": seconds(found.creation_time, found.completion_time),
        "input_bytes": None if found.input is None else len(found.input),
        "output_bytes": None if found.output is None else len(found.output),
        "events": [event(item) for item in found.events or []],
    }
    if payloads:
        view["input"] = _base64(found.input)
        view["output"] = _base64(found.output)
    return view


def executor(found: messages.Executor, applications: dict[str, str]) -> View:
    """`applications`: by the ids of their sessions, for servers that do not tell."""
    spec = found.spec or messages.ExecutorSpec()
    status = found.status or messages.ExecutorStatus()
    session_id = status.session_id or None
    return {
        "id": found.metadata.id if found.metadata else "",
        "node": spec.node,
        "state": _state(ExecutorState, status.state),
        "session": session_id,
        "application": spec.application or applications.get(session_id or "") or None,
        "resreq": _resources(spec.resreq),
    }


def node(found: messages.Node) -> View:
    """What the machine has."""
    status = found.status or messages.NodeStatus()
    info = status.info or messages.NodeInfo()
    beat = status.last_heartbeat_time
    return {
        "name": found.metadata.name if found.metadata else "",
        "hostname": found.spec.hostname if found.spec else "",
        "state": _state(NodeState, status.state),
        "capacity": _resources(status.capacity),
        "allocatable": _resources(status.allocatable),
        "arch": info.arch,
        "os": info.os,
        "addresses": [f"{item.type}={item.address}" for item in status.addresses],
        "last_heartbeat": _moment(datetime.fromtimestamp(beat).astimezone() if beat else None),
    }


def event(found: Event) -> View:
    """What happened."""
    return {
        "code": found.code,
        "message": found.message,
        "at": _moment(found.creation_time),
    }


def _moment(value: Optional[datetime]) -> Optional[str]:
    return None if value is None else value.astimezone().isoformat(timespec="milliseconds")


def _base64(data: Optional[bytes]) -> Optional[str]:
    return None if data is None else base64.b64encode(data).decode()


def _state(kind: Any, value: int) -> str:
    try:
        name = kind(value).name.lower()
    except ValueError:
        return str(value)
    return name[len("executor_") :] if name.startswith("executor_") else name


def _resources(found: Any) -> View:
    found = found or ResourceRequirement()
    return {"cpu": found.cpu, "memory": found.memory, "gpu": found.gpu}
