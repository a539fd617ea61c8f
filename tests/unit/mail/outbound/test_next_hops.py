from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gatepost.mail.model.message import Delivery, Message, Recipient
from gatepost.mail.outbound.next_hops import NextHops, next_hop_name
from gatepost.mail.queue.hop_queue import LaneKey
from gatepost.net.lookups.question import LookupFailed

HERE = "contoso/b.example"


def finder(world: Any) -> NextHops:
    deliverer = world.build(mx_port=25)
    services = deliverer._services
    return NextHops(lambda: deliverer.planner, services.store, services.router, 25, deliverer.batch_limits)


def found(world: Any, given: Delivery) -> LaneKey:
    return alone(asyncio.run(finder(world).find(given)))


def alone(key: LaneKey | None) -> LaneKey:
    """Without what it may be batched by."""
    assert key is not None
    return key._replace(batch=None)


def test_names_of_hosts_have_no_order() -> None:
    assert next_hop_name(["b:25", "a:25"]) == next_hop_name(["a:25", "b:25"]) == "a:25,b:25"


def test_smart_hosts_are_known_without_a_look_up(world: Any, kit: Any) -> None:
    world.connector(25, "two.example", "one.example")
    hops = finder(world)
    expected = LaneKey("one.example:25,two.example:25", "out", connector=(("connector", "out"),))
    assert alone(hops.known(kit.delivery())) == hops.usual(HERE) == expected
    assert hops.known(kit.delivery()) == asyncio.run(hops.find(kit.delivery()))


def test_the_next_hop_of_all_mail_of_a_destination(world: Any) -> None:
    world.connector(25, "one.example")
    assert finder(world).only_hop(HERE) == "one.example:25"


def test_where_rules_may_send_mail_another_way_no_next_hop_is_that_of_all(world: Any) -> None:
    world.connector(25, "one.example")
    rule(world, senders=["ann@contoso.example"])
    assert finder(world).only_hop(HERE) is None


def test_where_mail_from_on_premises_goes_another_way_no_next_hop_is_that_of_all(world: Any) -> None:
    central = {"connector_type": "on-premises", "recipient_domains": ["*"], "route_all_messages_via_on_premises": True}
    world.connector(25, "one.example", **central)
    world.mx("10 mx1.host.example.")
    assert finder(world).only_hop(HERE) is None


def test_the_next_hop_of_all_mail_may_have_to_be_looked_up(world: Any, kit: Any) -> None:
    world.mx("10 mx1.host.example.")
    hops = finder(world)
    assert hops.only_hop(HERE) is None
    asyncio.run(hops.find(kit.delivery()))
    assert hops.only_hop(HERE) == "mx1.host.example:25"
    assert world.names.asked_for == {"contoso"}


def test_what_comes_alone_needs_no_batch(world: Any, kit: Any) -> None:
    world.connector(25, "one.example")
    hops = finder(world)
    assert hops.known(kit.delivery(), alone=True) == hops.usual(HERE)
    key = hops.known(kit.delivery(require_tls=True), alone=True)
    assert key == alone(hops.known(kit.delivery(require_tls=True)))
    assert key is not None
    assert (key.terms, key.batch) == ("out asks for TLS", None)


def test_what_is_called_from_another_address_is_another_next_hop(world: Any, kit: Any) -> None:
    world.connector(25, "one.example", source_ipv4_address="192.0.2.9", source_ipv6_address="2001:db8::9")
    hops = finder(world)
    key = hops.known(kit.delivery())
    assert key is not None
    assert key.next_hop == "one.example:25 from 192.0.2.9 from 2001:db8::9"
    world.resources["outbound_connector"][0] |= {"smart_hosts": [], "use_mx_record": True}
    world.mx("10 mx1.host.example.")
    assert found(world, kit.delivery()).next_hop == "mx1.host.example:25 from 192.0.2.9 from 2001:db8::9"


def test_domains_with_the_same_mx_hosts_have_one_next_hop(world: Any, kit: Any) -> None:
    world.mx("10 mx1.host.example.", "20 mx2.host.example.")
    world.names.table["c.example", "MX"] = ["5 MX2.host.example.", "5 mx1.host.example."]
    hops = finder(world)
    assert hops.known(kit.delivery()) is hops.usual(HERE) is None
    expected = LaneKey("mx1.host.example:25,mx2.host.example:25")
    assert alone(asyncio.run(hops.find(kit.delivery()))) == expected
    assert alone(hops.known(kit.delivery())) == hops.usual(HERE) == expected
    other = kit.delivery("bob@c.example")
    other.destination = "contoso/c.example"
    assert asyncio.run(hops.find(other)) == hops.known(kit.delivery())  # so they are batched


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], LaneKey("b.example:25")),  # RFC 5321 section 5.1: the domain itself
        (["0 ."], LaneKey(HERE)),
        ([""], LaneKey(HERE)),
        (LookupFailed("servfail"), LaneKey(HERE)),
    ],
)
def test_a_domain_without_mx_hosts_goes_by_itself(world: Any, kit: Any, records: Any, expected: LaneKey) -> None:
    world.names.table["b.example", "MX"] = records
    assert found(world, kit.delivery()) == expected


def test_an_address_literal_needs_no_look_up(world: Any, kit: Any) -> None:
    given = kit.delivery("bob@[192.0.2.1]")
    given.destination = "contoso/[192.0.2.1]"
    assert alone(finder(world).known(given)) == finder(world).usual(given.destination) == LaneKey("[192.0.2.1]:25")


def test_what_the_message_asks_is_part_of_the_terms(world: Any, kit: Any) -> None:
    world.connector(25)
    keys = {
        finder(world).known(kit.delivery(**fields)).terms
        for fields in (
            {},
            {"require_tls": True},
            {"tls_required_no": True},
            {"require_tls": True, "reverse_path": ""},
        )
    }
    assert keys == {"out", "out asks for TLS", "out waives TLS", "out asks for TLS as a notice"}


def test_mail_with_a_log_in_fares_by_its_organization(world: Any, kit: Any) -> None:
    world.connector(25, tls_settings="domain-validation", authentication={"username": "u"})
    assert finder(world).known(kit.delivery()).terms == "out of contoso"


def rule(world: Any, **fields: Any) -> None:
    world.resources["mail_flow_rule"] = [{"name": "secret", "require_tls": True, **fields}]


def test_mail_under_a_rule_fares_by_itself(world: Any, kit: Any) -> None:
    world.connector(25)
    rule(world, senders=["ann@contoso.example"])
    ruled = finder(world).known(kit.delivery())
    other = finder(world).known(kit.delivery(reverse_path="eve@contoso.example"))
    assert ruled is not None
    assert ruled.terms.startswith("out by rule")
    assert alone(other) == LaneKey("mx.b.example:25", "out", connector=(("connector", "out"),))
    assert ruled.batch != other.batch


def test_mail_under_a_rule_that_goes_by_mx_fares_by_itself(world: Any, kit: Any) -> None:
    rule(world, senders=["ann@contoso.example"])
    assert found(world, kit.delivery()).terms.startswith(" by rule")


@pytest.mark.parametrize("change", [lambda bodies: None, lambda bodies: bodies.update({7: LookupError("gone")})])
def test_a_rule_that_asks_the_message_needs_a_look_into_it(
    world: Any, kit: Any, change: Callable[[dict[int, Any]], None]
) -> None:
    world.connector(25)
    rule(world, header_name="Subject", header_contains=["hello"])
    body = kit.BODY
    hops = finder(world)
    assert hops.known(kit.delivery(body=body)) is None
    key = asyncio.run(hops.find(kit.delivery(body=body)))
    assert key.terms.startswith("out by rule")
    world.bodies.bodies[7] = body
    change(world.bodies.bodies)
    kept = asyncio.run(hops.find(kit.delivery(body=None, size=len(body))))
    assert kept in {key, LaneKey(HERE)}


def test_mailboxes_are_no_next_hop(world: Any, kit: Any) -> None:
    world.resources["accepted_domain"] = [{"name": "contoso.example"}]
    world.resources["mailbox"] = [
        {"address": "bob@contoso.example"},
        {"address": "eve@contoso.example", "delivery": "lmtp:127.0.0.1:24"},
    ]
    hops = finder(world)

    def key(address: str) -> LaneKey | None:
        message = Message(7, "contoso", 1.0, "ann@a.example")
        return hops.known(Delivery(8, message, "contoso/contoso.example", [Recipient(address)], body=b""))

    assert key("bob@contoso.example") == key("nobody@contoso.example") == LaneKey("contoso/contoso.example")
    assert key("eve@contoso.example") == LaneKey("127.0.0.1:24")


def test_what_may_share_a_transaction_is_batched(world: Any, kit: Any) -> None:
    world.connector(25)
    deliverer = world.build(mx_port=25)
    services = deliverer._services
    hops = NextHops(lambda: deliverer.planner, services.store, services.router, 25, deliverer.batch_limits)
    given = kit.delivery()
    key = hops.known(given)
    assert (key.next_hop, key.batch is not None) == ("mx.b.example:25", True)
    other = kit.delivery()
    other.message.id = 9
    assert hops.known(other).batch not in {None, key.batch}
    deliverer.batch_limits.refused("mx.b.example:25")
    assert hops.known(given).batch is None


def test_mail_that_demands_something_has_its_own_terms_beside_the_usual_ones(world: Any, kit: Any) -> None:
    """Though the usual lane of smart hosts is kept, and made anew for another route to them."""
    world.connector(2525)
    lanes = finder(world)
    kinds: list[dict[str, Any]] = [{}, {"require_tls": True}, {"tls_required_no": True}, {}]
    keys = [lanes.known(kit.delivery(**fields)) for fields in kinds]
    assert [key and key.terms for key in keys] == ["out", "out asks for TLS", "out waives TLS", "out"]
    usual = lanes.usual("contoso/b.example")
    assert usual is lanes.usual("contoso/b.example")
    assert usual == alone(keys[0])


def test_as_many_lanes_are_kept_as_there_are_planned_routes(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatepost.mail.outbound.next_hops._KEPT", 1)
    world.connector(2525)
    world.resources["outbound_connector"].append(
        {"name": "other", "recipient_domains": ["c.example"], "smart_hosts": ["mx.c.example"]}
    )
    lanes = finder(world)
    names = [lanes.usual(f"contoso/{domain}") for domain in ("b.example", "c.example", "b.example")]
    assert [key and key.next_hop for key in names] == ["mx.b.example:2525", "mx.c.example:25", "mx.b.example:2525"]
    assert len(lanes._lanes) == 1
