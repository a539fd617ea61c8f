from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.analysis.conftest import certified, hop_row

from gatepost.analysis.rehearsal.recorded import Decision, Effect
from gatepost.analysis.rehearsal.replay_outbound import HopReplay
from gatepost.events.trace import tls_record
from gatepost.mail.model.message import Recipient
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.facts import HopFacts
from gatepost.policy.decisions.outbound import describe, describe_achieved, judge
from gatepost.policy.decisions.route import RoutePlanner
from gatepost.policy.decisions.routes import MxRoute, SmartHosts
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus, ChainVerdict, TlsFacts

MakeDirectory = Callable[[str], Directory]

PLAIN = """
[organization.contoso]
accepted_domain = [{ name = "contoso.example" }]
mailbox = [{ address = "ann@contoso.example" }, { address = "box@contoso.example", delivery = "lmtp:127.0.0.1:24" }]
"""


def lab(*lines: str) -> str:
    """A connector for the lab, by MX unless it says otherwise."""
    head = '[[organization.contoso.outbound_connector]]\nname = "lab"\nrecipient_domains = ["lab.example"]'
    return "\n".join([PLAIN, head, *lines, ""])


def rule(*lines: str) -> str:
    return "\n".join(['[[organization.contoso.mail_flow_rule]]\nname = "r"', *lines, ""])


ENCRYPTED = 'tls_settings = "encryption-only"'
VALIDATED = 'tls_settings = "certificate-validation"'
NAMED = 'tls_settings = "domain-validation"\ntls_domain = "*.lab.example"'
ANCHORS = 'trust_anchors = "/lab.pem"'
MODERN = 'profile = "modern"'
MANDATORY = 'smtp_dane_mode = "mandatory"'
SMART = 'smart_hosts = ["mx.lab.example"]'
SECRET = rule('header_name = "X-Secret"', "require_tls = true")
CLEAR: dict[str, Any] = {"tls": {}, "achieved": "none/none", "detail": {"starttls_offered": False, "attempt": 1}}
BROKEN: dict[str, Any] = {"tls": {}, "achieved": "none/none", "event": "DEFER", "result_type": "validation-failure"}
BROKEN["detail"] = {"starttls_offered": True, "handshake_error": "alert", "attempt": 1}
HOP = {"detail": {"attempt": 1, "requirement_sources": ["internal:site"]}}
OLD = {"tls": certified("mx.lab.example", version="TLSv1.2", suite="TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384")}
MANY = {"tls": certified(*(f"n{number}.example" for number in range(20)))}


def tried(**rehearsal: Any) -> dict[str, Any]:
    return {"detail": {"attempt": 1, "rehearsal": {"requirement": "authenticated(*.lab.example)", **rehearsal}}}


# configuration then (None: the same), configuration now, fields of the row -> outcome, reply, part of the reason
QUANTUM = 'min_key_exchange = "post-quantum"'
DECIDED: dict[str, tuple[str | None, str, dict[str, Any], Effect, str, str]] = {
    "nothing required": (None, PLAIN, {}, Effect.DELIVERED, "", ""),
    "nothing required, in clear": (None, PLAIN, CLEAR, Effect.DELIVERED, "", ""),
    "to another node": (PLAIN, lab(NAMED), HOP, Effect.DELIVERED, "", "where the organization lives"),
    "to another node, later": (PLAIN, lab(NAMED), HOP | {"event": "DEFER", "reply": "450 x"}, Effect.HELD, "450", ""),
    "encryption": (PLAIN, lab(ENCRYPTED), {}, Effect.DELIVERED, "", ""),
    "encryption, in clear": (PLAIN, lab(ENCRYPTED), CLEAR, Effect.HELD, "STARTTLS is required", "Cleartext"),
    "name": (PLAIN, lab(NAMED), {}, Effect.DELIVERED, "", ""),
    "other name": (PLAIN, lab(NAMED), {"tls": certified("x.example")}, Effect.HELD, "SubjectMismatch", "x.example"),
    "untrusted": (
        PLAIN, lab(VALIDATED), {"tls": certified("a", status="expired")}, Effect.HELD, "CertificateExpired", "",
    ),
    "many names": (PLAIN, lab(NAMED), MANY, Effect.UNKNOWN, "", "first 20 names"),
    "many names, none asked for": (PLAIN, lab(VALIDATED), MANY, Effect.DELIVERED, "", ""),
    "other anchors": (PLAIN, lab(VALIDATED, ANCHORS), {}, Effect.UNKNOWN, "", "not judged by /lab.pem"),
    "other anchors, other name": (
        PLAIN, lab(NAMED, ANCHORS), {"tls": certified("x.example")}, Effect.HELD,
        "CertificateInvalid or SubjectMismatch", "not judged by /lab.pem",
    ),
    "other anchors, in clear": (PLAIN, lab(NAMED, ANCHORS), CLEAR, Effect.HELD, "STARTTLS is required", ""),
    "the same anchors": (
        lab(VALIDATED, ANCHORS), lab(NAMED, ANCHORS), {"requirement": "authenticated"}, Effect.DELIVERED, "", "",
    ),
    "back to the server's anchors": (
        lab(VALIDATED, ANCHORS), lab(NAMED), {"requirement": "authenticated"}, Effect.UNKNOWN, "",
        "the server's own trust anchors",
    ),
    "required by a configuration that is not known": (
        PLAIN, lab(VALIDATED), {"requirement": "authenticated(y)"}, Effect.UNKNOWN, "", "the server's own",
    ),
    "the chain was not judged at all": (
        PLAIN, lab(VALIDATED), {"tls": {"version": "TLSv1.3", "suite": "TLS_AES_256_GCM_SHA384"}}, Effect.UNKNOWN, "",
        "not judged",
    ),
    "no certificate": (
        PLAIN, lab(VALIDATED, ANCHORS), {"tls": certified() | {"chain": "no-certificate", "certificate": None}},
        Effect.HELD, "NoCertificate", "",
    ),
    "held by DANE": (
        None, PLAIN, {"event": "DEFER", "detail": {"requirement_sources": ["dane:mx.lab.example"]}}, Effect.UNKNOWN,
        "", "may have changed",
    ),
    "failed for want of REQUIRETLS": (
        None, PLAIN, {"event": "FAIL", "detail": {"requirement_sources": ["requiretls"]}}, Effect.UNKNOWN, "", "anew",
    ),
    "sent with REQUIRETLS": (
        None, PLAIN, {"detail": {"requirement_sources": ["requiretls"]}}, Effect.DELIVERED, "", "",
    ),
    "sent under DANE": (
        None, PLAIN, {"detail": {"requirement_sources": ["dane:mx.lab.example"]}}, Effect.DELIVERED, "", "",
    ),
    "DANE demanded": (PLAIN, lab(MANDATORY), {}, Effect.UNKNOWN, "", "was not found out"),
    "DANE demanded, and there": (
        PLAIN, lab(MANDATORY), {"detail": {"dane": {"matched": "3 1 1 ab"}}}, Effect.DELIVERED, "", "",
    ),
    "rehearsed, passed": (
        lab(NAMED, ANCHORS, 'mode = "rehearse"'), lab(NAMED, ANCHORS), tried(passed=True), Effect.DELIVERED, "", "",
    ),
    "rehearsed, failed": (
        lab(NAMED, ANCHORS, 'mode = "rehearse"'), lab(NAMED, ANCHORS),
        tried(passed=False, message="UntrustedRoot", detail="by its own"), Effect.HELD, "UntrustedRoot", "by its own",
    ),
    "rehearsed, but something else": (
        lab(NAMED, ANCHORS, 'mode = "rehearse"'), lab(NAMED, 'trust_anchors = "/x.pem"'), tried(passed=True),
        Effect.UNKNOWN, "", "/x.pem",
    ),
    "handshake failed": (None, lab(ENCRYPTED), BROKEN | {"requirement": "encrypted"}, Effect.HELD, "TlsHandshake", ""),
    "handshake failed, other offer": (PLAIN, lab(MODERN), BROKEN, Effect.UNKNOWN, "", "other TLS versions"),
    "cleartext after a failed handshake, at first": (
        None, lab('cleartext = "after-failed-handshake"'), BROKEN, Effect.HELD, "TlsHandshakeFailed", "",
    ),
    "cleartext after a failed handshake, later": (
        None, lab('cleartext = "after-failed-handshake"'),
        {**BROKEN, "event": "SEND", "detail": {**BROKEN["detail"], "attempt": 2}}, Effect.DELIVERED, "", "",
    ),
    "modern, agreed to 1.3": (PLAIN, lab(MODERN), {}, Effect.DELIVERED, "", ""),
    "modern, agreed to 1.2": (PLAIN, lab(MODERN), OLD, Effect.HELD, "TlsHandshakeFailed", "TLSv1.2"),
    "another profile, another suite": (
        PLAIN, lab('profile = "compatible"'), {"tls": certified("a", suite="TLS_NEW")}, Effect.UNKNOWN, "",
        "other TLS versions",
    ),
    "another version than any profile has": (
        PLAIN, lab('profile = "compatible"'), {"tls": certified("a", version="TLSv1.4")}, Effect.UNKNOWN, "", "",
    ),
    "min_tls_version": (
        PLAIN, lab(ENCRYPTED, 'min_tls_version = "TLSv1.3"'), OLD, Effect.HELD, "TlsVersionTooOld", "TLSv1.2",
    ),
    "post-quantum, agreed to it": (
        PLAIN, lab(ENCRYPTED, QUANTUM), {"tls": certified("a", group="X25519MLKEM768")}, Effect.DELIVERED, "", "",
    ),
    "post-quantum, agreed to another": (
        PLAIN, lab(ENCRYPTED, QUANTUM), {"tls": certified("a", group="X25519")}, Effect.UNKNOWN, "", "groups",
    ),
    "post-quantum, has no TLS 1.3": (
        PLAIN, lab(ENCRYPTED, QUANTUM), OLD, Effect.HELD, "KeyExchangeNotAllowed", "Expected: post-quantum",
    ),
    "suites of TLS 1.2, agreed to 1.3": (
        PLAIN, lab(ENCRYPTED, 'cipher_suites = ["ECDHE-RSA-AES256-GCM-SHA384"]'), {}, Effect.UNKNOWN, "", "suites",
    ),
    "nothing is left to negotiate": (
        PLAIN, lab(ENCRYPTED, 'cipher_suites = ["ECDHE-RSA-AES256-GCM-SHA384"]', 'groups = ["P-256"]'),
        {"tls": certified("a", group="X25519")}, Effect.UNKNOWN, "", "suites",
    ),
    "the same limits": (
        lab(ENCRYPTED, QUANTUM), lab(ENCRYPTED, QUANTUM),
        {"tls": certified("a", group="X25519MLKEM768"), "requirement": "encrypted with post-quantum key exchange"},
        Effect.DELIVERED, "", "",
    ),
    "no connection": (PLAIN, lab(ENCRYPTED), {"event": "DEFER", "tls": {}}, Effect.UNKNOWN, "", "no connection"),
    "to smart hosts, that very one": (PLAIN, lab(SMART), {}, Effect.DELIVERED, "", ""),
    "to smart hosts, another": (
        PLAIN, lab('smart_hosts = ["a.example"]'), {}, Effect.UNKNOWN, "", "a host that the row has not seen",
    ),
    "from smart hosts to MX": (lab(SMART), PLAIN, {}, Effect.UNKNOWN, "", "a host that the row has not seen"),
    "to a mailbox": (None, PLAIN, {"recipient": "ann@contoso.example"}, Effect.DELIVERED, "", "mailbox"),
    "to LMTP": (
        None, PLAIN, CLEAR | {"recipient": "box@contoso.example", "peer_host": "127.0.0.1",
                              "peer_address": "127.0.0.1:24"}, Effect.DELIVERED, "", "",
    ),
    "to LMTP, not seen": (None, PLAIN, {"recipient": "box@contoso.example"}, Effect.UNKNOWN, "", "not seen"),
    "no such mailbox": (None, PLAIN, {"recipient": "eve@contoso.example"}, Effect.RETURNED, "550 5.1.1", ""),
    "no such organization": (None, PLAIN, {"organization": "x"}, Effect.HELD, "450 4.3.5", "x"),
    "a rule about the header": (PLAIN, PLAIN + SECRET, CLEAR, Effect.UNKNOWN, "", "X-Secret"),
    "a rule about the header, over TLS": (PLAIN, PLAIN + SECRET, {}, Effect.UNKNOWN, "", "X-Secret"),
    "a rule about the header of others": (
        PLAIN, PLAIN + SECRET + 'senders = ["joe@contoso.example"]\n', CLEAR, Effect.DELIVERED, "", "",
    ),
    "a rule about the subject": (
        PLAIN, PLAIN + rule('header_name = "Subject"', 'header_contains = ["secret"]', "require_tls = true"),
        CLEAR | {"subject": "a Secret"}, Effect.HELD, "STARTTLS is required", "",
    ),
    "a rule about another subject": (
        PLAIN, PLAIN + rule('header_name = "Subject"', 'header_contains = ["secret"]', "require_tls = true"),
        CLEAR | {"subject": "hello"}, Effect.DELIVERED, "", "",
    ),
    "a rule about a subject that was not kept as it was": (
        PLAIN, PLAIN + rule('header_name = "Subject"', 'header_contains = ["secret"]', "require_tls = true"),
        CLEAR | {"subject": "a \ufffd"}, Effect.UNKNOWN, "", "Subject",
    ),
    "a rule about words in a subject, and there is none": (
        PLAIN, PLAIN + rule('header_name = "Subject"', 'header_contains = ["secret"]', "require_tls = true"),
        CLEAR, Effect.DELIVERED, "", "",
    ),
    "a rule about having a subject, and there may be none": (
        PLAIN, PLAIN + rule('header_name = "Subject"', "require_tls = true"), CLEAR, Effect.UNKNOWN, "", "Subject",
    ),
    "a rule about a subject that was cut off": (
        PLAIN, PLAIN + rule('header_name = "Subject"', 'header_contains = ["secret"]', "require_tls = true"),
        CLEAR | {"subject": "x" * 250}, Effect.UNKNOWN, "", "Subject",
    ),
}  # fmt: skip


def decide(directory: MakeDirectory, then: str | None, now: str, fields: dict[str, Any]) -> Decision:
    new = directory(now)
    return HopReplay(new, "default", new if then is None else directory(then)).decide(hop_row(**fields))


@pytest.mark.parametrize(("then", "now", "fields", "outcome", "reply", "why"), DECIDED.values(), ids=DECIDED)
def test_an_attempt_is_decided_again(  # noqa: PLR0917 - a table
    directory: MakeDirectory,
    then: str | None,
    now: str,
    fields: dict[str, Any],
    outcome: Effect,
    reply: str,
    why: str,
) -> None:
    found = decide(directory, then, now, fields)
    assert found.outcome == outcome, found
    assert found.reply.startswith(reply)
    assert why in found.why


def test_the_way_is_told_even_where_the_end_is_not(directory: MakeDirectory) -> None:
    found = decide(directory, PLAIN, lab(NAMED, 'smart_hosts = ["a.example"]'), {})
    assert (found.owner, found.connector, found.requirement) == ("contoso", "lab", "authenticated(*.lab.example)")
    assert found.demand is not None


def test_too_many_rules_about_header_fields_are_not_tried(directory: MakeDirectory) -> None:
    many = "".join(SECRET.replace('"r"', f'"r{number}"') for number in range(6))
    found = decide(directory, PLAIN, PLAIN + many, {})
    assert (found.outcome, "more than 5 mail flow rules" in found.why) == (Effect.UNKNOWN, True)


CONFIGURATIONS = [
    [{"name": "lab", "recipient_domains": ["lab.example"], **fields}]
    for fields in (
        {},
        {"tls_settings": "encryption-only"},
        {"tls_settings": "encryption-only", "min_tls_version": "TLSv1.3"},
        {"tls_settings": "certificate-validation"},
        {"tls_settings": "domain-validation", "tls_domain": "mx.lab.example", "trust_anchors": "/lab.pem"},
        {"tls_settings": "domain-validation", "smart_hosts": ["mx.lab.example", "192.0.2.1:2525"]},
        {"cleartext": "never"},
        {"tls_settings": "domain-validation", "mode": "rehearse"},
    )
]


@st.composite
def hops(draw: st.DrawFn) -> HopFacts:
    host, port = draw(st.sampled_from([("mx.lab.example", 25), ("192.0.2.1", 2525)]))
    facts = HopFacts(host, f"198.51.100.1:{port}", starttls_offered=draw(st.booleans()))
    if not facts.starttls_offered:
        return facts
    if draw(st.booleans()):
        return HopFacts(host, facts.address, starttls_offered=True, handshake_error="alert")
    tls = TlsFacts(draw(st.sampled_from(["TLSv1.2", "TLSv1.3"])), "s", "g", "", draw(st.booleans()), host)
    names = draw(st.sampled_from([("mx.lab.example",), ("x.example",), ()]))
    leaf = CertificateFacts("CN=x", "CN=CA", "1", "x", names, draw(st.sampled_from([(), ("192.0.2.1",)])), "", "", "",
                            0.0, 1.0, "RSA")  # fmt: skip
    chain = ChainVerdict(draw(st.sampled_from(ChainStatus)), "why", leaf)
    return HopFacts(host, facts.address, starttls_offered=True, tls=tls, chain=chain)


@given(hops(), st.sampled_from(CONFIGURATIONS))
def test_the_configuration_it_was_decided_by_decides_the_same(
    facts: HopFacts, connectors: list[dict[str, Any]]
) -> None:
    """What `mail.outbound.record` keeps of a judged hop is enough to come to the very same verdict."""
    document = {"organization": {"contoso": {"outbound_connector": connectors}}}
    directory = Directory(parse(document))
    ((route, _),) = RoutePlanner(directory).routes("contoso", [Recipient("joe@lab.example")], from_on_premises=True)
    assert isinstance(route, SmartHosts | MxRoute)
    hops_ = route.hops if isinstance(route, SmartHosts) else ()
    requirement = next((one.requirement for one in hops_ if one.host == facts.host), None)
    if isinstance(route, MxRoute):
        requirement = route.requirement
    assert requirement is not None
    verdict = judge(requirement, facts)
    detail: dict[str, Any] = {"attempt": 1}
    if facts.tls is None:
        detail["starttls_offered"] = facts.starttls_offered
    if facts.handshake_error:
        detail["handshake_error"] = facts.handshake_error
    row = hop_row(
        event="SEND" if verdict.passed else "DEFER",
        peer_host=facts.host,
        peer_address=facts.address,
        requirement=describe(requirement),
        achieved=describe_achieved(verdict.achieved),
        tls=tls_record(facts.tls, facts.chain),
        result_type=str(verdict.shortfall.result_type) if verdict.shortfall else "",
        detail=detail,
    )
    again = HopReplay(directory, "default", directory).decide(row)
    assert again.outcome is (Effect.DELIVERED if verdict.passed else Effect.HELD), again
    assert (again.requirement, again.result_type) == (row.requirement, row.result_type)
    assert again.reply == (verdict.shortfall.message if verdict.shortfall else "")
