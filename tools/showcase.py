"""Starts the cache and the session manager, shows the quick start and a Runner job, and stops or goes on serving.

`make demo` uses a temporary storage and stops; `make run` (--serve) uses the storages and ports that servers started
without arguments have, and serves until Ctrl-C. The exit code is that of what was shown. The job's plot is
build/delays.svg.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / "build" / "bin"
PLOT = ROOT / "build" / "delays.svg"
# Of services: this environment, which has the SDK of the checkout.
SETTINGS = {"FLAME_PYTHON": sys.executable}


def start(program: str, *arguments: str) -> tuple[subprocess.Popen, str]:
    """A server that has said that it is ready, and the endpoint that it advertises."""
    server = subprocess.Popen(
        [BIN / program, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **SETTINGS},
        # Ctrl-C goes to this program, which passes it on when the examples are over.
        start_new_session=True,
    )
    ready = server.stdout.readline()
    if " ready on " not in ready:
        sys.exit(server.wait() or 1)
    print(ready, end="", flush=True)
    return server, ready.split(" ready on ")[1].split()[0]


def stop(server: subprocess.Popen) -> int:
    server.send_signal(signal.SIGTERM)
    return server.wait()


def show(cache: str, manager: str) -> int:
    """The quick start, then the Runner job; how they ended."""
    environment = {**os.environ, "FLAME_CACHE_ENDPOINT": cache, "FLAME_ENDPOINT": manager}
    # Meant for the server; a client would take it for local mode.
    environment.pop("FLAME_CACHE_STORAGE", None)
    codes = [
        subprocess.call([sys.executable, ROOT / "examples" / name, *arguments], env=environment)
        for name, arguments in (("quickstart.py", []), ("runner_delays.py", ["--plot", PLOT]))
    ]
    return next(filter(None, codes), 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--serve", action="store_true", help="serve until Ctrl-C")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="flame-demo-") as folder,
        contextlib.ExitStack() as all_,
    ):
        cache_arguments = [
            *("--endpoint", "grpc://127.0.0.1:0", "--storage", f"fs://{folder}/cache"),
            *("--http-endpoint", "off"),
        ]
        manager_arguments = ["--endpoint", "http://127.0.0.1:0", "--work-dir", f"{folder}/work"]
        manager_arguments += ["--log", "warn"]  # It tells of every process that it starts.
        if options.serve:
            cache_arguments, manager_arguments = [], []
        codes = []
        cache, cache_endpoint = start("flame-object-cache", *cache_arguments)
        all_.callback(lambda: codes.append(stop(cache)))
        manager, manager_endpoint = start(
            "flame-session-manager", "--cache-endpoint", cache_endpoint, *manager_arguments
        )
        all_.callback(lambda: codes.append(stop(manager)))
        codes.append(show(cache_endpoint, manager_endpoint))
        if options.serve:
            print(f"Serving on {cache_endpoint} and {manager_endpoint} until Ctrl-C.", flush=True)
            try:
                cache.wait()
            except KeyboardInterrupt:
                print()
        all_.close()
    return next(filter(None, codes), 0)


if __name__ == "__main__":
    sys.exit(main())
