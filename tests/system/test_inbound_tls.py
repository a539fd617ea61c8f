"""Proves what TLS a client gets at the MX listener, by `openssl s_client`: versions, groups, suites, certificates.

A certificate is chosen by name and by what the client can do; client certificates of every kind are taken without
breaking the session and judged afterwards, as the trace tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from support.clients import TlsRun, openssl_s_client
from support.debian import need
from support.gateway import Gateway
from support.scenes import contoso, message, outcomes

from gatepost.testing.pki import Leaf, Pki


@pytest.fixture(scope="module")
def mx(pki: Pki) -> Iterator[Gateway]:
    """A listener with an ECDSA and an RSA certificate for its name, and one more for another name."""
    certificates = [
        pki.leaf("mx1.contoso.example"),
        pki.leaf("mx1.contoso.example", key="rsa"),
        pki.leaf("mx2.contoso.example"),
    ]
    lab = {"name": "lab", "sender_domains": ["lab.example"], "require_tls": True}
    mailboxes = [_address(kind, version) for kind in CLIENTS for version in VERSIONS]
    with Gateway(contoso(inbound=[lab], mailboxes=mailboxes), certificates=certificates, anchors=pki.root) as running:
        yield running


# s_client's options -> what must be agreed, as beginnings: version, cipher, group, signature of the server.
TLS = {
    "anything": ([], ("TLSv1.3", "TLS_AES_256_GCM_SHA384", "X25519MLKEM768", "ecdsa")),
    "post-quantum group": (["-groups", "X25519MLKEM768"], ("TLSv1.3", "TLS_", "X25519MLKEM768", "ecdsa")),
    "1.3, X25519": (["-tls1_3", "-groups", "X25519"], ("TLSv1.3", "TLS_", "X25519", "ecdsa")),
    "1.3, P-256": (["-tls1_3", "-groups", "P-256"], ("TLSv1.3", "TLS_", "", "ecdsa")),
    "1.3, P-384": (["-tls1_3", "-groups", "P-384"], ("TLSv1.3", "TLS_", "", "ecdsa")),
    "1.3, client prefers weaker": (
        ["-ciphersuites", "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"],
        ("TLSv1.3", "TLS_AES_256_GCM_SHA384", "", "ecdsa"),
    ),
    "1.3, client knows RSA only": (["-sigalgs", "RSA-PSS+SHA256"], ("TLSv1.3", "TLS_", "", "rsa_pss")),
    "1.2": (["-tls1_2"], ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384", "X25519", "ecdsa")),
    "1.2, client knows RSA only": (
        ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
        ("TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256", "X25519", "rsa"),
    ),
    "1.2, forward secrecy with CBC": (
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA384"],
        ("TLSv1.2", "ECDHE-ECDSA-AES256-SHA384", "", "ecdsa"),
    ),
}


@pytest.mark.parametrize("name", TLS)
def test_tls_is_agreed_in_the_servers_order(mx: Gateway, pki: Pki, name: str) -> None:
    need("openssl")
    options, expected = TLS[name]
    found = openssl_s_client(mx.port, anchors=pki.root, options=["-verify_hostname", "mx1.contoso.example", *options])
    assert found.ok, found.transcript
    assert found.verified
    actual = (found.version, found.cipher, found.group, found.signature)
    assert all(one.startswith(wanted) for one, wanted in zip(actual, expected, strict=True)), actual
    assert "221 2.0.0" in found.transcript


WEAK = {
    "TLS 1.0": ["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
    "TLS 1.1": ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
    "1.2 without forward secrecy": ["-tls1_2", "-cipher", "AES256-GCM-SHA384:AES128-SHA"],
    "1.2 without encryption": ["-tls1_2", "-cipher", "NULL:@SECLEVEL=0"],
    "1.2 anonymous": ["-tls1_2", "-cipher", "aNULL:@SECLEVEL=0"],
}


@pytest.mark.parametrize("name", WEAK)
def test_weak_tls_is_refused_with_an_alert(mx: Gateway, name: str) -> None:
    need("openssl")
    found = openssl_s_client(mx.port, options=WEAK[name])
    assert not found.ok
    assert re.search(r"alert (protocol version|handshake failure)", found.transcript), found.transcript
    assert "Cipher is (NONE)" in found.transcript


@pytest.mark.parametrize(
    ("asked", "shown"), [("mx1", "mx1"), ("mx2", "mx2"), ("MX2", "mx2"), ("mx3", "mx1"), ("", "mx1")]
)
def test_the_certificate_is_chosen_by_name(mx: Gateway, asked: str, shown: str) -> None:
    need("openssl")
    found = openssl_s_client(mx.port, server_name=f"{asked}.contoso.example" if asked else "")
    assert found.ok
    assert f"CN={shown}.contoso.example" in found.subject.replace(" = ", "=")


VERSIONS = ["-tls1_2", "-tls1_3"]

# Kind of client certificate -> what the trace says of its chain ("" = none was shown).
CLIENTS = {
    "none": "",
    "trusted": "trusted",
    "trusted RSA": "trusted",
    "for servers": "trusted",
    "Ed25519": "trusted",
    "expired": "expired",
    "not yet valid": "not-yet-valid",
    "self-signed": "self-signed",
    "strange authority": "untrusted-root",
    "chain incomplete": "chain-incomplete",
    "weak key": "weak-key",
}


@pytest.fixture(scope="module")
def handshakes(mx: Gateway, pki: Pki, strange_pki: Pki) -> dict[str, tuple[TlsRun, dict[str, Any]]]:
    """One message with each kind of certificate over each version: what s_client saw, and the trace's row."""
    need("openssl")
    leaves: dict[str, Leaf | None] = {
        "none": None,
        "trusted": pki.client("client.lab.example"),
        "trusted RSA": pki.leaf("client.lab.example", key="rsa"),
        "for servers": pki.leaf("client.lab.example", usages=["server"]),
        "Ed25519": pki.leaf("client.lab.example", key="ed25519"),
        "expired": pki.expired("client.lab.example"),
        "not yet valid": pki.not_yet_valid("client.lab.example"),
        "self-signed": pki.self_signed("client.lab.example"),
        "strange authority": strange_pki.client("client.lab.example"),
        "chain incomplete": pki.leaf("client.lab.example", incomplete=True),
        "weak key": pki.leaf("client.lab.example", key="rsa1024"),
    }
    runs = {}
    for kind in CLIENTS:
        for version in VERSIONS:
            recipient, content = _address(kind, version), message(kind)
            lines = ["EHLO client.example", "MAIL FROM:<c@lab.example>", f"RCPT TO:<{recipient}>"]
            said = "\r\n".join([*lines, f"BDAT {len(content)} LAST\r\n"]).encode()
            options = [version, "-cipher", "DEFAULT:@SECLEVEL=0"]
            runs[recipient] = openssl_s_client(
                mx.port, certificate=leaves[kind], send=said + content + b"QUIT\r\n", options=options
            )
    rows = outcomes(mx, dict.fromkeys(runs, "RECEIVE"))
    return {recipient: (run, rows.get(recipient, {})) for recipient, run in runs.items()}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", CLIENTS)
def test_no_client_certificate_breaks_a_session(
    handshakes: dict[str, tuple[TlsRun, dict[str, Any]]], kind: str, version: str
) -> None:
    found, event = handshakes[_address(kind, version)]
    assert found.version == version.replace("-tls1_", "TLSv1.")
    assert "250 2.0.0 Queued as" in found.transcript, found.transcript
    assert "221 2.0.0" in found.transcript
    assert event["tls"].get("chain", "") == CLIENTS[kind], event["tls"]
    assert event["connector"] == "lab"
    assert event["achieved"] == ("authenticated" if CLIENTS[kind] == "trusted" else "encrypted")


def _address(kind: str, version: str) -> str:
    """The mailbox that one kind of client writes to."""
    return f"{kind.replace(' ', '.').lower()}{version}@contoso.example"
