"""Our codec of the session protocol: the same bytes as the published client's generated code."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import subprocess
import sys

import pytest
from flamepy.core.errors import DecodeError
from flamepy.core.sessions import messages as m

_RESREQ = {"cpu": 4, "memory": 1 << 40, "gpu": -1}
_EVENTS = [{"code": 3, "message": "bäng", "creation_time": 1_700_000_000_123}, {"code": 0}]
SAMPLES = {
    "types_pb2.Session": (
        m.Session,
        {
            "metadata": {"id": "s", "name": "s"},
            "spec": {
                "application": "app",
                "common_data": b"\0\xff" * 100,
                "min_instances": 3,
                "max_instances": 0,
                "batch_size": 1,
                "priority": 2**32 - 1,
                "resreq": _RESREQ,
            },
            "status": {
                "state": 1,
                "creation_time": 2**62,
                "completion_time": 0,
                "pending": 1,
                "running": 2,
                "succeed": 300,
                "failed": 2**31 - 1,
                "events": _EVENTS,
                "cancelled": 7,
            },
        },
    ),
    "types_pb2.Task": (
        m.Task,
        {
            "metadata": {"id": "1"},
            "spec": {"session_id": "日本", "input": b"", "output": b"x"},
            "status": {"state": 4, "events": _EVENTS},
        },
    ),
    "types_pb2.Application": (
        m.Application,
        {
            "metadata": {"name": "a"},
            "spec": {
                "shim": 1,
                "description": "",
                "labels": ["a", ""],
                "image": "i",
                "command": "c",
                "arguments": ["-m", "x"],
                "environments": [{"name": "A", "value": "1"}, {"name": "B"}],
                "working_directory": "/w",
                "max_instances": 1_000_000,
                "delay_release": -1,
                "schema": {"input": "{}"},
                "url": "u",
                "installer": "python",
            },
            "status": {"state": 1, "creation_time": 5},
        },
    ),
    "types_pb2.ExecutorList": (
        m.ExecutorList,
        {
            "executors": [
                {
                    "spec": {"node": "n", "resreq": _RESREQ, "shim": 1},
                    "status": {"state": 7, "session_id": ""},
                },
                {},
            ]
        },
    ),
    "types_pb2.NodeList": (
        m.NodeList,
        {
            "nodes": [
                {
                    "spec": {"hostname": "h"},
                    "status": {
                        "state": 1,
                        "capacity": _RESREQ,
                        "allocatable": {},
                        "info": {"arch": "x", "os": "y"},
                        "addresses": [{"type": "t", "address": "a"}],
                        "last_heartbeat_time": 9,
                    },
                }
            ]
        },
    ),
    "types_pb2.TaskResult": (m.TaskResult, {"return_code": -1, "output": b"", "message": "no"}),
    "types_pb2.Result": (m.Result, {}),
    "frontend_pb2.CreateTaskRequest": (
        m.CreateTaskRequest,
        {"task": {"session_id": "s", "input": b"1"}},
    ),
    "frontend_pb2.OpenSessionRequest": (m.SessionRequest, {"session_id": "s", "session": {}}),
    "frontend_pb2.WatchTaskRequest": (m.TaskNamed, {"task_id": "1", "session_id": "s"}),
    "frontend_pb2.RegisterApplicationRequest": (
        m.RegisterApplicationRequest,
        {"name": "a", "application": {"command": "c"}},
    ),
    "shim_pb2.SessionContext": (
        m.SessionContext,
        {
            "session_id": "s",
            "application": {"name": "a", "shim": 1, "url": "", "installer": "python"},
            "common_data": b"",
        },
    ),
    "shim_pb2.TaskContext": (m.TaskContext, {"task_id": "1", "session_id": "s", "input": b"i"}),
}


def build(kind: type, values: dict) -> m.Message:
    """A message of nested dicts."""
    made = {}
    for name, value in values.items():
        inner = kind.FIELDS[name].from_wire
        owner = getattr(inner, "__self__", None)
        if isinstance(value, dict):
            value = build(owner, value)
        elif isinstance(value, list):
            value = [build(owner, item) if isinstance(item, dict) else item for item in value]
        made[name] = value
    return kind(**made)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_generated_code_reads_and_writes_the_same_bytes(name, stock):
    kind, values = SAMPLES[name]
    ours = build(kind, values)
    code = f"""
import pickle
from google.protobuf.json_format import ParseDict
from flamepy.proto import types_pb2, frontend_pb2, shim_pb2
values, ours = pickle.loads(data)
def fill(message, values):
    for name, value in values.items():
        if isinstance(value, dict):
            getattr(message, name).SetInParent()
            fill(getattr(message, name), value)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, dict):
                    fill(getattr(message, name).add(), item)
                else:
                    getattr(message, name).append(item)
        else:
            setattr(message, name, value)
theirs = {name}()
fill(theirs, values)
assert {name}.FromString(ours) == theirs, ({name}.FromString(ours), theirs)
output = theirs.SerializeToString(deterministic=True)
"""
    theirs = stock(code, pickle.dumps((values, ours.encode())))
    assert kind.decode(theirs) == ours
    assert ours.encode() == theirs


def test_presence_is_kept():
    absent, empty = m.Task.decode(b""), m.TaskSpec.decode(m.TaskSpec(input=b"").encode())
    assert absent.spec is None
    assert empty.input == b""
    assert empty.output is None


def test_unknown_fields_and_newer_replies_are_skipped():
    newer = (
        m.TaskSpec(session_id="s").encode()
        + b"\x2a\x03abc"
        + b"\x51"
        + bytes(8)
        + b"\x5d"
        + bytes(4)
    )
    assert m.TaskSpec.decode(newer) == m.TaskSpec(session_id="s")
    # A field that has become something else is as good as absent.
    assert m.Result.decode(b"\x0a\x02\x08\x01").return_code == 0


@pytest.mark.parametrize(
    "raw", [b"\x0a\x05ab", b"\x0a", b"\x08", b"\x08" + b"\xff" * 11, b"\x0b", b"\x09\x01"]
)
def test_what_is_no_message_is_an_error(raw):
    with pytest.raises(DecodeError):
        m.Metadata.decode(raw)


def test_random_bytes_never_do_anything_else():
    seed = int(os.environ.get("FLAME_SEED") or random.randrange(2**32))
    print(f"FLAME_SEED={seed}")
    rng = random.Random(seed)
    whole = build(*SAMPLES["types_pb2.Session"]).encode()
    for _ in range(3000):
        raw = bytearray(whole[: rng.randrange(len(whole) + 1)])
        for _ in range(rng.randrange(4)):
            if raw:
                raw[rng.randrange(len(raw))] = rng.randrange(256)
        with contextlib.suppress(DecodeError):
            m.Session.decode(bytes(raw))


def test_no_descriptor_pool_is_touched():
    """Generated code of another copy of the protocol can be imported beside ours."""
    code = (
        "import sys, flamepy.core.sessions.messages, flamepy.core.sessions.watching;"
        "assert not [n for n in sys.modules if n.startswith('google')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
