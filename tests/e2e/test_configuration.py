"""Configuration as the program sees it: where values come from, and what is refused."""

import pytest
import yaml
from harness.flight import Flight
from harness.server import Server, run_binary


@pytest.fixture
def printed(tmp_path):
    """Run with --print-config: the parsed document and its text."""

    def run(*args, config=None, **env):
        if config is not None:
            path = tmp_path / "file.yaml"
            path.write_text(config)
            args = ("--config", str(path), *args)
        done = run_binary(tmp_path, "--print-config", *args, **env)
        assert done.returncode == 0, done.stderr
        return yaml.safe_load(done.stdout)["cache"], done.stdout

    return run


@pytest.fixture
def failure(tmp_path):
    """Run a start that must fail: the message."""

    def run(*args, config=None, **env):
        if config is not None:
            path = tmp_path / "file.yaml"
            path.write_text(config)
            args = ("--config", str(path), *args)
        done = run_binary(tmp_path, *args, **env)
        assert done.returncode == 1, done.stdout + done.stderr
        assert done.stdout == ""
        assert done.stderr.startswith("Error: ")
        return done.stderr

    return run


def test_flag_beats_environment_beats_file_beats_default(printed):
    config = "cache: {storage: /from/file, pack_below: 1K, patches_max: 7}"
    env = {"FLAME_CACHE_STORAGE": "/from/env", "FLAME_CACHE_PACK_BELOW": "2K"}
    values, text = printed("--storage", "/from/flag", config=config, **env)
    assert values["storage"] == "fs:///from/flag"
    assert values["pack_below"] == "2K"
    assert values["patches_max"] == 7
    assert values["sync"] == "never"
    lines = {line.split(":")[0].strip(): line for line in text.splitlines()}
    assert "flag --storage" in lines["storage"]
    assert "env FLAME_CACHE_PACK_BELOW" in lines["pack_below"]
    assert "file.yaml:1" in lines["patches_max"]
    assert "default" in lines["sync"]


def test_what_print_config_prints_is_a_file_that_means_the_same(printed):
    args = ("--max-memory", "512M", "--endpoint", "grpc://127.0.0.1:7777", "--log-level", "debug")
    values, text = printed(*args)
    assert printed(config=text)[0] == values


def test_the_winner_is_what_the_server_does(server_factory, tmp_path):
    config = f"cache: {{endpoint: 'grpc://127.0.0.1:1', storage: 'fs://{tmp_path}/wrong'}}"
    server = server_factory("none", config=config, env={"FLAME_CACHE_STORAGE": f"{tmp_path}/wrong"})
    assert server.ready_line.endswith("storage none)")
    assert not (tmp_path / "wrong").exists()


def test_d1_a_memory_limit_is_the_one_that_was_written(printed):
    for size in ("512M", "1G", "8G", "1000000"):
        values, _ = printed(config=f"cache: {{eviction: {{max_memory: {size}}}}}")
        assert str(values["eviction"]["max_memory"]) == size


def test_d3_the_configured_host_is_bound_and_advertised(server_factory):
    server = server_factory(args=("--endpoint", "grpc://127.0.0.2:0"))
    assert server.endpoint == f"grpc://127.0.0.2:{server.port}"
    assert f"listening on 127.0.0.2:{server.port}" in server.ready_line
    with Flight(server.endpoint) as client:
        assert client.put("app/s", b"x").endpoint == server.endpoint


def test_d3_a_server_can_listen_everywhere_and_advertise_a_name(server_factory):
    args = ("--bind", "0.0.0.0:0", "--advertise", "cache.example:1234")
    server = server_factory(args=("--endpoint", "grpc://127.0.0.1:0", *args))
    assert server.endpoint == "grpc://cache.example:1234"
    for host in ("127.0.0.1", "127.0.0.3"):
        with Flight(f"grpc://{host}:{server.port}") as client:
            assert client.put("app/s", b"x").endpoint == "grpc://cache.example:1234"
            [location] = client.info("app/s/o").endpoints[0].locations
            assert location.uri == b"grpc://cache.example:1234"


def test_d4_an_interface_is_matched_as_a_whole_before_in_part(printed, failure):
    config = "cache: {endpoint: 'grpc://0.0.0.0:7777', network_interface: lo}"
    values, _ = printed(config=config)
    assert values["bind"] == "127.0.0.1:7777"
    message = failure(config="cache: {network_interface: none-such-0}")
    assert "none-such-0" in message
    assert "lo" in message


def test_d5_the_default_scheme_is_one_that_clients_parse(printed):
    assert printed()[0]["endpoint"] == "grpc://127.0.0.1:9090"
    values, _ = printed(config="cache: {endpoint: 'http://127.0.0.1:9090'}")
    assert values["endpoint"].startswith("grpc://") or values["advertise"].startswith("grpc://")


def test_d6_the_default_file_is_in_the_home_of_who_runs_the_server(printed, tmp_path):
    (tmp_path / ".flame").mkdir()
    (tmp_path / ".flame/flame-cluster.yaml").write_text("cache: {patches_max: 11}")
    assert printed()[0]["patches_max"] == 11


@pytest.mark.parametrize("scheme", ["grpc+tls", "grpcs"])
def test_d7_a_tls_endpoint_is_never_served_in_plain_text(tmp_path, scheme):
    done = run_binary(tmp_path, "--endpoint", f"{scheme}://127.0.0.1:0", "--storage", "none")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "tls" in line.lower()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FLAME_CACHE_EVICTION_POLICY", "lfu"),
        ("FLAME_CACHE_MAX_MEMORY", "1 potato"),
        ("FLAME_CACHE_MAX_OBJECTS", "many"),
        ("FLAME_CACHE_SYNC", "maybe"),
        ("FLAME_CACHE_PACK_BELOW", "-1"),
        ("FLAME_CACHE_ENDPOINT", "ftp://x"),
    ],
)
def test_d8_a_bad_value_is_an_error_that_names_the_variable_and_the_value(failure, variable, value):
    message = failure(**{variable: value})
    assert variable in message
    assert value.split("://")[0] in message


def test_d8_bad_values_of_the_file_are_errors_with_their_line(failure):
    message = failure(config="cache:\n  eviction:\n    policy: lfu\n")
    assert "file.yaml:3" in message
    assert "lfu" in message


@pytest.mark.parametrize("value", ["none", "fs:///somewhere", "file:///somewhere", "/somewhere"])
def test_d9_the_storage_variable_takes_none_urls_and_paths(printed, value):
    values, _ = printed(FLAME_CACHE_STORAGE=value)
    assert values["storage"] == ("none" if value == "none" else "fs:///somewhere")


@pytest.mark.parametrize(
    "config",
    [
        "cache: {storage: none}",
        "cluster: {name: 5}\ncache: {storage: none}",
        "cluster: {resreq: nonsense, executors: {shim: none-such}}\ncache: {storage: none}",
    ],
)
def test_d10_the_cluster_section_is_not_the_caches_business(printed, config):
    assert printed(config=config)[0]["storage"] == "none"


def test_d13_the_older_names_of_the_memory_limit_work(printed):
    assert printed(config="cache: {capacity: 2G}")[0]["eviction"]["max_memory"] == "2G"
    assert printed(FLAME_CACHE_CAPACITY="3G")[0]["eviction"]["max_memory"] == "3G"
    assert (
        printed(FLAME_CACHE_CAPACITY="3G", FLAME_CACHE_MAX_MEMORY="4G")[0]["eviction"]["max_memory"]
        == "4G"
    )


def test_an_unknown_key_is_an_error_that_names_the_nearest_one(failure):
    message = failure(config="cache:\n  storge: none\n")
    assert "file.yaml:2" in message
    assert "'cache.storge'" in message
    assert "'cache.storage'" in message


def test_a_file_that_is_not_there_is_an_error_if_it_was_asked_for(failure):
    assert "none-such.yaml" in failure("--config", "/none-such.yaml")


def test_without_a_file_objects_are_kept_in_the_users_data_folder(tmp_path):
    values = yaml.safe_load(run_binary(tmp_path, "--print-config").stdout)["cache"]
    assert values["storage"] == f"fs://{tmp_path}/.local/share/flame/cache"


def test_the_sample_file_in_deploy_is_valid(printed):
    from harness.server import ROOT

    assert printed(config=(ROOT / "deploy/flame-cluster.yaml").read_text())[0]["endpoint"]


def test_patches_max_is_what_the_server_keeps_to(server_factory):
    from harness.errors import refused

    server: Server = server_factory(env={"FLAME_CACHE_PATCHES_MAX": "2"})
    with Flight(server.endpoint) as client:
        client.put("app/s/o", b"x")
        client.patch("app/s/o", b"1")
        client.patch("app/s/o", b"2")
        with refused("too_many_patches"):
            client.patch("app/s/o", b"3")
