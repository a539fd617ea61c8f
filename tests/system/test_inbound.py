"""Proves what a client meets at the MX listener: the offers, TLS by `openssl s_client`, who may relay by swaks.

Client certificates of every kind are taken without breaking the session and judged afterwards; each refusal has its
code and ends in [HOST TIME SESSION], and `trace search --session` finds that session.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from support.clients import openssl_s_client, swaks
from support.debian import need
from support.gateway import Gateway
from support.process import wait_until
from support.raw import ClosedError, RawClient
from support.scenes import ALICE, STRANGER, connector, contoso, message
from support.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.mail import Mail
    from support.pki import Leaf, Pki

ANN = "ann@contoso.example"
OUTSIDE = "bob@partner.example"

OFFERS = {
    "PIPELINING",
    "SIZE 52428800",
    "8BITMIME",
    "SMTPUTF8",
    "ENHANCEDSTATUSCODES",
    "DSN",
    "CHUNKING",
    "BINARYMIME",
    "LIMITS RCPTMAX=1000 MAILMAX=1000",
    "HELP",
}

INBOUND: list[dict[str, Any]] = [
    {
        "name": "head office by certificate",
        "connector_type": "on-premises",
        "tls_sender_certificate_name": "mail.contoso.example",
    },
    {
        "name": "branch by address",
        "connector_type": "on-premises",
        "sender_ip_addresses": ["127.0.0.1"],
        "associated_accepted_domains": ["branch.contoso.example"],
    },
    {"name": "lab", "sender_domains": ["lab.example"], "require_tls": True},
    {
        "name": "bank",
        "sender_domains": ["bank.example"],
        "restrict_domains_to_certificate": True,
        "tls_sender_certificate_name": "*.bank.example",
    },
    {"name": "strict", "sender_domains": ["strict.example"], "min_tls_version": "TLSv1.3"},
    {"name": "rehearsal", "sender_domains": ["rehearsal.example"], "mode": "rehearse"},
]


@pytest.fixture(scope="module")
def next_hop() -> Iterator[Sink]:
    with Sink() as running:
        yield running


@pytest.fixture(scope="module")
def mx(pki: Pki, next_hop: Sink) -> Iterator[Gateway]:
    """A listener with an ECDSA and an RSA certificate for its name, and one more for another name."""
    certificates = [
        pki.leaf("mx1.contoso.example"),
        pki.leaf("mx1.contoso.example", key="rsa"),
        pki.leaf("mx2.contoso.example"),
    ]
    resources = contoso(
        domains=[{"name": "contoso.example"}, {"name": "branch.contoso.example"}],
        inbound=INBOUND,
        outbound=[connector("partner.example", next_hop.address)],
    )
    with Gateway(resources, certificates=certificates, anchors=pki.root) as running:
        yield running


def test_the_offers_in_clear_and_over_tls(mx: Gateway) -> None:
    with RawClient(mx.port) as client:
        assert set(client.greet().lines[1:]) == OFFERS | {"STARTTLS"}
        client.starttls()
        hello = client.command("EHLO client.example")
        assert hello.lines[0].split()[0] == "mx1.contoso.example"
        assert set(hello.lines[1:]) == OFFERS
        assert client.command("STARTTLS").code == 503


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


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("kind", CLIENTS)
def test_no_client_certificate_breaks_a_session(
    mx: Gateway, pki: Pki, strange_pki: Pki, kind: str, version: str
) -> None:
    need("openssl")
    shown: dict[str, Callable[[], Leaf | None]] = {
        "none": lambda: None,
        "trusted": lambda: pki.client("client.lab.example"),
        "trusted RSA": lambda: pki.leaf("client.lab.example", key="rsa"),
        "for servers": lambda: pki.leaf("client.lab.example", usages=["server"]),
        "Ed25519": lambda: pki.leaf("client.lab.example", key="ed25519"),
        "expired": lambda: pki.expired("client.lab.example"),
        "not yet valid": lambda: pki.not_yet_valid("client.lab.example"),
        "self-signed": lambda: pki.self_signed("client.lab.example"),
        "strange authority": lambda: strange_pki.client("client.lab.example"),
        "chain incomplete": lambda: pki.leaf("client.lab.example", incomplete=True),
        "weak key": lambda: pki.leaf("client.lab.example", key="rsa1024"),
    }
    sender = f"{kind.replace(' ', '.').lower()}{version}@lab.example"
    content = message(kind, sender=sender)
    said = f"EHLO client.example\r\nMAIL FROM:<{sender}>\r\nRCPT TO:<{ANN}>\r\nBDAT {len(content)} LAST\r\n"
    found = openssl_s_client(
        mx.port,
        certificate=shown[kind](),
        send=said.encode() + content + b"QUIT\r\n",
        options=[version, "-cipher", "DEFAULT:@SECLEVEL=0"],
    )
    assert found.version == version.replace("-tls1_", "TLSv1.")
    assert "250 2.0.0 Queued as" in found.transcript, found.transcript
    (event,) = mx.wait_trace(sender=sender, event="RECEIVE")
    assert event["tls"].get("chain", "") == CLIENTS[kind], event["tls"]
    assert event["connector"] == "lab"
    assert event["achieved"] == ("authenticated" if CLIENTS[kind] == "trusted" else "encrypted")


@dataclass(frozen=True, slots=True)
class Sent:
    """One message by swaks. shows: name in the client's certificate, "" none. refused: code at RCPT, "" accepted."""

    sender: str
    to: str
    tls: str
    refused: str
    connector: str
    shows: str = ""
    options: tuple[str, ...] = ()


SENT = {
    "stranger to a mailbox": Sent(STRANGER, ANN, "no", "", ""),
    "stranger to a mailbox over TLS": Sent(STRANGER, ANN, "require", "", ""),
    "stranger, letter case": Sent(STRANGER, "Ann@CONTOSO.example", "no", "", ""),
    "stranger relays": Sent(STRANGER, OUTSIDE, "no", "550 5.7.64", ""),
    "stranger relays over TLS": Sent(STRANGER, OUTSIDE, "require", "550 5.7.64", ""),
    "stranger relays with a trusted certificate": Sent(STRANGER, OUTSIDE, "require", "550 5.7.64", "", "c.lab.example"),
    "our domain alone relays nothing": Sent(ALICE, OUTSIDE, "no", "550 5.7.64", ""),
    "null sender to a mailbox": Sent("<>", ANN, "no", "", ""),
    "null sender relays": Sent("<>", OUTSIDE, "no", "550 5.7.64", ""),
    "unknown mailbox": Sent(STRANGER, "nobody@contoso.example", "no", "550 5.1.1", ""),
    "on-premises by certificate": Sent(
        ALICE, OUTSIDE, "require", "", "head office by certificate", "mail.contoso.example"
    ),
    "on-premises by certificate, null sender": Sent(
        "<>", OUTSIDE, "require", "", "head office by certificate", "mail.contoso.example"
    ),
    "on-premises by a certificate with another name": Sent(
        ALICE, OUTSIDE, "require", "550 5.7.64", "", "mailx.contoso.example"
    ),
    "on-premises by address": Sent("carl@branch.contoso.example", OUTSIDE, "no", "", "branch by address"),
    "on-premises by address, sender elsewhere": Sent("carl@contoso.example", OUTSIDE, "no", "550 5.7.64", ""),
    "require_tls in clear": Sent("l@lab.example", ANN, "no", "530 5.7.0", "lab"),
    "require_tls over TLS": Sent("l@lab.example", ANN, "require", "", "lab"),
    "restricted to a certificate, none": Sent("b@bank.example", ANN, "require", "550 5.7.51", "bank"),
    "restricted to a certificate, another": Sent(
        "b@bank.example", ANN, "require", "550 5.7.51", "bank", "mx.lab.example"
    ),
    "restricted to a certificate, right": Sent("b@bank.example", ANN, "require", "", "bank", "mx.bank.example"),
    "min_tls_version not met": Sent(
        "s@strict.example", ANN, "require", "550 5.7.10", "strict", "", ("--tls-protocol", "tlsv1_2")
    ),
    "min_tls_version met": Sent("s@strict.example", ANN, "require", "", "strict"),
    "rehearsal lets it in": Sent("r@rehearsal.example", ANN, "no", "", "rehearsal"),
}


@pytest.mark.parametrize("name", SENT)
def test_who_may_send_what(mx: Gateway, next_hop: Sink, pki: Pki, name: str) -> None:
    need("swaks", "swaks-tls")
    case = SENT[name]
    over_tls = case.tls != "no"
    subject = f"case {name}"
    run = swaks(
        mx.port,
        to=case.to,
        sender=case.sender,
        message=message(subject),
        tls=case.tls,
        anchors=pki.root if over_tls else None,
        name="mx1.contoso.example" if over_tls else "",
        certificate=pki.client(case.shows) if case.shows else None,
        options=case.options,
    )
    assert run.ok is not bool(case.refused), run.transcript
    decisive = next(line for line in run.replies if line.startswith(case.refused or "250 2.0.0 Queued as"))
    (event,) = mx.wait_trace(session=_session(decisive))
    assert event["event"] == ("REFUSE" if case.refused else "RECEIVE")
    assert event["connector"] == case.connector
    assert event["reply"].startswith(case.refused or "250 2.0.0")
    assert event["detail"]["reasons"]
    if name == "rehearsal lets it in":
        assert "would_refuse: 530 5.7.0" in str(event["detail"])
    if case.refused:
        return
    received = wait_until(lambda: _arrived(mx, next_hop, subject), f"{subject!r} to arrive").field("Received")
    assert re.match(r"from client\.example .*by mx1\.contoso\.example .*with ESMTP", received)
    assert ("with ESMTPS" in received) is over_tls
    assert ("TLSv1.3" in received) is over_tls


def test_dsn_parameters_are_carried_through(mx: Gateway, next_hop: Sink) -> None:
    with RawClient(mx.port) as client:
        client.greet()
        for line in (
            "MAIL FROM:<carl@branch.contoso.example> RET=HDRS ENVID=QQ314159+2B BODY=8BITMIME",
            "RCPT TO:<dsn1@partner.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;first+2Bname@partner.example",
            "RCPT TO:<dsn2@partner.example> NOTIFY=NEVER",
        ):
            assert client.command(line).code == 250
        assert client.command("DATA").code == 354
        client.send(message() + b".\r\n")
        assert client.reply().code == 250
    mx.wait_trace(recipient="dsn2@partner.example", event="SEND")
    received = next(one for one in next_hop.messages if "dsn1@partner.example" in one.recipients)
    mail, first, second = received.parameters
    assert {"RET=HDRS", "ENVID=QQ314159+2B", "BODY=8BITMIME"} <= set(mail.split())
    assert set(first.split()) == {"NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;first+2Bname@partner.example"}
    assert "NOTIFY=NEVER" in second.split()


# Said after EHLO, one after the other -> the beginning of the reply. Together they make no more errors than allowed.
DIALOGUE = [
    ("NOOP", "250 2.0.0"),
    ("VRFY ann", "252 2.0.0"),
    ("HELP", "214 2.0.0"),
    ("EXPN staff", "502 5.5.1"),
    ("WHAT", "500 5.5.1"),
    ("RCPT TO:<ann@contoso.example>", "503 5.5.1"),
    ("MAIL FROM:ann@contoso.example", "501 5.5.4"),
    ("RSET", "250 2.0.0"),
    ("MAIL FROM:<ann@contoso..example>", "501 5.1.7"),
    ("MAIL FROM:<a@elsewhere.example> SIZE=52428801", "552 5.3.4"),
    ("MAIL FROM:<a@elsewhere.example> COLOUR=RED", "555 5.5.4"),
    ("MAIL FROM:<a@elsewhere.example> SIZE=1000", "250 2.1.0"),
    ("RCPT TO:<bob@partner.example>", "550 5.7.64"),
    ("RCPT TO:<ann@contoso.example>", "250 2.1.5"),
    ("MAIL FROM:<b@elsewhere.example>", "503 5.5.1"),
    ("DATA", "354 "),
]


def test_every_reply_but_ehlos_names_the_session_and_the_trace_finds_it(mx: Gateway) -> None:
    sessions = []
    with RawClient(mx.port) as client:
        lines = [client.line().decode()]
        client.command("EHLO client.example")
        for said, expected in DIALOGUE:
            client.send(said.encode() + b"\r\n")
            lines.append(client.line().decode())
            assert lines[-1].startswith(expected), (said, lines[-1])
        client.send(message() + b".\r\n")
        lines.append(client.line().decode())
        client.send(b"QUIT\r\n")
        lines.append(client.line().decode())
        with pytest.raises(ClosedError):
            client.line()
        sessions = [_session(line) for line in lines]
    assert lines[0].startswith("220 mx1.contoso.example ESMTP")
    assert lines[-1].startswith("221 2.0.0")
    assert len(set(sessions)) == 1
    events = mx.wait_trace(session=sessions[0], event="RECEIVE") + mx.trace(session=sessions[0], event="REFUSE")
    assert {event["recipient"] for event in events} == {ANN, OUTSIDE}
    shown = mx.cli("trace", "show", sessions[0]).stdout
    assert "550 5.7.64" in shown
    assert sessions[0] in shown


def _arrived(mx: Gateway, next_hop: Sink, subject: str) -> Mail | None:
    found = [*mx.maildir(ANN), *(one.mail for one in next_hop.messages)]
    return next((mail for mail in found if mail.field("Subject") == subject), None)


def _session(line: str) -> str:
    """The session id at the end of a reply, which must be there in full."""
    found = re.search(
        r" \[mx1\.contoso\.example \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ([0-9a-f]{16})\]$", line.rstrip()
    )
    assert found, line
    return found[1]
