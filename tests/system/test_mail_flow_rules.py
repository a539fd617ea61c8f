"""Proves which way mail takes and what mail flow rules demand of it, over real sockets (exchange.md section 17, O6-O8).

Each connector leads to a sink of its own, so where a message arrives is what was chosen. What a rule holds back never
leaves in clear. Centralised transport goes out to a Postfix and comes back without a loop.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.gateway import Gateway
from support.peers import Postfix
from support.scenes import STRANGER, connector, contoso, message, outcomes, send

from gatepost.testing.pki import Pki
from gatepost.testing.process import free_port
from gatepost.testing.sink import Behaviour, Sink

NAMES = ("exact", "wild", "home", "all", "hub")
SECRET = "secret@contoso.example"
LABELLED = b"Subject: =?utf-8?q?Vertrag_=28streng?=\r\n =?utf-8?q?_geheim=29?=\r\nX-Label: Internal\r\n\r\nHello.\r\n"


@pytest.fixture(scope="module")
def sinks(pki: Pki) -> Iterator[dict[str, Sink]]:
    """A next hop for each connector; "plain" can do TLS, but does not offer it until a test says so."""
    made = {name: Sink(hostname=f"{name}.hosts.example") for name in NAMES}
    made["plain"] = Sink(certificate=pki.leaf("plain.hosts.example"), behaviour=Behaviour(starttls="absent"))
    for one in made.values():
        one.start()
    yield made
    for one in made.values():
        one.stop()


def resources(sinks: dict[str, Sink]) -> dict[str, Any]:
    at = {name: [one.address] for name, one in sinks.items()}
    relayed = ({"name": name, "type": "internal-relay"} for name in ("own.test", "sales.c.test", "x.c.test"))
    home = {"name": "home", "connector_type": "on-premises", "all_accepted_domains": True, "smart_hosts": at["home"]}
    hub = {"name": "hub", "is_transport_rule_scoped": True, "recipient_domains": ["far.test"], "smart_hosts": at["hub"]}
    rules = [
        {"name": "by sender", "senders": [SECRET], "require_tls": True},
        {"name": "by recipient", "recipients": ["vip@plain.test"], "require_tls": True},
        {"name": "by header", "header_name": "Subject", "header_contains": ["Streng Geheim"], "require_tls": True},
        {"name": "trial", "recipients": ["trial@plain.test"], "require_tls": True, "mode": "rehearse"},
        {"name": "by hub", "recipients": ["hub@far.test"], "route_via_connector": "HUB"},
        {"name": "by trial", "recipients": ["nohub@far.test"], "route_via_connector": "hub", "mode": "rehearse"},
        {"name": "by off", "recipients": ["off@far.test"], "route_via_connector": "off"},
    ]
    return contoso(
        domains=[{"name": "contoso.example"}, *relayed],
        outbound=[
            {"name": "exact", "recipient_domains": ["sales.c.test"], "smart_hosts": at["exact"]},
            {"name": "wild", "recipient_domains": ["*.c.test"], "smart_hosts": at["wild"]},
            home,
            {"name": "all", "recipient_domains": ["*"], "smart_hosts": at["all"]},
            hub,
            {"name": "off", "enabled": False, "is_transport_rule_scoped": True, "smart_hosts": at["hub"]},
            connector("plain.test", *at["plain"]),
        ],
        mail_flow_rule=rules,
    )


@pytest.fixture(scope="module")
def ruled(sinks: dict[str, Sink]) -> Iterator[Gateway]:
    with Gateway(resources(sinks)) as made:
        yield made


# Recipient -> the sink where it arrives, words of the reasons, and (connector, words) of who was passed over.
WAYS: dict[str, tuple[str, str, dict[str, str]]] = {
    "o6-exact@sales.c.test": (
        "exact",
        "matches recipient domain sales.c.test exactly",
        {"wild": "'exact' is more specific", "home": "takes all accepted domains", "all": "by '*'"},
    ),
    "o6-wildcard@x.c.test": ("wild", "by '*.c.test'", {"home": "'wild' is more specific", "all": "by '*'"}),
    "o6-accepted@own.test": ("home", "takes all accepted domains, and own.test is one", {"all": "by '*'"}),
    "o6-all@far.test": ("all", "by '*'", {}),
    "hub@far.test": ("hub", "rule 'by hub' of contoso matches the recipient", {"all": "is the choice by domain"}),
    "nohub@far.test": ("all", "(in rehearsal) matches the recipient: would send it by connector 'hub'", {}),
}


@pytest.fixture(scope="module")
def ways(ruled: Gateway) -> dict[str, dict[str, Any]]:
    send(ruled.port, list(WAYS))
    return outcomes(ruled, dict.fromkeys(WAYS, "SEND"))


@pytest.mark.parametrize("recipient", WAYS)
def test_o6_o7_the_way_is_the_one_that_is_documented_and_said(
    sinks: dict[str, Sink], ways: dict[str, dict[str, Any]], recipient: str
) -> None:
    """O7 is hub: the rule-scoped connector names far.test, and takes of it only what the rule gives it."""
    where, reason, passed_over = WAYS[recipient]
    arrived = [name for name, sink in sinks.items() if any(recipient in one.recipients for one in sink.messages)]
    assert arrived == [where]
    event = ways[recipient]
    assert event["connector"] == where
    assert any(reason in one for one in event["detail"]["reasons"]), event["detail"]
    said = {one["connector"]: one["why"] for one in event["detail"].get("passed_over", [])}
    assert sorted(said) == sorted(f"connector {name!r} of contoso" for name in passed_over)
    for name, why in passed_over.items():
        assert why in said[f"connector {name!r} of contoso"]
    assert event["detail"]["configuration"] >= 1


def test_mail_waits_while_the_connector_of_its_rule_is_disabled(ruled: Gateway, sinks: dict[str, Sink]) -> None:
    send(ruled.port, "off@far.test")
    (event,) = ruled.wait_trace(recipient="off@far.test", event="DEFER")
    assert event["reply"].startswith("450 4.3.5 The connector that a mail flow rule names is disabled")
    assert "enable it, or change the mail flow rule" in event["detail"]["detail"]
    assert not any("off@far.test" in one.recipients for sink in sinks.values() for one in sink.messages)


def test_rules_hold_mail_back_that_others_may_send_in_clear(ruled: Gateway, sinks: dict[str, Sink]) -> None:
    """By sender, recipient and header; one message to two recipients parts. Once there is TLS, all leaves over it."""
    plain = sinks["plain"]
    send(ruled.port, "sender@plain.test", sender=SECRET, content=message("from the board", sender=SECRET))
    send(ruled.port, ["vip@plain.test", "clerk@plain.test"])
    send(ruled.port, "header@plain.test", content=LABELLED)
    held = {f"{name}@plain.test": f"by {why}" for name, why in HELD_BY.items()}
    events = outcomes(ruled, dict.fromkeys(held, "DEFER") | {"clerk@plain.test": "SEND"})
    for recipient, rule in held.items():
        event = events[recipient]
        assert event["reply"].startswith("450 4.4.317 Cannot establish session"), event
        assert f"Cleartext is ruled out by rule {rule!r}; the administrators of" in event["reply"]
        assert (event["requirement"], event["result_type"]) == ("encrypted", "starttls-not-supported")
        assert event["detail"]["requirement_sources"] == [f"rule:{rule}"]
    assert events["clerk@plain.test"]["achieved"] == "none/none"
    # A message that waits is no reason for the domain's other mail to wait.
    send(ruled.port, "later@plain.test")
    assert ruled.wait_trace(recipient="later@plain.test", event="SEND")
    assert {("clerk@plain.test",), ("later@plain.test",)} <= {one.recipients for one in plain.messages}
    assert not any(recipient in one.recipients for one in plain.messages for recipient in held)
    assert plain.counts["MAIL"] == plain.counts["message"], "nobody but those whose mail left was announced"

    plain.behaviour = Behaviour()
    ruled.cli("queue", "retry", "--domain", "plain.test")
    sent = outcomes(ruled, dict.fromkeys(held, "SEND"))
    assert {event["achieved"] for event in sent.values()} == {"none/encrypted"}
    over_tls = {one.recipients[0]: one.tls for one in plain.messages if one.recipients[0] in held}
    assert over_tls == dict.fromkeys(held, "TLSv1.3")
    plain.behaviour = Behaviour(starttls="absent")


HELD_BY = {"sender": "sender", "vip": "recipient", "header": "header"}


def test_a_rehearsing_rule_only_reports(ruled: Gateway, sinks: dict[str, Sink]) -> None:
    send(ruled.port, "trial@plain.test")
    (event,) = ruled.wait_trace(recipient="trial@plain.test", event="SEND")
    assert any("trial@plain.test" in one.recipients and not one.tls for one in sinks["plain"].messages)
    rehearsal = event["detail"]["rehearsal"]
    assert (rehearsal["requirement"], rehearsal["sources"], rehearsal["passed"]) == ("encrypted", ["rule:trial"], False)
    assert rehearsal["result_type"] == "starttls-not-supported"
    assert any("(in rehearsal)" in reason and "would require TLS" in reason for reason in event["detail"]["reasons"])


def test_o8_centralised_transport_goes_on_premises_once_and_then_straight_out(
    gateway: Callable[..., Gateway], postfix: Callable[..., Postfix], sink: Callable[..., Sink], pki: Pki
) -> None:
    """A stranger's mail goes to the Postfix on-premises, which forwards it by the gateway to an outside address."""
    outside = sink(hostname="mx.far.test")
    home_port = free_port()
    central = {
        "name": "central",
        "connector_type": "on-premises",
        "route_all_messages_via_on_premises": True,
        "smart_hosts": [f"127.0.0.1:{home_port}"],
        "tls_settings": "certificate-validation",
    }
    own_servers = {
        "name": "exchange",
        "connector_type": "on-premises",
        "tls_sender_certificate_name": "exchange.contoso.example",
    }
    server = gateway(
        contoso(
            domains=[
                {"name": "contoso.example", "type": "internal-relay"},
                {"name": "exchange.contoso.example", "type": "internal-relay"},
            ],
            mailboxes=(),
            inbound=[own_servers],
            outbound=[central, {"name": "internet", "recipient_domains": ["*"], "smart_hosts": [outside.address]}],
        ),
        anchors=pki.root,
        certificates=[pki.leaf("mx1.contoso.example")],
    )
    postfix(
        hostname="exchange.contoso.example",
        port=home_port,
        certificates=[pki.leaf("exchange.contoso.example")],
        next_hop=("127.0.0.1", server.port),
        tls="encrypt",
        client_certificate=pki.leaf("exchange.contoso.example"),
        settings={"virtual_alias_maps": "inline:{ {bob@contoso.example=bob@far.test} }"},
    )
    send(server.port, "bob@contoso.example", sender=STRANGER)
    (received,) = outside.wait_messages(1)
    # Relayed by certificate for somebody else, it leaves as the organization's (exchange.md section 5.3).
    assert re.fullmatch(r"SRS0=[^=]+=[^=]+=elsewhere\.example=mallory@contoso\.example", received.reverse_path)
    assert received.recipients == ("bob@far.test",)
    hops = [re.findall(r"\bby\s+([\w.]+)", field)[0] for field in received.mail.fields("Received")]
    assert hops == ["mx1.contoso.example", "exchange.contoso.example", "mx1.contoso.example"]
    (there,) = server.wait_trace(recipient="bob@contoso.example", event="SEND")
    (out,) = server.wait_trace(recipient="bob@far.test", event="SEND")
    assert (there["connector"], out["connector"]) == ("central", "internet")
    assert "takes all messages first" in there["detail"]["reasons"][0]
    assert {
        "connector": "connector 'central' of contoso",
        "why": "takes all messages first, but this one came from on-premises and is not sent back",
    } in out["detail"]["passed_over"]
