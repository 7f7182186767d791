"""flmrun, flmping and flmexec as they are registered at a start, with nothing but our programs and our SDK."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from harness import remote
from harness.session_manager import BINARY, SessionManager, gone, session_managers


@pytest.fixture(scope="module")
def manager(tmp_path_factory, memory_server):
    """FLAME_HOME is not set; Python is named, because tests run in an environment of their own."""
    with session_managers(tmp_path_factory.mktemp) as factory:
        yield factory(
            "none", "--cache-endpoint", memory_server.endpoint, env={"FLAME_PYTHON": sys.executable}
        )


@pytest.fixture(scope="module")
def ask(manager: SessionManager, _stock):
    """Tasks for flmexec: a script, and what it wrote or why it failed."""

    def call(function, **arguments):
        _stock.call(_use, endpoint=manager.endpoint)
        return _stock.call(function, **arguments)

    call(remote.create, session="scripts", app="flmexec")
    return lambda **script: call(_run_script, session="scripts", script=json.dumps(script))


def _use(endpoint):
    import os

    os.environ["FLAME_ENDPOINT"] = endpoint


def _run_script(session, script):
    import json
    import os

    from flamepy.core import client

    opened = client.connect(os.environ["FLAME_ENDPOINT"]).open_session(session)
    try:
        reply = json.loads(opened.invoke(script.encode()))
    except Exception as error:
        return str(error)
    assert set(reply) == {"data"}
    return bytes(reply["data"])


def test_flmping_says_where_it_ran(manager, connect):
    client = connect(manager)
    client(remote.create, session='a "session"', app="flmping")
    (first, second) = map(
        json.loads, client(remote.outcomes, session='a "session"', texts=["", "anything"])
    )
    assert (first["session"], first["task"], second["task"]) == ('a "session"', "1", "2")
    assert first["pid"] == second["pid"]
    assert first["message"] == f'task 1 of session a "session" ran on {first["host"]}'


def test_flmexec_runs_shell_scripts(ask):
    assert ask(language="shell", code="printf %s hello") == b"hello"
    assert ask(language="shell", code="cat", input=[0, 255, 10]) == b"\x00\xff\x0a"
    assert ask(language="shell", code="read x; echo ${x:-none}", input=None) == b"none\n"
    assert ask(language="shell", runtime="bash", code="a=(x y); echo ${a[1]}") == b"y\n"


def test_flmexec_runs_python_scripts_which_have_the_sdk(ask):
    code = "import sys, flamepy; print(sys.stdin.read()[::-1], flamepy.__name__)"
    assert ask(language="python", code=code, input=list(b"abc")) == b"cba flamepy\n"
    version = "{}.{}".format(*sys.version_info[:2])
    assert ask(language="python", runtime=version, code="print(1)") == b"1\n"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ({"language": "cobol", "code": "x"}, "InvalidScript: its language is 'cobol'"),
        ({"language": "shell", "code": ""}, "InvalidScript: its code is empty"),
        ({"language": "shell"}, "InvalidScript: its code is empty"),
        ({"language": "shell", "code": "x", "input": [256]}, "InvalidScript: its input holds 256"),
        ({"language": "shell", "code": "x", "input": "abc"}, "InvalidScript: the task's input"),
        ({"language": "shell", "code": "x", "runtime": "fish"}, "InvalidScript: its runtime"),
        ({"language": "shell", "code": "echo no >&2; exit 3"}, "ScriptFailed: it exited with code"),
        ({"language": "shell", "code": "kill -9 $$"}, "ScriptFailed: it was killed by signal 9"),
        ({"language": "python", "code": "1/0"}, "ZeroDivisionError"),
        ({"language": "python", "code": "1", "runtime": "3.99"}, "no Python here is 3.99"),
        ({"language": "shell", "code": "yes"}, "OutputTooLarge: the script wrote more than"),
        ({"language": "shell", "code": "yes >&2"}, "OutputTooLarge: the script wrote more than"),
    ],
)
def test_flmexec_says_what_is_wrong(ask, script, reason):
    assert reason in ask(**script)


def test_flmexec_takes_no_text_that_is_not_json(manager, connect):
    client = connect(manager)
    client(remote.create, session="no-json", app="flmexec")
    (answer,) = client(remote.outcomes, session="no-json", texts=["print(1)"])
    assert "InvalidScript: the task's input is no JSON" in answer


def test_a_script_leaves_nothing_behind(ask, tmp_path):
    left = tmp_path / "pid"
    code = f"setsid sleep 600 & echo $! > {left}; pwd"
    folder = Path(ask(language="shell", code=code).decode().strip())
    assert not folder.exists()
    assert gone(int(left.read_text()))


def test_a_script_that_takes_too_long_is_ended(manager, connect):
    client = connect(manager)
    client(
        remote.register,
        name="short",
        attributes={
            "command": "${FLAME_HOME}/bin/flmexec-service",
            "environments": {"FLMEXEC_TIMEOUT": "1"},
        },
    )
    client(remote.create, session="short", app="short")
    script = json.dumps({"language": "shell", "code": "echo waiting >&2; sleep 600"})
    (answer,) = client(remote.outcomes, session="short", texts=[script])
    assert "ScriptTimeout: the script was ended after 1000 ms" in answer
    assert "waiting" in answer


def test_flmrun_runs_functions_without_any_uv(manager, connect, memory_server):
    """The template itself, with its literal command line, called by the published client."""
    assert not (BINARY.parent / "uv").exists()
    answer = connect(manager)(_flmrun, cache=memory_server.endpoint)
    assert answer == [42, 43]


def _flmrun(cache):
    import os

    import cloudpickle
    from flamepy.core import client
    from flamepy.core.cache import ObjectRef, get_object, put_object
    from flamepy.core.types import SessionAttributes
    from flamepy.runner.types import RunnerContext, RunnerRequest

    os.environ["FLAME_CACHE_ENDPOINT"] = cache

    def add(a, b):
        return a + b

    context = put_object("flmrun/direct", cloudpickle.dumps(RunnerContext(add), protocol=5))
    session = client.connect(os.environ["FLAME_ENDPOINT"]).create_session(
        SessionAttributes(id="direct", application="flmrun", common_data=context.encode())
    )
    found = []
    for args in ((40, 2), (40, 3)):
        request = cloudpickle.dumps(RunnerRequest(args=args), protocol=5)
        found.append(get_object(ObjectRef.decode(session.invoke(request))))
    session.close()
    return found
