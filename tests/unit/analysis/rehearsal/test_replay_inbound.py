from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.analysis.conftest import certified, session_row

from gatepost.analysis.rehearsal.recorded import Effect
from gatepost.analysis.rehearsal.replay_inbound import decide_session
from gatepost.events.trace import refused_event, tls_record
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.facts import SessionFacts
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.inbound import decide_mail, decide_recipient
from gatepost.protocols.smtp.grammar import parse_path
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus, ChainVerdict, TlsFacts

MakeDirectory = Callable[[str], Directory]

BANK = """
[organization.contoso]
accepted_domain = [{ name = "contoso.example" }]
mailbox = [{ address = "ann@contoso.example" }]
[[organization.contoso.inbound_connector]]
name = "bank"
sender_domains = ["bank.example"]
restrict_domains_to_certificate = true
tls_sender_certificate_name = "*.bank.example"
"""
ANCHORED = BANK + 'trust_anchors = "/bank.pem"\n'
OWN = """
[organization.contoso]
accepted_domain = [{ name = "contoso.example" }]
[[organization.contoso.inbound_connector]]
name = "hq"
connector_type = "on-premises"
sender_ip_addresses = ["192.0.2.1"]
require_tls = true
"""
JUDGED = {"chains": {"/bank.pem": {"status": "trusted", "detail": ""}}}

NODE = {"connector": "internal", "detail": {"basis": "node"}}
ANN = {"basis": "login", "user": "ann@contoso.example", "mechanism": "PLAIN"}

# configuration, fields of the row -> outcome, connector, beginning of the reply, a part of the reason
DECIDED: dict[str, tuple[str, dict[str, Any], Effect, str, str, str]] = {
    "trusted": (BANK, {"tls": certified("mail.bank.example")}, Effect.ACCEPTED, "bank", "", ""),
    "in clear": (BANK, {}, Effect.REFUSED, "bank", "530 5.7.0", "not encrypted"),
    "untrusted": (
        BANK, {"tls": certified("mail.bank.example", status="expired")}, Effect.REFUSED, "bank", "550 5.7.51",
        "expired",
    ),
    "a refused one would be taken": (
        BANK, {"event": "REFUSE", "message": "", "tls": certified("mail.bank.example")}, Effect.ACCEPTED, "bank", "",
        "",
    ),
    "a rewritten address that was ours": (
        BANK, {"recipient": "SRS0=x@contoso.example"}, Effect.REFUSED, "bank", "530 5.7.0", "not encrypted",
    ),
    "no such mailbox": (
        BANK, {"recipient": "eve@contoso.example", "sender": ""}, Effect.REFUSED, "", "550 5.1.1", "mailboxes",
    ),
    "nobody's domain": (
        BANK, {"recipient": "a@elsewhere.example", "sender": ""}, Effect.REFUSED, "", "550 5.7.64", "relay",
    ),
    "a user": (
        BANK, {"sender": "ann@contoso.example", "recipient": "a@elsewhere.example", "detail": ANN}, Effect.ACCEPTED,
        "submission", "", "contoso may relay",
    ),
    "a user as somebody else": (
        BANK, {"sender": "joe@contoso.example", "recipient": "", "detail": ANN}, Effect.REFUSED, "submission",
        "550 5.7.60", "none of its addresses",
    ),
    "another node": (BANK, NODE, Effect.ACCEPTED, "internal", "", "node"),
    "another node, unknown there": (
        BANK, NODE | {"event": "REFUSE", "reply": "550 5.1.1 x"}, Effect.REFUSED, "internal", "550 5.1.1", "node",
    ),
    "a log-in that failed": (
        BANK, {"event": "REFUSE", "sender": "", "recipient": "", "detail": {"basis": "login"}}, Effect.REFUSED,
        "submission", "a log-in failed", "no configuration",
    ),
    "the null reverse-path": (BANK, {"sender": ""}, Effect.ACCEPTED, "", "", ""),
    "judged by its own anchors": (
        ANCHORED, {"tls": certified("mail.bank.example", status="untrusted-root", **JUDGED)}, Effect.ACCEPTED, "bank",
        "", "",
    ),
    "judged by other anchors": (
        ANCHORED, {"tls": certified("mail.bank.example")}, Effect.UNKNOWN, "bank", "", "by the trust anchors",
    ),
    "judged by other anchors, but another name": (
        ANCHORED, {"tls": certified("mail.other.example")}, Effect.REFUSED, "bank", "550 5.7.51", "",
    ),
    "many names, none of them": (
        BANK, {"tls": certified(*(f"n{n}.example" for n in range(20)))}, Effect.UNKNOWN, "bank", "",
        "only the first 20 names",
    ),
    "many names, the right one among them": (
        BANK, {"tls": certified("mail.bank.example", *(f"n{n}.example" for n in range(19)))}, Effect.ACCEPTED, "bank",
        "", "",
    ),
    "many names, where none is asked for": (
        BANK, {"sender": "x@y.example", "tls": certified(*(f"n{n}.example" for n in range(20)))}, Effect.ACCEPTED, "",
        "", "",
    ),
    "own server in clear, at MAIL": (
        OWN, {"event": "REFUSE", "sender": "ann@contoso.example", "recipient": ""}, Effect.REFUSED, "hq",
        "530 5.7.0", "requires TLS",
    ),
    "own server over TLS, at MAIL": (
        OWN, {"event": "REFUSE", "sender": "ann@contoso.example", "recipient": "", "tls": certified()},
        Effect.UNKNOWN, "hq", "", "before it said a recipient",
    ),
    "not an address": (OWN, {"sender": "ann@"}, Effect.UNKNOWN, "", "", "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "fields", "outcome", "connector", "reply", "why"), DECIDED.values(), ids=DECIDED)
def test_a_session_is_decided_again(  # noqa: PLR0917 - a table
    directory: MakeDirectory, text: str, fields: dict[str, Any], outcome: Effect, connector: str, reply: str, why: str
) -> None:
    found = decide_session(session_row(**fields), directory(text))
    assert (found.outcome, found.connector) == (outcome, connector)
    assert found.reply.startswith(reply)
    assert bool(found.reply) is bool(reply)
    assert why in found.why


@pytest.mark.parametrize(("event", "outcome"), [("RECEIVE", Effect.ACCEPTED), ("REFUSE", Effect.REFUSED)])
def test_a_rewritten_address_is_ours_if_it_was_taken(directory: MakeDirectory, event: str, outcome: Effect) -> None:
    row = session_row(event=event, sender="", recipient="SRS0=x@contoso.example")
    assert decide_session(row, directory(BANK)).outcome is outcome


def test_what_a_rehearsal_would_refuse_is_told(directory: MakeDirectory) -> None:
    found = decide_session(session_row(), directory(BANK + 'mode = "rehearse"'))
    assert (found.outcome, found.rehearsed_by) == (Effect.ACCEPTED, "bank")
    assert found.rehearsed.startswith("530 5.7.0")


def test_too_many_anchors_to_try_cannot_be_told(directory: MakeDirectory) -> None:
    many = BANK + "".join(
        f'[[organization.contoso.inbound_connector]]\nname = "c{number}"\nsender_domains = ["d{number}.example"]\n'
        f'tls_sender_certificate_name = "*.bank.example"\ntrust_anchors = "/{number}.pem"\n'
        for number in range(5)
    )
    found = decide_session(session_row(tls=certified("mail.bank.example")), directory(many))
    assert (found.outcome, "the trust anchors of every connector" in found.why) == (Effect.UNKNOWN, True)
    assert ".pem" not in found.why, "they may be another organization's"


RULES = Directory(
    parse(
        {
            "organization": {
                "contoso": {
                    "accepted_domain": [{"name": "contoso.example"}],
                    "mailbox": [{"address": "ann@contoso.example"}],
                    "reject_direct_send": True,
                    "inbound_connector": [
                        {
                            "name": "bank",
                            "sender_domains": ["bank.example"],
                            "restrict_domains_to_certificate": True,
                            "tls_sender_certificate_name": "*.bank.example",
                            "trust_anchors": "/bank.pem",
                        },
                        {
                            "name": "all",
                            "mode": "rehearse",
                            "sender_domains": ["*"],
                            "min_tls_version": "TLSv1.3",
                            "restrict_domains_to_ip_addresses": True,
                            "sender_ip_addresses": ["192.0.2.0/24"],
                        },
                        {
                            "name": "hq",
                            "connector_type": "on-premises",
                            "sender_ip_addresses": ["198.51.100.1"],
                            "tls_sender_certificate_name": "hq.contoso.example",
                            "match_common_name": True,
                        },
                    ],
                }
            }
        }
    )
)
_NAMES = st.lists(
    st.sampled_from(["mail.bank.example", "bank.example", "hq.contoso.example", "x.example"]), max_size=3, unique=True
)


@st.composite
def sessions(draw: st.DrawFn) -> SessionFacts:
    address = draw(st.sampled_from(["192.0.2.1", "198.51.100.1", "2001:db8::1", "203.0.113.9"]))
    if draw(st.booleans()):
        return SessionFacts("s", address, "hello")
    tls = TlsFacts(draw(st.sampled_from(["TLSv1.2", "TLSv1.3"])), "s", "g", "", False, "", (b"x",))
    if draw(st.booleans()):
        return SessionFacts("s", address, "hello", tls)
    common_name = draw(st.sampled_from(["", "hq.contoso.example", "A, B"]))
    subject = "O=x" if not common_name else f"CN={common_name.replace(',', chr(92) + ',')},O=x"
    leaf = CertificateFacts(
        subject, "CN=CA", "1", common_name, tuple(draw(_NAMES)), (), "aa", "bb", "", 0.0, 1.0, "RSA"
    )
    status = st.sampled_from([ChainStatus.TRUSTED, ChainStatus.EXPIRED, ChainStatus.REVOCATION_UNKNOWN])
    own = ChainVerdict(draw(status), "why", leaf)
    return SessionFacts("s", address, "hello", tls, own, {"/bank.pem": ChainVerdict(draw(status), "why", leaf)})


@given(
    sessions(),
    st.sampled_from(["", "till@bank.example", "ann@contoso.example", "x@y.example"]),
    st.sampled_from(["ann@contoso.example", "eve@contoso.example", "x@y.example"]),
)
def test_the_configuration_it_was_decided_by_decides_the_same(
    session: SessionFacts, sender: str, recipient: str
) -> None:
    """What the trace keeps is enough to come to the very same verdict."""
    paths = [parse_path(f"<{one}>", smtputf8=False) for one in (sender, recipient)]
    verdict = mail = decide_mail(RULES, session, paths[0])
    if mail.accepted:
        verdict = decide_recipient(RULES, session, *paths, mail.attribution)
    tls = tls_record(session.tls, session.client_chain, session.chains)
    row = refused_event(session, tls, (sender, recipient if mail.accepted else ""), verdict, verdict.reply, 0.0)
    row.event = "RECEIVE" if verdict.accepted else "REFUSE"
    again = decide_session(row, RULES)
    assert again.outcome is (Effect.ACCEPTED if verdict.accepted else Effect.REFUSED)
    assert (again.connector, again.requirement) == (verdict.connector, verdict.requirement)
    assert again.reply == ("" if verdict.accepted else verdict.reply.text)
    assert again.rehearsed_by == verdict.would_refuse_connector
