"""TLS as a client sees it: its files, checked, and what messages about it mean."""

from __future__ import annotations

import re
from typing import Any, Optional

from flamepy.core.context import FlameClientTls
from flamepy.core.errors import InvalidConfig, TlsError

__all__ = ["explain", "options"]

# What gRPC (OpenSSL's words, and BoringSSL's of older wheels) and Python's `ssl` say when they
# could not connect, a name for it, and what it means; what to do.
_MEANINGS: tuple[tuple[str, str, str], ...] = (
    (
        r"certificate has expired",
        "expired",
        "the server's certificate has expired; renew it there, and check this machine's clock",
    ),
    (
        r"certificate is not yet valid",
        "not_yet_valid",
        "the server's certificate is not valid yet; check the clocks of both machines",
    ),
    (
        r"is not in peer certificate|(hostname|ip address) mismatch",
        "wrong_host",
        "the server's certificate is for another host; connect by a name that it has, or issue "
        "one with this name",
    ),
    (
        r"certificate.verify.failed",
        "untrusted",
        "the server's certificate is not trusted here; set ca_file (FLAME_CA_FILE) to the "
        "certificate of the authority that signed it",
    ),
    (
        r"wrong.version.number",
        "server_without_tls",
        "the server does not speak TLS there; write grpc:// (or http://) in the endpoint, or turn "
        "TLS on in the server",
    ),
)
# The server, once connected to, hung up before it said anything.
_HUNG_UP = re.compile(r"failed to connect.*(socket closed|connection reset|broken pipe)", re.I)


def options(tls: Optional[FlameClientTls]) -> dict[str, Any]:
    """The files' contents, as arguments of a Flight client.

    Raises
    ------
    InvalidConfig
        One cannot be read, holds no certificate or key, or key and certificate are of
        different pairs. gRPC would only say that the server has no address.
    """
    if tls is None:
        return {}
    import ssl  # Not for importing flamepy: most clients need none of it.

    arguments = {}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.ca_file is not None:
        arguments["tls_root_certs"] = _read("ca_file", tls.ca_file)
        try:
            context.load_verify_locations(cafile=tls.ca_file)
        except ssl.SSLError as error:
            raise InvalidConfig(f"ca_file {tls.ca_file} holds no certificate (PEM)") from error
    if tls.cert_file is not None and tls.key_file is not None:
        arguments["cert_chain"] = _read("cert_file", tls.cert_file)
        arguments["private_key"] = _read("key_file", tls.key_file)
        try:
            context.load_cert_chain(tls.cert_file, tls.key_file, password=_no_passphrase)
        except ssl.SSLError as error:
            raise InvalidConfig(
                f"cert_file {tls.cert_file} and key_file {tls.key_file} are not a certificate and "
                f"its private key (PEM, unencrypted): {error.reason or error}"
            ) from error
    return arguments


def explain(text: str, operation: str, endpoint: str, has_certificate: bool) -> Optional[TlsError]:
    """What the `text` of an error means if TLS is the matter; None if it is not."""
    where = operation if endpoint in operation else f"{operation} at {endpoint}"
    for pattern, reason, meaning in _MEANINGS:
        if re.search(pattern, text, re.IGNORECASE):
            return TlsError(f"{where}: {meaning}", reason)
    if not _HUNG_UP.search(text):
        return None
    if not endpoint.startswith("grpc+tls://"):
        meaning = "the server closed the connection at once; if it speaks TLS, write grpcs://"
        return TlsError(f"{where}: {meaning}", "client_without_tls")
    meaning = (
        "the server closed the connection at once: it does not accept the client certificate; "
        "set cert_file and key_file to one that has not expired, of an authority that it trusts"
        if has_certificate
        else "the server closed the connection at once: it asks for a client certificate; set "
        "cert_file and key_file (FLAME_CERT_FILE, FLAME_KEY_FILE)"
    )
    return TlsError(f"{where}: {meaning}", "client_certificate")


def _read(name: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise InvalidConfig(f"cannot read {name} {path}: {error}") from error


def _no_passphrase() -> str:
    """Instead of asking at the terminal."""
    return ""
