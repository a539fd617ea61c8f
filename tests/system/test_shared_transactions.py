"""Proves that one transaction carries a message to all domains behind one next hop, and when it must not.

A sink says which recipients came with which MAIL. What differs for one domain keeps that domain apart: the connector,
the organization, what the domain publishes. No domain's mail waits or fails for another's sake.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from support.debian import need
from support.gateway import Gateway
from support.partners import ADDRESS, Partner, World
from support.scenes import connector, contoso, outcomes, send

from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Behaviour, Sink


def domains(number: int) -> list[str]:
    return [f"u@d{index}.example" for index in range(number)]


def through(*hosts: str, **fields: Any) -> dict[str, Any]:
    """A connector for all mail."""
    return {"name": "out", "recipient_domains": ["*"], "smart_hosts": list(hosts), **fields}


def transactions(*sinks: Sink) -> list[list[str]]:
    """Which recipients came together, whatever the order.

    A sink also keeps what came behind a MAIL that it refused, in one piece with it (RFC 2920): that has no sender.
    """
    return sorted(sorted(one.recipients) for sink in sinks for one in sink.messages if one.reverse_path)


def wait_recipients(count: int, *sinks: Sink, timeout: float = 20) -> list[list[str]]:
    wait_until(lambda: sum(map(len, transactions(*sinks))) >= count, f"{count} recipients", timeout=timeout)
    return transactions(*sinks)


def all_once(found: Sequence[Sequence[str]], recipients: Sequence[str]) -> bool:
    return sorted(one for together in found for one in together) == sorted(recipients)


# --- behind smart hosts


def test_one_transaction_for_twenty_domains(gateway: Callable[..., Gateway]) -> None:
    """And each recipient has a row of its own in the trace."""
    with Sink() as sink:
        server = gateway(contoso(outbound=[through(sink.address)]))
        send(server.port, domains(20))
        assert wait_recipients(20, sink) == [sorted(domains(20))]
        assert (sink.counts["CONNECT"], sink.counts["MAIL"], sink.counts["DATA"] + sink.counts["BDAT"]) == (1, 1, 1)
        rows = outcomes(server, dict.fromkeys(domains(20), "SEND"))
        assert len(rows) == 20
        assert {(row["connector"], row["reply"]) for row in rows.values()} == {("out", "250 2.0.0 Stored")}
        wait_until(lambda: server.cli("queue", "list", json=True).data == [], "an empty queue")


def test_a_real_server_takes_it(gateway: Callable[..., Gateway], postfix: Callable[..., Any]) -> None:
    relay = postfix()
    server = gateway(contoso(outbound=[through(relay.address)]))
    send(server.port, domains(20))
    rows = outcomes(server, dict.fromkeys(domains(20), "SEND"))
    assert len({row["reply"] for row in rows.values()}) == 1  # one queue id
    assert "queued as" in rows[domains(1)[0]]["reply"]


def test_more_recipients_than_one_transaction_takes(gateway: Callable[..., Gateway]) -> None:
    with Sink(behaviour=Behaviour(extensions=("PIPELINING", "LIMITS RCPTMAX=30"))) as sink:
        server = gateway(contoso(outbound=[through(sink.address)]))
        send(server.port, domains(250))
        found = wait_recipients(250, sink)
        assert all_once(found, domains(250))
        assert max(map(len, found)) == 30
        assert len(found) <= 12


def test_one_recipient_that_is_full_waits_alone(gateway: Callable[..., Gateway]) -> None:
    full, unknown = domains(5)[1], domains(5)[3]
    behaviour = Behaviour(recipients={full: "450 4.2.2 Mailbox full", unknown: "550 5.1.1 No such user"})
    with Sink(behaviour=behaviour) as sink:
        server = gateway(contoso(outbound=[through(sink.address)]), settings={"queue": {"retry": ["1s"]}})
        send(server.port, domains(5))
        rows = outcomes(server, {full: "DEFER", unknown: "FAIL", domains(1)[0]: "SEND"})
        assert (rows[full]["reply"], rows[unknown]["reply"]) == ("450 4.2.2 Mailbox full", "550 5.1.1 No such user")
        assert transactions(sink) == [sorted(set(domains(5)) - {full, unknown})]
        sink.behaviour = Behaviour()
        assert all_once(wait_recipients(4, sink), sorted(set(domains(5)) - {unknown}))


def test_a_host_that_takes_one_domain_at_a_time(gateway: Callable[..., Gateway]) -> None:
    """As large providers are known to: nothing waits, and the next message is not offered so again."""
    with Sink(behaviour=Behaviour(one_domain=True)) as sink:
        server = gateway(contoso(outbound=[through(sink.address)]))
        send(server.port, domains(10))
        assert wait_recipients(10, sink) == [[one] for one in sorted(domains(10))]
        assert (sink.counts["RCPT"], server.trace(event="DEFER")) == (19, [])
        wait_until(lambda: server.trace(event="SEND", recipient=domains(10)[9]), "the last outcome")
        send(server.port, domains(10))
        wait_recipients(20, sink)
        assert sink.counts["RCPT"] == 29


def test_mail_that_was_deferred_together_is_due_together(gateway: Callable[..., Gateway]) -> None:
    """An hour is spread by six minutes either way, for all deliveries of a message alike."""
    with Sink(behaviour=Behaviour(replies={"MAIL": "452 4.3.1 No room"})) as sink:
        server = gateway(contoso(outbound=[through(sink.address)]), settings={"queue": {"retry": ["1h"]}})
        send(server.port, domains(20))
        wait_until(lambda: len(server.trace(event="DEFER", limit="100")) == 20, "the deferrals")
        assert sink.counts["MAIL"] == 1
        due = [row["detail"]["next_attempt"] for row in server.trace(event="DEFER", limit="100")]
        assert max(due) - min(due) < 10
        sink.behaviour = Behaviour()
        server.stop()
        server.start()  # of new mail it knows none: beside that, and late, it would offer each lease by itself
        begun = time.monotonic()
        server.cli("queue", "retry", "--all")
        found = wait_recipients(20, sink)
        assert all_once(found, domains(20))
        quarters = (time.monotonic() - begun) / 0.25
        assert len(found) <= 3 + quarters, "one, but what takes long is offered after each quarter of a second"


# --- what keeps a domain apart


def test_another_connector_or_rule_is_another_transaction(gateway: Callable[..., Gateway], pki: Pki) -> None:
    """Though it leads to the same host."""
    names = ["relay.example", "named.example"]
    with Sink(certificate=pki.leaf("relay.example", names=names)) as sink:
        resources = contoso(
            outbound=[
                through(sink.address),
                connector("d1.example", sink.address, tls_settings="encryption-only"),
                connector("d2.example", sink.address, tls_settings="domain-validation", tls_domain="named.example"),
                connector("d3.example", sink.address, tls_settings="domain-validation", tls_domain="other.example"),
            ],
            mail_flow_rule=[{"name": "clinic", "recipients": ["d4.example"], "require_tls": True}],
        )
        server = gateway(resources, anchors=pki.root)
        send(server.port, domains(7))
        rows = outcomes(server, {"u@d3.example": "DEFER", "u@d2.example": "SEND"})
        assert rows["u@d3.example"]["reply"].startswith("450 4.7.320")
        assert wait_recipients(6, sink) == [
            ["u@d0.example", "u@d5.example", "u@d6.example"],
            ["u@d1.example"],
            ["u@d2.example"],
            ["u@d4.example"],
        ]


def test_another_organizations_domain_is_another_transaction(gateway: Callable[..., Gateway]) -> None:
    """The owner of the domain says which way its mail goes, though it says the same."""
    with Sink() as sink:
        resources = contoso(outbound=[through(sink.address)])
        resources["organization"]["fabrikam"] = {
            "accepted_domain": [{"name": "d1.example", "type": "internal-relay"}],
            "outbound_connector": [through(sink.address)],
        }
        server = gateway(resources)
        send(server.port, domains(3))
        assert wait_recipients(3, sink) == [["u@d0.example", "u@d2.example"], ["u@d1.example"]]
        rows = outcomes(server, dict.fromkeys(domains(3), "SEND"))
        assert {one: row["detail"].get("connector_organization") for one, row in rows.items()} == {
            "u@d0.example": None,
            "u@d1.example": "fabrikam",
            "u@d2.example": None,
        }


# --- behind the same MX hosts

PARTNERS = {
    "sts.plain.test": Partner("trusted", sts="enforce 1"),
    "trial.plain.test": Partner(zone=("trial MX 10 sts-1",), sts="testing sts-1.plain.test"),
    **{f"{one}.plain.test": Partner(zone=(f"{one} MX 10 sts-1",)) for one in ("a", "b", "c")},
    "far.plain.test": Partner(zone=("far MX 10 sts-1", "far MX 20 sts-1-spare", f"sts-1-spare A {ADDRESS['trusted']}")),
    "match.good.test": Partner("self", "leaf"),
    "proved.good.test": Partner(zone=("proved MX 10 match-1",)),
}
TOGETHER = [[f"bob@{one}.plain.test" for one in ("a", "b", "c")]]
ALONE = [[f"bob@{one}"] for one in PARTNERS if one not in {"a.plain.test", "b.plain.test", "c.plain.test"}]


@pytest.fixture(scope="module")
def world(pki: Pki, strange_pki: Pki) -> Iterator[World]:
    need("root", "nsd", "unbound")
    with World(PARTNERS, pki, strange_pki) as made:
        yield made


def test_domains_with_the_same_mx_hosts_share_unless_they_publish_something(
    world: World, gateway: Callable[..., Gateway], pki: Pki
) -> None:
    settings = {"outbound": {"private_policy_hosts": True}}
    server = gateway(contoso(), nameservers=[world.dns.address], anchors=pki.root, settings=settings)
    recipients = [f"bob@{one}" for one in PARTNERS]
    send(server.port, recipients)  # their hosts are looked up now
    rows = outcomes(server, dict.fromkeys(recipients, "SEND"))
    assert len(rows) == len(recipients)
    for sink in world.sinks.values():
        sink.messages.clear()
    send(server.port, recipients)
    assert wait_recipients(len(recipients), *world.sinks.values()) == sorted(TOGETHER + ALONE)
    achieved = {one: row["achieved"] for one, row in rows.items()}
    assert achieved["bob@sts.plain.test"] == "mta-sts/authenticated"
    assert achieved["bob@match.good.test"] == achieved["bob@proved.good.test"] == "dnssec/authenticated"


# --- how much it saves


def test_how_much_it_saves(gateway: Callable[..., Gateway]) -> None:
    """Messages to 20 domains: printed for docs/performance.md."""
    number = 100
    with Sink(behaviour=Behaviour(store=False)) as sink:
        server = gateway(contoso(outbound=[through(sink.address)]))
        begun = time.monotonic()
        for _ in range(number):
            send(server.port, domains(20))
        accepted = time.monotonic() - begun
        found = wait_recipients(number * 20, sink, timeout=60)
        seconds = time.monotonic() - begun
        print(
            f"{number} messages to 20 domains: accepted in {accepted:.2f} s, all sent in {seconds:.2f} s; "
            f"{len(found)} transactions of {statistics.mean(map(len, found)):.1f} recipients, "
            f"{sink.counts['CONNECT']} connections"
        )
        assert len(found) < number * 2
