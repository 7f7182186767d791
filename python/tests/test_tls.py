"""TLS: the client's files, and what it says when client and server can't agree."""

from __future__ import annotations

import datetime

import flamepy
import pytest
from flamepy import get_object, put_object
from harness.certificates import DAY, Authority, now


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "strange")


@pytest.fixture(scope="module")
def serve(start_server):
    def start(pair, client_ca=None):
        more = ("--tls-client-ca-file", str(client_ca)) if client_ca else ()
        endpoint = ("--endpoint", "grpcs://127.0.0.1:0")
        return start_server(args=(*endpoint, *pair.arguments(), *more))

    return start


@pytest.fixture(scope="module")
def secure(serve, authority):
    """A server with a certificate that all is well with."""
    return serve(authority.issue("127.0.0.1"))


@pytest.fixture(scope="module")
def mutual(serve, authority):
    """A server that asks its clients for a certificate as well."""
    return serve(authority.issue("127.0.0.1"), client_ca=authority.file)


@pytest.fixture
def configure(home, monkeypatch):
    """Settings by their variables: endpoint=, ca=, pair=."""

    def set_variables(endpoint, ca=None, pair=None):
        monkeypatch.setenv("FLAME_CACHE_ENDPOINT", endpoint)
        if ca:
            monkeypatch.setenv("FLAME_CA_FILE", str(ca))
        if pair:
            monkeypatch.setenv("FLAME_CERT_FILE", str(pair[0]))
            monkeypatch.setenv("FLAME_KEY_FILE", str(pair[1]))

    return set_variables


def refusal(match: str) -> flamepy.TlsError:
    """Reads and writes are refused alike."""
    with pytest.raises(flamepy.TlsError, match=match) as caught:
        flamepy.stat_object("a/b/c", timeout=10)
    assert caught.value.outcome is None
    reason = caught.value.reason
    with pytest.raises(flamepy.TlsError, match=match) as caught:
        put_object("a/b", bytes(1_000_000), timeout=10)
    assert caught.value.outcome != "unknown"
    assert caught.value.reason == reason
    assert isinstance(caught.value, flamepy.Unavailable)
    return caught.value


def test_tls(secure, configure, authority):
    configure(secure.endpoint, authority.file)
    for value in ([1], bytes(1_000_000)):
        ref = put_object("a/b", value)
        assert ref.endpoint == secure.endpoint
        assert get_object(ref) == value


def test_the_file_says_it_as_well(secure, home, authority):
    (home / ".flame").mkdir()
    (home / ".flame/flame.yaml").write_text(
        "current-context: c\n"
        f"contexts: [{{name: c, cache: {{endpoint: '{secure.endpoint}', "
        f"tls: {{ca_file: '{authority.file}'}}}}}}]\n"
    )
    assert get_object(put_object("a/b", [1])) == [1]


def test_a_certificate_of_an_unknown_authority(secure, configure, stranger):
    configure(secure.endpoint)
    assert refusal("not trusted here; set ca_file").reason == "untrusted"
    configure(secure.endpoint, stranger.file)
    assert refusal("not trusted here; set ca_file").reason == "untrusted"


def test_a_certificate_for_another_host(serve, configure, authority):
    server = serve(authority.issue("cache.example.org"))
    configure(server.endpoint, authority.file)
    assert refusal("for another host").reason == "wrong_host"


def test_a_certificate_that_expires_while_the_server_runs(serve, configure, authority):
    until = now() + datetime.timedelta(seconds=5)
    server = serve(authority.issue("127.0.0.1", "localhost", not_after=until))
    configure(server.endpoint, authority.file)
    ref = put_object("a/b", [1])
    while now() <= until + datetime.timedelta(seconds=1):
        assert get_object(ref) == [1]
    configure(server.endpoint.replace("127.0.0.1", "localhost"), authority.file)
    assert refusal("has expired").reason == "expired"


def test_a_server_without_tls(server, configure, authority):
    configure(server.endpoint.replace("grpc", "grpcs"), authority.file)
    assert refusal("write grpc://").reason == "server_without_tls"


def test_a_client_without_tls(secure, configure):
    configure(secure.endpoint.replace("grpc+tls", "grpc"))
    assert refusal("write grpcs://").reason == "client_without_tls"


def test_mutual_tls(mutual, configure, authority):
    configure(mutual.endpoint, authority.file, authority.issue("client"))
    assert get_object(put_object("a/b", [1])) == [1]


def test_an_explicit_client(mutual, configure, authority):
    configure("grpc://127.0.0.1:1", pair=authority.issue("client"))
    with flamepy.Client(mutual.endpoint, ca_file=authority.file) as client:
        assert client.get_object(client.put_object("a/b", [1])) == [1]


def test_mutual_tls_by_the_file(mutual, home, authority):
    certificate, key = authority.issue("client")
    (home / ".flame").mkdir()
    (home / ".flame/flame.yaml").write_text(
        "current-context: c\n"
        f"contexts: [{{name: c, cache: {{endpoint: '{mutual.endpoint}', tls: {{ca_file: "
        f"'{authority.file}', cert_file: '{certificate}', key_file: '{key}'}}}}}}]\n"
    )
    assert get_object(put_object("a/b", [1])) == [1]


def test_mutual_tls_without_a_certificate(mutual, configure, authority):
    configure(mutual.endpoint, authority.file)
    error = refusal("asks for a client certificate; set cert_file")
    assert error.reason == "client_certificate"


@pytest.mark.parametrize("fault", ["unknown", "expired"])
def test_mutual_tls_with_a_certificate_that_will_not_do(
    mutual, configure, authority, stranger, fault
):
    pair = (
        stranger.issue("client")
        if fault == "unknown"
        else authority.issue("client", not_before=now() - 2 * DAY, not_after=now() - DAY)
    )
    configure(mutual.endpoint, authority.file, pair)
    assert refusal("does not accept the client certificate").reason == "client_certificate"


@pytest.mark.parametrize("variable", ["FLAME_CA_FILE", "FLAME_CERT_FILE", "FLAME_KEY_FILE"])
@pytest.mark.parametrize("content", [None, "no PEM"])
def test_files_that_hold_nothing(
    secure, configure, authority, monkeypatch, tmp_path, variable, content
):
    configure(secure.endpoint, authority.file, authority.issue("client"))
    path = tmp_path / "file"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv(variable, str(path))
    with pytest.raises(flamepy.InvalidConfig, match=str(path)):
        put_object("a/b", 1)


def test_a_key_of_another_certificate(mutual, configure, authority):
    certificate, _ = authority.issue("client")
    _, key = authority.issue("client")
    configure(mutual.endpoint, authority.file, (certificate, key))
    with pytest.raises(flamepy.InvalidConfig, match="are not a certificate and its private key"):
        put_object("a/b", 1)


def test_half_a_pair(secure, configure, authority, monkeypatch):
    configure(secure.endpoint, authority.file)
    monkeypatch.setenv("FLAME_CERT_FILE", str(authority.issue("client")[0]))
    with pytest.raises(flamepy.InvalidConfig, match="both cert_file and key_file"):
        put_object("a/b", 1)
