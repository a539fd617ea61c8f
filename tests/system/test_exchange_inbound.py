"""Proves that who sends what is decided as Exchange decides it: the cases A1 to A9, P1 to P7 and T1, over real sockets.

One gateway, an organization for each case; every client has its own address and its own real certificate. Where we
mean to differ from Exchange (exceptions to a lock-down work, IPv6 networks are taken) the case says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from support.clients import openssl_s_client
from support.debian import need
from support.gateway import Gateway
from support.raw import RawClient, RawReply
from support.scenes import message

from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import wait_until

OUTSIDE = "someone@internet.example"
STRANGER = "127.0.0.99"


def organization(domain: str, *inbound: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """One that takes in whatever is for its domain."""
    relay = {"name": domain, "type": "internal-relay"}
    return {"accepted_domain": [relay], "inbound_connector": list(inbound), **fields}


def own_servers(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "connector_type": "on-premises", **fields}


RESOURCES: dict[str, Any] = {
    "organization": {
        "wildcard": organization("a1.example", own_servers("a1", tls_sender_certificate_name="*.a1.example")),
        "foreign": organization("a2.example", own_servers("a2", tls_sender_certificate_name="mail.a2-hosting.example")),
        "wide": organization("a5.example", own_servers("wide", tls_sender_certificate_name="*.a5.example")),
        "narrow": organization("n.a5.example", own_servers("narrow", tls_sender_certificate_name="*.n.a5.example")),
        "address": organization("a6.example", own_servers("a6", sender_ip_addresses=["127.0.6.0/24"])),
        "notices": organization(
            "a10.example",
            own_servers("a10", sender_ip_addresses=["127.0.10.1"], senders_by_address="accepted-domains-and-null"),
        ),
        "forwards": organization(
            "a11.example",
            own_servers("a11", sender_ip_addresses=["127.0.11.1", "127.0.11.2"], senders_by_address="any"),
        ),
        "beside": organization("a12.example", own_servers("a12", sender_ip_addresses=["127.0.11.2"])),
        "common": organization(
            "a14.example", own_servers("a14", tls_sender_certificate_name="*.a14.example", match_common_name=True)
        ),
        "mapped": organization("a15.example", own_servers("a15", sender_ip_addresses=["::ffff:127.0.15.0/120"])),
        "twofold": organization(
            "a16.example",
            own_servers("c", tls_sender_certificate_name="*.a16.example"),
            own_servers("i", sender_ip_addresses=["127.0.16.1"]),
        ),
        "limited": {
            "accepted_domain": [
                {"name": name, "type": "internal-relay"} for name in ("a13.example", "*.pilot.a13.example")
            ],
            "inbound_connector": [
                own_servers(
                    "a13",
                    sender_ip_addresses=["127.0.13.1"],
                    tls_sender_certificate_name="*.a13.example",
                    associated_accepted_domains=["*.pilot.a13.example"],
                )
            ],
        },
        "plain": organization("p1.example", {"name": "p1", "sender_domains": ["partner.example"], "require_tls": True}),
        "locked": organization(
            "p2.example",
            {
                "name": "lock-down",
                "sender_domains": ["*"],
                "restrict_domains_to_certificate": True,
                "tls_sender_certificate_name": "*.gw.example",
            },
        ),
        "exception": organization(
            "p3.example",
            {
                "name": "lock-down",
                "sender_domains": ["*"],
                "restrict_domains_to_certificate": True,
                "tls_sender_certificate_name": "*.gw.example",
            },
            {"name": "friend", "sender_domains": ["friend.example"], "require_tls": False},
        ),
        "strict": organization(
            "p3s.example",
            {
                "name": "lock-down",
                "sender_domains": ["*"],
                "restrict_domains_to_certificate": True,
                "tls_sender_certificate_name": "*.gw.example",
                "priority": 1,
            },
            {"name": "friend", "sender_domains": ["friend.example"], "require_tls": False},
        ),
        "network": organization(
            "p4.example",
            {
                "name": "p4",
                "sender_domains": ["partner.example"],
                "require_tls": False,
                "sender_ip_addresses": ["127.0.4.0/24"],
                "restrict_domains_to_ip_addresses": True,
            },
        ),
        "direct": organization("p7.example", reject_direct_send=True),
        "known": organization(
            "p7k.example",
            {
                "name": "by address",
                "sender_domains": ["p7k.example"],
                "require_tls": False,
                "sender_ip_addresses": ["127.0.7.0/24"],
            },
            {
                "name": "by certificate",
                "sender_domains": ["p7k.example"],
                "tls_sender_certificate_name": "*.printer.example",
            },
            reject_direct_send=True,
        ),
    }
}


@dataclass(frozen=True, slots=True)
class Case:
    """Who says what, and what must come of it.

    certificate: its name; "" in clear, "-" TLS without one, "incomplete NAME" without its intermediate, "cn NAME" with
    the name in its CN alone. answers: the reply to each RCPT, code and enhanced code. reason: what must stand in one of
    the decision's reasons. says: what the text of the last reply must say.
    """

    sender: str
    answers: Sequence[str]
    to: Sequence[str] = (OUTSIDE,)
    certificate: str = ""
    source: str = STRANGER
    organization: str = ""
    direction: str = "none"
    connector: str = ""
    reason: str = ""
    says: str = ""


ORIGINATING = "originating"
INCOMING = "incoming"
OK = "250 2.1.5"
NO_RELAY = "550 5.7.64"
LOCKED = "550 5.7.51"

CASES = {
    "A1 certificate under the connector's wildcard, accepted domain: relays": Case(
        "x@a1.example", [OK], certificate="mail.a1.example", organization="wildcard", direction=ORIGINATING,
        connector="a1", reason="'a1' of wildcard names *.a1.example",
    ),
    "A1 with a foreign sender": Case(
        "x@foreign.example", [OK], certificate="mail.a1.example", organization="wildcard", direction=ORIGINATING,
        connector="a1",
    ),
    "A1 with the null reverse-path": Case(
        "", [OK], certificate="mail.a1.example", organization="wildcard", direction=ORIGINATING, connector="a1",
    ),
    "A1 with a certificate for servers alone, as public authorities issue them": Case(
        "x@foreign.example", [OK], certificate="server mail.a1.example", organization="wildcard",
        direction=ORIGINATING, connector="a1",
    ),
    "A1 with a certificate without extended key usage": Case(
        "x@foreign.example", [OK], certificate="unlimited mail.a1.example", organization="wildcard",
        direction=ORIGINATING, connector="a1",
    ),
    "A1 with the wildcard itself in the certificate": Case(
        "x@foreign.example", [OK], certificate="*.a1.example", organization="wildcard", direction=ORIGINATING,
        connector="a1",
    ),
    "A2 the connector's name is not an accepted domain, foreign sender": Case(
        "x@foreign.example", [NO_RELAY], certificate="mail.a2-hosting.example",
        reason="neither that name nor the sender's domain foreign.example is an accepted domain of foreign",
    ),
    "A2 with the null reverse-path": Case("", [NO_RELAY], certificate="mail.a2-hosting.example"),
    "A3 the same, accepted sender: by fallback": Case(
        "x@a2.example", [OK], certificate="mail.a2-hosting.example", organization="foreign", direction=ORIGINATING,
        connector="a2", reason="the sender's domain",
    ),
    "A4 the intermediate is missing": Case(
        "x@foreign.example", [NO_RELAY], certificate="incomplete mail.a1.example", reason="chain-incomplete",
    ),
    "expired": Case("x@foreign.example", [NO_RELAY], certificate="expired mail.a1.example", reason="expired"),
    "not yet valid": Case(
        "x@foreign.example", [NO_RELAY], certificate="future mail.a1.example", reason="not-yet-valid"
    ),
    "unknown root": Case(
        "x@foreign.example", [NO_RELAY], certificate="strange mail.a1.example", reason="untrusted-root"
    ),
    "self-signed": Case("x@foreign.example", [NO_RELAY], certificate="self mail.a1.example", reason="self-signed"),
    "wrong name": Case(
        "x@foreign.example", [NO_RELAY], certificate="mail.other.example", reason="mail.other.example"
    ),
    "the name in the CN alone does not count here, unlike in Exchange": Case(
        "x@foreign.example", [NO_RELAY], certificate="cn mail.a1.example", reason="but it is only in the CN",
        says="your certificate has its name in the CN, not in subjectAltName",
    ),
    "the name in the CN alone counts where the connector says so": Case(
        "x@foreign.example", [OK], certificate="cn mail.a14.example", organization="common", direction=ORIGINATING,
        connector="a14",
    ),
    "A5 overlapping wildcards of two organizations: the more specific wins": Case(
        "x@a5.example", [OK], certificate="mail.n.a5.example", organization="narrow", direction=ORIGINATING,
        connector="narrow",
    ),
    "A5 beside the narrow one": Case(
        "x@n.a5.example", [OK], certificate="mail.m.a5.example", organization="wide", direction=ORIGINATING,
        connector="wide",
    ),
    "A6 the certificate says one organization, the address another": Case(
        "x@a6.example", [OK], certificate="mail.a1.example", source="127.0.6.1", organization="wildcard",
        direction=ORIGINATING, connector="a1",
    ),
    "address and accepted sender": Case(
        "x@a6.example", [OK], source="127.0.6.1", organization="address", direction=ORIGINATING, connector="a6",
    ),
    "an IPv4 network that was written as mapped into IPv6": Case(
        "x@a15.example", [OK], source="127.0.15.1", organization="mapped", direction=ORIGINATING, connector="a15",
    ),
    "address and foreign sender": Case(
        "x@foreign.example", [NO_RELAY], source="127.0.6.1", reason="holds the address 127.0.6.1, but",
    ),
    "a known address, and a certificate without its issuer": Case(
        "x@foreign.example", [NO_RELAY], source="127.0.16.1", certificate="incomplete mail.a16.example",
        says="Relay Access Denied: your certificate is not trusted, chain-incomplete",
        reason="names *.a16.example, but the client's certificate with that name is not trusted: chain-incomplete",
    ),
    "a known address, the null reverse-path, and a certificate with its name in the CN alone": Case(
        "", [NO_RELAY], source="127.0.16.1", certificate="cn mail.a16.example",
        says="your certificate has its name in the CN, not in subjectAltName",
        reason="but it is only in the CN",
    ),
    "a known address, and a certificate for somebody else": Case(
        "x@foreign.example", [NO_RELAY], source="127.0.16.1", certificate="mail.other.example",
        says="ATTR36: your address is known, but the sender's domain is not accepted here",
        reason="holds the address 127.0.16.1, but",
    ),
    "A7 address, null reverse-path, two recipient domains": Case(
        "", [NO_RELAY, NO_RELAY], to=[OUTSIDE, "other@elsewhere.example"], source="127.0.6.1",
        reason="null reverse-path",
    ),
    "A7 address, null reverse-path, recipients of two organizations: they come apart": Case(
        "", [OK, OK, "452 4.5.3"], to=["user@a6.example", "else@a6.example", "user@a1.example"], source="127.0.6.1",
        organization="address", direction=ORIGINATING, connector="a6",
    ),
    "senders_by_address: notices": Case(
        "", [OK], source="127.0.10.1",
        organization="notices", direction=ORIGINATING, connector="a10", reason="takes the null reverse-path",
    ),
    "senders_by_address: forwards only where they are let": Case(
        "x@foreign.example", [NO_RELAY], source="127.0.10.1", reason="holds the address 127.0.10.1, but",
    ),
    "senders_by_address: forwards": Case(
        "x@foreign.example", [OK], source="127.0.11.1", organization="forwards", direction=ORIGINATING, connector="a11",
        reason="takes the sender's domain foreign.example",
    ),
    "senders_by_address: an address that two organizations name": Case(
        "", [NO_RELAY], source="127.0.11.2", reason="connector 'a12' of beside holds the address 127.0.11.2, but",
    ),
    "senders_by_address: a sender of another organization": Case(
        "x@a1.example", [NO_RELAY], source="127.0.11.1", reason="holds the address 127.0.11.1, but",
    ),
    "senders_by_address: mail to another organization is its own": Case(
        "x@foreign.example", [OK, "452 4.5.3"], to=["user@a1.example", OUTSIDE], source="127.0.11.1",
        organization="wildcard", direction=INCOMING,
    ),
    "an address limited to a domain and its subdomains": Case(
        "x@ward.pilot.a13.example", [OK], source="127.0.13.1", organization="limited", direction=ORIGINATING,
        connector="a13",
    ),
    "an address limited to other accepted domains": Case(
        "x@a13.example", [NO_RELAY], source="127.0.13.1",
        says="your server is known, but may not relay for this sender",
        reason="but it is limited to *.pilot.a13.example, and the sender's domain a13.example is none of these",
    ),
    "a certificate limited to other accepted domains": Case(
        "x@a13.example", [NO_RELAY], certificate="mail.a13.example",
        reason="but it is limited to *.pilot.a13.example, and the sender's domain a13.example is none of these",
    ),
    "A8 a stranger to an accepted domain": Case(
        "x@foreign.example", [OK], to=["user@a1.example"], organization="wildcard", direction=INCOMING,
    ),
    "A9 a stranger relays": Case("x@foreign.example", [NO_RELAY], reason="internet.example is not accepted here"),
    "P1 the partner must use TLS": Case(
        "x@partner.example", ["530 5.7.0"], to=["user@p1.example"], organization="plain", direction=INCOMING,
        connector="p1",
    ),
    "P1 over TLS": Case(
        "x@partner.example", [OK], to=["user@p1.example"], certificate="-", organization="plain", direction=INCOMING,
        connector="p1",
    ),
    "P2 lock-down, another source": Case(
        "x@any.example", [LOCKED], to=["user@p2.example"], certificate="mail.other.example", organization="locked",
        direction=INCOMING, connector="lock-down",
    ),
    "P2 lock-down, the name in the CN alone": Case(
        "x@any.example", [LOCKED], to=["user@p2.example"], certificate="cn mx.gw.example", organization="locked",
        direction=INCOMING, connector="lock-down", says="yours has its name in the CN, not in subjectAltName",
    ),
    "P2 lock-down, the right certificate": Case(
        "x@any.example", [OK], to=["user@p2.example"], certificate="mx.gw.example", organization="locked",
        direction=INCOMING, connector="lock-down",
    ),
    "P3 an exception to the lock-down works here, unlike in Exchange": Case(
        "x@friend.example", [OK], to=["user@p3.example"], certificate="-", organization="exception",
        direction=INCOMING, connector="friend",
    ),
    "P3 everybody else stays locked out": Case(
        "x@any.example", [LOCKED], to=["user@p3.example"], certificate="-", organization="exception",
        direction=INCOMING, connector="lock-down",
    ),
    "P3 a lock-down of a lower priority number locks out the friend too, as in Exchange": Case(
        "x@friend.example", [LOCKED], to=["user@p3s.example"], certificate="-", organization="strict",
        direction=INCOMING, connector="lock-down",
    ),
    "P4 partner from another network": Case(
        "x@partner.example", [LOCKED], to=["user@p4.example"], organization="network", direction=INCOMING,
        connector="p4", reason="127.0.0.99 is none",
    ),
    "P4 partner from its network": Case(
        "x@partner.example", [OK], to=["user@p4.example"], source="127.0.4.9", organization="network",
        direction=INCOMING, connector="p4",
    ),
    "P7 direct send": Case(
        "x@p7.example", ["550 5.7.68"], to=["user@p7.example"], organization="direct", direction=INCOMING,
    ),
    "P7 somebody else's mail": Case(
        "x@foreign.example", [OK], to=["user@p7.example"], organization="direct", direction=INCOMING,
    ),
    "P7 direct send by nobody known": Case(
        "x@p7k.example", ["550 5.7.68"], to=["user@p7k.example"], certificate="-", organization="known",
        direction=INCOMING, connector="by address",
    ),
    "P7 known by address": Case(
        "x@p7k.example", [OK], to=["user@p7k.example"], source="127.0.7.1", organization="known", direction=INCOMING,
        connector="by address",
    ),
    "P7 known by certificate": Case(
        "x@p7k.example", [OK], to=["user@p7k.example"], certificate="scan.printer.example", organization="known",
        direction=INCOMING, connector="by certificate",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def mx(pki: Pki) -> Iterator[Gateway]:
    settings = {"queue": {"paused": True}}  # what is accepted stays in the queue
    certificates = [pki.leaf("mx1.contoso.example")]
    with Gateway(RESOURCES, certificates=certificates, anchors=pki.root, settings=settings) as running:
        yield running


def certificate(pki: Pki, strange_pki: Pki, wanted: str) -> Leaf | None:
    """The client's certificate in the words of the table."""
    kind, _, name = wanted.rpartition(" ")
    if name in {"", "-"}:
        return None
    make: dict[str, Callable[[], Leaf]] = {
        "": lambda: pki.client(name),
        "incomplete": lambda: pki.leaf(name, incomplete=True),
        "expired": lambda: pki.expired(name),
        "future": lambda: pki.not_yet_valid(name),
        "strange": lambda: strange_pki.client(name),
        "self": lambda: pki.self_signed(name),
        "server": lambda: pki.client(name, usages=["server"]),
        "unlimited": lambda: pki.client(name, usages=[]),
        "cn": lambda: pki.leaf(name, names=["server01.internal.example"]),
    }
    return make[kind]()


def session_of(reply: RawReply) -> str:
    """The session id at the end of a reply: [HOST TIME SESSION]."""
    return reply.text.rpartition(" ")[2].rstrip("]")


@pytest.mark.parametrize("name", CASES)
def test_who_may_send_what(mx: Gateway, pki: Pki, strange_pki: Pki, name: str) -> None:
    case = CASES[name]
    replies = []
    with RawClient(mx.port, source=case.source) as client:
        client.greet()
        if case.certificate:
            client.starttls(certificate=certificate(pki, strange_pki, case.certificate))
            client.command("EHLO client.example")
        mail = client.command(f"MAIL FROM:<{case.sender}>")
        assert mail.code == 250, mail
        replies = [client.command(f"RCPT TO:<{recipient}>") for recipient in case.to]
        if OK in case.answers:
            content = message(name)
            client.send(f"BDAT {len(content)} LAST\r\n".encode() + content)
            assert client.reply().code == 250
        client.command("QUIT")
    assert [f"{reply.code} {reply.enhanced}" for reply in replies] == list(case.answers), replies

    assert case.says in replies[-1].text

    event = "RECEIVE" if OK in case.answers else "REFUSE"
    (row, *_) = mx.wait_trace(session=session_of(replies[0]), event=event)
    told = {key: row.get(key, "") for key in ("organization", "direction", "connector")}
    assert told == {"organization": case.organization, "direction": case.direction, "connector": case.connector}
    assert any(case.reason in reason for reason in row["detail"]["reasons"]), row["detail"]["reasons"]
    if event == "REFUSE":
        refusal = wait_until(
            lambda: next((line for line in mx.log().splitlines() if session_of(replies[0]) in line), ""), "its line"
        )
        assert case.answers[0].partition(" ")[2] in refusal
        assert case.reason in refusal or case.reason in " ".join(row["detail"]["reasons"])


REFUSED_WHEN_SAVED = {
    "P5 a network wider than /24": (
        own_servers("o", sender_ip_addresses=["198.51.100.0/23"]),
        "sender_ip_addresses[0]: 198.51.100.0/23 is wider than /24",
    ),
    "P5 an IPv6 network wider than /48": (
        own_servers("o", sender_ip_addresses=["2001:db8::/47"]),
        "sender_ip_addresses[0]: 2001:db8::/47 is wider than /48",
    ),
    "P5 an IPv4 network wider than /24, mapped into IPv6": (
        own_servers("o", sender_ip_addresses=["::ffff:198.51.100.0/119"]),
        "sender_ip_addresses[0]: 198.51.100.0/23 is wider than /24",
    ),
    "P6 a partner's mail is not internal": (
        {"name": "o", "sender_domains": ["b.example"], "treat_messages_as_internal": True},
        "treat_messages_as_internal: a partner's mail is never internal",
    ),
    "P6 internal without cross-premises headers only": (
        own_servers(
            "o",
            sender_ip_addresses=["192.0.2.1"],
            treat_messages_as_internal=True,
            cloud_services_mail_enabled=True,
        ),
        "treat_messages_as_internal: ",
    ),
    "a wildcard inside a name": (
        {"name": "o", "sender_domains": ["a.*.b.example"]},
        "sender_domains[0]: 'a.*.b.example': a wildcard may only come first",
    ),
}


@pytest.mark.parametrize("name", REFUSED_WHEN_SAVED)
def test_what_exchange_refuses_to_save_is_refused_with_its_field(mx: Gateway, name: str) -> None:
    connector, expected = REFUSED_WHEN_SAVED[name]
    run = mx.apply({"organization": {"refused": organization("refused.example", connector)}}, expect=2)
    assert f"inbound_connector[0] 'o'.{expected}" in run.stderr
    assert "refused" not in mx.cli("export", json=True).data["organization"]


def test_p5_ipv6_networks_are_taken_unlike_in_exchange(mx: Gateway) -> None:
    connector = own_servers("o", sender_ip_addresses=["2001:db8::/48"])
    mx.apply({"organization": {"tried": organization("tried.example", connector)}})


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_t1_old_versions_are_refused_and_plaintext_stays_possible(mx: Gateway, version: str) -> None:
    need("openssl")
    found = openssl_s_client(mx.port, options=[version, "-cipher", "ALL:@SECLEVEL=0"])
    assert not found.ok
    assert "alert protocol version" in found.transcript
    with RawClient(mx.port) as client:
        client.greet()
        client.command("MAIL FROM:<x@foreign.example>")
        assert client.command("RCPT TO:<user@a1.example>").code == 250
        client.command("RSET")
        client.command("MAIL FROM:<x@partner.example>")
        assert client.command("RCPT TO:<user@p1.example>").enhanced == "5.7.0"  # a connector forbids it
