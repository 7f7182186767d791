"""Real certificates: an authority of the test's own, and the files of what it issues."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import NamedTuple

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


class Pair(NamedTuple):
    """Files of a certificate chain and of its private key."""

    certificate: Path
    key: Path

    def arguments(self) -> tuple[str, ...]:
        """For the server."""
        return ("--tls-cert-file", str(self.certificate), "--tls-key-file", str(self.key))


class Authority:
    """A certificate authority, with intermediates if `depth` is more than 0."""

    def __init__(self, folder: Path, depth: int = 0):
        folder.mkdir(parents=True)
        self._folder = folder
        root = trustme.CA()
        self.pem = root.cert_pem.bytes()
        self.file = folder / "ca.pem"
        self.file.write_bytes(self.pem)
        self._issuer = root
        for _ in range(depth):
            self._issuer = self._issuer.create_child_ca()

    def issue(self, *names: str, **options: object) -> Pair:
        """For servers and clients; `options` as of trustme: not_before, not_after, key_type."""
        pair = self._issuer.issue_cert(*names, **options)
        chain = b"".join(part.bytes() for part in pair.cert_chain_pems)
        return self.write(chain, pair.private_key_pem.bytes())

    def write(self, chain: bytes, key: bytes) -> Pair:
        number = len(list(self._folder.iterdir()))
        pair = Pair(self._folder / f"{number}.pem", self._folder / f"{number}.key")
        pair.certificate.write_bytes(chain)
        pair.key.write_bytes(key)
        return pair


def self_signed(
    key: object = None,
    *,
    usage: x509.ObjectIdentifier | None = None,
    not_after: datetime.datetime | None = None,
    passphrase: bytes | None = None,
) -> tuple[bytes, bytes]:
    """What no sane authority issues, as PEM: certificate and key."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    until = not_after or now() + DAY
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(until - 2 * DAY)
        .not_valid_after(until)
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    encryption = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        ),
    )
