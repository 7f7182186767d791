"""Packages: packing, unpacking, fetching, installing; with real archives, servers and pip."""

from __future__ import annotations

import hashlib
import http.server
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import flamepy
import pytest
from flamepy.core.errors import InvalidArgument, InvalidConfig, NotFound, Timeout, Unavailable
from flamepy.runner import packages
from flamepy.runner.archives import EXTENSIONS
from flamepy.runner.errors import InstallFailed, PackageError, UnsafePackage
from flamepy.runner.installing import _missing
from flamepy.runner.limits import Limits
from flamepy.runner.metadata import find_project, generate_pyproject, generated_dependencies
from flamepy.runner.packages import Package, environment, pack, prepare, unpack
from test_hostile_packages import everything


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Sources without metadata, with all that a tree can hold."""
    root = tmp_path / "project"
    files = {
        "my_module/__init__.py": "ANSWER = 42\n",
        "my_module/data/table.csv": "a,b\n",
        "my_module/empty.txt": "",
        "run.sh": "#!/bin/sh\n",
        "dist/old.tar.gz": "no",
        "my_module/dist/kept.txt": "yes",
        "__pycache__/x.pyc": "no",
        ".venv/lib/x.py": "no",
        ".git/config": "no",
        "notes.md": "notes\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "run.sh").chmod(0o755)
    (root / "link.py").symlink_to("my_module/__init__.py")
    (root / "outside").symlink_to("/etc/hostname")
    return root


WANTED = {
    "my_module/__init__.py",
    "my_module/data/table.csv",
    "my_module/empty.txt",
    "my_module/dist/kept.txt",
    "run.sh",
    "link.py",
    "notes.md",
    "pyproject.toml",
}


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_every_format_brings_the_files_back(project, tmp_path, extension):
    archive = pack(project, tmp_path / f"app{extension}")
    package = prepare(f"file://{archive}", tmp_path / "work")
    assert set(everything(package.root)) == WANTED
    assert os.access(package.root / "run.sh", os.X_OK)
    assert not os.access(package.root / "notes.md", os.X_OK)
    assert os.readlink(package.root / "link.py") == "my_module/__init__.py"
    assert package.root.name.startswith("extracted_app-")


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_the_systems_own_tools_understand_what_is_packed(project, tmp_path, extension):
    archive = pack(project, tmp_path / f"app{extension}")
    out = tmp_path / "out"
    out.mkdir()
    if extension == ".zip":
        command = [sys.executable, "-m", "zipfile", "-e", str(archive), str(out)]
    else:
        command = ["tar", "-xf", str(archive), "-C", str(out)]
    subprocess.run(command, check=True)
    assert {str(p.relative_to(out)) for p in out.rglob("*") if not p.is_dir()} == WANTED


def test_equal_files_make_equal_archives(project, tmp_path):
    for extension in (".tar.gz", ".tar.bz2", ".tar.xz", ".tar", ".zip"):
        first = pack(project, tmp_path / f"1{extension}", name="app").read_bytes()
        for path in project.rglob("*"):
            if not path.is_symlink():
                os.utime(path, (1, 1))
        second = pack(project, tmp_path / f"2{extension}", name="app").read_bytes()
        assert first == second, extension


def test_a_directory_is_a_package(project, tmp_path):
    package = prepare(f"file://{project}", tmp_path / "work", exclude=["outside", ".venv", ".git"])
    assert (package.root / "my_module/__init__.py").is_file()
    assert not (package.root / ".venv").exists()
    assert package.root.name.startswith("extracted_project-")
    (project / "notes.md").write_text("new\n")
    again = prepare(str(project), tmp_path / "work", exclude=["outside", ".venv", ".git"])
    assert again.root != package.root


def test_a_directory_with_a_link_that_leads_out_is_refused(project, tmp_path):
    with pytest.raises(UnsafePackage, match="'outside' -> '/etc/hostname' would leave"):
        prepare(str(project), tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []


def test_selective_packing(project, tmp_path):
    archive = pack(project, tmp_path / "a.zip", include=["my_module"], exclude=["*.csv"])
    names = set(everything(unpack(archive, tmp_path / "w").root))
    assert names == {
        "my_module/__init__.py",
        "my_module/empty.txt",
        "my_module/dist/kept.txt",
        "pyproject.toml",
    }


def test_selective_extraction(project, tmp_path):
    archive = pack(project, tmp_path / "a.tar.gz")
    package = unpack(archive, tmp_path / "w", include=["data/*.csv"])
    assert set(everything(package.root)) == {"my_module/data/table.csv", "pyproject.toml"}
    whole = unpack(archive, tmp_path / "w")
    assert whole.root != package.root


def test_new_code_is_never_shadowed_by_old(project, tmp_path):
    archive = tmp_path / "app.tar.gz"
    first = prepare(f"file://{pack(project, archive)}", tmp_path / "w")
    (project / "my_module/__init__.py").write_text("ANSWER = 43\n")
    second = prepare(f"file://{pack(project, archive)}", tmp_path / "w")
    assert first.root != second.root
    assert (second.root / "my_module/__init__.py").read_text() == "ANSWER = 43\n"


def test_what_is_complete_is_taken_and_what_is_not_is_made_anew(project, tmp_path):
    archive = pack(project, tmp_path / "app.zip")
    package = unpack(archive, tmp_path / "w")
    inode = package.root.stat().st_ino
    assert unpack(archive, tmp_path / "w").root.stat().st_ino == inode
    partial = package.root.with_name(f".{package.root.name}.partial")
    package.root.rename(partial)  # As if the process had died in the middle.
    (partial / "notes.md").unlink()
    again = unpack(archive, tmp_path / "w")
    assert set(everything(again.root)) == WANTED
    assert not partial.exists()


def test_processes_that_unpack_at_the_same_time_do_it_once(project, tmp_path):
    archive = pack(project, tmp_path / "app.tgz")
    code = (
        "import sys; from flamepy.runner.packages import prepare; "
        "p = prepare(sys.argv[1], sys.argv[2]); print(p.root, p.root.stat().st_ino)"
    )
    command = [sys.executable, "-c", code, f"file://{archive}", str(tmp_path / "w")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0] * 4
    assert len(said) == 1


def test_a_package_is_removed_when_nobody_uses_it_any_more(project, tmp_path):
    archive = str(pack(project, tmp_path / "app.tgz"))
    work = tmp_path / "w"
    code = (
        "import sys; from flamepy.runner.packages import prepare, release; "
        "p = prepare(sys.argv[1], sys.argv[2], hold=True); print(flush=True); sys.stdin.read(); "
        "print(release(p))"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, archive, str(work)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    other.stdout.readline()
    package = prepare(archive, work, hold=True)
    assert not packages.release(package)
    assert package.root.is_dir()
    assert other.communicate()[0] == "True\n"
    assert list(work.iterdir()) == []
    assert not packages.release(prepare(archive, work))  # Not held: it stays.
    killed = prepare(archive, work, hold=True)
    os.close(killed.hold)  # As the kernel does it.
    assert packages.release(prepare(archive, work, hold=True))


def test_the_project_is_at_the_root_or_one_level_down(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    assert find_project(tmp_path) is None
    (tmp_path / "a/b/setup.py").write_text("")
    assert find_project(tmp_path) is None
    (tmp_path / "a/setup.cfg").write_text("")
    assert find_project(tmp_path) == tmp_path / "a"
    (tmp_path / "c").mkdir()
    (tmp_path / "c/pyproject.toml").write_text("")
    with pytest.raises(PackageError, match=r"several projects \(a, c\)"):
        find_project(tmp_path)
    (tmp_path / "setup.py").write_text("")
    assert find_project(tmp_path) == tmp_path


def test_generated_metadata_says_what_it_depends_on(tmp_path):
    wanted = ["numpy>=2", "ray[default]>=2; python_version < '3.12'", 'x @ file:///a"b']
    (tmp_path / "pyproject.toml").write_text(generate_pyproject("my app!", wanted))
    assert set(generated_dependencies(tmp_path)) == set(wanted)
    (tmp_path / "pyproject.toml").write_text(generate_pyproject("app"))
    assert generated_dependencies(tmp_path) == ()
    tomllib = pytest.importorskip("tomllib")
    (tmp_path / "pyproject.toml").write_text(generate_pyproject("my app!", wanted))
    parsed = tomllib.loads((tmp_path / "pyproject.toml").read_text())
    assert parsed["project"]["name"] == "my-app"
    assert parsed["project"]["dependencies"] == sorted(wanted)
    with pytest.raises(InvalidArgument, match="no dependency"):
        generate_pyproject("app", ["a\nb"])


def test_metadata_of_the_authors_own_is_installed_as_it_is(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\ndependencies = []\n')
    assert generated_dependencies(tmp_path) is None
    (tmp_path / "pyproject.toml").write_text(generate_pyproject("app"))
    (tmp_path / "setup.py").write_text("")
    assert generated_dependencies(tmp_path) is None


def test_a_generated_project_without_dependencies_installs_nothing(project, tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)  # No installer may run.
    archive = pack(project, tmp_path / "app.tar.gz", dependencies=["pyarrow>=18"])  # Is here.
    package = prepare(str(archive), tmp_path / "w")
    assert package.paths == [str(package.root)]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that nobody serves: what needs it fails at once."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)


def a_project(root: Path, requires: str = "") -> Path:
    """One level down, with a setup.py and a module. Built offline, so setuptools must be here."""
    pytest.importorskip("setuptools")
    inner = root / "my-package"
    (inner / "mod_of_mine").mkdir(parents=True)
    (inner / "mod_of_mine/__init__.py").write_text("def hello():\n    return 'hello'\n")
    (inner / "setup.py").write_text(
        "from setuptools import find_packages, setup\n"
        f"setup(name='mod-of-mine', version='1.0', packages=find_packages(), install_requires=[{requires}])\n"
    )
    return root


def test_a_project_one_level_down_is_installed_offline(tmp_path, offline, caplog):
    caplog.set_level(logging.INFO)
    root = a_project(tmp_path / "p", "'pyarrow'")
    archive = shutil.make_archive(str(tmp_path / "my-package"), "gztar", root, "my-package")
    stages = []
    package = prepare(
        archive, tmp_path / "w", installer="pip", progress=lambda *step: stages.append(step)
    )
    code = "import mod_of_mine; print(mod_of_mine.hello(), mod_of_mine.__file__)"
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": os.pathsep.join(package.paths)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert said[0] == "hello"
    assert said[1].startswith(str(package.dependencies))
    assert package.project == package.root / "my-package"
    assert ("unpack", 2, 2) in stages
    assert "install: " in caplog.text
    again = prepare(archive, tmp_path / "w", installer="none")  # No installer is looked for.
    assert again == package
    packages.remove(package)
    assert list((tmp_path / "w").iterdir()) == []


def test_a_failed_installation_says_why_and_is_tried_again(tmp_path, offline):
    root = a_project(tmp_path / "p")
    setup = root / "my-package/setup.py"
    good = setup.read_text()
    setup.write_text("raise SystemExit('the build is broken on purpose')\n")
    with pytest.raises(InstallFailed, match="install my-package: pip ended with 1") as caught:
        prepare(str(root), tmp_path / "w", installer="pip")
    assert "broken on purpose" in (tmp_path / "w" / caught_log(tmp_path)).read_text()
    assert caught.value.log
    assert not list((tmp_path / "w").glob("installed_*"))
    setup.write_text(good)
    assert prepare(str(root), tmp_path / "w", installer="pip").dependencies is not None


def caught_log(tmp_path: Path) -> str:
    (log,) = (tmp_path / "w").glob("install_*.log")
    return log.name


def test_an_installer_that_hangs_is_ended_with_its_children(tmp_path):
    root = a_project(tmp_path / "p")
    (root / "my-package/setup.py").write_text(
        f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(1000)\n"
    )
    with pytest.raises(Timeout, match="pip has not ended in time"):
        prepare(str(root), tmp_path / "w", installer="pip", install_timeout=8)
    if (tmp_path / "pid").exists():
        from flamepy.core.server_program import is_running

        assert not is_running(int((tmp_path / "pid").read_text()))


def test_a_package_of_ours_has_its_sources_at_the_root_whatever_lies_below(tmp_path):
    archive = pack(a_project(tmp_path / "p"), tmp_path / "app.zip")
    package = prepare(str(archive), tmp_path / "w")
    assert package.paths == [str(package.root)]


def test_missing_requirements():
    assert _missing(["pyarrow>=18", "cloudpickle; python_version < '3'", "no-such-thing"]) == [
        "no-such-thing"
    ]
    assert _missing(["pyarrow>=1000"]) == ["pyarrow>=1000"]


class _Handler(http.server.BaseHTTPRequestHandler):
    files: dict[str, bytes] = {}  # noqa: RUF012
    release = threading.Event()

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].lstrip("/")
        if name.startswith("to-"):
            self.send_response(302)
            target = {"to-file.zip": "file:///etc/hostname", "to-app.zip": "/app.zip"}[name]
            self.send_header("Location", target)
            self.end_headers()
            return
        data = self.files.get(name)
        if data is None:
            self.send_error(404)
            return
        self.send_response(200)
        if not name.startswith("stream"):
            more = name.startswith(("short", "stall"))
            self.send_header("Content-Length", str(len(data) + more))
        self.end_headers()
        self.wfile.write(data)
        if name.startswith("stall"):
            self.wfile.flush()
            self.release.wait(30)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[str]:
    """A web server; its files are `_Handler.files`."""
    _Handler.files, _Handler.release = {}, threading.Event()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        _Handler.release.set()
        server.shutdown()


def test_fetching_over_http(project, tmp_path, web):
    data = pack(project, tmp_path / "app.zip").read_bytes()
    _Handler.files.update({"app.zip": data, "stream.zip": data, "a b/my app.zip": data})
    work = tmp_path / "w"
    for name in ("app.zip", "to-app.zip", "stream.zip", "app.zip?token=1"):
        assert set(everything(prepare(f"{web}/{name}", work).root)) == WANTED
    digest = hashlib.sha256(data).hexdigest()
    package = prepare(f"{web}/app.zip#sha256={digest}", work)
    _Handler.files.clear()
    assert prepare(f"{web}/app.zip#sha256={digest}", work) == package  # Known: not asked again.
    assert not list(work.glob(".fetch*"))


def test_what_can_go_wrong_over_http(project, tmp_path, web):
    data = pack(project, tmp_path / "app.zip").read_bytes()
    names = ("app.zip", "short.zip", "stall.zip", "stream.zip", "app.exe")
    _Handler.files.update(dict.fromkeys(names, data))
    small = Limits(archive_bytes=100)
    work = tmp_path / "w"
    for name, error, why, options in (
        ("gone.zip", NotFound, "no such file", {}),
        ("short.zip", Unavailable, r"after \d+ of \d+ bytes", {}),
        ("stall.zip", Timeout, "nothing came for|are over", {"fetch_timeout": 1.0}),
        ("to-file.zip", Unavailable, "302", {}),
        ("app.exe", PackageError, "must end in one of", {}),
        ("app.zip", UnsafePackage, "at most 100 B", {"limits": small}),
        ("stream.zip", UnsafePackage, "at most 100 B", {"limits": small}),
        ("app.zip#sha256=00", PackageError, "not the one in the URL", {}),
    ):
        with pytest.raises(error, match=why):
            prepare(f"{web}/{name}", work, **options)
    assert list(work.iterdir()) == []
    with pytest.raises(Unavailable, match="check the address"):
        prepare("http://127.0.0.1:9/app.zip", work)
    with pytest.raises(InvalidConfig, match="packages come from"):
        prepare("ftp://127.0.0.1/app.zip", work)


def test_files(project, tmp_path):
    archive = pack(project, tmp_path / "with space.zip")
    url = f"file://{str(archive).replace(' ', '%20')}"
    assert prepare(url, tmp_path / "w", roots=[tmp_path]).root.name.startswith(
        "extracted_with-space-"
    )
    with pytest.raises(UnsafePackage, match="below none of the directories"):
        prepare(url, tmp_path / "w", roots=[tmp_path / "w"])
    with pytest.raises(NotFound, match="no package at"):
        prepare("file:///nonexistent.zip", tmp_path / "w")
    with pytest.raises(PackageError, match="names the host"):
        prepare("file://host/a.zip", tmp_path / "w")
    with pytest.raises(PackageError, match="must end in one of"):
        prepare(str(project / "notes.md"), tmp_path / "w")


def test_fetching_from_the_cache(client, project, tmp_path):
    archive = pack(project, tmp_path / "my app.tar.gz")
    flamepy.upload_object("app/pkg/my app.tar.gz", archive)
    package = prepare(f"{client.endpoint}/app/pkg/my%20app.tar.gz", tmp_path / "w")
    assert set(everything(package.root)) == WANTED
    with pytest.raises(UnsafePackage, match="at most 10 B"):
        prepare(
            f"{client.endpoint}/app/pkg/my%20app.tar.gz",
            tmp_path / "w",
            limits=Limits(archive_bytes=10),
        )
    with pytest.raises(NotFound):
        prepare(f"{client.endpoint}/app/pkg/gone.tar.gz", tmp_path / "w")
    with pytest.raises(PackageError, match="not of the form"):
        prepare("grpc://host/gone.tar.gz", tmp_path / "w")


def test_the_command_line(project, tmp_path):
    archive = pack(project, tmp_path / "app.zip")
    command = [sys.executable, "-m", "flamepy.runner.packages", "--directory", str(tmp_path / "w")]
    done = subprocess.run([*command, str(archive)], capture_output=True, text=True, check=True)
    (path,) = done.stdout.split()
    assert (Path(path) / "my_module").is_dir()
    assert "unpacked app.zip" in done.stderr
    options = ["--environment", "python", str(archive)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == f"PYTHONPATH={path}"
    done = subprocess.run([*command, "file:///gone.zip"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "NotFound: there is no package" in done.stderr


def test_the_environment_of_programs(tmp_path):
    for path in ("bin/tool", "lib/libx.so", "libs/liby.so", "pyproject.toml"):
        file = tmp_path / "source" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    package = prepare(str(tmp_path / "source"), tmp_path / "w", only_unpack=True)
    assert package.dependencies is None
    root = package.root
    assert environment(package, binary=True) == {
        "FLAME_APP_DIR": str(root),
        "PATH": f"{root}/bin:{root}",
        "LD_LIBRARY_PATH": f"{root}/libs:{root}/lib",
    }


def test_the_environment_of_an_installed_project(tmp_path):
    root = tmp_path / "extracted_x"
    installed = tmp_path / "installed_x"
    for path in ("bin/tool", "pkg/a/b/libx.so", "pkg/a/b/c/d/liby.so.1"):
        (installed / path).parent.mkdir(parents=True, exist_ok=True)
        (installed / path).touch()
    root.mkdir()
    assert environment(Package(root, root, installed)) == {
        "PYTHONPATH": f"{installed}:{root}",
        "PATH": f"{installed}/bin",
        "LD_LIBRARY_PATH": f"{installed}/pkg/a/b",
        "FLAME_PYTHON_VERSION": f"{sys.version_info[0]}.{sys.version_info[1]}",
    }
