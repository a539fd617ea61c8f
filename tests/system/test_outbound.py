"""Proves what protects mail on its way out: each tls_settings against partners of every kind, over real sockets.

Mail arrives where its requirement is met, over the protection that the trace tells. Where it is not met, the message
waits with Exchange's code, the trace names what was expected and presented, and the partner was not even told MAIL.
Partners are Postfix, Exim and, where a partner must be wrong in a certain way, the recording sink.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from support.debian import need
from support.gateway import Gateway
from support.peers import Exim, Postfix
from support.scenes import connector, contoso, message, outcomes, send

from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Behaviour, Sink

NAME = "mx.partner.example"


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message that arrives. partner: "tls" or "clear" Postfix. authority: "" (the server's), "known" or "strange"."""

    partner: str
    settings: dict[str, Any]
    requirement: str
    achieved: str
    authority: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """A message that must not leave. partner: what is wrong with it; see `_wrong_partner`."""

    partner: str
    settings: dict[str, Any]
    code: str
    result_type: str
    words: tuple[str, ...]
    authority: str = "known"


ENCRYPTION = {"tls_settings": "encryption-only"}
CHAIN = {"tls_settings": "certificate-validation"}
DOMAIN = {"tls_settings": "domain-validation", "tls_domain": NAME}

DELIVERED = {
    "opportunistic over TLS": Delivered("tls", {}, "opportunistic", "none/encrypted"),
    "opportunistic, partner has no TLS": Delivered("clear", {}, "opportunistic", "none/none"),
    "encryption-only takes any certificate": Delivered("tls", ENCRYPTION, "encrypted", "none/encrypted"),
    "certificate-validation, authority known": Delivered(
        "tls", CHAIN, "authenticated", "none/authenticated", "known"
    ),
    "domain-validation, exact name": Delivered(
        "tls", DOMAIN, f"authenticated({NAME})", "none/authenticated", "known"
    ),
    "domain-validation, pattern": Delivered(
        "tls", DOMAIN | {"tls_domain": "*.partner.example"}, "authenticated(*.partner.example)", "none/authenticated",
        "known",
    ),
    "min_tls_version met": Delivered(
        "tls", ENCRYPTION | {"min_tls_version": "TLSv1.3"}, "encrypted", "none/encrypted"
    ),
    "profile modern": Delivered("tls", ENCRYPTION | {"profile": "modern"}, "encrypted", "none/encrypted"),
    "rehearsal lets it go": Delivered(
        "clear", DOMAIN | {"mode": "rehearse"}, "opportunistic", "none/none", "known"
    ),
}  # fmt: skip

_CONNECT, _VALIDATE = "450 4.4.317", "450 4.7.320"
HELD = {
    "encryption-only, no STARTTLS": Held(
        "no starttls", ENCRYPTION, _CONNECT, "starttls-not-supported", ("STARTTLS is required",)
    ),
    "cleartext never": Held(
        "no starttls", {"cleartext": "never"}, _CONNECT, "starttls-not-supported", ("STARTTLS is required",)
    ),
    "opportunistic, handshake breaks": Held("garbage", {}, _CONNECT, "validation-failure", ("handshake",)),
    "encryption-only, handshake breaks": Held("garbage", ENCRYPTION, _CONNECT, "validation-failure", ("handshake",)),
    "encryption-only, STARTTLS answered 454": Held("454", ENCRYPTION, _CONNECT, "validation-failure", ("454",)),
    "opportunistic, STARTTLS answered 454": Held("454", {}, _CONNECT, "validation-failure", ("454",)),
    "min_tls_version not met": Held(
        "TLS 1.2 only", ENCRYPTION | {"min_tls_version": "TLSv1.3"}, _CONNECT, "validation-failure",
        ("handshake", "Expected: TLSv1.3 or newer"),
    ),
    "profile modern, partner has 1.2": Held(
        "TLS 1.2 only", ENCRYPTION | {"profile": "modern"}, _CONNECT, "validation-failure", ("TLS profile modern",)
    ),
    "certificate-validation, authority unknown": Held(
        "good", CHAIN, _VALIDATE, "certificate-not-trusted", ("UntrustedRoot", f"CN={NAME}"), "strange"
    ),
    "certificate-validation, self-signed": Held(
        "self-signed", CHAIN, _VALIDATE, "certificate-not-trusted", ("UntrustedRoot", f"CN={NAME}")
    ),
    "certificate-validation, expired": Held(
        "expired", CHAIN, _VALIDATE, "certificate-expired", ("CertificateExpired", f"CN={NAME}")
    ),
    "certificate-validation, not yet valid": Held(
        "not yet valid", CHAIN, _VALIDATE, "certificate-not-trusted", ("CertificateNotYetValid",)
    ),
    "certificate-validation, chain incomplete": Held(
        "incomplete", CHAIN, _VALIDATE, "certificate-not-trusted", ("ChainIncomplete", "Gatepost tests intermediate")
    ),
    "certificate-validation, client's certificate": Held(
        "client usage", CHAIN, _VALIDATE, "certificate-not-trusted", ("CertificateWrongPurpose",)
    ),
    "certificate-validation, no STARTTLS": Held(
        "no starttls", CHAIN, _CONNECT, "starttls-not-supported", ("STARTTLS is required",)
    ),
    "domain-validation, other name": Held(
        "other name", DOMAIN, _VALIDATE, "certificate-host-mismatch",
        ("SubjectMismatch", f"Expected Subject: {NAME}", "Presented Subject: ",
         "CN=other.elsewhere.example", "Thumbprint:"),
    ),
    "domain-validation, only the common name fits": Held(
        "common name", DOMAIN, _VALIDATE, "certificate-host-mismatch", ("SubjectMismatch", f"CN={NAME}")
    ),
    "domain-validation, name right but self-signed": Held(
        "self-signed", DOMAIN, _VALIDATE, "certificate-not-trusted", ("UntrustedRoot", f"Expected Subject: {NAME}")
    ),
    "domain-validation, smart host is an address": Held(
        "good", {"tls_settings": "domain-validation"}, _VALIDATE, "certificate-host-mismatch", ("127.0.0.1",)
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def tls_postfix(pki: Pki) -> Iterator[Postfix]:
    need("root", "postfix")
    with Postfix(certificates=[pki.leaf(NAME)]) as running:
        yield running


@pytest.fixture(scope="module")
def clear_postfix() -> Iterator[Postfix]:
    need("root", "postfix")
    with Postfix(hostname="old.partner.example") as running:
        yield running


@pytest.fixture(scope="module")
def wrong_partners(pki: Pki) -> Iterator[dict[str, Sink]]:
    """A partner for each case of HELD."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(_wrong_partner(case.partner, pki)) for name, case in HELD.items()}


@pytest.fixture(scope="module")
def outbound_gateway(
    tls_postfix: Postfix, clear_postfix: Postfix, wrong_partners: dict[str, Sink], pki: Pki, strange_pki: Pki
) -> Iterator[Gateway]:
    """One gateway with a connector for each case, named after the domain that it is for."""
    anchors = {"known": {"trust_anchors": str(pki.root)}, "strange": {"trust_anchors": str(strange_pki.root)}, "": {}}
    partners = {"tls": tls_postfix.address, "clear": clear_postfix.address}
    hosts = [partners[case.partner] for case in DELIVERED.values()] + [one.address for one in wrong_partners.values()]
    connectors = [connector("forced.example", clear_postfix.address, tls_settings="encryption-only")]
    for (name, case), host in zip([*DELIVERED.items(), *HELD.items()], hosts, strict=True):
        trusting = anchors[case.authority] if "tls_settings" in case.settings else {}
        connectors.append(connector(_domain(name), host, **case.settings, **trusting))
    with Gateway(contoso(outbound=connectors)) as running:
        yield running


@pytest.fixture(scope="module")
def events(outbound_gateway: Gateway) -> dict[str, dict[str, Any]]:
    """Every case's message was sent: the row of the trace that tells its end, by recipient."""
    wanted = {f"bob@{_domain(name)}": "SEND" for name in DELIVERED}
    wanted |= {f"bob@{_domain(name)}": "DEFER" for name in HELD}
    for recipient in wanted:
        send(outbound_gateway.port, recipient, content=message(recipient))
    return outcomes(outbound_gateway, wanted)


@pytest.mark.parametrize("name", DELIVERED)
def test_delivered_and_the_trace_says_how(
    events: dict[str, dict[str, Any]], tls_postfix: Postfix, clear_postfix: Postfix, name: str
) -> None:
    case = DELIVERED[name]
    over_tls = case.partner == "tls"
    recipient = f"bob@{_domain(name)}"
    event = events[recipient]
    assert event["requirement"] == case.requirement
    assert event["achieved"] == case.achieved
    assert event["connector"] == _domain(name)
    assert event["reply"].startswith("250")
    assert event.get("tls_version", "") == ("TLSv1.3" if over_tls else "")
    assert bool(event.get("tls")) is over_tls
    partner = tls_postfix if over_tls else clear_postfix
    (mail,) = wait_until(lambda: [mail for mail in partner.mails() if mail.recipient == recipient], "it is delivered")
    assert mail.content == message(recipient)
    assert ("ESMTPS" in mail.field("Received")) is over_tls
    if case.settings.get("mode") == "rehearse":
        rehearsal = event["detail"]["rehearsal"]
        assert rehearsal["result_type"] == "starttls-not-supported", "what the connector would have done"


@pytest.mark.parametrize("name", HELD)
def test_held_and_nothing_left_in_clear(
    outbound_gateway: Gateway, wrong_partners: dict[str, Sink], events: dict[str, dict[str, Any]], name: str
) -> None:
    case, partner = HELD[name], wrong_partners[name]
    recipient = f"bob@{_domain(name)}"
    event = events[recipient]
    assert event["reply"].startswith(case.code)
    assert event.get("result_type") == case.result_type
    assert event["connector"] == _domain(name)
    said = f"{event['reply']} {event['detail']}"
    assert [word for word in case.words if word not in said] == [], said
    assert f"[LastAttemptedIP={partner.address}]" in event["reply"]
    (entry,) = outbound_gateway.cli("queue", "list", "--recipient", recipient, json=True).data
    assert case.code.split(maxsplit=1)[1] in entry["last_error"]
    assert partner.counts["CONNECT"] > 0
    assert partner.counts["MAIL"] == partner.counts["message"] == 0


def test_postfix_itself_saw_no_envelope_under_a_requirement(outbound_gateway: Gateway, clear_postfix: Postfix) -> None:
    """The same at a real server: it logs a connection and not one command of a transaction."""
    send(outbound_gateway.port, "bob@forced.example")
    outbound_gateway.wait_trace(recipient="bob@forced.example", event="DEFER")
    assert "forced.example" not in clear_postfix.wait_log("disconnect from")
    assert "bob@forced.example" not in [mail.recipient for mail in clear_postfix.mails()]
    outbound_gateway.cli("queue", "drop", "--recipient", "@forced.example", "--reason", "x")


def test_clear_after_a_failed_handshake_only_where_allowed(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki
) -> None:
    """cleartext = "after-failed-handshake": a later attempt on a fresh connection goes in clear, as the trace says."""
    partner = sink(certificate=pki.leaf(NAME), behaviour=Behaviour(starttls="garbage"))
    lenient = connector("lenient.example", partner.address, cleartext="after-failed-handshake")
    server = gateway(contoso(outbound=[lenient]), settings={"queue": {"retry": ["1s"]}})
    send(server.port, "bob@lenient.example")
    (event,) = server.wait_trace(recipient="bob@lenient.example", event="SEND")
    assert event["achieved"] == "none/none"
    assert not event.get("tls")
    (received,) = partner.messages
    assert received.tls == ""
    assert partner.counts["CONNECT"] >= 2


def test_held_mail_leaves_once_the_partner_is_right(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki
) -> None:
    partner = sink(certificate=pki.leaf("other.elsewhere.example"))
    rules = contoso(outbound=[connector("bank.example", partner.address, **DOMAIN, trust_anchors=str(pki.root))])
    server = gateway(rules, settings={"queue": {"retry": ["1s"]}})
    send(server.port, "bob@bank.example")
    server.wait_trace(recipient="bob@bank.example", event="DEFER")
    partner.tls = Sink(certificate=pki.leaf(NAME)).tls
    (received,) = partner.wait_messages(1)
    assert received.tls == "TLSv1.3"
    (event,) = server.wait_trace(recipient="bob@bank.example", event="SEND")
    assert event["achieved"] == "none/authenticated"


def test_a_client_certificate_is_shown_where_the_connector_names_one(
    gateway: Callable[..., Gateway], postfix: Callable[..., Postfix], pki: Pki
) -> None:
    ours = pki.client("gateway.contoso.example")
    partner = postfix(certificates=[pki.leaf(NAME)], client_anchors=pki.root)
    certificate = {"chain": str(ours.chain), "key": str(ours.key)}
    shown = connector("shown.example", partner.address, client_certificate=certificate)
    server = gateway(contoso(outbound=[shown, connector("plain.example", partner.address)]))
    send(server.port, "bob@shown.example")
    partner.wait_log("Trusted TLS connection established")
    send(server.port, "bob@plain.example")
    partner.wait_log("Anonymous TLS connection established")
    partner.wait_mails(2)


def test_exim_takes_mail_over_verified_tls(
    gateway: Callable[..., Gateway], exim: Callable[..., Exim], pki: Pki
) -> None:
    partner = exim(certificate=pki.leaf("exim.partner.example"))
    forced = {"tls_settings": "domain-validation", "tls_domain": "exim.partner.example"}
    server = gateway(
        contoso(outbound=[connector("partner.example", partner.address, **forced, trust_anchors=str(pki.root))])
    )
    content = message(body=".\r\n..two")
    send(server.port, ["bob@partner.example", "carol@partner.example"], content=content)
    mails = partner.wait_mails(2)  # Exim delivers to each recipient by itself
    assert [mail.content for mail in mails] == [content] * 2
    partner.wait_log("X=TLS1.3")
    events = server.wait_trace(event="SEND")
    assert {event["recipient"] for event in events} == {"bob@partner.example", "carol@partner.example"}
    assert {event["achieved"] for event in events} == {"none/authenticated"}


def _domain(name: str) -> str:
    """A recipient domain for a case: its name in letters and digits."""
    return f"{re.sub('[^a-z0-9]+', '-', name.lower())}.example"


def _wrong_partner(kind: str, pki: Pki) -> Sink:
    if kind == "no starttls":
        return Sink()
    certificates: dict[str, Callable[[], Leaf]] = {
        "self-signed": lambda: pki.self_signed(NAME),
        "expired": lambda: pki.expired(NAME),
        "not yet valid": lambda: pki.not_yet_valid(NAME),
        "incomplete": lambda: pki.leaf(NAME, incomplete=True),
        "client usage": lambda: pki.client(NAME),
        "other name": lambda: pki.leaf("other.elsewhere.example"),
        "common name": lambda: pki.leaf(NAME, names=["other.elsewhere.example"]),
    }
    behaviours = {
        "garbage": Behaviour(starttls="garbage"),
        "454": Behaviour(replies={"STARTTLS": "454 4.7.0 TLS not available"}),
    }
    made = certificates.get(kind, lambda: pki.leaf(NAME))()
    partner = Sink(certificate=made, behaviour=behaviours.get(kind, Behaviour()))
    if kind == "TLS 1.2 only":
        assert partner.tls
        partner.tls.maximum_version = ssl.TLSVersion.TLSv1_2
    return partner
