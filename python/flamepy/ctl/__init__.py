"""The ``flmctl`` command: what a session manager has, and what it does."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Callable, Optional

from flamepy.cli.output import Output
from flamepy.core import errors
from flamepy.core.sessions.client import connect
from flamepy.ctl import commands, logs, top

__all__ = ["main"]

_EXIT_CODES = """\
exit codes:
  0  done
  1  failed, or refused by the session manager
  2  the command line makes no sense
  3  no such application, session, task, executor or node
  4  the session manager cannot be reached, or did not answer in time
  130  interrupted with Ctrl-C
"""


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run one command; its exit code."""
    options = _parser().parse_args(arguments)
    output = Output(json=options.json, program="flmctl")
    try:
        with connect(options.endpoint, timeout=min(options.timeout, 10.0)) as connection:
            options.run(connection, options, output)
            sys.stdout.flush()
            return 0
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:  # `flmctl list tasks s | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (errors.FlameError, OSError) as error:
        output.error(error)
        return _exit_code(error)


def _exit_code(error: Exception) -> int:
    if isinstance(error, errors.NotFound):
        return 3
    if isinstance(error, (errors.Unavailable, errors.Timeout)):
        return 4
    return 1


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return value


def _bytes(text: str) -> int:
    number, unit = (text[:-1], text[-1].lower()) if text[-1:].isalpha() else (text, "")
    if not number.isdecimal() or unit not in ("", "k", "m", "g"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes like 4096, 10k or 1m")
    return int(number) << {"": 0, "k": 10, "m": 20, "g": 30}[unit]


class _Commands:
    """Adds commands to a parser, all with the same options."""

    def __init__(self, parser: argparse.ArgumentParser, title: str) -> None:
        self._common = argparse.ArgumentParser(add_help=False)
        group = self._common.add_argument_group("options of every command")
        group.add_argument("--endpoint", help="http://host:port instead of the configured one")
        group.add_argument(
            "--timeout",
            type=_positive,
            default=30.0,
            metavar="S",
            help="seconds for each call (default 30)",
        )
        group.add_argument(
            "--json", action="store_true", help="for programs: one document per line"
        )
        self._add = parser.add_subparsers(title=title, metavar=title.upper(), required=True)

    def group(self, name: str, text: str) -> _Commands:
        """`flmctl NAME THING`."""
        parser = self._add.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        return _Commands(parser, "what")

    def leaf(
        self, name: str, run: Callable, text: str, aliases: Sequence[str] = ()
    ) -> argparse.ArgumentParser:
        """A command that does something."""
        parser = self._add.add_parser(
            name,
            aliases=list(aliases),
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=_EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[self._common],
        )
        parser.set_defaults(run=run)
        return parser


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flmctl",
        description="Look at a Flame session manager, and tell it what to do.",
        epilog="examples:\n  flmctl top\n  flmctl list sessions --open\n"
        f"  flmctl list tasks my-session --state failed\n\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    every = _Commands(parser, "command")

    lists = every.group("list", "list what there is")
    lists.leaf("applications", commands.list_applications, "all applications", ["application"])
    sub = lists.leaf("sessions", commands.list_sessions, "sessions, oldest first", ["session"])
    sub.add_argument("--open", action="store_true", help="only those that are open")
    sub.add_argument("--application", metavar="NAME", help="only those of this application")
    sub = lists.leaf("tasks", commands.list_tasks, "the tasks of a session", ["task"])
    sub.add_argument("session")
    sub.add_argument("--state", choices=commands.TASK_STATES, help="only those in this state")
    lists.leaf("executors", commands.list_executors, "instances of services", ["executor"])
    lists.leaf("nodes", commands.list_nodes, "machines", ["node"])

    shows = every.group("show", "show one thing in full")
    shows.leaf("application", commands.show_application, "an application").add_argument("name")
    shows.leaf("session", commands.show_session, "a session").add_argument("session")
    sub = shows.leaf("task", commands.show_task, "a task, its input, output and events")
    sub.add_argument("session")
    sub.add_argument("task")
    shows.leaf("executor", commands.show_executor, "an instance").add_argument("executor")
    shows.leaf("node", commands.show_node, "a machine").add_argument("node")

    creates = every.group("create", "create something")
    sub = creates.leaf("session", commands.create_session, "open a new session")
    sub.add_argument("application")
    sub.add_argument("--id", help="its id; drawn if it is not given")
    sub.add_argument("--common-data", metavar="TEXT", help="for its instances; @FILE reads a file")
    sub.add_argument("--min-instances", type=int, default=0, metavar="N")
    sub.add_argument("--max-instances", type=int, metavar="N")
    sub.add_argument("--resreq", metavar="cpu=1,mem=1g,gpu=0", help="of each instance")

    closes = every.group("close", "close something")
    sub = closes.leaf("session", commands.close_session, "close sessions; waiting tasks end")
    sub.add_argument("session", nargs="+")

    sub = every.leaf("logs", logs.run, "what the instances of a session, or one of them, wrote")
    sub.add_argument("name", help="a session, or the beginning of an executor's id")
    sub.add_argument("-f", "--follow", action="store_true", help="go on with what comes")
    sub.add_argument("--list", action="store_true", help="only say what there is")
    sub.add_argument("--tail", type=_bytes, metavar="BYTES", help="the end of each: 4096, 10k, 1m")
    one = sub.add_mutually_exclusive_group()
    one.add_argument("--out", action="store_true", help="only standard output")
    one.add_argument("--err", action="store_true", help="only standard error")

    sub = every.leaf("top", top.run, "watch sessions and instances work, until Ctrl-C")
    sub.add_argument("--interval", type=_positive, default=1.0, metavar="S", help="default 1")
    sub.add_argument("--once", action="store_true", help="print once; also without a terminal")
    return parser
