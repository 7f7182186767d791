"""What ``flmctl`` does: list, show, create, close."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Optional

from flamepy.cli.output import Output
from flamepy.core.errors import InvalidArgument, NotFound
from flamepy.core.sessions.client import Connection, Session
from flamepy.core.sessions.model import ResourceRequirement, SessionAttributes, TaskState
from flamepy.ctl import views
from flamepy.ctl.tables import Column, ago, amount, number, print_table, resources, took
from flamepy.ctl.views import View

__all__ = [
    "SESSION_COLUMNS",
    "TASK_STATES",
    "close_session",
    "create_session",
    "list_applications",
    "list_executors",
    "list_nodes",
    "list_sessions",
    "list_tasks",
    "show_application",
    "show_executor",
    "show_node",
    "show_session",
    "show_task",
]

TASK_STATES = [state.name.lower() for state in TaskState]
_PREVIEW_BYTES = 400

SESSION_COLUMNS = [
    Column("SESSION", "id"),
    Column("APPLICATION", "application"),
    Column("STATE", "state"),
    Column("PENDING", "pending", number, right=True),
    Column("RUNNING", "running", number, right=True),
    Column("DONE", "succeeded", number, right=True),
    Column("FAILED", "failed", number, right=True, alarm=True),
]
_EXECUTOR_COLUMNS = [
    Column("EXECUTOR", "id"),
    Column("STATE", "state"),
    Column("APPLICATION", "application"),
    Column("SESSION", "session"),
    Column("NODE", "node"),
    Column("HAS", "resreq", resources),
]


def list_applications(connection: Connection, options: argparse.Namespace, output: Output) -> None:
    """All applications, by name."""
    found = sorted(connection.list_applications(timeout=options.timeout), key=lambda a: a.name)
    columns = [
        Column("APPLICATION", "name"),
        Column("STATE", "state"),
        Column("MAX INSTANCES", "max_instances", number, right=True),
        Column("AGE", "created", ago, right=True),
        Column("COMMAND", "line", fold=True),
    ]
    rows = [views.application(item) for item in found]
    _listed(output, columns, rows, "no applications", line=_command_line)


def list_sessions(connection: Connection, options: argparse.Namespace, output: Output) -> None:
    """Sessions, oldest first."""
    rows = [
        views.session(item)
        for item in sorted(
            connection.list_sessions(timeout=options.timeout), key=lambda s: s.creation_time
        )
        if options.application in (None, item.application)
    ]
    if options.open:
        rows = [row for row in rows if row["state"] == "open"]
    columns = [*SESSION_COLUMNS, Column("AGE", "created", ago, right=True)]
    _listed(output, columns, rows, "no open sessions" if options.open else "no sessions")


def list_tasks(connection: Connection, options: argparse.Namespace, output: Output) -> None:
    """The tasks of a session, in the order of their numbers."""
    found = connection.get_session(options.session, timeout=options.timeout)
    rows = (
        views.task(item)
        for item in found.list_tasks(timeout=options.timeout)
        if options.state in (None, item.state.name.lower())
    )
    if output.json:  # As they come: there may be very many.
        for row in rows:
            output.document(row)
        return
    columns = [
        Column("TASK", "id", right=True),
        Column("STATE", "state"),
        Column("INPUT", "input_bytes", amount, right=True),
        Column("OUTPUT", "output_bytes", amount, right=True),
        Column("TOOK", "seconds", took, right=True),
        Column("AGE", "created", ago, right=True),
        Column("MESSAGE", "reason", fold=True),
    ]
    _listed(output, columns, list(rows), "no tasks", reason=_failure)


def list_executors(connection: Connection, options: argparse.Namespace, output: Output) -> None:
    """Instances of services."""
    _listed(output, _EXECUTOR_COLUMNS, _executors(connection, options.timeout), "no executors")


def list_nodes(connection: Connection, options: argparse.Namespace, output: Output) -> None:
    """Machines."""
    columns = [
        Column("NODE", "name"),
        Column("STATE", "state"),
        Column("HAS", "capacity", resources),
        Column("OS", "os"),
        Column("ARCH", "arch"),
        Column("SEEN", "last_heartbeat", lambda at: "-" if at is None else f"{ago(at)} ago"),
    ]
    rows = [views.node(item) for item in connection.list_nodes(timeout=options.timeout)]
    _listed(output, columns, rows, "no nodes")


def show_application(connection: Connection, options: argparse.Namespace, output: Output) -> None:
    """An application as it was registered."""
    found = connection.get_application(options.name, timeout=options.timeout)
    if found is None:
        raise NotFound(f"there is no application {options.name!r}; `flmctl list applications`")
    view = views.application(found)
    if output.json:
        output.document(view)
        return
    rows = [
        ("state", view["state"]),
        ("command", _command_line(view)),
        ("environment", "\n".join(f"{k}={v}" for k, v in sorted(view["environments"].items()))),
        ("max instances", number(view["max_instances"])),
        ("idle time", f"{view['delay_release']} s"),
        ("age", ago(view["created"])),
    ]
    names = ("description", "working_directory", "image", "url", "installer")
    rows[1:1] = [(name.replace("_", " "), view[name]) for name in names]
    rows.append(("labels", ", ".join(view["labels"])))
    _shown(output, f"application {view['name']}", rows)


def show_session(connection: Connection, options: argparse.Namespace, output: Output) -> None:
    """A session with what happened in it."""
    found = connection.get_session(options.session, timeout=options.timeout)
    _show_session(found, _executors(connection, options.timeout), output)


def show_task(connection: Connection, options: argparse.Namespace, output: Output) -> None:
    """A task with its input, its output and what happened to it."""
    found = connection.get_session(options.session, timeout=options.timeout)
    task = found.get_task(options.task, timeout=options.timeout)
    view = views.task(task, payloads=True)
    if output.json:
        output.document(view)
        return
    rows = [
        ("state", view["state"]),
        ("age", ago(view["created"])),
        ("took", took(view["seconds"])),
        ("input", _preview(task.input)),
        ("output", _preview(task.output)),
        ("events", _events(view)),
    ]
    _shown(output, f"task {task.id} of session {task.session_id}", rows)


def show_executor(connection: Connection, options: argparse.Namespace, output: Output) -> None:
    """An instance; the beginning of its id is enough."""
    rows = _executors(connection, options.timeout)
    view = _only(rows, "id", options.executor, "executor")
    if output.json:
        output.document(view)
        return
    names = ("state", "application", "session", "node")
    pairs = [(name, view[name]) for name in names]
    _shown(output, f"executor {view['id']}", [*pairs, ("has", resources(view["resreq"]))])


def show_node(connection: Connection, options: argparse.Namespace, output: Output) -> None:
    """A machine and what runs on it."""
    rows = [views.node(item) for item in connection.list_nodes(timeout=options.timeout)]
    view = _only(rows, "name", options.node, "node")
    mine = [e for e in _executors(connection, options.timeout) if e["node"] == view["name"]]
    if output.json:
        output.document({**view, "executors": [item["id"] for item in mine]})
        return
    pairs = [
        ("state", view["state"]),
        ("host", view["hostname"]),
        ("capacity", resources(view["capacity"])),
        ("allocatable", resources(view["allocatable"])),
        ("system", f"{view['os']} {view['arch']}"),
        ("addresses", ", ".join(view["addresses"])),
        ("executors", str(len(mine))),
    ]
    _shown(output, f"node {view['name']}", pairs)


def create_session(connection: Connection, options: argparse.Namespace, output: Output) -> None:
    """Open a new session, and print its id."""
    data: Optional[bytes] = None
    if options.common_data is not None:
        text = options.common_data
        data = Path(text[1:]).read_bytes() if text.startswith("@") else text.encode()
    resreq = ResourceRequirement.from_string(options.resreq) if options.resreq else None
    attributes = SessionAttributes(
        options.application,
        options.id,
        data,
        options.min_instances,
        options.max_instances,
        resreq=resreq,
    )
    found = connection.create_session(attributes, timeout=options.timeout)
    if output.json:
        output.document(views.session(found))
    else:
        print(found.id)


def close_session(connection: Connection, options: argparse.Namespace, output: Output) -> None:
    """Close sessions, one after the other."""
    for session_id in options.session:
        found = connection.close_session(session_id, timeout=options.timeout)
        if output.json:
            output.document(views.session(found))
        else:
            ended = f", {found.cancelled:,} waiting tasks cancelled" if found.cancelled else ""
            print(f"closed {found.id}{ended}")


def _show_session(found: Session, executors: list[View], output: Output) -> None:
    view = views.session(found)
    mine = [item for item in executors if item["session"] == found.id]
    if output.json:
        output.document({**view, "executors": [item["id"] for item in mine]})
        return
    maximum = view["max_instances"]
    limits = f"{view['min_instances']} to {'any number' if maximum is None else number(maximum)}"
    counts = ("pending", "running", "succeeded", "failed", "cancelled")
    rows = [
        ("state", view["state"]),
        ("application", view["application"]),
        ("tasks", ", ".join(f"{view[name]:,} {name}" for name in counts if view[name]) or "none"),
        ("instances", f"{len(mine)} now, {limits} wanted, each {resources(view['resreq'])}"),
        ("priority", str(view["priority"])),
        ("common data", view["common_data_bytes"] and amount(view["common_data_bytes"])),
        ("age", ago(view["created"])),
    ]
    if view["completed"]:
        rows.append(("closed", f"{ago(view['completed'])} ago"))
    _shown(output, f"session {view['id']}", [*rows, ("events", _events(view))])


def _executors(connection: Connection, timeout: float) -> list[View]:
    found = connection.list_executors(timeout=timeout)
    applications = {}
    if any(item.spec is None or not item.spec.application for item in found):
        sessions = connection.list_sessions(timeout=timeout)
        applications = {item.id: item.application for item in sessions}
    rows = [views.executor(item, applications) for item in found]
    return sorted(rows, key=lambda row: (row["application"] or "", row["session"] or "", row["id"]))


def _only(rows: Iterable[View], key: str, wanted: str, kind: str) -> View:
    """The one of that name; the beginning of a name is enough if no other has it."""
    rows = list(rows)
    exact = [row for row in rows if row[key] == wanted]
    matching = exact or [row for row in rows if wanted and row[key].startswith(wanted)]
    if len(matching) > 1:
        raise InvalidArgument(
            f"{wanted!r} is the beginning of {len(matching)} {kind}s' names; write more of it"
        )
    if not matching:
        raise NotFound(f"there is no {kind} {wanted!r}; `flmctl list {kind}s` shows all")
    return matching[0]


def _listed(output: Output, columns: list[Column], rows: list[View], nothing: str, **more) -> None:
    """`more`: columns that are made of a whole row, for people only."""
    if output.json:
        for row in rows:
            output.document(row)
        return
    shown = [{**row, **{name: make(row) for name, make in more.items()}} for row in rows]
    print_table(columns, shown, nothing)


def _shown(output: Output, title: str, rows: list[tuple[str, Optional[str]]]) -> None:
    output.pairs(title, [(name, value) for name, value in rows if value])


def _command_line(view: View) -> str:
    return " ".join([view["command"] or "-", *view["arguments"]])


def _failure(view: View) -> Optional[str]:
    texts = [item["message"] for item in view["events"] if item["code"] == TaskState.FAILED]
    return texts[-1].splitlines()[0] if texts and texts[-1] else None


def _events(view: View) -> str:
    return "\n".join(
        f"{ago(item['at'])} ago  {item['code']}  {item['message'] or ''}".rstrip()
        for item in view["events"]
    )


def _preview(data: Optional[bytes]) -> str:
    """Its size, and its text if it is one."""
    if data is None:
        return "none"
    text = data[:_PREVIEW_BYTES].decode("utf-8", "replace")
    size = amount(len(data))
    if not text or "\ufffd" in text[:-1] or not text.replace("\n", "").isprintable():
        return f"{size}, binary" if data else size
    return f"{size}: {text}{'...' if len(data) > _PREVIEW_BYTES else ''}"
