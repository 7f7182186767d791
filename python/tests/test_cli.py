"""The flamepy command, as a process of its own."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import flamepy
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

PATH = str(Path(flamepy.__file__).parents[1])


@pytest.fixture
def session(client) -> str:
    return f"cli/{uuid.uuid4()}"


def run(*arguments: str, code: int = 0, stdin: bytes = b"", **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "flamepy", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": PATH, **env},
    )
    assert done.returncode == code, done.stderr.decode()
    return done.stdout.decode() if code == 0 else done.stdout.decode() + done.stderr.decode()


def documents(*arguments: str, **options) -> list[dict]:
    return [json.loads(line) for line in run(*arguments, "--json", **options).splitlines()]


def test_info(client):
    (found,) = documents("info")
    assert found["endpoint"] == client.endpoint
    assert found["client"] == flamepy.__version__
    assert found["dialect"] == "document"
    assert client.endpoint in run("info")


def test_ls_and_stat(session):
    table = flamepy.put_object(session, pa.table({"a": [1, 2]}), name="table")
    flamepy.put_object(session, bytes(2048), name="zeros", ttl=3600)
    listed = documents("ls", session)
    assert [(d["key"], d["kind"]) for d in listed] == [
        (f"{session}/table", "native"),
        (f"{session}/zeros", "opaque"),
    ]
    assert listed[0]["expires"] is None
    assert listed[1]["expires"] > listed[1]["modified"]
    assert [d["key"] for d in documents("ls", session, "--limit", "1")] == [table.key]
    header, *lines, sum_line = run("ls", session).splitlines()
    assert header.split() == ["SIZE", "AGE", "EXPIRES", "VERSION", "KIND", "KEY"]
    assert lines[1].endswith(f"opaque  {session}/zeros")
    assert "2.0 KiB" in lines[1]
    assert sum_line.startswith("2 objects, ")
    (found,) = documents("stat", table.key)
    assert found["columns"] == {"a": "int64"}
    assert "columns   a: int64" in run("stat", table.key)
    assert run("ls", "cli/nothing") == "0 objects, 0 B\n"


def test_a_long_listing_is_streamed(session):
    flamepy.put_many(((session, i) for i in range(2500)), on_error="raise")
    assert len(documents("ls", session)) == 2500
    process = subprocess.Popen(
        [sys.executable, "-m", "flamepy", "ls", session],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": PATH},
    )
    process.stdout.readline()
    process.stdout.close()  # As `head` does.
    assert process.stderr.read() == b""
    assert process.wait(30) == 0


def test_put_and_get_a_file(session, tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    assert run("put", tmp_path / "file", f"{session}/a") == f"{session}/a v1, 7 B\n"
    run("put", "-", f"{session}/a", "--if-version", "1", stdin=b"more")
    assert "[flame" not in run("put", "-", f"{session}/a", "--if-version", "1", code=5)
    run("get", f"{session}/a", "-o", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"more"
    assert run("get", f"{session}/a", "-o", "-") == "more"
    (ref,) = documents("put", "-", session, "--ttl", "60", stdin=b"")
    assert flamepy.stat_object(ref["key"]).expires_at is not None
    run("get", ref["key"], "-o", tmp_path / "empty")
    assert (tmp_path / "empty").read_bytes() == b""


def test_get_objects(session, tmp_path):
    table = pa.table({"a": [1, 2]})
    objects = {"table": table, "array": np.arange(3), "text": "ä", "bytes": b"FLM"}
    for name, obj in objects.items():
        flamepy.put_object(session, obj, name=name)
    run("get", f"{session}/table", "-o", tmp_path / "t.parquet")
    assert pa.parquet.read_table(tmp_path / "t.parquet").equals(table)
    run("get", f"{session}/table", "-o", tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == '"a"\n1\n2\n'
    run("get", f"{session}/table", "-o", tmp_path / "t.arrow")
    assert pa.ipc.open_file(tmp_path / "t.arrow").read_all().equals(table)
    run("get", f"{session}/array", "-o", tmp_path / "a.npy")
    assert np.load(tmp_path / "a.npy").tolist() == [0, 1, 2]
    run("get", f"{session}/bytes", "-o", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"FLM"
    assert run("get", f"{session}/text") == "ä\n"
    assert documents("get", f"{session}/table")[0]["value"] == [{"a": 1}, {"a": 2}]


def test_get_does_not_unpickle(session, tmp_path):
    class Canary:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "unpickled"),)

    ref = flamepy.put_object(session, Canary())
    assert "allow_pickle" in run("get", ref.key, code=5)
    (tmp_path / "file").write_text("mine")
    assert "allow_pickle" in run("get", ref.key, "-o", tmp_path / "file", code=5)
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"
    run("get", ref.key, "--raw", "-o", tmp_path / "file")
    assert b"mkdir" in (tmp_path / "file").read_bytes()
    ref = flamepy.put_object(session, {"a": 1})
    assert run("get", ref.key, "--allow-pickle") == "{'a': 1}\n"


def test_rm(session):
    ref = flamepy.put_object(session, 1)
    flamepy.put_object(session, 2)
    assert run("rm", ref.key) == "deleted 1\n"
    assert "was not there" in run("rm", ref.key, code=3)
    assert "needs --yes" in run("rm", session, code=5)
    assert len(list(flamepy.list_objects(session))) == 1
    assert documents("rm", session, "-y") == [{"deleted": 1}]


def test_rm_of_a_prefix_asks(session):
    flamepy.put_object(session, 2)
    for answer, left in ((b"n\n", 1), (b"y\n", 0)):
        terminal, side = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "flamepy", "rm", session],
            stdin=side,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": PATH},
        )
        os.write(terminal, answer)
        assert b"Delete 1 objects under" in process.stdout.read()
        assert process.wait(30) == (5 if left else 0)
        os.close(terminal)
        os.close(side)
        assert len(list(flamepy.list_objects(session))) == left


def test_exit_codes(session, tmp_path):
    run("stat", f"{session}/never", code=3)
    run("ls", "--endpoint", "grpc://127.0.0.1:1", code=4)
    run("ls", "a/b/c/d", code=1)
    run("frobnicate", code=2)
    run("put", tmp_path / "nothing", session, code=1)
    error = json.loads(run("stat", f"{session}/never", "--json", code=3))
    assert error["error"] == "NotFound"


def test_help(home):
    assert "exit codes:" in run("--help")
    for name in ("info", "ls", "stat", "get", "put", "rm", "doctor"):
        assert f"flamepy {name}" in run(name, "--help")


def test_without_rich(session):
    code = "import sys; sys.modules['rich'] = None; from flamepy.cli import main; main(['info'])"
    env = {**os.environ, "PYTHONPATH": PATH}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, check=True)
    assert b"flame-object-cache" in done.stdout


def findings(*arguments: str, code: int = 0, **env: str) -> dict[str, dict]:
    lines = run("doctor", "--json", *arguments, code=code, **env).splitlines()
    return {found["check"]: found for found in map(json.loads, lines)}


def test_doctor_finds_all_well(client):
    found = findings()
    assert list(found) == [
        *("configuration", "endpoint", "server", "versions", "round trip", "clock"),
        "shared memory",
    ]
    assert {finding["state"] for finding in found.values()} == {"ok"}
    assert client.endpoint in found["configuration"]["text"]
    assert list(flamepy.list_objects("flamepy/doctor")) == []
    assert "all is well" in run("doctor")


def test_doctor_says_what_to_do(client, home, start_server):
    (home / ".flame").mkdir()
    (home / ".flame/flame.yaml").write_text("nonsense: [")
    found = findings(code=1)["configuration"]
    assert (found["state"], found["advice"]) == ("failed", "correct the file or the variable")
    (home / ".flame/flame.yaml").unlink()
    found = findings("--endpoint", "grpc://127.0.0.1:1", code=1)["endpoint"]
    assert found["state"] == "failed"
    assert "start flame-object-cache" in found["advice"]
    server = start_server()
    os.kill(server.pid, signal.SIGSTOP)
    try:
        found = findings("--endpoint", server.endpoint, "--timeout", "0.5", code=1)["server"]
        assert found["state"] == "failed"
    finally:
        os.kill(server.pid, signal.SIGCONT)


@pytest.mark.parametrize(
    ("ahead", "state", "words"),
    [(3600, "warning", "s behind"), (-3600, "warning", "s ahead"), (1, "ok", "s behind")],
)
def test_doctor_compares_clocks(client, ahead, state, words):
    """The clock of this process is so many seconds ahead of the server's."""
    code = (
        "import sys, time; real = time.time\n"
        f"time.time = lambda: real() + {ahead}\n"
        "from flamepy.cli import main; sys.exit(main(['doctor', '--json']))"
    )
    env = {**os.environ, "PYTHONPATH": PATH}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, check=True)
    found = {finding["check"]: finding for finding in map(json.loads, done.stdout.splitlines())}
    assert found["clock"]["state"] == state
    assert ("NTP" in found["clock"]["advice"]) == (state == "warning")
    assert found["clock"]["text"].endswith(words)
    skew = float(re.search(r"[\d.]+", found["clock"]["text"])[0])
    assert skew == pytest.approx(abs(ahead), abs=2)
    assert {f["state"] for name, f in found.items() if name != "clock"} == {"ok"}
