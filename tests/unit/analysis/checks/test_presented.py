"""What the facts of an uploaded certificate are; how they are decided is in `test_inbound`."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from gatepost.analysis.checks.presented import checked_session, presented_session
from gatepost.analysis.checks.validation import CannotValidate
from gatepost.pki.certificates.authority import Authority
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.protocols.tls.facts import ChainStatus, ChainVerdict, Revocation

NOW = time.time()


def directory(**fields: str) -> Directory:
    connector = {"name": "bank", "sender_domains": ["bank.example"], "tls_sender_certificate_name": "mail.bank.example"}
    organization = {"accepted_domain": [{"name": "contoso.example"}], "inbound_connector": [connector | fields]}
    return Directory(parse({"organization": {"contoso": organization}}))


def roots(tmp_path: Path, authority: Authority) -> str:
    file = tmp_path / "roots.pem"
    file.write_bytes(authority.certificate_pem)
    return str(file)


def test_the_chain_is_judged_by_the_servers_anchors_and_by_those_of_connectors(tmp_path: Path) -> None:
    authority = Authority("Root")
    own, theirs = roots(tmp_path, Authority("Another")), tmp_path / "theirs.pem"
    theirs.write_bytes(authority.certificate_pem)
    pem = authority.issue(["mail.bank.example"])[0]
    session = presented_session(pem, "198.51.100.9", directory(trust_anchors=str(theirs)), own, now=NOW)
    assert session.client_chain is not None
    assert session.client_chain.status is not ChainStatus.TRUSTED
    assert session.chains[str(theirs)].trusted
    assert session.tls is not None
    assert (session.peer_ip, session.tls.version, len(session.tls.peer_chain)) == ("198.51.100.9", "TLSv1.3", 1)


@pytest.mark.parametrize(
    ("version", "group", "suite"),
    [
        ("TLSv1.3", "X25519MLKEM768", "TLS_AES_256_GCM_SHA384"),
        ("TLSv1.2", "X25519", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
        ("TLSv1.1", "X25519", ""),
    ],
)
def test_it_agreed_on_what_current_clients_agree_on(version: str, group: str, suite: str) -> None:
    session = presented_session(b"", "192.0.2.1", directory(), "system", now=NOW, version=version)
    assert session.tls is not None
    assert (session.tls.group, session.tls.suite) == (group, suite)


def test_anchors_that_cannot_be_read_leave_it_unjudged() -> None:
    pem = Authority("Root").issue(["mail.bank.example"])[0]
    session = presented_session(pem, "2001:DB8::1", directory(trust_anchors="/nowhere"), "/nowhere/either", now=NOW)
    assert (session.peer_ip, session.client_chain, dict(session.chains)) == ("2001:db8::1", None, {})


def test_without_a_certificate_there_is_nothing_to_ask() -> None:
    session = presented_session(b"", "192.0.2.1", directory(), "system", now=NOW)
    assert session.client_chain is None

    async def never(_: ChainVerdict) -> Revocation:
        raise AssertionError

    assert asyncio.run(checked_session(session, directory(), never)) == session


@pytest.mark.parametrize("ip", ["", "mail.bank.example", "192.0.2.1/24"])
def test_what_is_no_address(ip: str) -> None:
    with pytest.raises(CannotValidate, match="not an IP address"):
        presented_session(b"", ip, directory(), "system", now=NOW)


def test_what_is_no_certificate() -> None:
    with pytest.raises(CannotValidate, match="no readable PEM certificate"):
        presented_session(b"-----BEGIN CERTIFICATE-----\nAAAA\n", "192.0.2.1", directory(), "system", now=NOW)
