"""Keys: the grammar, and what stock code expects of ObjectKey."""

from __future__ import annotations

import pytest
from flamepy import InvalidKey, ObjectKey


@pytest.mark.parametrize("text", ["a/b", "a/b/c", "a/*", "a*/b", "a/b/c:7", "a/b c/ü", ".x/y"])
def test_valid_keys_read_back_as_they_were(text):
    assert str(ObjectKey.from_path(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a/",
        "/a",
        "a//c",
        "a/b/c/d",
        "a/.",
        "./b",
        "a/b/..",
        "a/b..c",
        "a\\b/c",
        "a/b\n",
        "a/b\x00",
        "*/b",
        "a/*/c",
        "a/b/*",
        ".flame/x",
        "a/" + "x" * 241,
        "a/" + "é" * 121,
        "a/\ud800",
    ],
)
def test_invalid_keys_are_value_errors(text):
    with pytest.raises(InvalidKey) as caught:
        ObjectKey.from_path(text)
    assert isinstance(caught.value, ValueError)


def test_240_bytes_are_allowed():
    assert ObjectKey.from_path("a/" + "é" * 120)


@pytest.mark.parametrize("key", [None, 7, b"a/b"])
def test_other_types_are_invalid_keys(key):
    with pytest.raises(InvalidKey):
        ObjectKey.from_path(key)


def test_prefix_and_key_are_told_apart():
    with pytest.raises(ValueError, match="prefix"):
        ObjectKey.from_prefix("a/b/c")
    with pytest.raises(ValueError, match="object key"):
        ObjectKey.from_key("a/b")
    assert ObjectKey.from_key("a/b/c").to_prefix() == "a/b"
    assert ObjectKey.from_prefix("a/b").to_key() is None


def test_generated_ids_are_new():
    prefix = ObjectKey.from_prefix("a/b")
    first, second = prefix.with_generated_id(), prefix.with_generated_id()
    assert first != second
    assert prefix.matches_key(str(first))


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [("a/b", {"a/b/c", "a/b/d"}), ("a/*", {"a/b/c", "a/b/d", "a/bb/c"}), ("a/b/c", {"a/b/c"})],
)
def test_matches_key(pattern, matching):
    keys = {"a/b/c", "a/b/d", "a/bb/c", "ab/b/c", "a/b", "a/b/", "a/b/c/d", "x"}
    assert {key for key in keys if ObjectKey.from_path(pattern).matches_key(key)} == matching
