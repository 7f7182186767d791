"""Every example runs as it is: against a server, and where nothing is configured."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from flamepy.core.server_program import is_running
from harness.server import BINARY, ROOT, clean_environment
from harness.session_manager import BINARY as MANAGER
from harness.session_manager import session_managers
from harness.wait import until

EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
WORDS = {
    "append_and_follow.py": ["rows now", "26,115", "°C", "1 object deleted"],
    "cached_function.py": ["second call", "EWR", "JFK", "LGA", "expires in"],
    "files.py": ["same: True", "replaced v1 by v2", "the newest is v2", "1 file deleted"],
    "many_at_once.py": [
        *("365 days of flights", "one by one", "at once"),
        *("nothing happened within 0.2 s", "v1, seen", "731 objects deleted"),
    ],
    "quickstart.py": ["Put and get", "336,776", "objects", "deleted"],
    "runner_delays.py": ["EWR", "JFK", "LGA", "12 partitions, 20 tasks", "plot written to"],
    "shared_frame.py": ["336,776 rows put", "Worst day of each month", "1 object deleted"],
}


def run(example: str, home: Path, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, ROOT / "examples" / example],
        env=clean_environment(home, PYTHONPATH=str(ROOT / "python"), **env),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=100,
    )


def check(example: str, done: subprocess.CompletedProcess) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    for word in WORDS[example]:
        assert word in done.stdout, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES)
def test_it_runs_against_a_server(example, fs_server, tmp_path, tmp_path_factory):
    if example.startswith("runner_"):
        with session_managers(tmp_path_factory.mktemp) as factory:
            manager = factory(
                # Workers that wait for a next session would stay.
                *("none", "--cache-endpoint", fs_server.endpoint, "--spares", "0"),
                env={"FLAME_PYTHON": sys.executable, "PYTHONPATH": str(ROOT / "python")},
            )
            env = {"FLAME_ENDPOINT": manager.endpoint}
            done = run(example, tmp_path, FLAME_CACHE_ENDPOINT=fs_server.endpoint, **env)
            check(example, done)
            manager.await_nothing_left()
    else:
        done = run(example, tmp_path, FLAME_CACHE_ENDPOINT=fs_server.endpoint)
        check(example, done)
    assert done.stderr == ""
    for plot in tmp_path.glob("*.svg"):
        assert "</svg>" in plot.read_text()


@pytest.fixture
def home():
    """A short path: a Unix socket lies in it. The private server that was started there ends."""
    path = Path(tempfile.mkdtemp(prefix="flame-", dir="/tmp"))
    yield path
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                mine = str(path).encode() in (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if mine:
                pid = int(entry.name)
                os.kill(pid, signal.SIGTERM)
                until(lambda pid=pid: not is_running(pid), "the private server has ended")
    shutil.rmtree(path)


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES)
def test_it_runs_where_nothing_is_configured(example, home):
    # Whatever listens at the default endpoint of this machine, it is not what is tested here.
    env = {"FLAME_EMBEDDED": "always", "FLAME_SERVER": str(BINARY)}
    env["FLAME_SESSION_MANAGER"] = str(MANAGER)
    done = run(example, home, **env)
    check(example, done)
    [line] = done.stderr.splitlines()
    assert line.startswith("flamepy: no cache server is configured")


@pytest.mark.slow
def test_a_cached_function_is_computed_once_for_all_processes(fs_server, tmp_path):
    env = {"FLAME_CACHE_ENDPOINT": fs_server.endpoint}
    run("cached_function.py", tmp_path, **env)
    listing = (
        "import flamepy\n"
        "for i in flamepy.list_objects('example-cached-function/v1'):\n"
        "    print(i.key, i.version, i.expires_at.isoformat())"  # An hour after it was computed.
    )
    command = [sys.executable, "-c", listing]
    environment = clean_environment(tmp_path, PYTHONPATH=str(ROOT / "python"), **env)
    before = subprocess.check_output(command, env=environment)
    assert before.count(b"delay_interval-") == 3
    run("cached_function.py", tmp_path, **env)
    assert subprocess.check_output(command, env=environment) == before


def test_every_example_is_in_the_list_and_tested():
    text = (ROOT / "examples/README.md").read_text()
    for example in EXAMPLES:
        assert f"[{example}]({example})" in text
        assert example in WORDS
