"""Starts the server, runs the quick start against it, and stops it or goes on serving.

`make demo` uses a temporary storage and stops; `make run` (--serve) uses the storage and port that a server started
without arguments has, and serves until Ctrl-C. The exit code is the quick start's.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVER = ROOT / "build" / "bin" / "flame-object-cache"


def start(arguments: list[str]) -> tuple[subprocess.Popen, str]:
    """A server that has said that it is ready, and the endpoint that it advertises."""
    server = subprocess.Popen(
        [SERVER, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        # Ctrl-C goes to this program, which passes it on when the quick start is over.
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


def quick_start(endpoint: str) -> int:
    environment = {**os.environ, "FLAME_CACHE_ENDPOINT": endpoint}
    # Meant for the server; a client would take it for local mode.
    environment.pop("FLAME_CACHE_STORAGE", None)
    return subprocess.call([sys.executable, ROOT / "examples" / "quickstart.py"], env=environment)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--serve", action="store_true", help="go on serving until Ctrl-C")
    options = parser.parse_args()
    if options.serve:
        server, endpoint = start([])
        code = quick_start(endpoint)
        print(f"Serving on {endpoint} until Ctrl-C.", flush=True)
        try:
            server.wait()
        except KeyboardInterrupt:
            print()
        return stop(server) or code
    with tempfile.TemporaryDirectory(prefix="flame-demo-") as folder:
        server, endpoint = start(
            ["--endpoint", "grpc://127.0.0.1:0", "--storage", f"fs://{folder}/cache"]
        )
        try:
            code = quick_start(endpoint)
        finally:
            stopped = stop(server)
        return code or stopped


if __name__ == "__main__":
    sys.exit(main())
