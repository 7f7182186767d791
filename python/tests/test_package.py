"""The package as such: what importing it costs, and which Pythons can."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import typing
from pathlib import Path

import flamepy
import pytest

SOURCES = sorted(Path(flamepy.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_f9_every_module_is_python_3_9(source):
    tree = ast.parse(source.read_text(), feature_version=(3, 9))
    annotated = any(isinstance(node, (ast.AnnAssign, ast.arg)) for node in ast.walk(tree))
    futures = {
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for alias in node.names
    }
    assert "annotations" in futures or not annotated
    assert not any(isinstance(node, ast.Match) for node in ast.walk(tree))
    assert not list(unions_at_run_time(tree))


def unions_at_run_time(tree: ast.AST):
    """`X | None` and `X | str` outside of annotations."""
    annotations = {
        id(inner)
        for node in ast.walk(tree)
        for field in ("annotation", "returns")
        if isinstance(getattr(node, field, None), ast.AST)
        for inner in ast.walk(getattr(node, field))
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            names = {
                getattr(side, "id", getattr(side, "value", 0)) for side in (node.left, node.right)
            }
            if id(node) not in annotations and names & {None, "str", "int", "bytes", "float"}:
                yield node


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_f9_annotations_can_be_evaluated_by_python_3_9(source):
    """`typing.get_type_hints` evaluates them, and Python 3.9 knows no `X | Y` of types."""
    for node in ast.walk(ast.parse(source.read_text())):
        for field in ("annotation", "returns"):
            hint = getattr(node, field, None)
            if isinstance(hint, ast.AST):
                assert not any(isinstance(part, ast.BitOr) for part in ast.walk(hint)), hint.lineno


@pytest.mark.parametrize("owner", [flamepy.Client, flamepy.aio.AsyncClient, flamepy.ObjectInfo])
def test_type_hints_can_be_evaluated(owner):
    assert typing.get_type_hints(owner) is not None
    for name, member in inspect.getmembers(owner, inspect.isfunction):
        assert name in ("__init__",) or typing.get_type_hints(member) is not None


def test_importing_is_lean():
    code = (
        "import sys, flamepy, flamepy.cache; "
        "print(*{'asyncio', 'pandas', 'polars', 'rich', 'torch', 'hypothesis', 'pytest'} & set(sys.modules))"
    )
    path = str(Path(flamepy.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_numpy_pandas_and_polars_are_optional():
    code = """
import sys
sys.modules.update(dict.fromkeys(("numpy", "pandas", "polars")))
import flamepy, pyarrow as pa
from flamepy.core import native, payload
table = pa.Table.from_arrays([pa.array([1, 2])], ["a"])
data = native.classify(table)
schema = data.schema.with_metadata(
    {**data.schema.metadata, b"flame.cache.logical_type": b"pandas.dataframe"}
)
assert native.decode(native.NativeData(schema, data.batches)).equals(table)
assert payload.decode(b"".join(payload.encode({"a": [1]}))) == {"a": [1]}
"""
    path = str(Path(flamepy.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr


def test_the_package_is_typed():
    assert (Path(flamepy.__file__).parent / "py.typed").exists()


@pytest.mark.parametrize("name", flamepy.__all__)
def test_public_names_are_documented(name):
    member = getattr(flamepy, name)
    if callable(member):
        assert member.__doc__, name
