"""flame-uv, which runs services where no uv is installed: which Python it takes, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness.session_manager import BINARY

UV = BINARY.parent / "flame-uv"
VERSION = "{}.{}.{}".format(*sys.version_info[:3])
MINOR = VERSION.rpartition(".")[0]


def launch(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """With nothing in the environment but what is said here."""
    return subprocess.run(
        [UV, *arguments], env=environment, capture_output=True, text=True, timeout=60
    )


def python_in(folder: Path, name: str = "python3", program: str = sys.executable) -> str:
    """A folder for the PATH with a Python under that name; a link would not be in its environment."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / name
    script.write_text(f'#!/bin/sh\nexec "{program}" "$@"\n')
    script.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize("version", ["python", "python3", f"python{MINOR}", MINOR, VERSION])
def test_a_python_of_the_path(version, tmp_path):
    done = launch(
        *("run", "--python", version, "python", "-c", "import sys; print(sys.argv[1:])", "a", "b"),
        PATH=python_in(tmp_path),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "['a', 'b']\n", "")


def test_an_unset_version_is_any(tmp_path):
    literal = ["run", "--python", "python${FLAME_PYTHON_VERSION}", "python", "-c", "print(1)"]
    assert launch(*literal, PATH=python_in(tmp_path)).stdout == "1\n"


def test_flame_python_comes_before_the_path(tmp_path):
    shown = launch(
        *("run", "--python", "python", "python", "-c", "import os; print(os.environ['PATH'])"),
        PATH=python_in(tmp_path / "path"),
        FLAME_PYTHON=python_in(tmp_path / "named") + "/python3",
    )
    assert shown.stdout.split(":")[0] == str(tmp_path / "named")


def test_a_python_without_the_sdk_is_passed_over(tmp_path):
    without = tmp_path / "without"
    python_in(without)
    script = without / "python3"
    script.write_text(script.read_text().replace('"$@"', '-I -S "$@"'))
    path = f"{without}:{python_in(tmp_path / 'with')}"
    done = launch("run", "-p", "python", "python", "-c", "print('ran')", PATH=path)
    assert done.stdout == "ran\n"

    done = launch("run", "-p", "python", "python", "-c", "print('ran')", PATH=str(without))
    assert done.returncode == 1
    assert f"{without}/python3 ({VERSION}) cannot import flamepy and grpc" in done.stderr


def test_the_sdk_may_lie_in_flame_home(tmp_path):
    packages = tmp_path / "home" / "lib" / f"python{MINOR}" / "site-packages"
    for module in ("flamepy", "grpc"):
        (packages / module).mkdir(parents=True)
        (packages / module / "__init__.py").touch()
    folder = tmp_path / "bare"
    python_in(folder)
    script = folder / "python3"
    script.write_text(script.read_text().replace('"$@"', '-S "$@"'))
    done = launch(
        *("run", "--python=python", "python", "-c", "import flamepy; print(flamepy.__file__)"),
        PATH=str(folder),
        FLAME_HOME=str(tmp_path / "home"),
    )
    assert done.stdout.strip() == str(packages / "flamepy" / "__init__.py"), done.stderr


def test_other_commands_are_those_beside_the_python(tmp_path):
    folder = Path(python_in(tmp_path))
    (folder / "tool").write_text("#!/bin/sh\necho tool $1\n")
    (folder / "tool").chmod(0o755)
    done = launch("run", "tool", "x", PATH="/nowhere", FLAME_PYTHON=str(folder / "python3"))
    assert done.stdout == "tool x\n"


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ([], 2, "there is no command"),
        (["sync"], 2, "unknown command sync"),
        (["run"], 2, "run lacks a command"),
        (["run", "--with", "numpy", "python"], 2, "run does not know --with"),
        (["run", "--python"], 2, "--python lacks its value"),
        (["run", "--python", ">=3.9", "python"], 2, "neither a version of Python 3"),
        (["run", "--python", "2.7", "python"], 2, "neither a version of Python 3"),
        (["run", "--python", "3.99", "python"], 1, f"python3 is Python {VERSION}"),
        (["run", "no-such-program"], 1, "there is no program 'no-such-program'"),
        (["pip", "install", "."], 2, "pip install lacks --target"),
        (["pip", "install", "--target", "x"], 2, "pip install lacks a project"),
        (["pip", "install", "--system", "."], 2, "pip install does not know --system"),
    ],
)
def test_what_it_does_not_do_is_a_clear_error(arguments, code, reason, tmp_path):
    done = launch(*arguments, PATH=python_in(tmp_path))
    assert done.returncode == code
    assert done.stderr.startswith("flame-uv: ")
    assert reason in done.stderr
    assert ("install uv" in done.stderr) == (code == 2)


def test_a_project_is_installed_into_a_folder(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "shipped.py").write_text("answer = 42\n")
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "shipped"\nversion = "1"\n[tool.setuptools]\npy-modules = ["shipped"]\n'
    )
    target = tmp_path / "deps"
    done = subprocess.run(
        [
            *(UV, "pip", "install", "--link-mode=copy", "--python", f"python{MINOR}"),
            *("--no-build-isolation", "--no-index", "--target", str(target), "."),
        ],
        env={"PATH": "/usr/bin:/bin", "FLAME_PYTHON": sys.executable, "HOME": str(tmp_path)},
        cwd=project,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    code = "import json, shipped; print(json.dumps(shipped.answer))"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
    )
    assert json.loads(ran.stdout) == 42
