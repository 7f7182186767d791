"""The ``flamepy`` command: info, ls, stat, get, put, rm, doctor."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Optional

from flamepy.cli import commands, doctor
from flamepy.cli.output import Output
from flamepy.core import errors
from flamepy.core.client import Client

__all__ = ["main"]

_EXIT_CODES = """\
exit codes:
  0  done
  1  failed, or `doctor` found something wrong
  2  the command line makes no sense
  3  no such object
  4  the server cannot be reached, or did not answer in time
  5  refused: another version than --if-version, a pickle, or not confirmed
  130  interrupted with Ctrl-C
"""


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run one command; its exit code."""
    options = _parser().parse_args(arguments)
    output = Output(json=options.json)
    try:
        with Client(options.endpoint, timeout=options.timeout) as client:
            return options.run(client, options, output) or 0
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:  # `flamepy ls | head`
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
    if isinstance(error, (errors.VersionConflict, errors.PickleRefused)):
        return 5
    return 1


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    group = common.add_argument_group("options of every command")
    group.add_argument("--endpoint", help="grpc://host:port instead of the configured one")
    group.add_argument(
        "--timeout", type=float, default=30, metavar="S", help="seconds for each call (default 30)"
    )
    group.add_argument("--json", action="store_true", help="for programs: one document per line")

    parser = argparse.ArgumentParser(
        prog="flamepy",
        description="Look at a Flame object cache.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run, text: str, example: str) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=f"example:\n  {example}\n\n{_EXIT_CODES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[common],
        )
        sub.set_defaults(run=run)
        return sub

    command("info", commands.info, "what server this is", "flamepy info")

    sub = command("ls", commands.ls, "list objects, in key order", "flamepy ls app/session")
    sub.add_argument("prefix", nargs="?", default="", help="app/session or app/* (default: all)")
    sub.add_argument("--limit", type=int, metavar="N", help="stop after so many")
    sub.add_argument("--no-pager", action="store_true", help="print straight to the terminal")

    sub = command("stat", commands.stat, "show one object", "flamepy stat app/session/object")
    sub.add_argument("key")

    sub = command(
        "get",
        commands.get,
        "show an object, or write it to a file",
        "flamepy get app/session/object -o table.parquet",
    )
    sub.add_argument("key")
    sub.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="write it there: bytes, text and files as they are, tables as .arrow, .parquet or "
        ".csv, arrays as .npy; - is standard output",
    )
    sub.add_argument("--raw", action="store_true", help="with -o: the stored bytes, undecoded")
    sub.add_argument(
        "--allow-pickle",
        action="store_true",
        help="unpickle; this runs code of whoever wrote the object",
    )

    sub = command("put", commands.put, "store a file's bytes", "flamepy put model.bin app/session")
    sub.add_argument("file", help="a file, or - for standard input")
    sub.add_argument("key", help="app/session/object, or app/session to have the name drawn")
    sub.add_argument("--ttl", type=float, metavar="S", help="seconds after which it expires")
    sub.add_argument("--if-version", type=int, metavar="V", help="only if V is the newest; 0: new")

    sub = command("rm", commands.rm, "delete objects", "flamepy rm app/session")
    sub.add_argument("prefix", nargs="+", help="app/session/object, app/session or app/*")
    sub.add_argument("-y", "--yes", action="store_true", help="do not ask before a prefix")

    command("doctor", doctor.run, "find out what is wrong and what to do", "flamepy doctor")
    return parser
