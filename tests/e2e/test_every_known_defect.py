"""Every known defect of the existing cache has a test that is named after it."""

import re
from pathlib import Path

import pytest

# A13 (no authentication) and D12 (replicas behind one name) are no defects of one server.
# F is tested with the SDK.
TESTED = {
    "a": range(1, 13),
    "b": range(1, 6),
    "c": range(1, 15),
    "d": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14],
    "e": range(1, 8),
}


def test_every_known_defect_has_a_test_named_after_it():
    tests = Path(__file__).parents[1]
    source = "\n".join(path.read_text() for path in tests.rglob("test_*.py"))
    named = set(re.findall(r"^def test_([a-e]\d+)_", source, re.M))
    wanted = {f"{part}{number}" for part, numbers in TESTED.items() for number in numbers}
    assert wanted - named == set()


def test_every_nightly_test_is_in_the_list():
    """And nothing else is left out of CI."""
    tests = Path(__file__).parents[1]
    mark = re.compile(r"@pytest\.mark\.nightly\n(?:@.*\n)*def (test_\w+)")
    marked = {
        f"{path.relative_to(tests)}::{name}"
        for path in tests.rglob("test_*.py")
        for name in mark.findall(path.read_text())
    }
    listed = set(
        re.findall(r"^\| `([^`]+\.py::[^`]+)` \|", (tests / "NIGHTLY.md").read_text(), re.M)
    )
    assert marked == listed


@pytest.mark.parametrize("name", ["docs/status.md", "docs/operating/session-failures.md"])
def test_the_pages_that_name_tests_name_those_that_exist(name):
    root = Path(__file__).parents[2]
    page = (root / name).read_text()
    path = None
    for file, test in re.findall(r"`((?:python/)?tests/[\w/]+\.py)?(?:::(test_\w+))?`", page):
        if not file and not test:
            continue
        path = root / file if file else path
        assert path.exists(), f"{name}: {path}"
        assert not test or f"def {test}(" in path.read_text(), f"{name}: {path}::{test}"
