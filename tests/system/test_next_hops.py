"""Proves what holds for a next hop whatever domains are behind it: its connections, its turns, its silences.

The relays of these tests fail at random, with 4xx, 421 and resets, and count who is connected at a time.
`make next-hops` runs the large one: 10,000 messages to 500 domains.
"""

from __future__ import annotations

import os
import smtplib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from support.gateway import Gateway
from support.peers import Postfix
from support.relays import Relay, Relays
from support.scanners import Misbehaving, silent
from support.scenes import ALICE, OWN_SERVERS, connector, contoso, message, send

from gatepost.testing.process import wait_until

MESSAGES = int(os.environ.get("GATEPOST_MESSAGES", "1000"))
DOMAINS = int(os.environ.get("GATEPOST_DOMAINS", "100"))


def by(*relays: Relay, **fields: Any) -> dict[str, Any]:
    """Resources by which all mail goes to some relays."""
    hosts = [relay.address for relay in relays]
    return contoso(outbound=[{"name": "out", "recipient_domains": ["*"], "smart_hosts": hosts, **fields}])


def submit(server: Gateway, recipients: Sequence[str], *, sessions: int = 1) -> None:
    def one(part: Sequence[str]) -> None:
        with smtplib.SMTP("127.0.0.1", server.port, timeout=60) as client:
            for recipient in part:
                client.sendmail(ALICE, [recipient], message(recipient))

    with ThreadPoolExecutor(sessions) as pool:
        list(pool.map(one, [recipients[place::sessions] for place in range(sessions)]))


def domains(number: int) -> list[str]:
    return [f"u@d{index}.example" for index in range(number)]


def wait_taken(relays: Relays, number: int, *, timeout: float = 60) -> None:
    wait_until(lambda: relays.taken.total() >= number, f"{number} messages at the relays", timeout=timeout)


def deferrals(server: Gateway) -> list[dict[str, Any]]:
    return server.trace(event="DEFER", limit="10000")


@pytest.mark.parametrize("workers", [1, 2])
def test_three_hundred_domains_behind_one_relay(gateway: Callable[..., Gateway], workers: int) -> None:
    """The limit is that of the relay and of the node, and every domain's mail arrives at once."""
    relay = Relay(seconds=3)
    with Relays(relay) as relays:
        server = gateway(by(relay), settings={"server": {"workers": workers}})
        submit(server, domains(12), sessions=6)  # which the kernel deals out to workers
        wait_until(lambda: relay.most >= 4, "several connections while the first are busy")
        relay.seconds = 0.05
        submit(server, domains(300)[12:], sessions=6)
        wait_taken(relays, 300)
        assert relay.most <= 20
        assert relays.taken == dict.fromkeys(domains(300), 1)
        assert deferrals(server) == []


def test_a_relay_that_takes_five_connections_gets_five(gateway: Callable[..., Gateway]) -> None:
    """And nothing waits for 15 minutes because a sixth was turned away."""
    relay = Relay(places=5, seconds=0.05)
    with Relays(relay) as relays:
        server = gateway(by(relay))
        submit(server, domains(300), sessions=6)
        wait_taken(relays, 300)
        assert relays.taken == dict.fromkeys(domains(300), 1)
        assert relay.turned_away < 15
        assert deferrals(server) == []


def silent_hosts(stack: ExitStack, number: int) -> tuple[list[Misbehaving], list[dict[str, Any]]]:
    """Hosts that never greet, and a connector to each, for d0.example and so on."""
    hosts = [stack.enter_context(Misbehaving(silent)) for _ in range(number)]
    return hosts, [connector(f"d{place}.example", f"127.0.0.1:{host.port}") for place, host in enumerate(hosts)]


def all_mail_by(relay: Relay) -> list[dict[str, Any]]:
    return [{"name": "out", "recipient_domains": ["*"], "smart_hosts": [relay.address]}]


def tenant(name: str, outbound: list[dict[str, Any]]) -> dict[str, Any]:
    """Another organization, whose own servers are here."""
    return {
        "accepted_domain": [{"name": f"{name}.example"}],
        "inbound_connector": [OWN_SERVERS],
        "outbound_connector": outbound,
    }


def test_silent_hosts_of_one_organization_keep_no_others_mail(gateway: Callable[..., Gateway]) -> None:
    """As many as there are connections: each takes one for as long as a greeting may take."""
    relay, sender = Relay(), "joe@fabrikam.example"
    with Relays(relay) as relays, ExitStack() as stack:
        hosts, routes = silent_hosts(stack, 8)
        resources = contoso(outbound=routes)
        resources["organization"]["fabrikam"] = tenant("fabrikam", all_mail_by(relay))
        server = gateway(resources, settings={"queue": {"connections": 4}, "outbound": {"greeting_timeout": "120s"}})
        submit(server, domains(8))
        wait_until(lambda: sum(host.connections for host in hosts) == 3, "three of four connections in use")
        send(server.port, "u@partner.example", sender=sender, content=message("theirs", sender=sender))
        wait_taken(relays, 1, timeout=30)
        assert sum(host.connections for host in hosts) == 3


def test_silent_hosts_of_two_organizations_keep_no_thirds_mail(gateway: Callable[..., Gateway]) -> None:
    """Together they name more hosts than there are connections; whoever has none gets one all the same."""
    relay, third = Relay(), "joe@adatum.example"
    with Relays(relay) as relays, ExitStack() as stack:
        hosts, routes = silent_hosts(stack, 32)
        resources = contoso(outbound=routes[:16])
        resources["organization"]["fabrikam"] = tenant("fabrikam", routes[16:])
        resources["organization"]["adatum"] = tenant("adatum", all_mail_by(relay))
        server = gateway(resources, settings={"queue": {"connections": 16}, "outbound": {"greeting_timeout": "120s"}})
        submit(server, domains(16))
        wait_until(lambda: sum(host.connections for host in hosts) == 12, "the first has three quarters")
        sender = "ann@fabrikam.example"
        for recipient in domains(32)[16:]:
            send(server.port, recipient, sender=sender, content=message(recipient, sender=sender))
        wait_until(lambda: sum(host.connections for host in hosts) == 15, "the second has most of the rest")
        send(server.port, "u@partner.example", sender=third, content=message("theirs", sender=third))
        wait_taken(relays, 1, timeout=30)
        assert sum(host.connections for host in hosts) == 15


def test_mail_for_silent_hosts_leaves_room_in_memory(gateway: Callable[..., Gateway]) -> None:
    relay, sender = Relay(), "joe@fabrikam.example"
    with Relays(relay) as relays, ExitStack() as stack:
        _, routes = silent_hosts(stack, 8)
        resources = contoso(outbound=routes)
        resources["organization"]["fabrikam"] = tenant("fabrikam", all_mail_by(relay))
        queue = {"window_messages": 40, "window_per_destination": 10, "connections_per_destination": 1}
        server = gateway(resources, settings={"queue": queue, "outbound": {"greeting_timeout": "120s"}})
        submit(server, domains(8) * 10)
        send(server.port, "u@partner.example", sender=sender, content=message("theirs", sender=sender))
        wait_taken(relays, 1, timeout=30)


def test_the_next_relay_gets_what_one_defers(gateway: Callable[..., Gateway]) -> None:
    full, healthy = Relay(faults=100), Relay()
    with Relays(full, healthy) as relays:
        server = gateway(by(full, healthy))
        submit(server, domains(50))
        wait_taken(relays, 50)
        assert healthy.taken == dict.fromkeys(domains(50), 1)
        assert deferrals(server) == []


def test_a_dead_relay_is_probed_once_whatever_is_behind_it(gateway: Callable[..., Gateway]) -> None:
    """Then a rule's mail goes another way all the same, and an administrator's retry tries it at once."""
    dead, healthy = Relay(places=0), Relay()
    resources = by(dead)
    organization = resources["organization"]["contoso"]
    organization["outbound_connector"].append(
        {"name": "other", "is_transport_rule_scoped": True, "smart_hosts": [healthy.address]}
    )
    organization["mail_flow_rule"] = [
        {"name": "other way", "senders": ["ann@contoso.example"], "route_via_connector": "other"}
    ]
    with Relays(dead, healthy) as relays:
        server = gateway(resources)
        submit(server, domains(1))
        server.wait_trace(recipient=domains(1)[0], event="DEFER")
        submit(server, domains(100)[1:])
        time.sleep(1)
        assert dead.connections < 5
        with smtplib.SMTP("127.0.0.1", server.port, timeout=60) as client:
            client.sendmail("ann@contoso.example", [domains(1)[0]], message("by rule"))
        wait_until(lambda: healthy.taken.total() == 1, "the rule's mail at the other relay")
        dead.places = 1000
        server.cli("queue", "retry", "--domain", "d7.example", expect=0)
        wait_until(lambda: relays.taken[domains(8)[7]] == 1, "the retried mail")


def test_what_an_administrator_has_tried_comes_before_all_that_waits_for_a_slowed_relay(
    gateway: Callable[..., Gateway],
) -> None:
    """A relay that turned a connection away gets 20 messages a minute; a hundred wait for their turns there."""
    relay = Relay(places=0)
    with Relays(relay) as relays:
        server = gateway(by(relay))
        submit(server, domains(1))
        server.wait_trace(recipient=domains(1)[0], event="DEFER")
        submit(server, domains(100)[1:])
        relay.places = 1000
        wait_until(lambda: relays.taken.total() >= 2, "the relay is tried again")
        server.cli("queue", "retry", "--domain", "d77.example", expect=0)
        begun, taken = time.monotonic(), relays.taken.total()
        wait_until(lambda: relays.taken[domains(78)[77]] == 1, "the retried mail")
        assert relays.taken.total() - taken <= 3 + (time.monotonic() - begun) / 3
        assert relays.taken.total() < 50


def test_every_message_arrives_once_through_relays_that_fail_at_random(gateway: Callable[..., Gateway]) -> None:
    healthy, flaky, poor = Relay(), Relay(faults=20, places=8), Relay(faults=50, places=8)
    recipients = [f"u{number}@d{number % DOMAINS}.example" for number in range(MESSAGES)]
    with Relays(healthy, flaky, poor) as relays:
        server = gateway(by(healthy, flaky, poor, smart_host_order="shuffled"), settings={"queue": {"retry": ["1s"]}})
        begun = time.monotonic()
        submit(server, recipients, sessions=12)
        wait_taken(relays, MESSAGES, timeout=60 + MESSAGES / 50)
        seconds = time.monotonic() - begun
        time.sleep(0.5)
        assert relays.taken == dict.fromkeys(recipients, 1)
        assert relays.most <= 20
        share = healthy.taken.total() / MESSAGES
        expected = expected_share(flaky.failed / flaky.tries, poor.failed / poor.tries)
        print(
            f"{MESSAGES} messages to {DOMAINS} domains in {seconds:.1f} s; most connections {relays.most}; "
            f"healthy relay's share {share:.3f}, expected {expected:.3f}; deferred {len(deferrals(server))}; "
            + "; ".join(
                f"{one.address}: {one.taken.total()} taken, {one.failed} of {one.tries} failed, {one.connections} "
                f"connections, {one.turned_away} turned away"
                for one in relays.relays
            )
        )
        assert abs(share - expected) < 0.06


def test_every_recipient_of_a_shared_message_is_served_once(gateway: Callable[..., Gateway]) -> None:
    """Messages to 20 domains each, through relays that fail at random: some of a transaction, or all of it."""
    healthy, flaky, poor = Relay(), Relay(faults=20, places=8), Relay(faults=50, places=8)
    messages = max(MESSAGES // 20, 50)
    groups = [[f"u{number}@d{index}.example" for index in range(20)] for number in range(messages)]
    with Relays(healthy, flaky, poor) as relays:
        server = gateway(by(healthy, flaky, poor, smart_host_order="shuffled"), settings={"queue": {"retry": ["1s"]}})
        with smtplib.SMTP("127.0.0.1", server.port, timeout=60) as client:
            for group in groups:
                client.sendmail(ALICE, group, message("to twenty"))
        wait_taken(relays, 20 * messages)
        time.sleep(0.5)
        assert relays.taken == dict.fromkeys([one for group in groups for one in group], 1)
        assert relays.most <= 20
        begun = sum(relay.tries for relay in relays.relays)
        print(
            f"{messages} messages to 20 domains in {begun} transactions, "
            f"of which {sum(one.failed for one in relays.relays)} failed"
        )
        assert begun < 10 * messages  # a message that is refused for all is tried for each domain


def expected_share(flaky: float, poor: float) -> float:
    """Of the messages, by how many of those that the others begin they fail; each begins with any, then goes on."""
    return 1 / 3 + flaky * (1 + poor) / 6 + poor * (1 + flaky) / 6


def test_a_source_address_that_a_host_refuses_holds_up_no_mail_from_another(
    gateway: Callable[..., Gateway], postfix: Callable[..., Postfix]
) -> None:
    refusing = {
        "smtpd_delay_reject": "no",
        "smtpd_client_restrictions": "check_client_access inline:{ {127.0.0.9 = REJECT} }",
    }
    host = postfix(settings=refusing)
    refused = connector("partner.example", host.address, source_ipv4_address="127.0.0.9")
    server = gateway(contoso(outbound=[refused, connector("other.example", host.address)]))
    send(server.port, "bob@partner.example")
    for attempts in range(
        1, 4
    ):  # from one to the next, the host is left alone for twice as long: 40 seconds in the end
        wait_until(
            lambda count=attempts: len(server.trace(recipient="bob@partner.example", event="DEFER")) == count,
            "an attempt that was refused",
        )
        if attempts < 3:
            server.cli("queue", "retry", "--all")
    assert "554 5.7.1" in server.trace(recipient="bob@partner.example", event="DEFER")[0]["reply"]
    send(server.port, "eve@other.example")
    assert server.wait_trace(recipient="eve@other.example", event="SEND", timeout=30)
