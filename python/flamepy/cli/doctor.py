"""``flamepy doctor``: checks that say what to do."""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Optional
from urllib.parse import urlsplit

import flamepy
from flamepy.cli.commands import server_info
from flamepy.cli.output import Output, age, size
from flamepy.core import embedded, tls
from flamepy.core.client import Client
from flamepy.core.context import (
    FlameClientTls,
    current_context,
    default_file,
    settings_in_environment,
)
from flamepy.core.errors import FlameError, InvalidConfig, TlsError
from flamepy.core.transport import connect

__all__ = ["run"]

_SLOW_SECONDS = 0.05
_SKEW_SECONDS = 2
_MIN_FREE_BYTES = 1 << 30
_MIN_CERTIFICATE_DAYS = 14
_PATIENCE_SECONDS = 5
_LOCAL = ("127.0.0.1", "localhost", "::1")


class Finding(NamedTuple):
    """One check: ``ok``, ``warning``, ``failed`` or ``skipped``, and what to do."""

    check: str
    state: str
    text: str
    advice: str = ""


def run(client: Client, options: argparse.Namespace, output: Output) -> int:
    failed = False
    for finding in _checks(client, options):
        failed = failed or finding.state == "failed"
        if output.json:
            output.document(finding._asdict())
            continue
        colour = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": "bold"}
        state = output.paint(f"{finding.state:<8}", colour[finding.state])
        print(f"{state} {finding.check:<14} {finding.text}")
        if finding.advice:
            print(f"{'':<8} {'':<14} -> {finding.advice}")
    if not output.json:
        print("something is wrong" if failed else "all is well")
    return int(failed)


def _checks(client: Client, options: argparse.Namespace) -> Iterator[Finding]:
    try:
        context = current_context()
    except FlameError as error:
        yield Finding("configuration", "failed", str(error), "correct the file or the variable")
        return
    file = default_file()
    sources = [f"{file}" if os.path.exists(file) else f"no {file}", *settings_in_environment()]
    yield Finding("configuration", "ok", "; ".join(sources))

    endpoint = client._session.endpoint or connect().endpoint
    url = urlsplit(endpoint)
    origin = "--endpoint" if options.endpoint else "configuration"
    if embedded.is_own(endpoint):
        origin = "the private server of this user"
    if url.scheme in ("grpc", "grpc+tls") and url.hostname:
        try:
            socket.create_connection((url.hostname, url.port or 80), _PATIENCE_SECONDS).close()
        except OSError as error:
            yield Finding(
                "endpoint",
                "failed",
                f"{endpoint} (from {origin}): {error}",
                "start flame-object-cache there, open the port, or set FLAME_CACHE_ENDPOINT",
            )
            return
    yield Finding("endpoint", "ok", f"{endpoint} (from {origin}) accepts connections")
    if url.scheme == "grpc+tls":
        files = context.cache_tls or FlameClientTls()
        certificate = _certificate(endpoint, files)
        yield certificate
        if certificate.state == "failed":
            return

    try:
        info = server_info(client, options.timeout)
    except TlsError as error:
        yield _about_tls("server", error)
        return
    except FlameError as error:
        yield Finding("server", "failed", str(error), "see the server's log; is this port its own?")
        return
    yield from _versions(info)
    if info["dialect"] == "document":
        try:
            yield from _round_trip(client)
        except FlameError as error:
            yield Finding("round trip", "failed", str(error), "see the server's log")
    yield from _room(info, url.hostname)


def _versions(info: dict[str, Any]) -> Iterator[Finding]:
    if info["dialect"] == "stock":
        yield Finding(
            "server",
            "warning",
            "a Flame 0.6 server: no stat, list, watch, ttl or if_version",
            "use flame-object-cache 0.7 or later",
        )
        return
    up = age(time.time() - info["started_ms"] / 1000)
    yield Finding("server", "ok", f"{info['program']} {info['version']}, up for {up}")
    ours, theirs = (v.split(".")[:2] for v in (flamepy.__version__, str(info["version"])))
    text = f"flamepy {flamepy.__version__}, server {info['version']}"
    if ours == theirs:
        yield Finding("versions", "ok", text)
    else:
        older = "the server" if ours > theirs else "flamepy"
        yield Finding("versions", "warning", text, f"update {older}: newer features are missing")


def _round_trip(client: Client) -> Iterator[Finding]:
    """Write, look at and delete a small object, which also shows the server's clock."""
    times = []
    ref = client.put_object("flamepy/doctor", b"", ttl=60)
    try:
        for _ in range(5):
            start = time.perf_counter()
            client.get_object(ref)
            times.append(time.perf_counter() - start)
        before = time.time()
        ref = client.update_object(ref, b"", ttl=60)
        after = time.time()
        written = client.stat_object(ref).modified_ms / 1000
    finally:
        client.delete_objects(ref.key)
    best = min(times)
    yield Finding(
        "round trip",
        "warning" if best > _SLOW_SECONDS else "ok",
        f"{best * 1000:.2f} ms (best of {len(times)}); write, read and delete work",
        "the network or the server is slow" if best > _SLOW_SECONDS else "",
    )
    skew = written - (before + after) / 2
    off = abs(skew) > _SKEW_SECONDS + (after - before)
    yield Finding(
        "clock",
        "warning" if off else "ok",
        f"the server's is {abs(skew):.2f} s {'ahead' if skew > 0 else 'behind'}",
        "synchronise the clocks (NTP): ages and expiry times look wrong" if off else "",
    )


def _certificate(endpoint: str, files: FlameClientTls) -> Finding:
    """The server's certificate, as whoever connects with `files` sees it."""
    url = urlsplit(endpoint)
    host, port = url.hostname or "", url.port or 443
    try:
        tls.options(files)  # Says of a file what is wrong with it.
        context = ssl.create_default_context(cafile=files.ca_file)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # Python 3.13 is stricter than gRPC.
        if files.cert_file is not None:
            context.load_cert_chain(files.cert_file, files.key_file)
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection((host, port), _PATIENCE_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            ends = ssl.cert_time_to_seconds(secure.getpeercert()["notAfter"])  # type: ignore
    except InvalidConfig as error:
        return Finding("certificate", "failed", str(error), "correct the file or the variable")
    except (OSError, ValueError) as error:
        meaning = tls.explain(str(error), "connect", endpoint, files.cert_file is not None)
        if meaning is not None:
            return _about_tls("certificate", meaning)
        return Finding("certificate", "failed", str(error), "see the server's log")
    days = (ends - time.time()) / 86400
    soon = days < _MIN_CERTIFICATE_DAYS
    return Finding(
        "certificate",
        "warning" if soon else "ok",
        f"valid for {days:.0f} more days",
        "renew it" if soon else "",
    )


def _about_tls(check: str, error: TlsError) -> Finding:
    """Its message has both: what is the matter; what to do."""
    text, _, advice = str(error).partition("; ")
    return Finding(check, "failed", text, advice)


def _room(info: dict[str, Any], host: Optional[str]) -> Iterator[Finding]:
    if host is not None and host not in _LOCAL:
        yield Finding("disk", "skipped", "the server is on another host")
        return
    storage = str(info.get("storage", "none"))
    folders = {"shared memory": Path("/dev/shm")}
    if storage.startswith("fs://"):
        folders["disk"] = Path(storage[len("fs://") :])
    for name, folder in folders.items():
        if not folder.is_dir():
            continue
        free = shutil.disk_usage(folder).free
        low = free < _MIN_FREE_BYTES and name == "disk"
        yield Finding(
            name,
            "warning" if low else "ok",
            f"{size(free)} free in {folder}",
            "delete objects or enlarge it: writes fail when it is full" if low else "",
        )
