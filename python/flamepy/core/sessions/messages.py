"""The messages of ``flame.v1``: the protocol's tables, and nothing else."""

from __future__ import annotations

from typing import ClassVar

from flamepy.core.sessions.wire import Message, boolean, data, integer, message, text


class Metadata(Message):
    FIELDS: ClassVar = {"id": text(1), "name": text(2)}


class ResourceRequirement(Message):
    FIELDS: ClassVar = {"cpu": integer(1), "memory": integer(2), "gpu": integer(3)}


class Event(Message):
    FIELDS: ClassVar = {
        "code": integer(1),
        "message": text(2, optional=True),
        "creation_time": integer(3),
    }


class SessionSpec(Message):
    FIELDS: ClassVar = {
        "application": text(2),
        "common_data": data(4, optional=True),
        "min_instances": integer(5),
        "max_instances": integer(6, optional=True),
        "batch_size": integer(7),
        "priority": integer(8),
        "resreq": message(9, ResourceRequirement),
    }


class SessionStatus(Message):
    FIELDS: ClassVar = {
        "state": integer(1),
        "creation_time": integer(2),
        "completion_time": integer(3, optional=True),
        "pending": integer(4),
        "running": integer(5),
        "succeed": integer(6),
        "failed": integer(7),
        "events": message(8, Event, repeated=True),
        "cancelled": integer(9),
    }


class Session(Message):
    FIELDS: ClassVar = {
        "metadata": message(1, Metadata),
        "spec": message(2, SessionSpec),
        "status": message(3, SessionStatus),
    }


class TaskSpec(Message):
    FIELDS: ClassVar = {
        "session_id": text(2),
        "input": data(3, optional=True),
        "output": data(4, optional=True),
    }


class TaskStatus(Message):
    FIELDS: ClassVar = {
        "state": integer(1),
        "creation_time": integer(2),
        "completion_time": integer(3, optional=True),
        "events": message(4, Event, repeated=True),
    }


class Task(Message):
    FIELDS: ClassVar = {
        "metadata": message(1, Metadata),
        "spec": message(2, TaskSpec),
        "status": message(3, TaskStatus),
    }


class Environment(Message):
    FIELDS: ClassVar = {"name": text(1), "value": text(2)}


class ApplicationSchema(Message):
    FIELDS: ClassVar = {
        "input": text(1, optional=True),
        "output": text(2, optional=True),
        "common_data": text(3, optional=True),
    }


class ApplicationSpec(Message):
    FIELDS: ClassVar = {
        "shim": integer(1),
        "description": text(2, optional=True),
        "labels": text(3, repeated=True),
        "image": text(4, optional=True),
        "command": text(5, optional=True),
        "arguments": text(6, repeated=True),
        "environments": message(7, Environment, repeated=True),
        "working_directory": text(8, optional=True),
        "max_instances": integer(9, optional=True),
        "delay_release": integer(10, optional=True),
        "schema": message(11, ApplicationSchema),
        "url": text(12, optional=True),
        "installer": text(13, optional=True),
    }


class ApplicationStatus(Message):
    FIELDS: ClassVar = {"state": integer(1), "creation_time": integer(2)}


class Application(Message):
    FIELDS: ClassVar = {
        "metadata": message(1, Metadata),
        "spec": message(2, ApplicationSpec),
        "status": message(3, ApplicationStatus),
    }


class ExecutorSpec(Message):
    FIELDS: ClassVar = {
        "node": text(1),
        "resreq": message(2, ResourceRequirement),
        "shim": integer(4),
        "application": text(5),
    }


class ExecutorStatus(Message):
    FIELDS: ClassVar = {"state": integer(1), "session_id": text(2, optional=True)}


class Executor(Message):
    FIELDS: ClassVar = {
        "metadata": message(1, Metadata),
        "spec": message(2, ExecutorSpec),
        "status": message(3, ExecutorStatus),
    }


class NodeSpec(Message):
    FIELDS: ClassVar = {"hostname": text(1)}


class NodeInfo(Message):
    FIELDS: ClassVar = {"arch": text(1), "os": text(2)}


class NodeAddress(Message):
    FIELDS: ClassVar = {"type": text(1), "address": text(2)}


class NodeStatus(Message):
    FIELDS: ClassVar = {
        "state": integer(1),
        "capacity": message(2, ResourceRequirement),
        "allocatable": message(3, ResourceRequirement),
        "info": message(4, NodeInfo),
        "addresses": message(5, NodeAddress, repeated=True),
        "last_heartbeat_time": integer(6),
    }


class Node(Message):
    FIELDS: ClassVar = {
        "metadata": message(1, Metadata),
        "spec": message(2, NodeSpec),
        "status": message(3, NodeStatus),
    }


class ExecutorList(Message):
    FIELDS: ClassVar = {"executors": message(1, Executor, repeated=True)}


class SessionList(Message):
    FIELDS: ClassVar = {"sessions": message(1, Session, repeated=True)}


class ApplicationList(Message):
    FIELDS: ClassVar = {"applications": message(1, Application, repeated=True)}


class NodeList(Message):
    FIELDS: ClassVar = {"nodes": message(1, Node, repeated=True)}


class Empty(Message):
    """A request, or a reply, without fields."""


class Result(Message):
    FIELDS: ClassVar = {"return_code": integer(1), "message": text(2, optional=True)}


class TaskResult(Message):
    FIELDS: ClassVar = {
        "return_code": integer(1),
        "output": data(2, optional=True),
        "message": text(3, optional=True),
    }


class Named(Message):
    """Requests that hold a name and nothing else."""

    FIELDS: ClassVar = {"name": text(1)}


class SessionNamed(Message):
    """Requests that hold a session's id and nothing else."""

    FIELDS: ClassVar = {"session_id": text(1)}


class TaskNamed(Message):
    """GetTaskRequest and WatchTaskRequest."""

    FIELDS: ClassVar = {"task_id": text(1), "session_id": text(2)}


class RegisterApplicationRequest(Message):
    FIELDS: ClassVar = {"name": text(1), "application": message(2, ApplicationSpec)}


class SessionRequest(Message):
    """CreateSessionRequest and OpenSessionRequest."""

    FIELDS: ClassVar = {"session_id": text(1), "session": message(2, SessionSpec)}


class CreateTaskRequest(Message):
    FIELDS: ClassVar = {"task": message(1, TaskSpec)}


class ApplicationContext(Message):
    FIELDS: ClassVar = {
        "name": text(1),
        "shim": integer(2),
        "image": text(3, optional=True),
        "command": text(4, optional=True),
        "working_directory": text(5, optional=True),
        "url": text(6, optional=True),
        "installer": text(7, optional=True),
        "workspace": text(8, optional=True),
    }


class SessionContext(Message):
    FIELDS: ClassVar = {
        "session_id": text(1),
        "application": message(2, ApplicationContext),
        "common_data": data(3, optional=True),
        "workspace": text(5, optional=True),
    }


class TaskContext(Message):
    FIELDS: ClassVar = {"task_id": text(1), "session_id": text(2), "input": data(4, optional=True)}


class Log(Message):
    """``flame.manager.v1``, as the four below: what our session manager has and others have not."""

    FIELDS: ClassVar = {
        "instance_id": text(1),
        "session_id": text(2),
        "application": text(3),
        "stream": integer(4),
        "size": integer(5),
        "start_time": integer(6),
        "end_time": integer(7, optional=True),
        "cut": boolean(8),
    }


class ListLogsRequest(Message):
    FIELDS: ClassVar = {"session_id": text(1), "instance_id": text(2), "application": text(3)}


class ListLogsResponse(Message):
    FIELDS: ClassVar = {"logs": message(1, Log, repeated=True)}


class ReadLogRequest(Message):
    FIELDS: ClassVar = {
        "session_id": text(1),
        "instance_id": text(2),
        "stream": integer(3),
        "tail_bytes": integer(4),
        "follow": boolean(5),
    }


class LogChunk(Message):
    FIELDS: ClassVar = {
        "instance_id": text(1),
        "stream": integer(2),
        "data": data(3),
        "gap": boolean(4),
    }


class SessionEnterResponse(Message):
    """What newer callers expect of OnSessionEnter."""

    FIELDS: ClassVar = {"result": message(1, Result)}


class TaskInvokeResponse(Message):
    """What newer callers expect of OnTaskInvoke."""

    FIELDS: ClassVar = {"task_result": message(1, TaskResult)}
