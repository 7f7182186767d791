"""Checks that every relative link and every named path in the Markdown files leads somewhere, and that every `make`
target that they name exists. Exit code 1 and a line per dead one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def dead_links():
    tracked = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    for name in tracked:
        text = (ROOT / name).read_text()
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
            if "://" not in target and not ((ROOT / name).parent / target).exists():
                yield f"{name}: dead link {target}"
        for target in re.findall(
            r"`((?:docs|src|tools|tests|bench|examples|deploy|python)/[\w./-]+)`", text
        ):
            if not (ROOT / target).exists():
                yield f"{name}: no such path {target}"
        for target in re.findall(r"`make ([a-z0-9-]+)", text):
            if target not in TARGETS:
                yield f"{name}: no such target 'make {target}'"


def main() -> int:
    found = sorted(set(dead_links()))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
