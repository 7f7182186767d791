"""Applications with an installer: their package is fetched, unpacked and installed before an instance starts."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import pytest
from harness import remote
from harness.session_manager import SERVICE, application
from harness.stock import PYTHON
from harness.wait import until


@pytest.fixture
def installing(managers):
    """A manager whose installer is the Python that runs this test."""
    return managers("none", "--python", sys.executable, "--retry-limit", "1")


@pytest.fixture
def archive(tmp_path):
    """Sources without metadata: nothing has to be built."""
    return _pack(tmp_path, {"flame_greeting.py": "TEXT = 'hello'\n"})


def _pack(folder: Path, files: dict[str, str], name: str = "package.tar.gz") -> Path:
    archive = folder / name
    with tarfile.open(archive, "w:gz") as tar:
        for path, text in files.items():
            file = folder / "sources" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o755)
            tar.add(file, path)
    return archive


def _register(client, archive, **more):
    attributes = {"installer": "Python", "url": f"file://{archive}", **more}
    client(remote.register, name="app", attributes=application(**attributes))


def _refusal(client):
    client(remote.create, session="s", app="app", min_instances=1)
    until(lambda: client(remote.look, session="s")["events"], "there is an event", 60)
    return client(remote.look, session="s")["events"][0][1]


def _packages(manager):
    return sorted((manager.work / "w/packages").glob("*"))


def test_a_package_is_installed_once_for_all_instances(installing, connect, archive):
    client = connect(installing)
    _register(client, archive)
    for session in ("s", "t"):
        client(remote.create, session=session, app="app", min_instances=2)
    assert client(remote.run_all, session="s", texts=["import flame_greeting"] * 2) == ["hello"] * 2
    assert client(remote.run_all, session="t", texts=["import flame_greeting"]) == ["hello"]
    assert installing.log().count("installing file://") == 1
    (package,) = _packages(installing)
    (paths,) = client(remote.outcomes, session="s", texts=["env PYTHONPATH"])
    assert str(package) in paths.split(":")[0]
    assert client(remote.outcomes, session="s", texts=["env FLAME_PYTHON_VERSION"]) == [
        f"{sys.version_info[0]}.{sys.version_info[1]}"
    ]
    client(remote.close, session="s")
    assert client(remote.outcomes, session="t", texts=["import flame_greeting"]) == ["hello"]
    client(remote.close, session="t")
    installing.await_nothing_left()


def test_new_sources_under_the_same_url_are_installed(installing, connect, tmp_path):
    client = connect(installing)
    for text in ("first", "second"):
        archive = _pack(tmp_path, {"flame_greeting.py": f"TEXT = '{text}'\n"})
        _register(client, archive)
        client(remote.create, session=text, app="app")
        assert client(remote.outcomes, session=text, texts=["import flame_greeting"]) == [text]
        client(remote.close, session=text)
        client(remote.unregister, name="app")


def test_a_binary_package(installing, connect, tmp_path):
    script = f"#!/bin/sh\nexec {PYTHON} {SERVICE}\n"
    archive = _pack(tmp_path, {"bin/my-service": script, "libs/none": ""}, "tool.tgz")
    client = connect(installing)
    _register(client, archive, installer="BINARY", command="my-service", arguments=[])
    client(remote.create, session="s", app="app")
    names = ("FLAME_APP_DIR", "PATH", "LD_LIBRARY_PATH")
    root, path, libraries = client(remote.outcomes, session="s", texts=[f"env {n}" for n in names])
    assert path.split(":")[:2] == [f"{root}/bin", root]
    assert libraries.split(":")[0] == f"{root}/libs"


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"url": "file:///no/such/package.tar.gz"}, "NotFound: there is no package"),
        ({"installer": "rpm"}, "unknown installer 'rpm'"),
        ({"environments": {"FLAME_PYTHON_VERSION": "3.99"}}, "no Python here is python3.99"),
    ],
)
def test_a_package_that_cannot_be_installed_says_why(
    installing, connect, archive, attributes, reason
):
    client = connect(installing)
    _register(client, archive, **attributes)
    text = _refusal(client)
    assert "failed to bind session with return_code 10: " in text
    assert reason in text
    client(remote.close, session="s")
    installing.await_nothing_left()


def test_an_installation_that_hangs_is_ended(managers, connect, tmp_path):
    build = "import subprocess; subprocess.run(['sleep', '600'])\n"
    archive = _pack(tmp_path, {"setup.py": build})
    manager = managers(
        "none", "--python", sys.executable, "--retry-limit", "1", "--install-timeout", "3s"
    )
    client = connect(manager)
    _register(client, archive)
    assert "took longer than 3 s" in _refusal(client)
    assert _installers(manager) == []


def test_what_a_killed_manager_was_installing_is_removed(managers, connect, tmp_path):
    archive = _pack(tmp_path, {"setup.py": "import time; time.sleep(600)\n"})
    manager = managers("fs", "--python", sys.executable)
    client = connect(manager)
    _register(client, archive)
    client(remote.create, session="s", app="app", min_instances=1)
    until(lambda: len(_installers(manager)) > 1, "the project is being built", 60)
    left = _packages(manager)
    manager.kill()
    manager.start()
    until(lambda: not set(left) & set(_packages(manager)), "the folder is gone")
    client(remote.close, session="s")
    until(lambda: not _installers(manager), "the installer is gone")
    manager.await_nothing_left()


def _installers(manager) -> list[int]:
    mark = f"FLAME_INSTALL_DIRECTORY={manager.work}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if mark in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found
