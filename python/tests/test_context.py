"""Configuration: today's file, older ones, the environment."""

from __future__ import annotations

import logging
import os

import flamepy
import pytest
from flamepy.core import context as module
from flamepy.core.context import FlameContext, parse_size


def load(tmp_path, text, environ=None):
    file = tmp_path / "flame.yaml"
    file.write_text(text)
    return FlameContext(config_file=file, environ=environ or {})


TODAY = """
current-context: dev
contexts:
  - name: other
    cluster: {endpoint: "http://other:1"}
  - name: dev
    cluster:
      endpoint: "http://sessions:8080"
      tls: {ca_file: /ca/cluster.pem}
    cache:
      endpoint: "grpcs://cache:9090"
      tls: {ca_file: /ca/cache.pem}
      storage: /shared
      client_cache: 16M
    package:
      storage: "file:///packages"
      excludes: ["*.log", "*.pyc"]
    runner: {template: mine}
"""


def test_todays_file(tmp_path):
    context = load(tmp_path, TODAY)
    assert context.endpoint == "http://sessions:8080"
    assert context.tls.ca_file == "/ca/cluster.pem"
    assert context.cache_endpoint == "grpc+tls://cache:9090"
    assert context.cache_tls.ca_file == "/ca/cache.pem"
    assert context.cache.storage == "/shared"
    assert context.cache.client_cache_bytes == 16 << 20
    assert context.package.storage == "file:///packages"
    assert context.package.excludes == [".venv", "__pycache__", ".gitignore", "*.pyc", "*.log"]
    assert context.runner.template == "mine"


def test_without_a_file_there_are_defaults(tmp_path):
    context = FlameContext(config_file=tmp_path / "absent", environ={})
    assert context.endpoint == flamepy.DEFAULT_FLAME_ENDPOINT
    assert context.cache_endpoint == flamepy.DEFAULT_FLAME_CACHE_ENDPOINT
    assert context.cache.storage is None
    assert context.package is None
    assert context.runner.template == "flmrun"


def test_the_environment_overrides_the_file(tmp_path):
    context = load(
        tmp_path,
        TODAY,
        {
            "FLAME_ENDPOINT": "http://env:1",
            "FLAME_CACHE_ENDPOINT": "grpc://env:2",
            "FLAME_CACHE_STORAGE": "/env",
            "FLAME_CLIENT_CACHE": "0",
            "FLAME_CA_FILE": "/env/ca.pem",
        },
    )
    assert context.endpoint == "http://env:1"
    assert context.cache_endpoint == "grpc://env:2"
    assert context.cache.storage == "/env"
    assert context.cache.client_cache_bytes == 0
    assert context.cache_tls.ca_file == "/ca/cache.pem"


def test_ca_file_of_the_environment_fills_what_the_file_leaves_open():
    context = FlameContext(config_file="/nonexistent", environ={"FLAME_CA_FILE": "/ca.pem"})
    assert context.tls.ca_file == context.cache_tls.ca_file == "/ca.pem"


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("current-context: c\ncontexts: [{name: c, cache: {storage: /s}}]", {}),
        ("current-context: c\ncontexts: [{name: c, cache: {}}]", {}),
        ("current-context: c\ncontexts: [{name: c}]", {"FLAME_CACHE_STORAGE": "/s"}),
    ],
)
def test_f10_the_default_endpoint_holds_whatever_else_the_cache_section_has(
    tmp_path, text, environ
):
    context = load(tmp_path, text, environ)
    assert context.cache_endpoint == flamepy.DEFAULT_FLAME_CACHE_ENDPOINT


def test_f11_excludes_hold_without_a_package_storage(tmp_path):
    context = load(
        tmp_path, 'current-context: c\ncontexts: [{name: c, package: {excludes: ["*.log"]}}]'
    )
    assert context.package.storage is None
    assert "*.log" in context.package.excludes
    assert ".venv" in context.package.excludes


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", None),
        ("none", None),
        ("None", None),
        ("s3://bucket/x", None),
        ("fs://", None),
        ("/abs", "/abs"),
        ("fs:///abs", "/abs"),
        ("file:///abs", "/abs"),
        ("fs://rel/dir", "/home/flame/rel/dir"),
        ("rel", "rel"),
    ],
)
def test_storage_means_the_same_as_to_the_server(value, expected):
    environ = {"FLAME_CACHE_STORAGE": value, "FLAME_HOME": "/home/flame"}
    assert FlameContext(config_file="/nonexistent", environ=environ).cache.storage == expected


def one_line(caplog):
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING
    assert "deprecated" in caplog.text


@pytest.fixture(autouse=True)
def announce_again(monkeypatch):
    monkeypatch.setattr(module, "_announced", set())


@pytest.mark.parametrize("current", ["current-cluster: flame\n", "", "current-context: flame\n"])
def test_clusters_of_older_files(tmp_path, caplog, current):
    text = current + (
        "clusters:\n"
        "  - name: flame\n"
        '    endpoint: "http://sessions:8080"\n'
        "    cache: {endpoint: 'grpc://cache:9090', storage: /tmp/cache}\n"
    )
    context = load(tmp_path, text)
    assert context.endpoint == "http://sessions:8080"
    assert context.cache_endpoint == "grpc://cache:9090"
    assert context.cache.storage == "/tmp/cache"
    one_line(caplog)


@pytest.mark.parametrize("rest", ["", "current-context: c\ncontexts: [{name: c}]\n"])
def test_top_level_package_of_older_files(tmp_path, caplog, rest):
    context = load(tmp_path, rest + "package: {storage: 'file:///packages'}\n")
    assert context.package.storage == "file:///packages"
    one_line(caplog)


def test_cache_as_a_url_of_older_files(tmp_path, caplog):
    text = 'current-context: c\ncontexts: [{name: c, cache: "http://cache:9090"}]'
    assert load(tmp_path, text).cache_endpoint == "grpc://cache:9090"
    one_line(caplog)
    load(tmp_path, text)
    one_line(caplog)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "a: [",
        "contexts: []",
        "current-context: c",
        "current-context: c\ncontexts: [{name: d}]",
        "current-context: c\ncontexts: {c: {}}",
        "current-context: c\ncontexts: [{name: c, cache: [1]}]",
        "current-context: c\ncontexts: [{name: c, cluster: {endpoint: 7}}]",
        "current-context: c\ncontexts: [{name: c, cache: {endpoint: 'cache:9090'}}]",
        "current-context: c\ncontexts: [{name: c, cache: {client_cache: lots}}]",
        "current-context: c\ncontexts: [{name: c, package: {excludes: x}}]",
        "clusters: [{name: a}, {name: b}]",
    ],
)
def test_senseless_files_are_invalid_config(tmp_path, text):
    with pytest.raises(flamepy.InvalidConfig) as caught:
        load(tmp_path, text)
    assert caught.value.code == flamepy.FlameErrorCode.INVALID_CONFIG


def test_f6_the_context_follows_the_file_and_the_environment(home, monkeypatch):
    assert module.current_context().cache_endpoint == flamepy.DEFAULT_FLAME_CACHE_ENDPOINT
    file = home / ".flame" / "flame.yaml"
    file.parent.mkdir()
    for port in (1, 22):
        text = (
            f"current-context: c\ncontexts: [{{name: c, cache: {{endpoint: 'grpc://h:{port}'}}}}]"
        )
        file.write_text(text)
        assert module.current_context().cache_endpoint == f"grpc://h:{port}"
    monkeypatch.setenv("FLAME_CACHE_ENDPOINT", "grpc://h:3")
    assert module.current_context().cache_endpoint == "grpc://h:3"
    assert module.current_context() is module.current_context()


def test_reload_reads_a_file_that_looks_unchanged(home):
    file = home / ".flame" / "flame.yaml"
    file.parent.mkdir()
    text = "current-context: c\ncontexts: [{name: c, cache: {endpoint: 'grpc://h:1'}}]"
    file.write_text(text)
    status = os.stat(file)
    before = module.current_context()
    with open(file, "r+") as same_inode:
        same_inode.write(text.replace("h:1", "h:2"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert module.current_context() is before
    assert flamepy.reload_context().cache_endpoint == "grpc://h:2"
    assert module.current_context().cache_endpoint == "grpc://h:2"


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("7", 7), ("1k", 1024), ("1.5KiB", 1536), ("2 GB", 2 << 30)]
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "1e3", "1.2.3", "1X", "M"])
def test_senseless_sizes(text):
    with pytest.raises(flamepy.InvalidConfig):
        parse_size(text)
