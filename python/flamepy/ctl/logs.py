"""``flmctl logs``: what instances wrote to their standard output and standard error."""

from __future__ import annotations

import argparse
import codecs
import re
import sys
from typing import Optional

from flamepy.cli.output import Output
from flamepy.core.errors import NotFound, NotSupported
from flamepy.core.sessions import messages
from flamepy.core.sessions.client import Connection
from flamepy.core.sessions.model import moment
from flamepy.ctl.tables import Column, ago, amount, print_table
from flamepy.ctl.views import View

__all__ = ["run"]

_SERVICE = "/flame.manager.v1.Logs/"
_STREAMS = {1: "out", 2: "err"}
_LONG = {"out": "output", "err": "error"}
_HARMFUL = re.compile(r"(?!\x1b\[[0-9;]*m)[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control characters, apart from line ends, tabs and the beginnings of colours."""


def run(connection: Connection, options: argparse.Namespace, output: Output) -> None:
    """Of all instances of a session in the order in which they started, or of one instance."""
    try:
        logs, wanted = _find(connection, options)
        if options.list:
            _list(logs, output)
        else:
            wanted.stream = 1 if options.out else 2 if options.err else 0
            wanted.tail_bytes = options.tail or 0
            wanted.follow = options.follow
            _read(connection, wanted, logs, options, output)
    except NotSupported:
        raise NotSupported(
            f"the session manager at {connection.addr} does not serve the output of instances"
        ) from None


def _find(
    connection: Connection, options: argparse.Namespace
) -> tuple[list[messages.Log], messages.ReadLogRequest]:
    """What there is of that name, and the request for all of it."""

    def ask(**which: str) -> list[messages.Log]:
        return connection._channel.unary(
            _SERVICE + "ListLogs",
            messages.ListLogsRequest(**which),
            messages.ListLogsResponse,
            "list logs",
            timeout=options.timeout,
        ).logs

    of_session = ask(session_id=options.name)
    if of_session:
        return of_session, messages.ReadLogRequest(session_id=options.name)
    found = [log for log in ask() if log.instance_id.startswith(options.name)]
    instances = {log.instance_id for log in found}
    if len(instances) > 1:
        raise NotFound(
            f"{options.name!r} is no session, and the beginning of {len(instances)} executors' ids; "
            "write more of it"
        )
    if instances:
        return found, messages.ReadLogRequest(instance_id=instances.pop())
    # A session without instances yet can be followed; of any other name this fails.
    connection.get_session(options.name, timeout=options.timeout)
    return [], messages.ReadLogRequest(session_id=options.name)


def _list(logs: list[messages.Log], output: Output) -> None:
    rows = [_view(log) for log in logs]
    if output.json:
        for row in rows:
            output.document(row)
        return
    columns = [
        Column("EXECUTOR", "executor"),
        Column("APPLICATION", "application"),
        Column("STREAM", "stream"),
        Column("SIZE", "bytes", amount, right=True),
        Column("STARTED", "started", lambda at: f"{ago(at)} ago", right=True),
        Column("ENDED", "ended", lambda at: "-" if at is None else f"{ago(at)} ago", right=True),
    ]
    print_table(columns, rows, "no instance of this session has run yet")


def _view(log: messages.Log) -> View:
    def iso(milliseconds: Optional[int]) -> Optional[str]:
        return None if milliseconds is None else moment(milliseconds).astimezone().isoformat()

    return {
        "executor": log.instance_id,
        "session": log.session_id,
        "application": log.application,
        "stream": _STREAMS.get(log.stream, str(log.stream)),
        "bytes": log.size,
        "started": iso(log.start_time),
        "ended": iso(log.end_time),
        "cut": log.cut,
    }


def _read(
    connection: Connection,
    wanted: messages.ReadLogRequest,
    logs: list[messages.Log],
    options: argparse.Namespace,
    output: Output,
) -> None:
    if not logs and not options.follow:
        print("flmctl: no instance of this session has run yet", file=sys.stderr)
        return
    printer = _Printer(output)
    stream = connection._channel.stream(
        _SERVICE + "ReadLog",
        wanted,
        messages.LogChunk,
        "read logs",
        None if options.follow else options.timeout,
    )
    try:
        for chunk in stream:
            printer.add(chunk)
    except KeyboardInterrupt:
        if not options.follow:  # Of those that follow it is the end.
            raise
    finally:
        stream.cancel()
        printer.end()


class _Printer:
    """Headings where another file begins, and bytes as text: control characters stay in logs."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._last: Optional[tuple[str, int]] = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._at_start = True

    def add(self, chunk: messages.LogChunk) -> None:
        """Print a chunk."""
        stream = _STREAMS.get(chunk.stream, str(chunk.stream))
        if self._output.json:
            text = (chunk.data or b"").decode("utf-8", "replace")
            document = {"executor": chunk.instance_id, "stream": stream, "text": text}
            self._output.document({**document, "gap": chunk.gap})
            sys.stdout.flush()
            return
        if self._last != (chunk.instance_id, chunk.stream):
            self.end()
            heading = f"==> executor {chunk.instance_id}, standard {_LONG.get(stream, stream)} <=="
            print(self._output.paint(heading, "bold"))
            self._last = (chunk.instance_id, chunk.stream)
        if chunk.gap:
            self._write("[... bytes were dropped here ...]\n")
        self._write(self._decoder.decode(chunk.data or b""))
        sys.stdout.flush()

    def end(self) -> None:
        """Of a file: the next one begins on a line of its own."""
        self._write(self._decoder.decode(b"", final=True))
        self._decoder.reset()
        if not self._at_start:
            self._write("\n")

    def _write(self, text: str) -> None:
        if not text:
            return
        if sys.stdout.isatty():  # What a service wrote must not move the cursor of a reader.
            text = _HARMFUL.sub("\ufffd", text)
        sys.stdout.write(text)
        self._at_start = text.endswith("\n")
