"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import flamepy
import pytest

MODULES = ["flamepy"] + [m.name for m in pkgutil.walk_packages(flamepy.__path__, "flamepy.")]


@pytest.mark.parametrize("module", MODULES)
def test_examples(module):
    result = doctest.testmod(importlib.import_module(module))
    assert result.failed == 0
