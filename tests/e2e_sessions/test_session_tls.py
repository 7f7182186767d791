"""The session manager over TLS: clients, the services that it starts, and what is refused."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
from flamepy.core.errors import TlsError
from flamepy.core.sessions.client import connect
from flamepy.core.types import FlameClientTls, SessionAttributes
from harness.certificates import Authority


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "ca")


@pytest.fixture
def manager(authority, managers):
    pair = authority.issue("127.0.0.1")
    manager = managers("none", *pair.arguments(), "--tls-ca-file", str(authority.file), start=False)
    manager.scheme = "https"
    return manager.start()


def test_a_task_over_tls(authority, manager):
    assert manager.endpoint.startswith("https://")
    with connect(manager.endpoint, FlameClientTls(ca_file=str(authority.file))) as connection:
        session = connection.create_session(SessionAttributes("flmping", id="s"))
        assert json.loads(session.invoke(b"", timeout=60))["session"] == "s"


def test_services_are_told_whom_to_trust(authority, manager):
    with connect(manager.endpoint, FlameClientTls(ca_file=str(authority.file))) as connection:
        session = connection.create_session(SessionAttributes("flmexec", id="s"))
        script = {"language": "shell", "code": "echo $FLAME_ENDPOINT $FLAME_CA_FILE"}
        reply = json.loads(session.invoke(json.dumps(script).encode(), timeout=60))
    told = bytes(reply["data"]).decode().split()
    assert told == [manager.endpoint, str(authority.file)]


def test_a_server_of_another_authority_is_refused(manager, tmp_path):
    other = Authority(tmp_path / "other")
    with pytest.raises(TlsError, match="not trusted here"):
        connect(manager.endpoint, FlameClientTls(ca_file=str(other.file)))


def wrong_certificates(authority):
    now = datetime.datetime.now(datetime.timezone.utc)
    pair = authority.issue("127.0.0.1")
    day = datetime.timedelta(days=1)
    expired = authority.issue("127.0.0.1", not_before=now - 2 * day, not_after=now - day)
    return {
        "missing": (Path("/no/such/file"), pair.key, "No such file"),
        "no certificate": (pair.key, pair.key, "no certificate"),
        "expired": (expired.certificate, expired.key, "expired"),
        "another's key": (pair.certificate, expired.key, "the key is not that of"),
    }


@pytest.mark.parametrize("wrong", ["missing", "no certificate", "expired", "another's key"])
def test_a_certificate_that_will_not_do_is_one_line_at_the_start(authority, managers, wrong):
    certificate, key, reason = wrong_certificates(authority)[wrong]
    files = ("--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    manager = managers("none", *files, start=False)
    manager.scheme = "https"
    with pytest.raises(AssertionError, match="not a ready line"):
        manager.start()
    assert manager.process.wait(30) == 1
    (line,) = manager.log().splitlines()
    assert str(certificate) in line
    assert "cluster.tls." in line
    assert reason in line
