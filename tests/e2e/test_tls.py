"""TLS: starts with every kind of bad certificate, and what a stock Flight client meets."""

import re
import socket
import ssl

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from harness.certificates import DAY, Authority, Pair, now, self_signed
from harness.documents import Documents
from harness.flight import Flight
from harness.server import run_binary
from pyarrow import flight

ENDPOINT = ("--endpoint", "grpcs://127.0.0.1:0")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "strange")


@pytest.fixture(scope="module")
def secure_server(make_servers, authority):
    with make_servers() as factory:
        yield factory(args=(*ENDPOINT, *authority.issue("127.0.0.1").arguments()))


@pytest.fixture(scope="module")
def mutual_server(make_servers, authority):
    with make_servers() as factory:
        arguments = authority.issue("127.0.0.1").arguments()
        yield factory(args=(*ENDPOINT, *arguments, "--tls-client-ca-file", str(authority.file)))


def refused_start(home, *args):
    """The one line of a start that TLS prevents; the storage is not touched by it."""
    done = run_binary(home, *ENDPOINT, "--storage", f"fs://{home}/storage", *args)
    assert done.returncode == 1
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("Error: cache.tls.")
    assert not (home / "storage").exists()
    return line


def test_everything_works_over_tls(secure_server, authority, app):
    assert re.fullmatch(r"grpc\+tls://127\.0\.0\.1:\d+", secure_server.endpoint)
    with Documents(secure_server.endpoint, tls_root_certs=authority.pem) as client:
        ref = client.put(f"{app}/s/o", b"x" * 3_000_000)
        assert ref.endpoint == secure_server.endpoint
        assert client.get(ref.key).value == b"x" * 3_000_000
        client.delete(ref.key)
        assert client.stat(ref.key) == {"found": False}


def test_locations_promise_tls(secure_server, authority, app):
    with Flight(secure_server.endpoint, tls_root_certs=authority.pem) as client:
        client.put(f"{app}/s/o", b"x")
        [info] = client.client.list_flights()
        assert info.endpoints[0].locations[0].uri.decode() == secure_server.endpoint


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_tls_versions_of_today(secure_server, authority, version):
    context = ssl.create_default_context(cadata=authority.pem.decode())
    context.set_alpn_protocols(["h2"])
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with (
        socket.create_connection(("127.0.0.1", secure_server.port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        assert secured.version() == version.replace("_", ".")


def test_a_chain_with_intermediates(server_factory, tmp_path):
    deep = Authority(tmp_path / "deep", depth=2)
    server = server_factory(args=(*ENDPOINT, *deep.issue("127.0.0.1").arguments()))
    assert "WARN" not in server.log()
    with Documents(server.endpoint, tls_root_certs=deep.pem) as client:
        assert client.put("a/b/c", b"x").version == 1


def test_keys_of_every_usual_kind(server_factory, authority, tmp_path):
    pairs = [self_signed(), self_signed(rsa.generate_private_key(65537, 2048))]
    for certificate, key in pairs:
        pair = authority.write(certificate, key)
        server = server_factory(
            args=(*ENDPOINT, *pair.arguments(), "--advertise", "cache.example.org")
        )
        assert server.endpoint.startswith("grpc+tls://cache.example.org:")


@pytest.mark.parametrize("scheme", ["grpcs", "grpc+tls"])
def test_d7_no_certificate(tmp_path, scheme):
    done = run_binary(tmp_path, "--endpoint", f"{scheme}://127.0.0.1:0", "--storage", "none")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "needs a certificate: set cache.tls.cert_file and cache.tls.key_file" in line


@pytest.mark.parametrize("missing", ["certificate", "key"])
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "cannot read it: No such file or directory"),
        (lambda path: path.mkdir(), "cannot read it: Is a directory"),
        (lambda path: path.write_text("no PEM"), "(PEM) in it"),
        (lambda path: path.write_text(""), "(PEM) in it"),
        (lambda path: path.write_bytes(bytes(2 << 20)), "too large"),
    ],
    ids=["missing", "folder", "no PEM", "empty", "huge"],
)
def test_files_that_are_none(tmp_path, authority, missing, make, says):
    bad = tmp_path / "bad"
    make(bad)
    pair = authority.issue("127.0.0.1")._replace(**{missing: bad})
    line = refused_start(tmp_path, *pair.arguments())
    assert f"cache.tls.{'cert' if missing == 'certificate' else 'key'}_file {bad}: " in line
    assert says in line


@pytest.mark.parametrize("damaged", ["certificate", "key"])
def test_damaged_files(tmp_path, authority, damaged):
    pair = authority.issue("127.0.0.1")
    path = getattr(pair, damaged)
    lines = path.read_text().splitlines()
    lines[2] = "!" + lines[2][1:]
    path.write_text("\n".join(lines))
    assert "damaged" in refused_start(tmp_path, *pair.arguments())


def test_an_expired_certificate(tmp_path, authority):
    pair = authority.issue("127.0.0.1", not_before=now() - 9 * DAY, not_after=now() - DAY)
    line = refused_start(tmp_path, *pair.arguments())
    assert str(pair.certificate) in line
    assert re.search(r"the certificate expired on \w{3} .* 20\d\d GMT; renew it", line)


def test_a_certificate_of_tomorrow(tmp_path, authority):
    pair = authority.issue("127.0.0.1", not_before=now() + DAY, not_after=now() + 9 * DAY)
    line = refused_start(tmp_path, *pair.arguments())
    assert "the certificate is not valid before" in line
    assert "clock" in line


def test_the_key_of_another_certificate(tmp_path, authority):
    certificate, other = authority.issue("127.0.0.1"), authority.issue("127.0.0.1")
    line = refused_start(tmp_path, *Pair(certificate.certificate, other.key).arguments())
    assert f"{other.key}: the key is not that of the certificate in {certificate[0]}" in line


def test_an_encrypted_key_asks_nobody(tmp_path, authority):
    pair = authority.write(*self_signed(passphrase=b"secret"))
    assert "the key is encrypted" in refused_start(tmp_path, *pair.arguments())


def test_a_weak_key(tmp_path, authority):
    pair = authority.write(*self_signed(rsa.generate_private_key(65537, 1024)))
    assert "(1024 bits) is too weak" in refused_start(tmp_path, *pair.arguments())


def test_a_certificate_for_clients_only(tmp_path, authority):
    pair = authority.write(*self_signed(usage=ExtendedKeyUsageOID.CLIENT_AUTH))
    assert "is not for servers" in refused_start(tmp_path, *pair.arguments())


def test_a_chain_in_the_wrong_order(tmp_path):
    pair = Authority(tmp_path / "deep", depth=1).issue("127.0.0.1")
    first, second = re.findall(
        "-----BEGIN.*?END CERTIFICATE-----\n", pair.certificate.read_text(), re.S
    )[:2]
    stray, _ = self_signed()
    pair.certificate.write_text(first + stray.decode() + second)
    line = refused_start(tmp_path, *pair.arguments())
    assert "certificate 2 in it has not issued the one before" in line


@pytest.mark.parametrize("content", ["missing", "empty", "expired"])
def test_client_authorities_that_will_not_do(tmp_path, authority, content):
    path = tmp_path / "client-ca.pem"
    if content == "empty":
        path.write_text("")
    elif content == "expired":
        path.write_bytes(self_signed(not_after=now() - DAY)[0])
    line = refused_start(
        tmp_path, *authority.issue("127.0.0.1").arguments(), "--tls-client-ca-file", str(path)
    )
    assert f"cache.tls.client_ca_file {path}: " in line


@pytest.mark.parametrize(
    ("names", "advertise", "covered"),
    [
        (["127.0.0.1"], "127.0.0.1", True),
        (["127.0.0.1"], "localhost", False),
        (["*.example.org"], "cache.example.org", True),
        (["*.example.org"], "a.b.example.org", False),
        (["cache.example.org"], "CACHE.example.org", True),
        (["cache.example.org"], "127.0.0.1", False),
    ],
)
def test_a_certificate_for_another_host_is_a_warning(
    server_factory, authority, names, advertise, covered
):
    pair = authority.issue(*names)
    server = server_factory(args=(*ENDPOINT, *pair.arguments(), "--advertise", advertise))
    assert (f"the certificate does not name {advertise}" in server.log()) == (not covered)


def test_a_certificate_that_expires_soon_is_a_warning(server_factory, authority):
    pair = authority.issue("127.0.0.1", not_after=now() + 3 * DAY)
    server = server_factory(args=(*ENDPOINT, *pair.arguments()))
    assert "the certificate expires on" in server.log()


def test_files_without_a_tls_endpoint_are_a_warning(server_factory, authority):
    server = server_factory(args=authority.issue("127.0.0.1").arguments())
    assert server.endpoint.startswith("grpc://")
    assert "cache.tls has no effect" in server.log()


def client_pair(pair):
    return {
        "cert_chain": pair.certificate.read_bytes(),
        "private_key": pair.key.read_bytes(),
    }


def test_mutual_tls_lets_known_clients_in(mutual_server, authority, app):
    options = client_pair(authority.issue("client"))
    with Documents(mutual_server.endpoint, tls_root_certs=authority.pem, **options) as client:
        assert client.put(f"{app}/s/o", b"x").version == 1


@pytest.mark.parametrize("shown", ["nothing", "unknown", "expired"])
def test_mutual_tls_keeps_others_out(mutual_server, authority, stranger, shown):
    options = {}
    if shown == "unknown":
        options = client_pair(stranger.issue("client"))
    if shown == "expired":
        options = client_pair(
            authority.issue("client", not_before=now() - 2 * DAY, not_after=now() - DAY)
        )
    with (
        Flight(mutual_server.endpoint, tls_root_certs=authority.pem, **options) as client,
        pytest.raises(flight.FlightUnavailableError),
    ):
        client.put("a/b/c", b"x")
    assert mutual_server.alive()


def test_clients_and_servers_that_disagree_about_tls(secure_server, memory_server, authority):
    for endpoint in (
        secure_server.endpoint.replace("grpc+tls", "grpc"),
        memory_server.endpoint.replace("grpc", "grpc+tls"),
    ):
        options = {"tls_root_certs": authority.pem} if "tls" in endpoint else {}
        with Flight(endpoint, **options) as client, pytest.raises(pa.ArrowException):
            client.put("a/b/c", b"x")
    assert secure_server.alive()
    assert memory_server.alive()
