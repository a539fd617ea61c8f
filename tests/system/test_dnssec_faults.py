"""Proves what becomes of mail when DNSSEC validation itself fails: the resolver loses it, or distrusts the root.

NSD serves a signed root and zones below it, Unbound validates them, and a real gateway sends to real servers. No mail
leaves without the DANE that its destination had, the alarm names the resolver and no partner, and mail goes by itself
when the resolver is repaired.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.debian import need
from support.dnssec import SignedDns
from support.gateway import Gateway
from support.partners import WRONG, leaf_record
from support.process import loopback
from support.scenes import ALICE, connector, contoso, outcomes, send

from gatepost.testing.name_server import DnsServer
from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import wait_until
from gatepost.testing.signed_zone import Zone
from gatepost.testing.sink import Sink

ADDRESS = loopback("29.1")
SETTINGS = {"alarms": {"look": "1s", "partner_failing": "2s"}, "queue": {"retry": ["1h"]}, "dns": {"attempts": 1}}
UNKNOWN = "450 4.4.312 DNS query failed [Message=TlsaLookupFailed "


@pytest.fixture(scope="module")
def leaf(strange_pki: Pki) -> Leaf:
    return strange_pki.self_signed("mx.test")


@pytest.fixture(scope="module")
def partner(leaf: Leaf) -> Iterator[Sink]:
    need("root")
    with Sink(host=ADDRESS, port=25, certificate=leaf, hostname="mx.test") as sink:
        yield sink


@pytest.fixture
def lab(signed_dns: Callable[..., SignedDns], leaf: Leaf) -> SignedDns:
    host = ["@ MX 10 mx", f"mx A {ADDRESS}"]
    tlsa = f"_25._tcp.mx TLSA {leaf_record(leaf)}"
    zones = {name: Zone([*host, tlsa]) for name in ("known", "must", "new")} | {"plain": Zone(host, unsigned=True)}
    zones["broken"] = Zone([*host, tlsa], wrong_ds=True)
    return signed_dns(zones, root=True)


@pytest.fixture
def server(lab: SignedDns) -> Iterator[Gateway]:
    resources = contoso(outbound=[connector("must.test", smtp_dane_mode="mandatory")])
    with Gateway(resources, nameservers=[lab.address], settings=SETTINGS) as gateway:
        yield gateway


def alarms(server: Gateway) -> dict[str, Any]:
    return {alarm["kind"]: alarm for alarm in server.cli("alarms", json=True, expect=None).data["alarms"]}


def taken(partner: Sink, recipient: str) -> bool:
    return any(recipient in message.recipients for message in partner.messages)


def test_a_resolver_that_does_not_validate_any_more_switches_no_dane_off(
    lab: SignedDns, partner: Sink, server: Gateway
) -> None:
    send(server.port, "bob@known.test")
    wait_until(lambda: taken(partner, "bob@known.test"), "DANE works")
    server.stop()  # and with it what it remembers of the DNS
    lab.validate(validating=False)
    server.start()
    wait_until(lambda: "DANE is off" in server.log(), "what the root shows")
    recipients = {"ann@known.test": "DEFER", "ann@must.test": "DEFER", "ann@plain.test": "SEND", "ann@new.test": "SEND"}
    for recipient in recipients:
        send(server.port, recipient)
    events = outcomes(server, recipients)
    dane = events["ann@new.test"]["detail"]["dane"]  # nothing is known of it, so that it goes without DANE
    assert dane["status"] == "insecure"
    assert "DANE is off: " in dane["detail"], dane
    live = server.cli("explain", "--live", "--from", ALICE, "--to", "ann@new.test", "--ip", "127.0.0.1", expect=None)
    assert "DANE is not known" in live.stdout, live.stdout
    for recipient in ("ann@known.test", "ann@must.test"):
        assert events[recipient]["reply"].startswith(UNKNOWN), events
        assert not taken(partner, recipient)
    assert wait_until(lambda: alarms(server).get("dnssec-off"), "the alarm")["severity"] == "error"
    assert "protection-drop" not in alarms(server), "the partner is not to blame"
    assert "DANE is off" in server.log()
    lab.validate(validating=True)
    for recipient in ("ann@known.test", "ann@must.test"):
        wait_until(lambda of=recipient: taken(partner, of), "mail goes by itself, long before its next try")
    send(server.port, "eve@new.test")
    sent = outcomes(server, {"ann@known.test": "SEND", "ann@must.test": "SEND", "eve@new.test": "SEND"})
    assert {event["achieved"] for event in sent.values()} == {"dnssec/authenticated"}
    wait_until(lambda: "dnssec-off" not in alarms(server), "the alarm ends")


def test_mail_for_a_domain_whose_dnssec_is_broken_waits_and_the_alarm_says_why(lab: SignedDns) -> None:
    """As an ordinary domain, of which no connector knows."""
    settings = {**SETTINGS, "alarms": {"look": "1s", "queue_age": "3s"}}
    with Gateway(contoso(), nameservers=[lab.address], settings=settings) as server:
        send(server.port, "ann@broken.test")
        alarm = wait_until(lambda: alarms(server).get("queue-age"), "the alarm", timeout=60)
    assert "It is for contoso/broken.test" in alarm["detail"]
    assert "DnssecInvalid" in alarm["detail"], alarm
    assert "administrators of broken.test must correct the DNSSEC signatures of their zone" in alarm["fix"]


def test_a_root_that_the_resolver_distrusts_is_no_fault_of_each_domain(
    lab: SignedDns, partner: Sink, server: Gateway
) -> None:
    """As after a change of the root's key that the trust anchor did not follow, or with a wrong clock."""
    server.stop()
    anchor, text = lab.anchor, lab.anchor.read_text()
    lab.stop_resolver()
    anchor.write_text(f"{text.rstrip()[:-8]}{text.rstrip()[-8:][::-1]}\n")
    lab.start_resolver()
    server.start()
    recipients = {"joe@known.test": "DEFER", "joe@plain.test": "DEFER"}
    for recipient in recipients:
        send(server.port, recipient)
    events = outcomes(server, recipients)
    assert {(event["reply"][:12], event.get("result_type")) for event in events.values()} == {("450 4.4.312 ", "")}
    alarm = wait_until(lambda: alarms(server).get("dnssec-fails"), "the alarm")
    assert (alarm["severity"], "resolver" in alarm["detail"]) == ("critical", True)
    status = server.cli("status", expect=1).stdout
    assert "DNSSEC validation fails for the root" in status
    assert "trust anchor" in server.cli("doctor", expect=None).stdout
    lab.stop_resolver()
    anchor.write_text(text)
    lab.start_resolver()
    for recipient in recipients:
        wait_until(lambda of=recipient: taken(partner, of), "mail goes by itself, long before its next try")
    wait_until(lambda: "dnssec-fails" not in alarms(server), "the alarm ends")


def test_a_mended_tlsa_record_is_seen_at_once_after_sighup(
    dns_server: Callable[..., DnsServer], partner: Sink, leaf: Leaf
) -> None:
    """Nameservers forget by a command, and so must the gateway: a record may be kept for an hour."""
    name = "_25._tcp.mx.roll.example TLSA"
    dns = dns_server(
        {
            "roll.example MX": ["10 mx.roll.example."],
            "mx.roll.example A": [ADDRESS],
            name: [f"\\# 35 {WRONG}"],
        },
        authentic=True,
        ttl=3600,
    )
    with Gateway(contoso(), nameservers=[dns.address], settings=SETTINGS) as server:
        send(server.port, "ann@roll.example")
        assert outcomes(server, {"ann@roll.example": "DEFER"})["ann@roll.example"]["result_type"] == "tlsa-invalid"
        dns.set(name, f"\\# 35 {leaf_record(leaf)}")
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: "read again" in server.log(), "SIGHUP is heard")
        server.cli("queue", "retry", "--domain", "roll.example")
        wait_until(lambda: taken(partner, "ann@roll.example"), "it is tried with the new record")
