"""Sessions and tasks as users of the published client have them; the client is not modified."""

from __future__ import annotations

import os

from harness import remote
from harness.session_manager import application
from harness.wait import until

BOUND = 4  # ExecutorState


def test_the_start_up_applications_are_there(manager, connect):
    found = connect(manager)(remote.applications)
    assert set(found) == {"flmrun", "flmping", "flmexec"}
    command, arguments, max_instances, delay_release = found["flmrun"]
    assert command == "${FLAME_HOME}/bin/uv"
    assert list(arguments)[:4] == ["run", "--python", "python${FLAME_PYTHON_VERSION}", "python"]
    assert (max_instances, delay_release) == (1_000_000, 60)


def test_a_session_from_the_first_task_to_its_end(manager, connect):
    client = connect(manager)
    client(remote.register, name="app", attributes=application())
    client(remote.create, session="s", app="app", data=b"common")
    outputs = client(_invoke_many)
    assert outputs[:4] == ["hello", None, "s/3", f"app {application()['command']} None"]
    pids = outputs[4:]
    assert len(set(pids)) == 1  # Sequential tasks land on the same instance.
    assert client(remote.executors) == [(BOUND, "s")]
    assert client(remote.events, session="s", task="1") == [
        (0, "Task was created with state <Pending>"),
        (1, "Task state was updated to <Running>"),
        (2, "Task was completed with state <Succeed>"),
    ]
    seen = client(remote.look, session="s")
    assert (seen["state"], seen["succeed"], seen["data"]) == ("OPEN", 6, b"common")

    client(remote.close, session="s")

    manager.await_nothing_left()
    assert client(remote.look, session="s")["state"] == "CLOSED"
    client(remote.unregister, name="app")
    assert "app" not in client(remote.applications)


def _invoke_many():
    import os

    from flamepy.core import client

    session = client.connect(os.environ["FLAME_ENDPOINT"]).open_session("s")
    texts = ["echo hello", "nothing", "ids", "application", "pid", "pid"]
    return [out and out.decode() for out in (session.invoke(t.encode()) for t in texts)]


def test_two_sessions_never_share_a_process(manager, connect):
    client = connect(manager)
    client(remote.register, name="app", attributes=application())
    pids = []
    for session in ("a", "b"):
        client(remote.create, session=session, app="app")
        pids += client(_pid_and_id, session=session)
    assert pids[0] != pids[2]
    assert pids[1] == "a/2"
    assert pids[3] == "b/2"


def _pid_and_id(session):
    import os

    from flamepy.core import client

    opened = client.connect(os.environ["FLAME_ENDPOINT"]).open_session(session)
    return [opened.invoke(text).decode() for text in (b"pid", b"ids")]


def test_a_task_that_fails_says_why_and_the_instance_goes_on(manager, connect):
    client = connect(manager)
    client(remote.register, name="app", attributes=application())
    client(remote.create, session="s", app="app")
    texts = ["pid", "raise no such column", "pid"]
    first, failed, last = client(remote.outcomes, session="s", texts=texts)
    assert "no such column" in failed
    assert first == last
    assert client(remote.events, session="s", task="2")[-1] == (3, "no such column")


def test_many_tasks_at_once(manager, connect):
    client = connect(manager)
    client(remote.register, name="app", attributes=application())
    client(remote.create, session="s", app="app")
    texts = [f"echo {i}" for i in range(500)]
    assert client(remote.run_all, session="s", texts=texts) == [str(i) for i in range(500)]
    assert client(remote.look, session="s")["succeed"] == 500
    listed = client(remote.tasks, session="s")
    assert listed == [(str(i + 1), "SUCCEED", str(i)) for i in range(500)]


def test_closing_cancels_what_waits_but_not_what_runs(managers, connect, tmp_path):
    manager = managers("none", "--max-executors", "1")
    client = connect(manager)
    client(remote.register, name="app", attributes=application())
    client(remote.create, session="s", app="app")
    gate = tmp_path / "gate"
    client(remote.submit, session="s", texts=[f"wait-for {gate}", "echo never"])
    until(lambda: client(remote.look, session="s")["running"] == 1, "the first task runs")
    refusal = client(_close_refusal, session="s")
    assert "Cannot close session with running tasks" in refusal
    gate.touch()
    until(lambda: client(remote.look, session="s")["succeed"] == 2, "both tasks have ended")
    client(remote.close, session="s")
    manager.await_nothing_left()


def _close_refusal(session):
    import os

    from flamepy.core import client
    from flamepy.core.types import FlameError

    try:
        client.connect(os.environ["FLAME_ENDPOINT"]).close_session(session)
    except FlameError as error:
        return str(error)
    return None


def test_idle_instances_leave_after_their_delay(managers, connect):
    manager = managers()
    client = connect(manager)
    client(remote.register, name="app", attributes=application(delay_release=1))
    client(remote.create, session="s", app="app")
    (first,) = client(remote.outcomes, session="s", texts=["pid"])
    until(lambda: not client(remote.executors), "the instance has left")
    assert not manager.instances()
    (second,) = client(remote.outcomes, session="s", texts=["pid"])
    assert first != second


def test_a_delay_of_nothing_leaves_at_once(managers, connect):
    manager = managers()
    client = connect(manager)
    client(remote.register, name="app", attributes=application(delay_release=0))
    client(remote.create, session="s", app="app")
    client(remote.outcomes, session="s", texts=["pid"])
    manager.await_nothing_left()


def test_the_minimum_is_started_without_tasks(managers, connect):
    manager = managers()
    client = connect(manager)
    client(remote.register, name="app", attributes=application(delay_release=0))
    client(remote.create, session="s", app="app", min_instances=2)
    until(lambda: client(remote.executors) == [(BOUND, "s")] * 2, "two instances are bound")
    client(remote.close, session="s")
    manager.await_nothing_left()


def test_an_idle_instance_makes_room_for_another_session(managers, connect):
    """With one place and a delay of a minute, the second session does not wait for a minute."""
    manager = managers("none", "--max-executors", "1")
    client = connect(manager)
    client(remote.register, name="app", attributes=application())
    for session in ("a", "b", "a"):
        if session == "b" or not client(remote.executors):
            client(remote.create, session=session, app="app")
        assert client(remote.outcomes, session=session, texts=["echo x"]) == ["x"]


def test_tasks_that_wait_for_tasks_of_their_session(managers, connect):
    """Five deep, though each level holds an instance and the machine has fewer CPUs."""
    manager = managers()
    client = connect(manager)
    client(remote.register, name="app", attributes=application())
    client(remote.create, session="s", app="app")
    assert client(remote.outcomes, session="s", texts=["recurse 5"]) == ["5"]


def test_services_see_what_they_should_and_no_more(managers, connect):
    manager = managers("none", env={"SECRET_TOKEN": "x", "TMPDIR": "/tmp"})
    client = connect(manager)
    variables = {"GREETING": "hello ${HOME}", "BROKEN": "${NO_SUCH}/x"}
    client(remote.register, name="app", attributes=application(environments=variables))
    client(remote.create, session="s", app="app")
    texts = ["environ", *(f"env {name}" for name in ("GREETING", "BROKEN", "FLAME_ENDPOINT"))]
    names, greeting, broken, endpoint = client(remote.outcomes, session="s", texts=texts)
    assert "SECRET_TOKEN" not in names.split()
    assert {"PATH", "HOME", "TMPDIR", "FLAME_INSTANCE_ENDPOINT", "FLAME_LOG"} <= set(names.split())
    assert greeting == f"hello {manager.home}"
    assert broken == "${NO_SUCH}/x"
    assert endpoint == manager.endpoint
    (tmp,) = client(remote.outcomes, session="s", texts=["env TMPDIR"])
    assert tmp.startswith(str(manager.work))
    assert os.stat(tmp).st_mode & 0o777 == 0o700


def test_a_working_directory_is_kept(managers, connect, tmp_path):
    manager = managers()
    client = connect(manager)
    attributes = application(working_directory=str(tmp_path / "mine"))
    client(remote.register, name="app", attributes=attributes)
    client(remote.create, session="s", app="app")
    (name,) = client(remote.outcomes, session="s", texts=["application"])
    assert name.endswith(str(tmp_path / "mine"))
    client(remote.close, session="s")
    left = {".out", ".err"}
    until(lambda: {p.suffix for p in (tmp_path / "mine").iterdir()} == left, "only its logs stay")


def test_megabytes_in_and_out(manager, connect):
    client = connect(manager)
    client(remote.register, name="app", attributes=application())
    client(remote.create, session="s", app="app")
    assert client(_megabytes) == (3 << 20, 3 << 20)


def _megabytes():
    import os

    from flamepy.core import client

    session = client.connect(os.environ["FLAME_ENDPOINT"]).open_session("s")
    text = b"x" * (3 << 20)
    # A message holds input and output.
    return len(session.invoke(b"echo " + text[: 3 << 19])) * 2, len(
        session.invoke(b"zeros 3145728")
    )
