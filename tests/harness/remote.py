"""What tests ask of the published client. Each function runs over there, alone, by its source: it imports what it needs
and answers with plain values."""


def register(name, attributes):
    import os

    from flamepy.core import client

    client.connect(os.environ["FLAME_ENDPOINT"]).register_application(name, attributes)


def unregister(name):
    import os

    from flamepy.core import client

    client.connect(os.environ["FLAME_ENDPOINT"]).unregister_application(name)


def create(session, app, data=b"", **more):
    """Returns the id."""
    import os

    from flamepy.core import client
    from flamepy.core.types import ResourceRequirement, SessionAttributes

    if "cpu" in more:
        more["resreq"] = ResourceRequirement(cpu=more.pop("cpu"), memory=1 << 20, gpu=0)
    attributes = SessionAttributes(id=session, application=app, common_data=data, **more)
    return client.connect(os.environ["FLAME_ENDPOINT"]).create_session(attributes).id


def outcomes(session, texts):
    """One after the other: each output, or the text of what was raised instead."""
    import os

    from flamepy.core import client

    opened = client.connect(os.environ["FLAME_ENDPOINT"]).open_session(session)
    found = []
    for text in texts:
        try:
            found.append(opened.invoke(text.encode()).decode())
        except Exception as error:
            found.append(str(error))
    return found


def run_all(session, texts):
    """All at once; the outputs in order."""
    import os

    from flamepy.core import client

    opened = client.connect(os.environ["FLAME_ENDPOINT"]).open_session(session)
    futures = [opened.run(text.encode()) for text in texts]
    return [future.result(timeout=100).decode() for future in futures]


def submit(session, texts):
    """Without waiting for them; their ids."""
    import os

    from flamepy.core import client

    opened = client.connect(os.environ["FLAME_ENDPOINT"]).get_session(session)
    return [opened.create_task(text.encode()).id for text in texts]


def look(session):
    """The session as a dictionary, its tasks' states and outputs by id."""
    import os

    from flamepy.core import client

    found = client.connect(os.environ["FLAME_ENDPOINT"]).get_session(session)
    return {
        "state": found.state.name,
        "pending": found.pending,
        "running": found.running,
        "succeed": found.succeed,
        "failed": found.failed,
        "data": found.common_data(),
        "events": [(event.code, event.message) for event in found.events or []],
    }


def tasks(session):
    import os

    from flamepy.core import client

    found = client.connect(os.environ["FLAME_ENDPOINT"]).get_session(session)
    return [
        (task.id, task.state.name, task.output and task.output.decode())
        for task in found.list_tasks()
    ]


def events(session, task):
    import os

    from flamepy.core import client

    found = client.connect(os.environ["FLAME_ENDPOINT"]).get_session(session).get_task(task)
    return [(event.code, event.message) for event in found.events]


def close(session):
    import os

    from flamepy.core import client

    client.connect(os.environ["FLAME_ENDPOINT"]).close_session(session)


def executors():
    """(state, session) of each."""
    import os

    from flamepy.core import client

    found = client.connect(os.environ["FLAME_ENDPOINT"]).list_executors()
    return [(executor.status.state, executor.status.session_id) for executor in found]


def applications():
    import os

    from flamepy.core import client

    found = client.connect(os.environ["FLAME_ENDPOINT"]).list_applications()
    return {a.name: (a.command, a.arguments, a.max_instances, a.delay_release) for a in found}
