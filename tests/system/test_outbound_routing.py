"""Proves where mail goes: by MX records of a real name server to hosts on port 25, and over how many connections.

Every domain of the table is served by one DNS server of the tests; hosts are sinks on port 25 of loopback addresses of
their own. What cannot be routed ever fails with a DSN, what cannot be routed now waits.
"""

from __future__ import annotations

import smtplib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from support.debian import need
from support.gateway import Gateway
from support.peers import Postfix
from support.process import loopback
from support.scenes import ALICE, connector, contoso, message, outcomes, send

from gatepost.testing.name_server import DnsServer
from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Behaviour, Sink

# What the name server knows. Hosts a, b and the IPv6 one take mail; c is dead; d says 421; e drops the connection.
HOSTS = {name: loopback(f"2.{number}") for number, name in enumerate("abcde", 2)}
POSTFIX = loopback("2.9")
RECORDS = {
    **{f"{name}.hosts.example A": [address] for name, address in HOSTS.items()},
    "six.hosts.example AAAA": ["::1"],
    "both.hosts.example A": [HOSTS["c"], HOSTS["a"]],
    "alias.hosts.example CNAME": ["a.hosts.example."],
    "preferred.example MX": ["20 b.hosts.example.", "10 a.hosts.example.", "30 c.hosts.example."],
    "dead-first.example MX": ["10 c.hosts.example.", "20 b.hosts.example."],
    "busy-first.example MX": ["10 d.hosts.example.", "20 b.hosts.example."],
    "cut-first.example MX": ["10 e.hosts.example.", "20 b.hosts.example."],
    "no-address-first.example MX": ["10 nowhere.hosts.example.", "20 b.hosts.example."],
    "broken-first.example MX": ["10 broken.hosts.example.", "20 b.hosts.example."],
    "several-addresses.example MX": ["10 both.hosts.example."],
    "alias.example MX": ["10 alias.hosts.example."],
    "six.example MX": ["10 six.hosts.example."],
    "implicit.example A": [HOSTS["a"]],
    "many.example MX": [f"{number} x{number}.hosts.example." for number in range(1, 60)] + ["60 a.hosts.example."],
    "null.example MX": ["0 ."],
    "all-dead.example MX": ["10 c.hosts.example."],
    "nowhere.example MX": ["10 nowhere.hosts.example."],
    "servfail.example MX": ["10 a.hosts.example."],
    "silent.example MX": ["10 a.hosts.example."],
    "garbage.example MX": ["10 a.hosts.example."],
    "truncated.example MX": ["10 a.hosts.example."],
    "path.example MX": ["10 /run/other.sock."],
    "path-first.example MX": ["10 /run/other.sock.", "10 b.hosts.example."],
    "brackets-first.example MX": ["10 [::1].", "20 b.hosts.example."],
    "labels.example MX": [f"{number} x{number}.{'a.' * 110}hosts.example." for number in range(70)],
    "ourselves.example MX": ["10 mx1.contoso.example.", "20 a.hosts.example."],
}
FAILURES = {
    "servfail.example": "SERVFAIL",
    "broken.hosts.example": "SERVFAIL",
    "silent.example": "TIMEOUT",
    "garbage.example": "GARBAGE",
    "truncated.example": "TRUNCATE",
}


@dataclass(frozen=True, slots=True)
class Case:
    """event: SEND (host: where it arrives), DEFER or FAIL (code: as the reply begins)."""

    event: str
    host: str = ""
    code: str = "250"


CASES = {
    "preferred.example": Case("SEND", "a"),
    "dead-first.example": Case("SEND", "b"),
    "busy-first.example": Case("SEND", "b"),
    "cut-first.example": Case("SEND", "b"),
    "no-address-first.example": Case("SEND", "b"),
    "broken-first.example": Case("SEND", "b"),
    "several-addresses.example": Case("SEND", "a"),
    "alias.example": Case("SEND", "a"),
    "six.example": Case("SEND", "six"),
    "implicit.example": Case("SEND", "a"),
    "truncated.example": Case("SEND", "a"),
    f"[{HOSTS['a']}]": Case("SEND", "a"),
    "[IPv6:::1]": Case("SEND", "six"),
    "null.example": Case("FAIL", code="556 5.1.10"),
    "no-such-domain.test": Case("FAIL", code="550 5.1.2"),
    "many.example": Case("DEFER", code="450 4.4.312"),
    "nowhere.example": Case("FAIL", code="550 5.4.4"),
    "path.example": Case("FAIL", code="550 5.4.4"),
    "path-first.example": Case("SEND", "b"),
    "brackets-first.example": Case("SEND", "b"),
    "labels.example": Case("DEFER", code="450 4.4.312"),
    "ourselves.example": Case("FAIL", code="554 5.4.6"),
    "all-dead.example": Case("DEFER", code="450 4.4.316"),
    "servfail.example": Case("DEFER", code="450 4.4.312"),
    "silent.example": Case("DEFER", code="450 4.4.312"),
    "garbage.example": Case("DEFER", code="450 4.4.312"),
}


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, Sink]]:
    need("root")  # for port 25
    behaviours = {
        "d": Behaviour(replies={"CONNECT": "421 4.3.2 Busy"}),
        "e": Behaviour(drops=frozenset({"EHLO"})),
    }
    sinks = {
        name: Sink(host=address, port=25, behaviour=behaviours.get(name), hostname=f"{name}.hosts.example")
        for name, address in (HOSTS | {"six": "::1"}).items()
        if name != "c"
    }
    for sink in sinks.values():
        sink.start()
    yield sinks
    for sink in sinks.values():
        sink.stop()


@pytest.fixture(scope="module")
def mx_gateway(hosts: dict[str, Sink]) -> Iterator[Gateway]:
    with (
        DnsServer(RECORDS, failures=FAILURES) as server,
        Gateway(contoso(), nameservers=[server.address], settings={"dns": {"timeout": "3s", "attempts": 2}}) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def events(mx_gateway: Gateway) -> dict[str, dict[str, Any]]:
    """Every case's message was sent: the row of the trace that tells its end, by recipient."""
    wanted = {f"bob@{domain}": case.event for domain, case in CASES.items()}
    for recipient in wanted:
        send(mx_gateway.port, recipient)
    return outcomes(mx_gateway, wanted)


@pytest.mark.parametrize("domain", CASES, ids=lambda domain: domain.replace(HOSTS["a"], "a"))
def test_mail_is_routed_by_mx(
    mx_gateway: Gateway, hosts: dict[str, Sink], events: dict[str, dict[str, Any]], domain: str
) -> None:
    case = CASES[domain]
    recipient = f"bob@{domain}"
    event = events[recipient]
    assert event["reply"].startswith(case.code), event
    taken_by = [name for name, sink in hosts.items() if any(recipient in one.recipients for one in sink.messages)]
    assert taken_by == ([case.host] if case.host else [])
    if case.event == "FAIL":
        (notice,) = wait_until(lambda: notices(mx_gateway, recipient), f"a notice about {recipient}")
        assert f"Status: {case.code.split()[1]}" in notice


def notices(gateway: Gateway, recipient: str) -> list[str]:
    """What Alice was told of a recipient so far."""
    bodies = [mail.body.decode() for mail in gateway.maildir(ALICE)]
    return [body for body in bodies if recipient in body]


def test_mx_hosts_get_opportunistic_tls(
    gateway: Callable[..., Gateway],
    postfix: Callable[..., Postfix],
    dns_server: Callable[..., DnsServer],
    pki: Pki,
) -> None:
    """Postfix on port 25, found by MX; with domain-validation without tls_domain, the recipient domain is the name."""
    partner = postfix(host=POSTFIX, port=25, certificates=[pki.leaf("partner.example")])
    names = dns_server({f"{name} MX": ["10 mx.partner.example."] for name in ("partner.example", "other.example")})
    names.set("mx.partner.example A", POSTFIX)
    forced = {"tls_settings": "domain-validation", "trust_anchors": str(pki.root)}
    server = gateway(
        contoso(outbound=[connector("partner.example", **forced), connector("forced-other.example", **forced)]),
        nameservers=[names.address],
    )
    names.set("forced-other.example MX", "10 mx.partner.example.")
    send(server.port, "bob@other.example")
    send(server.port, "bob@partner.example")
    send(server.port, "bob@forced-other.example")
    assert {mail.recipient for mail in partner.wait_mails(2)} == {"bob@other.example", "bob@partner.example"}
    (opportunistic,) = server.wait_trace(recipient="bob@other.example", event="SEND")
    (forced_event,) = server.wait_trace(recipient="bob@partner.example", event="SEND")
    (held,) = server.wait_trace(recipient="bob@forced-other.example", event="DEFER")
    assert opportunistic["tls_version"] == "TLSv1.3"
    assert opportunistic["peer_host"] == "mx.partner.example"
    assert forced_event["achieved"] == "none/authenticated"
    assert held["result_type"] == "certificate-host-mismatch"


def test_twenty_messages_travel_over_few_connections(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki
) -> None:
    partner = sink(certificate=pki.leaf("mx.partner.example"))
    server = gateway(
        contoso(outbound=[connector("partner.example", partner.address)]),
        settings={"queue": {"connections_per_destination": 4}},  # how many are open at once depends on the machine
    )
    with smtplib.SMTP("127.0.0.1", server.port, timeout=20) as client:
        for number in range(20):
            client.sendmail(ALICE, [f"bob{number}@partner.example"], message(str(number)))
    received = partner.wait_messages(20)
    assert {one.recipients for one in received} == {(f"bob{number}@partner.example",) for number in range(20)}
    assert partner.counts["CONNECT"] <= 4
    wait_until(lambda: partner.counts["TLS"] == partner.counts["CONNECT"], "TLS over each connection")
    assert {one.tls for one in received} == {"TLSv1.3"}


def test_a_slow_partner_is_not_flooded_with_connections(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink]
) -> None:
    """connections_per_destination holds although many messages wait."""
    partner = sink(behaviour=Behaviour(delays={".": 2.0}))
    server = gateway(
        contoso(outbound=[connector("partner.example", partner.address)]),
        settings={"queue": {"connections_per_destination": 3}},
    )

    def burst(name: str) -> None:
        with smtplib.SMTP("127.0.0.1", server.port, timeout=20) as client:
            for number in range(10):
                client.sendmail(ALICE, [f"{name}{number}@partner.example"], message(str(number)))

    threads = [threading.Thread(target=burst, args=(name,)) for name in "wxyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: partner.counts["CONNECT"] >= 2, "a second connection while the first is busy")
    partner.behaviour = Behaviour()
    partner.wait_messages(40)
    assert partner.counts["message"] == 40
    assert partner.counts["CONNECT"] <= 3


@pytest.mark.parametrize("newest", ["TLSv1_3", "TLSv1_2"])
@pytest.mark.parametrize("settings", ["encryption-only", "domain-validation"])
def test_tls_sessions_are_resumed_where_any_certificate_will_do(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki, newest: str, settings: str
) -> None:
    """Each message on a connection of its own. Who must prove itself shows its certificate on each of them."""
    partner = sink(certificate=pki.leaf("mx.partner.example"))
    assert partner.tls
    partner.tls.maximum_version = getattr(type(partner.tls.maximum_version), newest)
    proves = settings == "domain-validation"
    forced = {"tls_settings": settings} | ({"tls_domain": "mx.partner.example"} if proves else {})
    server = gateway(
        contoso(outbound=[connector("partner.example", partner.address, **forced, trust_anchors=str(pki.root))]),
        settings={"queue": {"messages_per_connection": 1}},
    )
    for number in range(4):
        send(server.port, f"bob{number}@partner.example")
        partner.wait_messages(number + 1)
    assert partner.counts["CONNECT"] == 4
    assert (partner.counts["TLS resumed"] >= 2) is not proves
    events = wait_until(lambda: len(rows := server.trace(event="SEND")) == 4 and rows, "four rows of the trace")
    assert {event["achieved"] for event in events} == {"none/authenticated" if proves else "none/encrypted"}
    assert any(event["tls"]["resumed"] for event in events) is not proves


def test_a_connection_is_not_kept_for_a_stricter_requirement(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki
) -> None:
    """Same host, same port: mail for the forced domain does not use the connection that is open in clear."""
    partner = sink()
    server = gateway(
        contoso(
            outbound=[
                connector("plain.example", partner.address),
                connector("forced.example", partner.address, tls_settings="encryption-only"),
            ]
        ),
        settings={"queue": {"idle_connection": "10m"}},
    )
    send(server.port, "bob@plain.example")
    partner.wait_messages(1)
    send(server.port, "bob@forced.example")
    (event,) = server.wait_trace(recipient="bob@forced.example", event="DEFER")
    assert event["result_type"] == "starttls-not-supported"
    assert [one.recipients for one in partner.messages] == [("bob@plain.example",)]
    assert partner.counts["CONNECT"] == 2
    send(server.port, "carol@plain.example")
    partner.wait_messages(2)
    assert partner.counts["CONNECT"] == 2, "the connection in clear was kept for mail in clear"
