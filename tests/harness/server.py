"""A flame-object-cache process under test: start, stop, kill, restart on the same port."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Optional

from harness.wait import until

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("FLAME_SERVER") or ROOT / "build/bin/flame-object-cache").resolve()
PATIENCE = 30  # Seconds for anything that a healthy server does at once.
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "LD_PRELOAD")
_SANITIZERS = {"UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1"}
_READY = re.compile(
    r"flame-object-cache \S+ ready on (\S+) "
    r"\(listening on ((?:\S+:(\d+))?(?: and )?(/\S+?)?), storage (.*?)(?:, http (http://\S+))?\)"
)


class StartFailed(AssertionError):
    """The server ended before it was ready."""

    def __init__(self, server: Server):
        self.code = server.process.returncode
        self.output = server.log()
        super().__init__(f"the server ended with {self.code} before it was ready:\n{self.output}")


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """An environment without the caller's settings: nothing of FLAME_*, a home of its own."""
    runtime = home / "run"
    runtime.mkdir(parents=True, exist_ok=True)
    env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    env.update({name: os.environ.get(name, value) for name, value in _SANITIZERS.items()})
    env.update(
        {
            name: value
            for name, value in os.environ.items()
            if name in ("ASAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS")
        }
    )
    return {**env, "HOME": str(home), "XDG_RUNTIME_DIR": str(runtime), "TMPDIR": str(home), **more}


def run_binary(
    home: Path, *args: str, seconds: float = PATIENCE, **env: str
) -> subprocess.CompletedProcess:
    """Run the program to its end: for --help, --print-config and starts that must fail."""
    return subprocess.run(
        [BINARY, *args],
        env=clean_environment(home, **env),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def port_for_restarts() -> int:
    """A free port that the kernel gives to no outgoing connection: still free after a restart."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    start = 10_000 + os.getpid() % max(1, low - 12_000)
    for port in range(start, low):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port below the ephemeral ones")


class Server:
    """One server with its home, storage and log. Start it with `start`; the factory ends it."""

    def __init__(
        self,
        home: Path,
        storage: Optional[str],
        config: Optional[str] = None,
        args: tuple[str, ...] = (),
        env: Optional[dict[str, str]] = None,
        port: int = 0,
    ):
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.port = port
        self.storage_dir: Optional[Path] = None
        if storage == "fs":
            self.storage_dir = home / "storage"
        elif storage and storage.startswith("fs://"):
            self.storage_dir = Path(storage[len("fs://") :])
        self._storage = f"fs://{self.storage_dir}" if self.storage_dir else storage
        self._config = config
        self._args = args
        self._env = env or {}
        self._log_path = home / "server.log"
        self.endpoint = ""
        self.http = ""  # URL of the pages for monitoring, if they are served.
        self.ready_line = ""
        self.process: subprocess.Popen = None  # type: ignore[assignment]

    @property
    def pid(self) -> int:
        return self.process.pid

    def command(self) -> list[str]:
        command = [str(BINARY)]
        if "--endpoint" not in self._args:
            command += ["--endpoint", f"grpc://127.0.0.1:{self.port}"]
        if not {"--http-endpoint", "--metrics-listen"}.intersection(self._args):
            command += ["--http-endpoint", "off"]  # Tests that run side by side share no port.
        if self._storage is not None:
            command += ["--storage", self._storage]
        if self._config is not None:
            path = self.home / "flame-cluster.yaml"
            path.write_text(self._config)
            command += ["--config", str(path)]
        return [*command, *self._args]

    def launch(self) -> Server:
        """Start the process and return at once."""
        with open(self._log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self.home,
                env=clean_environment(self.home, **self._env),
            )
        return self

    def start(self) -> Server:
        """Start the process and return when it serves."""
        self.launch()
        return self.await_ready()

    def await_ready(self, seconds: float = PATIENCE) -> Server:
        line = self._read_line(seconds)
        match = _READY.fullmatch(line)
        if not match:
            raise AssertionError(f"not a ready line: {line!r}\n{self.log()}")
        self.ready_line = line
        self.endpoint = match[1]
        self.port = int(match[3] or 0)
        self.http = match[6] or ""
        return self

    def _read_line(self, seconds: float) -> str:
        deadline = time.monotonic() + seconds
        out = self.process.stdout.fileno()
        line = b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([out], [], [], left)[0]:
                raise AssertionError(f"no ready line within {seconds:g} s:\n{self.log()}")
            read = os.read(out, 1)
            if not read:
                self.process.wait(PATIENCE)
                raise StartFailed(self)
            line += read
        return line.decode().rstrip("\n")

    def log(self) -> str:
        """Everything that the server wrote to standard error so far."""
        if not self._log_path.exists():
            return ""
        return self._log_path.read_bytes().decode(errors="backslashreplace")

    def await_log(self, text: str, seconds: float = PATIENCE) -> None:
        until(lambda: text in self.log(), f"the log holds {text!r}", seconds)

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def wait(self, seconds: float = PATIENCE) -> int:
        code = self.process.wait(seconds)
        self.process.stdout.close()
        return code

    def stop(self, seconds: float = PATIENCE) -> None:
        """SIGTERM, and everything must have gone well: also under a sanitizer."""
        self.process.send_signal(signal.SIGTERM)
        code = self.wait(seconds)
        assert code == 0, f"the server ended with {code}:\n{self.log()}"

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, nothing is said."""
        self.process.kill()
        self.wait()

    def restart(self) -> Server:
        """Start again on the same port and storage; stops the process first if it runs."""
        if self.alive():
            self.stop()
        return self.start()

    def end(self) -> None:
        """For the factory: whatever state it is in, it is gone afterwards."""
        if self.alive():
            self.process.kill()
            self.wait()

    def resident_bytes(self) -> int:
        return self._status("VmRSS")

    def peak_bytes(self) -> int:
        return self._status("VmHWM")

    def grown_since(self, before: int) -> int:
        """By how many bytes the most that was ever resident rose above `before`, an earlier peak or present size.

        0 under AddressSanitizer, which keeps freed memory on purpose: there it is not ours to bound.
        """
        if self._status("VmSize") > 1 << 40:  # The sanitizer's shadow.
            return 0
        return max(0, self.peak_bytes() - before)

    def _status(self, field: str) -> int:
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"^{field}:\s+(\d+) kB", text, re.M)[1]) * 1024
