"""Ours beside a bare Flight server that stores nothing, in one run, in turns: `make bench`.

Rows are operations; columns are client and server. The control is bare_flight_server.cc: it reads and acknowledges puts
and answers gets with one prepared batch. Placement: servers on CPU 0, clients on CPU 1 (with --unpinned: anywhere).
Figures are medians over rounds of each round's median; both sides are warm.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import cloudpickle
import numpy as np
import pyarrow as pa
from client_worker import LARGE_BYTES, SMALL
from rich.console import Console
from rich.progress import track
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / "build" / "bin"
OUR_PYTHON = ROOT / ".venv" / "bin" / "python"
STOCK_PYTHON = ROOT / ".venv" / "conformance" / "bin" / "python"
LARGE_ROWS = ("put 64 MiB", "get 64 MiB")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pin(cpu: int, pinned: bool) -> list[str]:
    return ["taskset", "-c", str(cpu)] if pinned else []


@contextlib.contextmanager
def process(command: list, **options):
    child = subprocess.Popen(
        [str(part) for part in command], text=True, stdout=subprocess.PIPE, **options
    )
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait()


@contextlib.contextmanager
def server(name: str, command: list, port: int):
    with process(command, stderr=subprocess.DEVNULL) as child:
        line = child.stdout.readline()
        if "ready" not in line:
            sys.exit(f"{name} did not start")
        yield f"grpc://127.0.0.1:{port}"


class Worker:
    """A client process that measures a round when asked."""

    def __init__(self, python: Path, kind: str, endpoint: str, folder: str, pinned: bool) -> None:
        environment = {"HOME": folder, "PATH": os.environ["PATH"]}
        command = [
            *pin(1, pinned),
            python,
            Path(__file__).parent / "client_worker.py",
            kind,
            endpoint,
        ]
        self.child = subprocess.Popen(
            [str(part) for part in command],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )

    def round(self) -> dict[str, float]:
        self.child.stdin.write("round\n")
        self.child.stdin.flush()
        line = self.child.stdout.readline()
        if not line:
            sys.exit("a client failed; its error is above")
        return json.loads(line)

    def close(self) -> None:
        self.child.stdin.close()
        self.child.wait()


def prepared_replies(folder: Path) -> tuple[Path, Path]:
    """What the control answers: the stored forms of the two objects, as the stock client writes them."""
    small, large = folder / "small", folder / "large"
    small.write_bytes(b"FLM\x00" + cloudpickle.dumps(SMALL))
    array = np.random.default_rng(7).random(LARGE_BYTES // 8)
    sink = pa.BufferOutputStream()
    pa.ipc.write_tensor(pa.Tensor.from_numpy(array), sink)
    large.write_bytes(b"FLM\x01" + sink.getvalue().to_pybytes())
    return small, large


def run(rounds: int, pinned: bool) -> dict[str, dict[str, list[float]]]:
    """Seconds by column and operation."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="flame-bench-"))
        small, large = prepared_replies(Path(folder))
        ports = [free_port() for _ in range(3)]
        ours = [*pin(0, pinned), BIN / "flame-object-cache", "--log-level", "error", "--endpoint"]
        servers = {
            "bare": server(
                "bare",
                [*pin(0, pinned), BIN / "bare_flight_server", ports[0], small, large],
                ports[0],
            ),
            "memory": server(
                "ours", [*ours, f"grpc://127.0.0.1:{ports[1]}", "--storage", "none"], ports[1]
            ),
            "disk": server(
                "ours",
                [*ours, f"grpc://127.0.0.1:{ports[2]}", "--storage", f"fs://{folder}/store"],
                ports[2],
            ),
        }
        endpoints = {name: stack.enter_context(context) for name, context in servers.items()}
        workers = {
            f"{client} > {name}": Worker(python, kind, endpoint, folder, pinned)
            for client, python, kind in [
                ("raw", OUR_PYTHON, "raw"),
                ("stock", STOCK_PYTHON, "flamepy"),
                ("sdk", OUR_PYTHON, "flamepy"),
            ]
            for name, endpoint in endpoints.items()
            if not (client == "sdk" and name == "bare")
        }
        samples: dict[str, dict[str, list[float]]] = {}
        for turn in track(range(rounds + 1), "rounds", console=Console(stderr=True)):
            for column, worker in workers.items():
                result = worker.round()
                for operation, seconds in result.items() if turn > 0 else ():
                    samples.setdefault(column, {}).setdefault(operation, []).append(seconds)
        for worker in workers.values():
            worker.close()
        return samples


def shown(operation: str, seconds: float) -> str:
    if operation in LARGE_ROWS:
        return f"{LARGE_BYTES / seconds / 1e9:.2f} GB/s"
    return f"{seconds * 1e6:.0f} µs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--unpinned", action="store_true", help="let the kernel place the processes"
    )
    parser.add_argument("--json", type=Path, help="also write the samples here")
    options = parser.parse_args()
    samples = run(options.rounds, not options.unpinned)

    medians = {
        column: {operation: statistics.median(values) for operation, values in rows.items()}
        for column, rows in samples.items()
    }
    placement = "unpinned" if options.unpinned else "server on CPU 0, client on CPU 1"
    table = Table(title=f"Medians of {options.rounds} rounds, {placement}", title_justify="left")
    table.add_column("operation")
    for column in medians:
        table.add_column(column.replace(" > ", "\n> "), justify="right")
    for operation in next(iter(medians.values())):
        cells = []
        for column, rows in medians.items():
            client, _, name = column.partition(" > ")
            control = medians[f"{'stock' if client == 'sdk' else client} > bare"][operation]
            cell = shown(operation, rows[operation])
            if name != "bare":
                # Small operations: times the control's time. Large ones: times its throughput.
                ratio = rows[operation] / control
                cell += f"\n{1 / ratio if operation in LARGE_ROWS else ratio:.2f}x"
            cells.append(cell)
        table.add_row(operation, *cells)
    Console(width=130).print(table)
    print(
        "x: of the bare server with the same client (sdk: with the stock client). "
        "Small: time, lower is better. 64 MiB: throughput, higher is better."
    )
    if options.json:
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
        options.json.write_text(
            json.dumps(
                {
                    "commit": commit,
                    "machine": platform.processor(),
                    "placement": placement,
                    "seconds": samples,
                },
                indent=1,
            )
        )


if __name__ == "__main__":
    main()
