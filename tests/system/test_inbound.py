"""Proves what a client meets at the MX listener: the offers, who may send what to whom (by swaks), and the replies.

Each refusal has its code and ends in [HOST TIME SESSION], and `trace search --session` finds that session.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from support.clients import SwaksRun, swaks
from support.debian import need
from support.gateway import Gateway
from support.raw import ClosedError, RawClient
from support.scenes import ALICE, STRANGER, connector, contoso, message

from gatepost.testing.mail import Mail
from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Sink

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
        "tls_sender_certificate_name": "*.contoso.example",
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
    resources = contoso(
        domains=[{"name": "contoso.example"}, {"name": "branch.contoso.example"}],
        inbound=INBOUND,
        outbound=[connector("partner.example", next_hop.address)],
    )
    with Gateway(resources, certificates=[pki.leaf("mx1.contoso.example")], anchors=pki.root) as running:
        yield running


def test_the_offers_in_clear_and_over_tls(mx: Gateway) -> None:
    with RawClient(mx.port) as client:
        assert set(client.greet().lines[1:]) == OFFERS | {"STARTTLS"}
        client.starttls()
        hello = client.command("EHLO client.example")
        assert hello.lines[0].split()[0] == "mx1.contoso.example"
        assert set(hello.lines[1:]) == OFFERS | {"REQUIRETLS"}
        assert client.command("STARTTLS").code == 503


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
        ALICE, OUTSIDE, "require", "550 5.7.64", "", "mail.contoso-x.example"
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


@pytest.fixture(scope="module")
def sent(mx: Gateway, pki: Pki) -> dict[str, tuple[SwaksRun, dict[str, Any]]]:
    """Every case's message was sent: what swaks saw, and the trace's row, found by the session in the reply."""
    need("swaks", "swaks-tls")
    runs, sessions = {}, {}
    for name, case in SENT.items():
        over_tls = case.tls != "no"
        runs[name] = run = swaks(
            mx.port,
            to=case.to,
            sender=case.sender,
            message=message(f"case {name}"),
            tls=case.tls,
            anchors=pki.root if over_tls else None,
            name="mx1.contoso.example" if over_tls else "",
            certificate=pki.client(case.shows) if case.shows else None,
            options=case.options,
        )
        decisive = [line for line in run.replies if line.startswith(case.refused or "250 2.0.0 Queued as")]
        sessions[name] = _session(decisive[0]) if decisive else ""
    rows = _rows(mx, sessions)
    return {name: (run, rows.get(sessions[name], {})) for name, run in runs.items()}


@pytest.mark.parametrize("name", SENT)
def test_who_may_send_what(
    mx: Gateway, next_hop: Sink, sent: dict[str, tuple[SwaksRun, dict[str, Any]]], name: str
) -> None:
    case = SENT[name]
    run, event = sent[name]
    assert run.ok is not bool(case.refused), run.transcript
    assert event["event"] == ("REFUSE" if case.refused else "RECEIVE")
    assert event.get("connector", "") == case.connector
    assert event["reply"].startswith(case.refused or "250 2.0.0")
    assert event["detail"]["reasons"]
    if name == "rehearsal lets it in":
        assert "would_refuse: 530 5.7.0" in str(event["detail"])
    if case.refused:
        assert _arrived(mx, next_hop, f"case {name}") is None
        return
    received = wait_until(lambda: _arrived(mx, next_hop, f"case {name}"), "its arrival").field("Received")
    assert re.match(r"from client\.example .*by mx1\.contoso\.example .*with ESMTP", received)
    assert ("with ESMTPS" in received) is ("TLSv1.3" in received) is (case.tls != "no")


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


def _rows(mx: Gateway, sessions: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What the trace says of these sessions' mail coming in: one row each, asked for all at once."""

    wanted = {session for session in sessions.values() if session}

    def found() -> dict[str, dict[str, Any]]:
        rows = [row for row in mx.trace(limit="10000") if row["event"] in {"RECEIVE", "REFUSE"}]
        mine = {row["session"]: row for row in rows if row["session"] in wanted}
        return mine if len(mine) == len(wanted) else {}

    return wait_until(found, "a row of the trace for each session")


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
