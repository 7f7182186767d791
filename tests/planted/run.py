"""The test of the tests: defects planted on purpose must be found by the harness that is there for them.

    tests/planted/run.py            all of them, one after the other, and a table
    tests/planted/run.py NAME...    some of them
    tests/planted/run.py --check    only whether every patch still applies

Each *.patch beside this file is a small defect with a head of four lines: what it is, which harness
must find it, what that shows then (a regular expression), and within how many seconds. The patch is
applied to a copy of the tree in build-planted/, which is built and given to the harness; a harness
that draws its cases at random is run again until the time is over. A patch that does not apply any
more is an error: mend it, or the defect can't be planted and nobody would know whether it is found.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TREE = ROOT / "build-planted/tree"

_PYTEST = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
HARNESSES = {
    "model": (
        "cache_test",
        [str(TREE / "build/bin/cache_test"), "--gtest_filter=CacheModelTest*"],
    ),
    "faults": (
        "cache_test",
        [str(TREE / "build/bin/cache_test"), "--gtest_filter=Fault*:*/Fault*"],
    ),
    "linear": (
        "flame-object-cache",
        [*_PYTEST, "tests/fault/test_linearizability.py", "-k", "order or eight"],
    ),
    "kill9": ("flame-object-cache", [*_PYTEST, "tests/fault/test_kill9.py", "-k", "20_kills"]),
    "sdk": ("flame-object-cache", [*_PYTEST, "tests/model"]),
    "tasks": (
        "flame-session-manager flmexec-service",
        [*_PYTEST, "tests/e2e_sessions/test_session_kills.py", "-k", "20_kills"],
    ),
}


@dataclass(frozen=True)
class Planted:
    name: str
    bug: str
    harness: str
    shows: str
    budget: int
    patch: Path

    @classmethod
    def read(cls, patch: Path) -> Planted:
        head = patch.read_text().split("\n--- ", 1)[0]
        fields = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
        harness = fields["Found-by"]
        assert harness in HARNESSES, f"{patch.name}: no harness is called {harness}"
        return cls(
            patch.stem, fields["Bug"], harness, fields["Shows"], int(fields["Budget"]), patch
        )


def planted(names: list[str]) -> list[Planted]:
    found = [Planted.read(patch) for patch in sorted(HERE.glob("*.patch"))]
    unknown = set(names) - {bug.name for bug in found}
    if unknown:
        sys.exit(f"no such patch: {', '.join(sorted(unknown))}")
    return [bug for bug in found if not names or bug.name in names]


def apply(patch: Path, tree: Path, *options: str) -> None:
    """As `git apply`, outside of any repository."""
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}
    done = subprocess.run(
        ["git", "apply", *options, str(patch)],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise AssertionError(f"{patch.name} does not apply; mend it:\n{done.stderr}")


def copy_tree() -> None:
    """Bring the copy up to date; files that have not changed keep their times."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    names = [name for name in listed.stdout.decode().split("\0") if name]
    for name in names:
        source, target = ROOT / name, TREE / name
        if not source.exists():
            continue
        if target.exists() and source.read_bytes() == target.read_bytes():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    if not (TREE / ".venv").exists():
        (TREE / ".venv").symlink_to(ROOT / ".venv")


def build(targets: str) -> None:
    done = subprocess.run(
        ["tools/build", "release", *targets.split()], cwd=TREE, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise AssertionError(f"the tree does not build with it:\n{done.stdout[-3000:]}")


def find(bug: Planted) -> tuple[bool, str]:
    """Run the harness until it fails as it should, or the time is over."""
    _, command = HARNESSES[bug.harness]
    programs = TREE / "build/bin"
    environment = {
        **os.environ,
        "FLAME_SERVER": str(programs / "flame-object-cache"),
        "FLAME_SESSION_MANAGER": str(programs / "flame-session-manager"),
    }
    deadline = time.monotonic() + bug.budget
    runs = 0
    while time.monotonic() < deadline:
        runs += 1
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, errors="replace"
        )
        output = done.stdout + done.stderr
        if done.returncode != 0:
            if re.search(bug.shows, output):
                return True, ""
            return False, f"it failed with something else:\n{output[-3000:]}"
    return False, f"not found in {runs} runs"


def main() -> int:
    arguments = sys.argv[1:]
    check_only = "--check" in arguments
    bugs = planted([name for name in arguments if not name.startswith("--")])
    failed = []
    if check_only:
        for bug in bugs:
            apply(bug.patch, ROOT, "--check")
        print(f"{len(bugs)} patches apply")
        return 0
    copy_tree()
    print(f"{'planted':<44} {'harness':<8} {'build':>6} {'found':>6} {'budget':>6}", flush=True)
    for bug in bugs:
        why, found, built, took = "", False, 0.0, 0.0
        started = time.monotonic()
        apply(bug.patch, TREE)
        try:
            build(HARNESSES[bug.harness][0])
            built = time.monotonic() - started
            started = time.monotonic()
            found, why = find(bug)
            took = time.monotonic() - started
        except AssertionError as error:
            why = str(error)
        finally:
            apply(bug.patch, TREE, "--reverse")
        shown = f"{took:5.0f}s" if found else "   NO"
        print(
            f"{bug.name:<44} {bug.harness:<8} {built:5.0f}s {shown:>6} {bug.budget:5}s", flush=True
        )
        if not found:
            failed.append(bug.name)
            print(why, flush=True)
    print(f"{len(bugs) - len(failed)} of {len(bugs)} found")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
