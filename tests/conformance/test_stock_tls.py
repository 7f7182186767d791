"""The published client over TLS: an endpoint with `grpcs://` and a `ca_file` are all it needs."""

import pytest
from harness.certificates import Authority
from harness.stock import StockFailure


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def secure_server(make_servers, authority):
    with make_servers() as factory:
        arguments = authority.issue("127.0.0.1", "localhost").arguments()
        yield factory("fs", args=("--endpoint", "grpcs://127.0.0.1:0", *arguments))


def grpcs(server):
    return server.endpoint.replace("grpc+tls://", "grpcs://")


def everything(advertised):
    import pyarrow as pa
    from flamepy.core.cache import (
        ObjectRef,
        delete_objects,
        get_object,
        patch_object,
        put_object,
        update_object,
    )

    ref = put_object("app/session", {"a": bytes(3_000_000)})
    assert ref.endpoint == advertised
    assert get_object(ref) == {"a": bytes(3_000_000)}
    assert get_object(ObjectRef.decode(ref.encode())) == {"a": bytes(3_000_000)}
    ref = update_object(ref, [1])
    assert ref.version == 2
    ref = patch_object(ref, [2])
    assert get_object(ref, deserializer=lambda base, deltas: [*base, *deltas[0]]) == [1, 2]
    table = pa.table({"x": [1, 2]})
    assert get_object(put_object("app/session", table)).equals(table)
    delete_objects("app/session")
    try:
        get_object(ref)
    except Exception:
        return
    raise AssertionError("it is still there")


def put_one():
    from flamepy.core.cache import put_object

    put_object("app/session", 1)


@pytest.mark.parametrize("scheme", ["grpcs", "grpc+tls"])
def test_the_environment_is_enough(secure_server, make_stock, authority, scheme):
    endpoint = secure_server.endpoint.replace("grpc+tls", scheme)
    client = make_stock(FLAME_CACHE_ENDPOINT=endpoint, FLAME_CA_FILE=str(authority.file))
    client.call(everything, advertised=secure_server.endpoint)


def test_the_file_is_enough(secure_server, authority, make_stock):
    def configured(text, advertised):
        from pathlib import Path

        path = Path.home() / ".flame/flame.yaml"
        path.parent.mkdir()
        path.write_text(text)
        from flamepy.core.cache import get_object, put_object

        ref = put_object("app/session", [1])
        assert ref.endpoint == advertised
        assert get_object(ref) == [1]

    text = (
        "current-context: c\n"
        f"contexts: [{{name: c, cluster: {{endpoint: 'http://127.0.0.1:1'}}, cache: {{endpoint: "
        f"'{grpcs(secure_server)}', tls: {{ca_file: '{authority.file}'}}}}}}]\n"
    )
    make_stock().call(configured, text=text, advertised=secure_server.endpoint)


def test_without_the_authority_it_refuses(secure_server, make_stock):
    with pytest.raises(StockFailure, match="certificate verify failed"):
        make_stock(FLAME_CACHE_ENDPOINT=grpcs(secure_server)).call(put_one)


def test_without_tls_in_the_endpoint_it_fails(secure_server, make_stock):
    endpoint = secure_server.endpoint.replace("grpc+tls", "grpc")
    with pytest.raises(StockFailure, match="failed to connect"):
        make_stock(FLAME_CACHE_ENDPOINT=endpoint).call(put_one)


def test_mutual_tls_is_beyond_it(make_stock, make_servers, authority):
    """It has no setting for a certificate of its own: the server must not ask for one."""
    with make_servers() as factory:
        arguments = authority.issue("127.0.0.1").arguments()
        server = factory(
            args=(
                *("--endpoint", "grpcs://127.0.0.1:0", *arguments),
                *("--tls-client-ca-file", str(authority.file)),
            )
        )
        client = make_stock(FLAME_CACHE_ENDPOINT=grpcs(server), FLAME_CA_FILE=str(authority.file))
        with pytest.raises(StockFailure, match="failed to connect"):
            client.call(put_one)
