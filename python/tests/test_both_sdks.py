"""Our SDK and the published one behave the same: as clients and as workers, in any mixture."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import flamepy
import pytest
from flamepy.core.sessions import connect
from harness.server import ROOT
from session_manager import SessionManager

_STOCK = Path(os.environ.get("FLAME_STOCK_PYTHON") or ROOT / ".venv/conformance/bin/python")
_SDK = str(Path(flamepy.__file__).parents[1])
_SUITE = ROOT / "tests/conformance/runner_suite.py"
_PYTHONS = {"ours": Path(sys.executable), "published": _STOCK}

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def manager(server, tmp_path_factory) -> Iterator[SessionManager]:
    """The real session manager, with a template for workers of each SDK."""
    yield from _manager(server, tmp_path_factory)


@pytest.fixture(scope="module")
def strict_manager(server, tmp_path_factory) -> Iterator[SessionManager]:
    """The same, as the existing server answers."""
    yield from _manager(server, tmp_path_factory, "--strict-upstream")


def _manager(server, tmp_path_factory, *arguments: str) -> Iterator[SessionManager]:
    assert _STOCK.exists(), f"no flamepy 0.6 at {_STOCK}: run tools/setup"
    with SessionManager(tmp_path_factory.mktemp("sm"), server.endpoint, *arguments) as running:
        with connect(running.address) as connection:
            for name, python in _PYTHONS.items():
                template = {
                    "command": str(python),
                    "arguments": ["-m", "flamepy.runner.runpy"],
                    "environments": {"PYTHONPATH": _SDK if name == "ours" else ""},
                }
                connection.register_application(f"workers-{name}", template)
                connection.register_application(
                    f"installed-{name}", {**template, "installer": "python"}
                )
        yield running


def environment(which: str, template: str, manager: SessionManager, server, home: Path) -> dict:
    """A process of one SDK, configured."""
    (home / ".flame").mkdir(parents=True, exist_ok=True)
    (home / ".flame/flame.yaml").write_text(
        "current-context: test\ncontexts:\n  - name: test\n"
        f"    cluster: {{endpoint: '{manager.address}'}}\n"
        f"    cache: {{endpoint: '{server.endpoint}'}}\n"
        f"    runner: {{template: {template}}}\n"
    )
    found = {
        k: v for k, v in os.environ.items() if not k.startswith("FLAME_") and k != "PYTHONPATH"
    }
    found.update(HOME=str(home), FLAME_EMBEDDED="0", FLAME_ENDPOINT=manager.address)
    found.update(FLAME_CACHE_ENDPOINT=server.endpoint)
    if which == "ours":
        found["PYTHONPATH"] = _SDK
    return found


@pytest.mark.slow
@pytest.mark.parametrize("worker", _PYTHONS)
@pytest.mark.parametrize("caller", _PYTHONS)
def test_the_shared_suite(caller, worker, manager, server, tmp_path):
    done = subprocess.run(
        [_PYTHONS[caller], _SUITE],
        env=environment(caller, f"workers-{worker}", manager, server, tmp_path),
        capture_output=True,
        text=True,
        timeout=280,
    )
    print(done.stdout, done.stderr[-3000:], manager.log()[-3000:])
    assert done.returncode == 0
    assert done.stdout.count("ok test_") == 13


@pytest.mark.slow
@pytest.mark.parametrize("which", _PYTHONS)
def test_the_acceptance_run_as_the_existing_server_answers(which, strict_manager, server, tmp_path):
    done = subprocess.run(
        [_PYTHONS[which], "-m", "flamepy.runner.e2e"],
        env=environment(which, "installed-ours", strict_manager, server, tmp_path),
        capture_output=True,
        text=True,
        timeout=280,
        cwd=tmp_path,
    )
    print(done.stdout, done.stderr[-3000:])
    assert done.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("template", ["installed-ours", "installed-published", "workers-ours"])
@pytest.mark.parametrize("caller", _PYTHONS)
def test_the_acceptance_run_of_each_sdk(caller, template, manager, server, tmp_path):
    """The published workers leave packages to the manager."""
    done = subprocess.run(
        [_PYTHONS[caller], "-m", "flamepy.runner.e2e"],
        env=environment(caller, template, manager, server, tmp_path),
        capture_output=True,
        text=True,
        timeout=280,
        cwd=tmp_path,
    )
    print(done.stdout, done.stderr[-3000:])
    assert done.returncode == 0
