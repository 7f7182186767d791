"""Local mode: objects put as files into the server's directory."""

from __future__ import annotations

import os

import flamepy
import numpy as np
import pyarrow as pa
import pytest


@pytest.fixture(scope="module")
def shared(start_server):
    """A server that stores in a directory of this host."""
    return start_server("fs")


@pytest.fixture(autouse=True)
def local(shared, home, monkeypatch):
    monkeypatch.setenv("FLAME_CACHE_ENDPOINT", shared.endpoint)
    monkeypatch.setenv("FLAME_CACHE_STORAGE", str(shared.storage_dir))


@pytest.mark.parametrize(
    "obj",
    [{"a": 1}, np.arange(100_000.0), pa.table({"a": [1, 2]}), pa.table({}), [np.zeros(9000)], b""],
    ids=repr,
)
def test_objects_come_back(shared, obj):
    ref = flamepy.put_object("app/local", obj)
    assert (shared.storage_dir / f"{ref.key}.arrow").exists()
    assert ref.version >= 1
    assert ref.endpoint == shared.endpoint
    result = flamepy.get_object(ref)
    assert np.array_equal(result, obj) if isinstance(obj, np.ndarray) else repr(result) == repr(obj)
    assert flamepy.update_object(ref, 2).version == ref.version + 1


def test_a_column_with_several_dictionaries_goes_over_the_network(shared):
    chunks = [pa.array([text]).dictionary_encode() for text in "ab"]
    table = pa.table({"d": pa.chunked_array(chunks)})
    assert flamepy.get_object(flamepy.put_object("app/local", table)).equals(table)


def test_a_storage_url_means_its_path(shared, monkeypatch):
    monkeypatch.setenv("FLAME_CACHE_STORAGE", f"fs://{shared.storage_dir}")
    ref = flamepy.put_object("app/local", 1)
    assert (shared.storage_dir / f"{ref.key}.arrow").exists()


def test_f12_a_directory_that_is_not_the_servers_is_an_error(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setenv("FLAME_CACHE_STORAGE", str(elsewhere))
    with pytest.raises(flamepy.InvalidConfig, match="FLAME_CACHE_STORAGE"):
        flamepy.put_object("app/local", 1)
    assert not any(files for _, _, files in os.walk(elsewhere))


@pytest.mark.parametrize("value", ["none", ""])
def test_no_storage_means_the_network(shared, tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLAME_CACHE_STORAGE", value)
    flamepy.put_object("app/local", 1)
    assert os.listdir(tmp_path) == ["home"]


def test_a_directory_that_cannot_be_made_means_the_network(shared, monkeypatch, caplog):
    monkeypatch.setenv("FLAME_CACHE_STORAGE", "/proc/no/such/directory")
    assert flamepy.get_object(flamepy.put_object("app/local", 1)) == 1
    assert "/proc/no/such/directory" in caplog.text


def test_wildcards_are_refused():
    with pytest.raises(ValueError):
        flamepy.put_object("app/*", 1)
