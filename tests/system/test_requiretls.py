"""Proves that REQUIRETLS and "TLS-Required: No" are kept to the letter (RFC 8689).

A gateway whose resolver is Unbound, hosts on port 25 of loopback addresses, and other mail systems behind smart hosts:
a second gateway, and a Postfix, which does not know REQUIRETLS. Every case gets one message; a host that will not do
never sees a MAIL command, and its sender is told at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.debian import need
from support.dnssec import SignedDns
from support.gateway import Gateway
from support.peers import Postfix
from support.policy_host import PolicyHost
from support.process import loopback
from support.scenes import ALICE, connector, contoso, message, outcomes, send

from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import wait_until
from gatepost.testing.signed_zone import Zone
from gatepost.testing.sink import EXTENSIONS, Behaviour, Sink
from gatepost.values import replace

ADDRESSES = {name: loopback(f"8.{10 + number}") for number, name in enumerate("abcdefghipqz")}
OFFERS = Behaviour(extensions=(*EXTENSIONS, "REQUIRETLS"))
BEHAVIOURS = {"c": Behaviour(), "i": Behaviour(starttls="garbage")}
BACK = "back.good.test"


@dataclass(frozen=True, slots=True)
class Case:
    """event, code, achieved: as the trace has them. host: the sink where it arrives. passed_on: with REQUIRETLS.

    told: how detail.requiretls begins.
    """

    event: str
    code: str = "250"
    host: str = ""
    achieved: str = ""
    passed_on: bool = True
    told: str = ""


def sent(host: str, achieved: str = "dnssec/authenticated") -> Case:
    return Case("SEND", host=host, achieved=achieved, told="passed on")


NO_TLS, NOT_OFFERED = "550 5.7.10", "550 5.7.30"
CASES = {
    "dane.good.test": sent("a"),  # by TLSA records, whatever its certificate
    "pkix.good.test": sent("b"),  # by name, where DNSSEC proves the MX record
    "sts.test": sent("p", "mta-sts/authenticated"),
    "smart.example": sent("b", "none/authenticated"),
    "second.good.test": sent("b"),
    "not-offered.good.test": Case("FAIL", NOT_OFFERED),
    "clear.good.test": Case("FAIL", NO_TLS),
    "untrusted.good.test": Case("FAIL", NO_TLS),
    "wrong-tlsa.good.test": Case("FAIL", NO_TLS),
    "insecure.test": Case("FAIL", NO_TLS),
    "address.example": Case("FAIL", NO_TLS),
    "named.example": sent("b", "none/authenticated"),
    "refused.good.test": Case("DEFER", "450 4.4.316"),  # the other host is unfit for good, this one may come back
    "postfix.example": Case("FAIL", NOT_OFFERED),
    "relaxed.good.test": Case("SEND", host="c", passed_on=False, told="relaxed: connector 'relaxed.good.test'"),
    "relaxed-offered.good.test": sent("b"),
    "relaxed-clear.good.test": Case("FAIL", NO_TLS),
    "rehearsed.good.test": Case("FAIL", NOT_OFFERED),
}
NEVER_MAIL = "def"


def spki_record(leaf: Leaf) -> str:
    spki = leaf.x509.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "030101" + hashlib.sha256(spki).hexdigest()


def zones(own: Leaf) -> dict[str, Zone]:
    mx = {
        "dane": "a", "pkix": "b", "not-offered": "c", "clear": "d", "untrusted": "e", "wrong-tlsa": "f",
        "relaxed": "c", "relaxed-offered": "b", "relaxed-clear": "d", "rehearsed": "c", "back": "c",
        "waived": "g", "waived-clear": "h", "broken": "i", "kept": "i",
    }  # fmt: skip
    lines = [f"{label} MX 10 {host}" for label, host in mx.items()]
    lines += ["second MX 10 c", "second MX 20 b", "refused MX 10 c", "refused MX 20 z"]
    lines += [f"{name} A {address}" for name, address in ADDRESSES.items()]
    lines += [f"_25._tcp.a TLSA {spki_record(own)}", *(f"_25._tcp.{name} TLSA 030101{'ab' * 32}" for name in "fg")]
    away = ["@ MX 10 mx", f"mx A {ADDRESSES['e']}"]
    policy = [
        "@ MX 10 p", f"p A {ADDRESSES['p']}", f"mta-sts A {ADDRESSES['q']}", '_mta-sts TXT "v=STSv1; id=1;"'
    ]  # fmt: skip
    wrong = ["@ MX 10 h.good.test.", f"mta-sts A {ADDRESSES['q']}", '_mta-sts TXT "v=STSv1; id=1;"']
    return {
        "good": Zone(lines),
        "insecure": Zone(away, unsigned=True),
        "sts": Zone(policy, unsigned=True),
        "sts-wrong": Zone(wrong, unsigned=True),
    }


@dataclass(frozen=True, slots=True)
class World:
    gateway: Gateway
    peer: Gateway
    sinks: dict[str, Sink]
    nameserver: str

    def send(self, recipient: str) -> None:
        send(self.gateway.port, recipient, tls=True, mail=["REQUIRETLS"])

    def commands(self, host: str, recipient: str) -> list[str]:
        """The parameters of MAIL of every message for a recipient that came to a host."""
        return [one.parameters[0] for one in self.sinks[host].messages if recipient in one.recipients]


def resources(peer: Gateway, postfix: Postfix) -> dict[str, Any]:
    named = {"tls_settings": "domain-validation", "tls_domain": "b.good.test"}
    outbound = [
        connector("smart.example", "b.good.test:25"),
        connector("address.example", f"{ADDRESSES['b']}:25"),
        connector("named.example", f"{ADDRESSES['b']}:25", **named),
        connector("peer.example", f"peer.good.test:{peer.port}", tls_settings="domain-validation"),
        connector("postfix.example", f"postfix.good.test:{postfix.port}"),
        *(connector(f"{name}.good.test", requiretls_mode="relaxed") for name in
          ("relaxed", "relaxed-offered", "relaxed-clear")),
        connector("rehearsed.good.test", requiretls_mode="relaxed", mode="rehearse"),
    ]  # fmt: skip
    domains = [{"name": "contoso.example"}, {"name": BACK, "type": "internal-relay"}]
    return contoso(domains=domains, outbound=outbound)


@pytest.fixture(scope="module")
def world(pki: Pki, strange_pki: Pki, signed_dns: Callable[..., SignedDns]) -> Iterator[World]:
    need("root", "postfix")
    own = strange_pki.self_signed("elsewhere.example")
    leaves = {
        "a": own,
        "b": pki.leaf("b.good.test"),
        "c": pki.leaf("c.good.test"),
        "d": None,
        "e": strange_pki.leaf("e.good.test"),
        "f": pki.leaf("f.good.test"),
        "g": strange_pki.leaf("g.good.test"),
        "h": None,
        "i": pki.leaf("i.good.test"),
        "p": pki.leaf("p.sts.test"),
    }
    policy = b"version: STSv1\r\nmode: enforce\r\nmx: p.sts.test\r\nmax_age: 86400\r\n"
    serving = pki.leaf("mta-sts.sts.test", names=["mta-sts.sts.test", "mta-sts.sts-wrong.test"])
    with ExitStack() as stack:
        sinks = {
            name: stack.enter_context(Sink(host=ADDRESSES[name], port=25, certificate=leaf, hostname=name))
            for name, leaf in leaves.items()
        }
        for name, sink in sinks.items():
            sink.behaviour = BEHAVIOURS.get(name, OFFERS)
        stack.enter_context(PolicyHost(serving, policy, address=ADDRESSES["q"], port=443))
        peer = Gateway(
            contoso(domains=[{"name": "peer.example"}], mailboxes=["bob@peer.example"], inbound=[]),
            hostname="peer.good.test",
            certificates=[pki.leaf("peer.good.test")],
        )
        stack.enter_context(peer)
        postfix = stack.enter_context(Postfix(certificates=[pki.leaf("postfix.good.test")]))
        made = zones(own)
        local = [f"{name} A 127.0.0.1" for name in ("peer", "postfix")]
        made["good"] = replace(made["good"], records=[*made["good"].records, *local])
        nameserver = signed_dns(made).address
        gateway = Gateway(
            resources(peer, postfix),
            certificates=[pki.leaf("mx1.contoso.example")],
            nameservers=[nameserver],
            anchors=pki.root,
            settings={"outbound": {"private_policy_hosts": True}},
        )
        yield World(stack.enter_context(gateway), peer, sinks, nameserver)


@pytest.fixture(scope="module")
def events(world: World) -> dict[str, dict[str, Any]]:
    """Every case's message was sent: the row of the trace that tells its end, by recipient."""
    wanted = {f"bob@{domain}": case.event for domain, case in CASES.items()}
    for recipient in wanted:
        world.send(recipient)
    return outcomes(world.gateway, wanted, timeout=60)


@pytest.mark.parametrize("domain", CASES)
def test_requiretls_goes_all_the_way_or_not_at_all(
    world: World, events: dict[str, dict[str, Any]], domain: str
) -> None:
    case, recipient = CASES[domain], f"bob@{domain}"
    event = events[recipient]
    assert event["reply"].startswith(case.code), event
    if case.achieved:
        assert event["achieved"] == case.achieved, event
    assert event["detail"].get("requiretls", "").startswith(case.told)
    taken = {name: parameters for name in world.sinks if (parameters := world.commands(name, recipient))}
    assert list(taken) == ([case.host] if case.host else [])
    for (parameters,) in taken.values():
        assert ("REQUIRETLS" in parameters) is case.passed_on


def test_a_host_that_will_not_do_never_sees_a_message(world: World, events: dict[str, dict[str, Any]]) -> None:
    assert len(events) == len(CASES)
    assert {name: world.sinks[name].counts["MAIL"] for name in NEVER_MAIL} == dict.fromkeys(NEVER_MAIL, 0)
    assert [row["event"] for row in world.gateway.trace(recipient="bob@insecure.test")] == ["FAIL", "RECEIVE"]


def notice(world: World, recipient: str) -> str:
    """What Alice was told of a recipient."""

    def found() -> str:
        notices = [mail.raw.decode() for mail in world.gateway.maildir(ALICE)]
        return next((text for text in notices if recipient in text), "")

    return wait_until(found, f"a notice about {recipient}", timeout=20)


def test_the_sender_is_told_at_once_and_who_must_act(world: World, events: dict[str, dict[str, Any]]) -> None:
    assert events
    told = notice(world, "bob@not-offered.good.test")
    assert "5.7.30" in told
    assert "[x] the sender" in told
    assert "Hello." not in told  # the header section only
    told = notice(world, "bob@insecure.test")
    assert "5.7.10" in told
    assert "[x] the recipient's side" in told


def test_from_gateway_to_gateway(world: World) -> None:
    world.send("bob@peer.example")
    (event,) = outcomes(world.gateway, {"bob@peer.example": "SEND"}).values()
    assert event["requirement"] == "authenticated(peer.good.test) with requiretls"
    assert "requiretls" in event["detail"]["requirement_sources"]
    (received,) = world.peer.wait_trace(event="RECEIVE", recipient="bob@peer.example")
    assert received["detail"]["requiretls"] == "asked for"
    assert world.peer.wait_maildir("bob@peer.example")


def test_requiretls_is_offered_and_taken_over_tls_only(world: World) -> None:
    with pytest.raises(Exception, match=r"555"):
        send(world.gateway.port, "bob@dane.good.test", mail=["REQUIRETLS"])


def test_a_downgrade_is_in_the_log(world: World, events: dict[str, dict[str, Any]]) -> None:
    assert events
    lines = [line for line in world.gateway.log().splitlines() if "left for c.good.test without REQUIRETLS" in line]
    assert lines
    assert "relaxed: " in lines[0]


# Notices


def test_a_notice_that_cannot_be_protected_is_redacted(world: World) -> None:
    sender = f"carol.secret@{BACK}"
    content = message("Takeover of Fabrikam", sender=sender).replace(
        b"Subject", b"Message-ID: <42@back.good.test>\r\nTo: <dave.hidden@clear.good.test>\r\nSubject"
    )
    send(
        world.gateway.port, "dave.hidden@clear.good.test", sender=sender, tls=True, mail=["REQUIRETLS", "RET=FULL"],
        content=content,
    )  # fmt: skip
    (refused,) = outcomes(world.gateway, {sender: "FAIL"}).values()
    assert refused["reply"].startswith(NOT_OFFERED)
    (told,) = outcomes(world.gateway, {f"postmaster@{BACK}": "SEND"}).values()
    assert told["sender"] == ""
    (received,) = [one for one in world.sinks["c"].messages if f"postmaster@{BACK}" in one.recipients]
    text = received.data.decode("ascii")
    assert "REQUIRETLS" not in received.parameters[0]
    assert "<42@back.good.test>" in text
    assert "5.7.30" in text
    for secret in ("carol", "dave", "Takeover", "clear.good.test", "Hello"):
        assert secret not in text


def test_a_notice_of_others_is_not_lost_for_want_of_requiretls(world: World) -> None:
    recipient = f"carol@{BACK}"
    send(world.gateway.port, recipient, sender="", tls=True, mail=["REQUIRETLS"])
    (sent,) = outcomes(world.gateway, {recipient: "SEND"}).values()
    assert sent["detail"]["requiretls"].startswith("relaxed: a notice is not lost")
    assert sent["achieved"] == "dnssec/authenticated"
    (parameters,) = world.commands("c", recipient)
    assert "REQUIRETLS" not in parameters


# TLS-Required: No


WAIVES = message().replace(b"Subject", b"TLS-Required: No\r\nSubject")


@pytest.mark.parametrize(
    ("recipient", "host", "aside"),
    [
        ("eve@waived.good.test", "g", "TLS-Required: No overrides DANE: authenticated(dane)"),
        ("eve@sts-wrong.test", "h", "TLS-Required: No overrides MTA-STS: HostNotInPolicy"),
        (
            "eve@waived-clear.good.test",
            "h",
            "TLS-Required: No lets the message leave unencrypted after a failed TLS handshake",
        ),
    ],
)
def test_tls_required_no_reaches_a_domain_that_is_broken(world: World, recipient: str, host: str, aside: str) -> None:
    send(world.gateway.port, recipient, content=WAIVES)
    (event,) = outcomes(world.gateway, {recipient: "SEND"}).values()
    assert aside in event["detail"]["reasons"]
    assert world.commands(host, recipient)
    (received,) = world.gateway.trace(event="RECEIVE", recipient=recipient)
    assert received["detail"]["tls_required"] == "No"


def test_requiretls_wins_over_tls_required_no(world: World) -> None:
    send(world.gateway.port, "frank@not-offered.good.test", tls=True, mail=["REQUIRETLS"], content=WAIVES)
    (event,) = outcomes(world.gateway, {"frank@not-offered.good.test": "FAIL"}).values()
    assert event["reply"].startswith(NOT_OFFERED)


# Explained beforehand, and kept


@pytest.mark.parametrize(
    ("recipient", "status", "told"),
    [
        ("x@pkix.good.test", 0, "1 of 1 address: requirement met"),
        ("x@not-offered.good.test", 1, "REQUIRETLS     failed: not offered after STARTTLS"),
        ("x@insecure.test", 1, "They must sign their zone, or publish an MTA-STS policy in mode enforce"),
        ("x@address.example", 1, "no route, returned with 550 5.7.10"),
        ("x@relaxed.good.test", 0, "relaxed: connector 'relaxed.good.test' sends where it is not offered"),
    ],
)
def test_it_is_explained(world: World, recipient: str, status: int, told: str) -> None:
    words = ["explain", "--from", ALICE, "--to", recipient, "--ip", "127.0.0.1", "--requiretls", "--live"]
    run = world.gateway.cli(*words, expect=status)
    assert told in run.stdout, run.stdout


@pytest.fixture(scope="module")
def hasty(world: World, pki: Pki) -> Iterator[Gateway]:
    """A gateway that tries again after a second."""
    made = Gateway(
        contoso(outbound=[connector("kept.good.test", cleartext="only-if-not-offered")]),
        certificates=[pki.leaf("mx1.contoso.example")],
        nameservers=[world.nameserver],
        anchors=pki.root,
        settings={"queue": {"retry": ["1s"]}},
    )
    with made:
        yield made


def deferrals(gateway: Gateway, recipient: str, count: int) -> None:
    rows = lambda: len(gateway.trace(event="DEFER", recipient=recipient))  # noqa: E731 - asked until it is enough
    wait_until(lambda: rows() >= count, f"{count} attempts for {recipient}", timeout=20)


def test_a_message_keeps_its_demand_through_a_restart(world: World, hasty: Gateway) -> None:
    """What waits before waits after it, and is not sent to a host that will not do."""
    recipient = "late@refused.good.test"
    send(hasty.port, recipient, tls=True, mail=["REQUIRETLS"])
    deferrals(hasty, recipient, 1)
    hasty.stop()
    hasty.start()
    deferrals(hasty, recipient, len(hasty.trace(event="DEFER", recipient=recipient)) + 1)
    (row,) = hasty.cli("queue", "list", "--recipient", recipient, json=True).data
    assert row["message"]["require_tls"] is True
    assert "REQUIRETLS    yes, TLS all the way" in hasty.cli("queue", "show", row["message"]["id"]).stdout
    assert world.commands("c", recipient) == []


def test_tls_required_no_goes_on_in_clear_after_a_failed_handshake(world: World, hasty: Gateway) -> None:
    """On a later attempt, and not where the connector itself says when mail may leave in clear."""
    recipient, kept = "eve@broken.good.test", "eve@kept.good.test"
    for address, content in ((recipient, WAIVES), (kept, WAIVES), ("eve.usual@broken.good.test", None)):
        send(hasty.port, address, content=content)
    (sent,) = outcomes(hasty, {recipient: "SEND"}).values()
    # As a rule it is the second. A look-up that fails for now may take others, and so may waiting for a destination
    # that answers nobody, which counts as an attempt and has no row of its own. The first is never it.
    assert sent["achieved"] == "dnssec/none"
    assert sent["detail"]["attempt"] >= 2
    assert hasty.trace(event="DEFER", recipient=recipient)
    assert len(world.commands("i", recipient)) == 1
    for address in (kept, "eve.usual@broken.good.test"):
        deferrals(hasty, address, 3)
        assert world.commands("i", address) == []
