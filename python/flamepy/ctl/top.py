"""``flmctl top``: open sessions and what they do, over and over."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from typing import Any, Optional

from flamepy.cli.output import Output, size
from flamepy.core.errors import InvalidConfig, Unavailable
from flamepy.core.sessions.client import Connection
from flamepy.ctl import views
from flamepy.ctl.commands import SESSION_COLUMNS
from flamepy.ctl.tables import Column, grid, number, print_table
from flamepy.ctl.views import View

__all__ = ["run"]

_COLUMNS = [
    *SESSION_COLUMNS,
    Column("TASKS/S", "rate", lambda rate: "-" if rate is None else f"{rate:,.0f}", right=True),
    Column("INSTANCES", "instances", number, right=True),
    Column("", "starting", lambda count: f"+{count} starting" if count else ""),
]


class _Sampler:
    """Asks the session manager; knows what it answered the time before."""

    def __init__(self, connection: Connection, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout
        self._ended: dict[str, int] = {}
        self._at: Optional[float] = None

    def look(self) -> View:
        """One document: totals, and open sessions with the busiest first."""
        sessions = self._connection.list_sessions(timeout=self._timeout)
        executors = self._connection.list_executors(timeout=self._timeout)
        nodes = self._connection.list_nodes(timeout=self._timeout)
        now = time.monotonic()
        passed = None if self._at is None else now - self._at
        found = [views.executor(item, {}) for item in executors]
        instances = Counter(item["session"] for item in found if item["state"] == "bound")
        starting = Counter(item["session"] for item in found if item["state"] == "binding")
        rows, ended = [], {}
        for item in sessions:
            done = ended[item.id] = item.succeed + item.failed
            if item.state.name != "OPEN":
                continue
            row = views.session(item)
            before = self._ended.get(item.id)
            known = passed and before is not None
            row["rate"] = (done - before) / passed if known else None
            row["instances"] = instances[item.id]
            row["starting"] = starting[item.id]
            rows.append(row)
        self._at, self._ended = now, ended
        rows.sort(key=lambda row: (-(row["running"] + row["pending"]), row["id"]))
        capacity = [views.node(item)["capacity"] for item in nodes]
        return {
            "endpoint": self._connection.addr,
            "nodes": len(nodes),
            "cpus": sum(item["cpu"] for item in capacity),
            "memory": sum(item["memory"] for item in capacity),
            "instances": len(found),
            "cpus_given": sum(item["resreq"]["cpu"] for item in found),
            "pending": sum(row["pending"] for row in rows),
            "running": sum(row["running"] for row in rows),
            "closed_sessions": len(sessions) - len(rows),
            "sessions": rows,
        }


def run(connection: Connection, options: argparse.Namespace, output: Output) -> None:
    """On a terminal until Ctrl-C; elsewhere, and with --json, one document per interval."""
    sampler = _Sampler(connection, options.timeout)
    if options.once:
        sample = sampler.look()
        if output.json:
            output.document(sample)
        else:
            print(_headline(sample))
            print_table(_COLUMNS, sample["sessions"], "no open sessions")
        return
    if output.json:
        while True:
            output.document(sampler.look())
            sys.stdout.flush()
            time.sleep(options.interval)
    if not sys.stdout.isatty():
        raise InvalidConfig("top needs a terminal; use `flmctl top --once`, or --json")
    _live(sampler, options.interval)


def _live(sampler: _Sampler, interval: float) -> None:
    try:
        from rich.live import Live
    except ImportError as error:
        raise InvalidConfig(
            f"top needs rich, which cannot be imported ({error}): pip install 'flamepy[progress]'; "
            "`flmctl top --once` does without"
        ) from error
    live = Live(_screen(sampler.look()), screen=True, auto_refresh=False)
    try:
        live.start(refresh=True)
        while True:
            time.sleep(interval)
            try:
                shown = _screen(sampler.look())
            except Unavailable as error:  # It may be restarting.
                shown = _lost(str(error))
            live.update(shown, refresh=True)
    except KeyboardInterrupt:
        pass  # The usual end.
    finally:
        live.stop()  # Also when it came while the screen was being taken.


def _screen(sample: View) -> Any:
    from rich.console import Group
    from rich.text import Text

    rows = sample["sessions"]
    table = grid(_COLUMNS, rows) if rows else Text("no open sessions", style="dim")
    return Group(Text(_headline(sample), style="bold"), Text(), table)


def _lost(problem: str) -> Any:
    from rich.text import Text

    return Text(problem, style="bold red")


def _headline(sample: View) -> str:
    plural = "" if sample["nodes"] == 1 else "s"
    return (
        f"{sample['endpoint']}: {sample['nodes']} node{plural}, {sample['cpus']} CPUs, "
        f"{size(sample['memory'])}\n"
        f"{len(sample['sessions'])} sessions open, {sample['closed_sessions']} closed; "
        f"{sample['instances']} instances ({sample['cpus_given']} CPUs); "
        f"{sample['running']:,} tasks running, {sample['pending']:,} pending"
    )
