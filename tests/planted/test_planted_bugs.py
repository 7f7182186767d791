"""Planted defects: every patch applies (CI), and every one is found (nightly, `make planted`)."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import run

BUGS = run.planted([])


def test_there_are_enough_of_them():
    assert len(BUGS) >= 8
    assert {bug.harness for bug in BUGS} >= {"model", "faults", "linear", "kill9"}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_patch_applies(bug):
    run.apply(bug.patch, run.ROOT, "--check")
