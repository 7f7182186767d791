"""Installs an unpacked project, or nothing if there is nothing to install.

uv is used where it is there, pip otherwise. The network is used only when something has to be
downloaded: a project is first built with what this Python has, without an index; then what it
depends on is brought, unless this Python has that already.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from flamepy.core.errors import Timeout
from flamepy.runner.errors import InstallFailed
from flamepy.runner.metadata import generated_dependencies
from flamepy.runner.reporting import Report

__all__ = ["importable", "install"]

_TAIL_BYTES = 4000


def importable(project: Path) -> list[Path]:
    """Where a project's modules lie in its sources."""
    source = project / "src"
    has_layout = source.is_dir() and not (source / "__init__.py").exists()
    return [source, project] if has_layout else [project]


def install(
    project: Path,
    target: Path,
    log: Path,
    *,
    timeout: float,
    report: Report,
    installer: Optional[str] = None,
) -> bool:
    """Install `project` and what it depends on into the directory `target`.

    Parameters
    ----------
    project : Path
        A directory with metadata; building may leave files in it.
    target : Path
        Exists, and is empty.
    log : Path
        Gets what the installer says.
    timeout : float
        Seconds for all of it; the installer's processes are ended then.
    installer : {"uv", "pip"}, optional
        By default uv, if it is on the PATH or in ``$FLAME_HOME/bin``.

    Returns
    -------
    bool
        Whether anything was installed: False when the sources are enough.

    Raises
    ------
    InstallFailed
        With the end of the log.
    Timeout
    """
    end = time.monotonic() + timeout
    wanted = generated_dependencies(project)
    if wanted is not None:
        missing = _missing(wanted)
        if not missing:
            report.line("%s: nothing to install, its sources are enough", project.name)
            return False
        _Installer(installer, target, log, end, report).requirements(missing)
        return True
    run = _Installer(installer, target, log, end, report)
    if run.build_offline(project):
        missing = _missing(_requires(target))
        if missing:
            run.requirements(missing)
    else:
        run.project(project)
    return True


class _Installer:
    """One installation with uv or pip."""

    def __init__(
        self, name: Optional[str], target: Path, log: Path, end: float, report: Report
    ) -> None:
        self._target = target
        self._log = log
        self._end = end
        self._report = report
        uv = None if name == "pip" else _find_uv()
        has_pip = importlib.util.find_spec("pip") is not None
        if uv is None and (name == "uv" or not has_pip):
            raise InstallFailed(
                f"cannot install {target.name}: there is no {name or 'uv, and no pip in this Python'}"
            )
        self._name = "uv" if uv else "pip"
        self._command = (
            [uv, "pip", "install", "--python", sys.executable, "--link-mode", "copy"]
            if uv
            else [
                *(sys.executable, "-m", "pip", "install", "--disable-pip-version-check"),
                *("--no-input", "--no-warn-script-location"),
            ]
        )

    def build_offline(self, project: Path) -> bool:
        """Build with what is here; False if that is not enough."""
        options = ["--no-build-isolation", "--no-deps", "--no-index"]
        if self._name == "uv":
            options.append("--offline")
        return self._run([*options, str(project)]) == 0

    def project(self, project: Path) -> None:
        """Build and install with all that is needed for it, from the index."""
        self._must([str(project)], f"install {project.name}")

    def requirements(self, wanted: Sequence[str]) -> None:
        """Install requirements from the index."""
        self._must(["--", *wanted], f"install {', '.join(wanted)}")

    def _must(self, arguments: list[str], what: str) -> None:
        code = self._run(arguments)
        if code != 0:
            tail = _tail(self._log)
            raise InstallFailed(
                f"{what}: {self._name} ended with {code}; its log ends in:\n{tail}", tail
            )

    def _run(self, arguments: list[str]) -> int:
        command = [*self._command, "--target", str(self._target), *arguments]
        self._report.line("install: %s", " ".join(command))
        with open(self._log, "ab") as log:
            log.write(f"$ {' '.join(command)}\n".encode())
            log.flush()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._target.parent,
                start_new_session=True,
            )
            try:
                return process.wait(max(0.1, self._end - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise Timeout(
                    f"install into {self._target.name}: {self._name} has not ended in time; its "
                    f"log ends in:\n{_tail(self._log)}"
                ) from None
            finally:
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


def _find_uv() -> Optional[str]:
    home = os.environ.get("FLAME_HOME")
    if home:
        path = os.path.join(home, "bin", "uv")
        if os.access(path, os.X_OK):
            return path
    return shutil.which("uv")


def _requires(target: Path) -> list[str]:
    """What the distributions in `target` depend on, extras left out."""
    import importlib.metadata

    return [
        requirement
        for distribution in importlib.metadata.distributions(path=[str(target)])
        for requirement in distribution.requires or ()
        if not re.search(r";.*\bextra\s*==", requirement)
    ]


def _missing(requirements: Sequence[str]) -> list[str]:
    """Those that this Python does not satisfy; all of them if nothing here can tell."""
    if not requirements:
        return []
    try:
        from packaging.requirements import Requirement
    except ImportError:
        try:
            from pip._vendor.packaging.requirements import Requirement  # type: ignore
        except ImportError:
            return list(requirements)
    import importlib.metadata

    missing = []
    for text in requirements:
        try:
            requirement = Requirement(text)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            version = importlib.metadata.version(requirement.name)
            satisfied = not requirement.url and not requirement.extras
            if satisfied and requirement.specifier.contains(version, prereleases=True):
                continue
        except (ValueError, importlib.metadata.PackageNotFoundError):
            pass
        missing.append(text)
    return missing


def _tail(log: Path) -> str:
    with open(log, "rb") as file:
        file.seek(max(0, os.path.getsize(log) - _TAIL_BYTES))
        return file.read().decode("utf-8", "replace").strip()
