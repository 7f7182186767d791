"""TLS: the client's files, and what it says when client and server can't agree."""

from __future__ import annotations

import datetime
import json
import socket

import flamepy
import pytest
from flamepy import cli, get_object, put_object
from harness.certificates import DAY, Authority, now
from harness.wait import until


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
    end = now() + datetime.timedelta(seconds=5)
    server = serve(authority.issue("127.0.0.1", "localhost", not_after=end))
    configure(server.endpoint, authority.file)
    ref = put_object("a/b", [1])
    while now() <= end + datetime.timedelta(seconds=1):
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


@pytest.fixture
def diagnose(capsys):
    """What `flamepy doctor` finds: the findings by the names of the checks."""

    def run(code: int) -> dict[str, dict]:
        assert cli.main(["doctor", "--json"]) == code
        lines = capsys.readouterr().out.splitlines()
        return {found["check"]: found for found in map(json.loads, lines)}

    return run


def test_doctor_is_content_with_a_certificate(mutual, configure, authority, diagnose):
    configure(mutual.endpoint, authority.file, authority.issue("client"))
    found = diagnose(0)
    assert {finding["state"] for finding in found.values()} == {"ok"}
    assert list(found)[:4] == ["configuration", "endpoint", "certificate", "server"]
    assert "more days" in found["certificate"]["text"]


@pytest.mark.parametrize(("days", "state"), [(13, "warning"), (15, "ok")])
def test_doctor_warns_of_a_certificate_that_ends_soon(
    serve, configure, authority, diagnose, days, state
):
    end = now() + days * DAY + DAY / 2
    server = serve(authority.issue("127.0.0.1", not_after=end))
    configure(server.endpoint, authority.file)
    found = diagnose(0)["certificate"]
    assert (found["state"], found["advice"]) == (state, "renew it" if state == "warning" else "")
    assert found["text"] in (f"valid for {days} more days", f"valid for {days + 1} more days")


def certificate_that_failed(found: dict[str, dict]) -> tuple[str, str]:
    """The text and the advice of the last finding: nothing after it could go well."""
    assert list(found) == ["configuration", "endpoint", "certificate"]
    assert found["certificate"]["state"] == "failed"
    return found["certificate"]["text"], found["certificate"]["advice"]


def test_doctor_and_an_unknown_authority(secure, configure, stranger, diagnose):
    for ca in (None, stranger.file):
        configure(secure.endpoint, ca)
        text, advice = certificate_that_failed(diagnose(1))
        assert "not trusted here" in text
        assert "FLAME_CA_FILE" in advice


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_doctor_and_a_certificate_for_another_host(serve, configure, authority, diagnose, name):
    server = serve(authority.issue("cache.example.org"))
    configure(server.endpoint.replace("127.0.0.1", name), authority.file)
    text, advice = certificate_that_failed(diagnose(1))
    assert "for another host" in text
    assert "connect by a name that it has" in advice


def test_doctor_and_an_expired_certificate(serve, configure, authority, diagnose):
    end = now() + datetime.timedelta(seconds=5)  # A server does not start with an expired one.
    server = serve(authority.issue("127.0.0.1", not_after=end))
    configure(server.endpoint, authority.file)
    until(lambda: now() > end + datetime.timedelta(seconds=1), "the certificate has expired")
    text, advice = certificate_that_failed(diagnose(1))
    assert "has expired" in text
    assert advice.startswith("renew it there")


def test_doctor_and_a_server_without_tls(server, configure, authority, diagnose):
    configure(server.endpoint.replace("grpc", "grpcs"), authority.file)
    text, advice = certificate_that_failed(diagnose(1))
    assert "does not speak TLS" in text
    assert "write grpc://" in advice


def test_doctor_and_a_server_that_says_nothing(home, configure, monkeypatch, diagnose):
    monkeypatch.setattr(cli.doctor, "_PATIENCE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        configure(f"grpcs://127.0.0.1:{silent.getsockname()[1]}")
        text, _ = certificate_that_failed(diagnose(1))
    assert "timed out" in text


def test_doctor_and_files_that_hold_nothing(secure, configure, authority, tmp_path, diagnose):
    empty = tmp_path / "empty.pem"
    empty.touch()
    for ca, pair in ((empty, None), (authority.file, (empty, empty)), (tmp_path / "none", None)):
        configure(secure.endpoint, ca, pair)
        text, advice = certificate_that_failed(diagnose(1))
        assert str(tmp_path) in text
        assert advice == "correct the file or the variable"


@pytest.mark.parametrize("shown", ["none", "unknown", "expired"])
def test_doctor_and_a_client_certificate_that_will_not_do(
    mutual, configure, authority, stranger, diagnose, shown
):
    """A TLS 1.3 handshake has ended well for the client before the server looks at it."""
    pairs = {
        "none": None,
        "unknown": stranger.issue("client"),
        "expired": authority.issue("client", not_before=now() - 2 * DAY, not_after=now() - DAY),
    }
    configure(mutual.endpoint, authority.file, pairs[shown])
    found = diagnose(1)
    assert list(found)[2:] == ["certificate", "server"]
    assert (found["certificate"]["state"], found["server"]["state"]) == ("ok", "failed")
    assert "client certificate" in found["server"]["text"]
    assert "set cert_file and key_file" in found["server"]["advice"]


def test_doctor_and_a_client_without_tls(secure, configure, diagnose):
    configure(secure.endpoint.replace("grpc+tls", "grpc"))
    found = diagnose(1)["server"]
    assert found["state"] == "failed"
    assert "write grpcs://" in found["text"] + found["advice"]
