"""Deliveries of one message over real sockets: who shares a transaction with whom, and what each is told."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gatepost.mail.model.delivery_result import DeliveryResult, Disposition
from gatepost.mail.model.message import Delivery, Message, Recipient, Return
from gatepost.mail.outbound.batching import BatchLimits, may_be_batched
from gatepost.mail.outbound.destination_history import DestinationMemory
from gatepost.mail.outbound.published import Lookups
from gatepost.mail.outbound.sessions import SessionLog
from gatepost.mail.queue.retry_decision import INTERNAL
from gatepost.net.lookups.mtasts import StsFailure, StsState
from gatepost.net.lookups.question import LookupFailed
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.destination_history import DestinationHistory, DestinationName, SeenSession, best, seen
from gatepost.policy.decisions.requirement import Achieved, TlsLevel
from gatepost.protocols.dane.tlsa import TlsaLookup, TlsaStatus
from gatepost.protocols.mtasts.policy import StsMode, StsPolicy
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.settings.store_url import SQLITE
from gatepost.store.sqlite.trace_files import day_of
from gatepost.store.storage import Storage

NOW = 1_763_985_600.0
DOMAINS = ("a.example", "b.example", "c.example")


def deliveries(*addresses: str, body: bytes | None = b"Subject: x\r\n\r\nx\r\n", **fields: Any) -> list[Delivery]:
    """One message, a delivery for each domain."""
    message = Message(7, "contoso", 1.0, **{"reverse_path": "ann@contoso.example", "size": 20, **fields})
    groups: dict[str, list[Recipient]] = {}
    for address in addresses or tuple(f"bob@{domain}" for domain in DOMAINS):
        groups.setdefault(address.partition("@")[2], []).append(Recipient(address))
    return [
        Delivery(number, message, f"contoso/{domain}", recipients, body=body)
        for number, (domain, recipients) in enumerate(groups.items(), 10)
    ]


@dataclass
class Tried:
    """What a batch came to. apart: of who was left out, by domain, what they may still share transactions by."""

    outcomes: dict[str, DeliveryResult] = field(default_factory=dict)
    apart: dict[str, Hashable] = field(default_factory=dict)

    def sorts(self) -> dict[str, Disposition]:
        return {
            result.recipient.address: result.disposition for one in self.outcomes.values() for result in one.results
        }


def attempt(world: Any, peer: Any, given: list[Delivery], *, connector: dict[str, Any] | None = None) -> Tried:
    """Try the first and whoever may go with it, by a connector for everybody if there is one, else by MX."""

    async def run() -> Tried:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(peer)
            if connector is not None:
                world.connector(peer.port, **{"recipient_domains": ["*"], **connector})
            deliverer = world.build(mx_port=peer.port)
            stack.callback(world.pool.close)
            tried = Tried()
            left = list(given)

            def leave_out(delivery: Delivery, batch: Hashable) -> None:
                tried.apart[delivery.destination.partition("/")[2]] = batch
                left.remove(delivery)

            outcomes = await deliverer.deliver_batch(given, leave_out)
            pairs = zip(left, outcomes, strict=True)
            tried.outcomes = {one.destination.partition("/")[2]: outcome for one, outcome in pairs}
            world.deliverer = deliverer
            return tried

    return asyncio.run(run())


def together(peer: Any) -> list[list[str]]:
    return [one.recipients for one in peer.messages]


def everybody() -> list[str]:
    return [f"bob@{domain}" for domain in DOMAINS]


# --- one transaction


def test_one_transaction_by_smart_hosts(world: Any, kit: Any) -> None:
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    tried = attempt(world, peer, deliveries(), connector={})
    assert together(peer) == [everybody()]
    assert (peer.said("MAIL"), len(peer.connections), tried.apart) == (1, 1, {})
    for domain, outcome in tried.outcomes.items():
        (result,) = outcome.results
        assert (result.recipient.address, result.disposition, outcome.destination_failed) == (
            f"bob@{domain}",
            Disposition.DELIVERED,
            False,
        )
        detail = result.detail
        assert (detail["connector"], detail["host"], detail["achieved"]) == (
            "out",
            "mx.b.example",
            "none/authenticated",
        )


def shared_mx(world: Any, *domains: str) -> None:
    for domain in domains or DOMAINS:
        world.names.table[domain, "MX"] = ["10 mx1.host.example.", "10 mx2.host.example.", "20 mx3.host.example."]
    for host in ("mx1", "mx2", "mx3"):
        world.host(f"{host}.host.example", "127.0.0.1")


def test_one_transaction_by_the_same_mx_hosts(world: Any, kit: Any) -> None:
    shared_mx(world)
    peer = kit.Peer()
    attempt(world, peer, deliveries())
    assert together(peer) == [everybody()]


def test_the_same_hosts_in_another_order_are_another_way(world: Any, kit: Any) -> None:
    shared_mx(world)
    world.names.table["b.example", "MX"] = ["20 mx1.host.example.", "10 mx2.host.example.", "10 mx3.host.example."]
    world.names.table["c.example", "MX"] = world.names.table["b.example", "MX"]
    peer = kit.Peer()
    tried = attempt(world, peer, deliveries())
    assert together(peer) == [["bob@a.example"]]
    # Those that are left out may go with one another.
    assert tried.apart["b.example"] == tried.apart["c.example"] is not None


def test_whose_hosts_cannot_be_found_goes_alone(world: Any, kit: Any) -> None:
    shared_mx(world)
    world.names.table["b.example", "MX"] = LookupFailed("servfail", temporary=True)
    world.names.table["c.example", "MX"] = ["0 ."]
    peer = kit.Peer()
    tried = attempt(world, peer, deliveries())
    assert (together(peer), tried.apart) == ([["bob@a.example"]], {"b.example": None, "c.example": None})


def test_a_first_that_goes_alone_keeps_nobody_else_apart(world: Any, kit: Any) -> None:
    shared_mx(world)
    world.names.table["a.example", "MX"] = LookupFailed("servfail", temporary=True)
    peer = kit.Peer()
    tried = attempt(world, peer, deliveries())
    assert tried.sorts() == {"bob@a.example": Disposition.DEFERRED}
    assert tried.apart["b.example"] == tried.apart["c.example"] is not None


class Slow:
    """A resolver that answers some names late."""

    def __init__(self, names: Any, *slow: str) -> None:
        self._names = names
        self._slow = slow

    async def query(self, name: str, rdtype: str) -> Any:
        if name in self._slow:
            await asyncio.sleep(30)
        return await self._names.query(name, rdtype)


def test_nobody_waits_for_a_domain_that_is_slow_to_be_found(world: Any, kit: Any, monkeypatch: Any) -> None:
    from gatepost.mail.outbound import batching  # noqa: PLC0415 - only here

    monkeypatch.setattr(batching, "_PLANNING", 0.05)
    shared_mx(world)
    world.names = Slow(world.names, "c.example")
    peer = kit.Peer()
    tried = attempt(world, peer, deliveries())
    assert (together(peer), tried.apart) == ([["bob@a.example", "bob@b.example"]], {"c.example": None})


# --- what the domains publish


class Policies:
    """Policies as they were found. states: by domain."""

    def __init__(self, **states: StsState) -> None:
        self.states = {name.replace("_", "."): state for name, state in states.items()}

    async def find(self, domain: str, *, now: float, recheck: bool = False) -> StsState:
        return self.states.get(domain, StsState(domain))


class NoRecords:
    async def find(self, *_: Any, **__: Any) -> TlsaLookup:
        return TlsaLookup(TlsaStatus.NONE, "no TLSA records")


FOUND = [
    StsState("b.example", policy=StsPolicy(StsMode.ENFORCE, ("*.host.example",), 86400), id="1"),
    StsState("b.example", policy=StsPolicy(StsMode.TESTING, ("*.host.example",), 86400), id="1"),
    StsState("b.example", failure=StsFailure(ResultType.STS_POLICY_FETCH_ERROR, "no answer")),
    StsState("b.example", failure=StsFailure(ResultType.STS_POLICY_FETCH_ERROR, "too many", ours=True)),
]


@pytest.mark.parametrize("state", FOUND)
def test_a_domain_with_a_policy_goes_alone(world: Any, kit: Any, state: StsState) -> None:
    """So does one whose policy cannot be had: its failures are its own to be told."""
    shared_mx(world)
    world.settings["lookups"] = Lookups(NoRecords(), Policies(b_example=state), lambda: 0.0)
    peer = kit.Peer()
    tried = attempt(world, peer, deliveries())
    assert (together(peer), tried.apart) == ([["bob@a.example", "bob@c.example"]], {"b.example": None})


def test_domains_whose_mx_records_are_proved_go_alone(world: Any, kit: Any) -> None:
    shared_mx(world)
    world.names.authentic = True
    peer = kit.Peer()
    tried = attempt(world, peer, deliveries())
    assert (together(peer), set(tried.apart.values())) == ([["bob@a.example"]], {None})


def test_requiretls_by_mx_is_asked_of_each_domain(world: Any, kit: Any) -> None:
    shared_mx(world)
    tried = attempt(world, kit.Peer(), deliveries(require_tls=True))
    assert set(tried.apart.values()) == {None}


def test_requiretls_through_a_smart_host_is_shared(world: Any, kit: Any) -> None:
    peer = kit.Peer(tls=world.identity("mx.b.example"), extensions=(*kit.EXTENSIONS, "REQUIRETLS"))
    tried = attempt(world, peer, deliveries(require_tls=True), connector={"tls_settings": "domain-validation"})
    assert together(peer) == [everybody()]
    assert "REQUIRETLS" in peer.messages[0].mail
    assert {one.results[0].detail["requiretls"] for one in tried.outcomes.values()} == {"passed on"}


def test_a_smart_host_below_the_demand_gets_nobody(world: Any, kit: Any) -> None:
    peer = kit.Peer(tls=world.identity("wrong.example"))
    tried = attempt(world, peer, deliveries(), connector={"tls_settings": "domain-validation"})
    assert (peer.said("MAIL"), set(tried.sorts().values())) == (0, {Disposition.DEFERRED})
    assert {one.results[0].detail["result_type"] for one in tried.outcomes.values()} == {"certificate-host-mismatch"}
    assert all(one.destination_failed and not one.next_hop_failed for one in tried.outcomes.values())


def test_by_mx_what_must_bear_the_domains_name_is_asked_of_each(world: Any, kit: Any) -> None:
    """domain-validation by MX: the certificate bears the recipient's domain, unless tls_domain says another name."""
    shared_mx(world)
    peer = kit.Peer(tls=world.identity("a.example", "mx.host.example"))
    by_mx = {"smart_hosts": [], "tls_settings": "domain-validation"}
    tried = attempt(world, peer, deliveries(), connector=by_mx)
    assert together(peer) == [["bob@a.example"]]
    assert len(set(tried.apart.values())) == 2  # each by itself
    peer = kit.Peer(tls=world.identity("mx.host.example"))
    attempt(world, peer, deliveries(), connector={**by_mx, "tls_domain": "mx.host.example"})
    assert together(peer) == [everybody()]


def test_who_is_left_alone_is_sent_as_it_was_planned(world: Any, kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hosts are looked up for the plan, and not again."""
    shared_mx(world)
    world.names.table["b.example", "MX"] = ["10 mx4.host.example."]
    world.host("mx4.host.example", "127.0.0.1")
    asked: list[str] = []
    query = world.names.query

    async def counted(name: str, rdtype: str) -> Any:
        asked.append(f"{name} {rdtype}")
        return await query(name, rdtype)

    monkeypatch.setattr(world.names, "query", counted)
    peer = kit.Peer()
    tried = attempt(world, peer, deliveries("bob@a.example", "bob@b.example"))
    assert (together(peer), list(tried.apart)) == ([["bob@a.example"]], ["b.example"])
    assert asked.count("a.example MX") == 1


# --- connectors, rules, organizations


def test_another_connector_to_the_same_host_is_another_transaction(world: Any, kit: Any) -> None:
    async def run() -> Tried:
        async with kit.Peer() as peer:
            world.connector(peer.port, recipient_domains=["*"])
            (out,) = world.resources["outbound_connector"]
            world.resources["outbound_connector"].append(out | {"name": "b", "recipient_domains": ["b.example"]})
            deliverer = world.build(mx_port=peer.port)
            tried = Tried()
            await deliverer.deliver_batch(
                deliveries(), lambda one, batch: tried.apart.update({one.destination.partition("/")[2]: batch})
            )
            world.pool.close()
            assert together(peer) == [["bob@a.example", "bob@c.example"]]
            return tried

    assert list(asyncio.run(run()).apart) == ["b.example"]


def test_who_is_named_by_a_rule_goes_apart(world: Any, kit: Any) -> None:
    world.resources["mail_flow_rule"] = [{"name": "clinic", "recipients": ["b.example"], "require_tls": True}]
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    tried = attempt(world, peer, deliveries(), connector={})
    assert (together(peer), list(tried.apart)) == ([["bob@a.example", "bob@c.example"]], ["b.example"])


def test_whose_recipients_go_several_ways_goes_alone(world: Any, kit: Any) -> None:
    world.resources["mail_flow_rule"] = [{"name": "eve", "recipients": ["eve@b.example"], "require_tls": True}]
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    given = deliveries("bob@a.example", "bob@b.example", "eve@b.example", "bob@c.example")
    tried = attempt(world, peer, given, connector={})
    assert (together(peer), tried.apart) == ([["bob@a.example", "bob@c.example"]], {"b.example": None})


def test_content_that_is_made_for_its_recipients_is_not_shared(world: Any, kit: Any) -> None:
    tried = attempt(world, kit.Peer(), deliveries(), connector={"encrypt": "smime"})
    assert set(tried.apart.values()) == {None}


def test_a_domain_of_our_own_goes_apart_from_those_of_strangers(world: Any, kit: Any) -> None:
    world.resources["accepted_domain"] = [{"name": "b.example", "type": "internal-relay"}]
    peer = kit.Peer()
    tried = attempt(world, peer, deliveries(), connector={})
    assert (together(peer), list(tried.apart)) == ([["bob@a.example", "bob@c.example"]], ["b.example"])


def test_whose_domain_is_another_organizations_goes_apart(world: Any, kit: Any, monkeypatch: Any) -> None:
    """Though the other's connector is the same word for word."""
    peer = kit.Peer(tls=world.identity("mx.b.example"))

    def directory() -> Directory:
        (own,) = world.resources["outbound_connector"]
        other = {
            "accepted_domain": [{"name": "b.example", "type": "internal-relay"}],
            "outbound_connector": [own],
        }
        return Directory(parse({"organization": {"contoso": world.resources, "fabrikam": other}}))

    monkeypatch.setattr(world, "directory", directory)
    tried = attempt(world, peer, deliveries(), connector={})
    assert (together(peer), list(tried.apart)) == ([["bob@a.example", "bob@c.example"]], ["b.example"])


# --- the envelope, and what became of it before


def change_path(one: Delivery) -> None:
    one.recipients[0].return_path = "srs0=x@contoso.example"


def change_mailbox(one: Delivery) -> None:
    one.recipients[0].forwarded_by = "eve@contoso.example"


def change_attempts(one: Delivery) -> None:
    one.attempts = 1


def change_address(one: Delivery) -> None:
    one.recipients[0].address = "bøb@b.example"


@pytest.mark.parametrize("change", [change_path, change_mailbox, change_attempts, change_address])
def test_another_envelope_is_another_transaction(world: Any, kit: Any, change: Any) -> None:
    given = deliveries()
    change(given[1])
    peer = kit.Peer()
    tried = attempt(world, peer, given, connector={})
    assert (together(peer), list(tried.apart)) == ([["bob@a.example", "bob@c.example"]], ["b.example"])
    assert tried.apart["b.example"] is not None


def test_dsn_parameters_are_each_recipients_own(world: Any, kit: Any) -> None:
    given = deliveries(ret="HDRS", envid="abc")
    given[0].recipients[0].notify = "NEVER"
    given[1].recipients[0].orcpt = "rfc822;x@b.example"
    peer = kit.Peer()
    attempt(world, peer, given, connector={})
    assert [line for line in peer.commands if line.startswith(("MAIL", "RCPT"))] == [
        "MAIL FROM:<ann@contoso.example> SIZE=17 RET=HDRS ENVID=abc",
        "RCPT TO:<bob@a.example> NOTIFY=NEVER",
        "RCPT TO:<bob@b.example> ORCPT=rfc822;x@b.example",
        "RCPT TO:<bob@c.example>",
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"attempts": 3},
        {"last_error": INTERNAL.text},
        {"returned": Return("me", "it is over")},
        {"recipients": [Recipient(f"u{number}@b.example") for number in range(100)]},
    ],
)
def test_what_is_never_batched(world: Any, fields: dict[str, Any]) -> None:
    world.connector(25)
    deliverer = world.build()
    (one,) = deliveries("bob@b.example")
    ((route, _),) = deliverer.planner.routes("contoso", one.recipients)
    assert may_be_batched(one, route)
    for name, value in fields.items():
        setattr(one, name, value)
    assert not may_be_batched(one, route)


def test_a_body_that_is_gone_defers_all(world: Any, kit: Any) -> None:
    world.bodies.bodies[7] = LookupError("gone")
    tried = attempt(world, kit.Peer(), deliveries(body=None), connector={})
    assert {one.results[0].reply.text for one in tried.outcomes.values()} == {
        "451 4.3.0 The stored message cannot be read"
    }


# --- what the peer says of it


def test_each_recipient_has_its_own_reply(world: Any, kit: Any) -> None:
    """Who is refused beside others is asked for alone, and counts by that."""
    peer = kit.Peer({"RCPT bob@b.example": "450 4.2.2 full", "RCPT bob@c.example": "550 5.1.1 unknown"})
    tried = attempt(world, peer, deliveries(), connector={})
    assert tried.sorts() == {
        "bob@a.example": Disposition.DELIVERED,
        "bob@b.example": Disposition.DEFERRED,
        "bob@c.example": Disposition.FAILED,
    }
    assert together(peer) == [["bob@a.example"]]
    assert [peer.said(f"RCPT TO:<BOB@{domain.upper()}>") for domain in DOMAINS] == [1, 2, 2]
    assert world.deliverer.batch_limits.allows(f"mx.b.example:{peer.port}")
    assert not any(one.destination_failed for one in tried.outcomes.values())


def test_a_host_that_takes_one_domain_at_a_time(world: Any, kit: Any) -> None:
    """As large providers do, with 451 to the second domain's RCPT. It is not sent several again for a while."""
    refusal = "451 4.3.0 Multiple destination domains per transaction is unsupported"
    peer = kit.Peer({f"RCPT bob@{domain}": [refusal, "250 2.1.5 ok"] for domain in DOMAINS[1:]})
    tried = attempt(world, peer, deliveries(), connector={})
    assert set(tried.sorts().values()) == {Disposition.DELIVERED}
    assert together(peer) == [[one] for one in everybody()]
    assert len(peer.connections) == 1
    assert not world.deliverer.batch_limits.allows(f"mx.b.example:{peer.port}")


@pytest.mark.parametrize("refusal", ["550 5.7.1 not that one", "451 4.7.1 not yet"])
def test_a_message_refused_for_one_domains_sake_reaches_the_others(world: Any, kit: Any, refusal: str) -> None:
    peer = kit.Peer({"END": [refusal, "250 2.0.0 ok", refusal, "250 2.0.0 ok"]})
    tried = attempt(world, peer, deliveries(), connector={})
    refused = Disposition.FAILED if refusal.startswith("5") else Disposition.DEFERRED
    assert tried.sorts() == {
        "bob@a.example": Disposition.DELIVERED,
        "bob@b.example": refused,
        "bob@c.example": Disposition.DELIVERED,
    }
    assert peer.said("MAIL") == 4
    assert world.deliverer.batch_limits.allows(f"mx.b.example:{peer.port}")  # a refused message says nothing of that


def test_a_sender_that_is_refused_is_refused_for_all(world: Any, kit: Any) -> None:
    peer = kit.Peer({"MAIL": "550 5.7.1 not you"})
    tried = attempt(world, peer, deliveries(), connector={})
    assert (set(tried.sorts().values()), peer.said("MAIL")) == ({Disposition.FAILED}, 1)


def test_recipients_that_are_all_refused_are_not_asked_for_twice(world: Any, kit: Any) -> None:
    peer = kit.Peer({"RCPT": "550 5.1.1 nobody"})
    tried = attempt(world, peer, deliveries(), connector={})
    assert (set(tried.sorts().values()), peer.said("MAIL")) == ({Disposition.FAILED}, 1)


def test_a_peer_that_ends_each_connection_gets_the_rest_over_others(world: Any, kit: Any) -> None:
    """What is left is sent over a new connection, not forgotten, and nothing is sent twice."""
    refusal = "451 4.3.0 one at a time"
    peer = kit.Peer({f"RCPT bob@{domain}": [refusal, "250 2.1.5 ok"] for domain in DOMAINS[1:]})
    original = type(peer.connections).append

    closing = peer

    class Closing(list):  # type: ignore[type-arg] # of sessions
        def append(self, session: Any) -> None:
            original(self, session)
            end = session._end

            def ending(content: bytes) -> None:
                end(content)
                session.stream.close()

            session._end = ending

    closing.connections = Closing()
    tried = attempt(world, peer, deliveries(), connector={})
    assert set(tried.sorts().values()) == {Disposition.DELIVERED}
    assert together(peer) == [[one] for one in everybody()]
    assert len(peer.connections) == 3


@pytest.mark.parametrize(("limit", "connections"), [("RCPTDOMAINMAX=1", 3), ("RCPTDOMAINMAX=2 MAILMAX=9", 2)])
def test_a_peer_that_counts_domains_gets_no_more_of_them(world: Any, kit: Any, limit: str, connections: int) -> None:
    """RFC 9422 section 4.3: in one session, whatever the transactions."""
    peer = kit.Peer(extensions=(*kit.EXTENSIONS, f"LIMITS {limit}"))
    tried = attempt(world, peer, deliveries(), connector={})
    assert set(tried.sorts().values()) == {Disposition.DELIVERED}
    assert together(peer) == [[one] for one in everybody()]
    assert len(peer.connections) == connections


def test_a_peer_that_counts_transactions_gets_no_more_of_them(world: Any, kit: Any) -> None:
    peer = kit.Peer(extensions=(*kit.EXTENSIONS, "LIMITS RCPTMAX=1 MAILMAX=2"))
    attempt(world, peer, deliveries(), connector={})
    assert (len(together(peer)), len(peer.connections)) == (3, 2)


def test_a_connection_that_breaks_in_the_middle_leaves_all_for_later(world: Any, kit: Any) -> None:
    peer = kit.Peer({"DATA": "!close", "BDAT": "!close", "END": "!close"})
    tried = attempt(world, peer, deliveries(), connector={})
    assert (set(tried.sorts().values()), len(peer.connections)) == ({Disposition.DEFERRED}, 1)


def test_an_address_that_cannot_be_sent_fails_alone(world: Any, kit: Any) -> None:
    given = deliveries()
    given[1].recipients[0].address = "b\rb@b.example"
    peer = kit.Peer()
    tried = attempt(world, peer, given, connector={})
    assert together(peer) == [["bob@a.example"], ["bob@c.example"]]
    assert tried.sorts()["b\rb@b.example"] is Disposition.FAILED
    assert len(peer.connections) == 1, "nothing was said of it, so the connection is as good as before"


def test_the_next_host_gets_whom_the_first_deferred(world: Any, kit: Any) -> None:
    async def run() -> None:
        full, healthy = kit.Peer({"RCPT bob@b.example": "450 4.2.2 full"}), kit.Peer()
        async with full, healthy:
            world.connector(
                full.port, recipient_domains=["*"], smart_hosts=[f"127.0.0.1:{full.port}", f"127.0.0.1:{healthy.port}"]
            )
            deliverer = world.build()
            outcomes = await deliverer.deliver_batch(deliveries(), lambda *_: pytest.fail("left out"))
            world.pool.close()
            assert {result.disposition for one in outcomes for result in one.results} == {Disposition.DELIVERED}
            assert (together(full), together(healthy)) == ([["bob@a.example", "bob@c.example"]], [["bob@b.example"]])

    asyncio.run(run())


# --- next hops that take one domain at a time


def test_a_next_hop_is_sent_one_domain_at_a_time_for_an_hour() -> None:
    now = [0.0]
    limits = BatchLimits(lambda: now[0])
    assert limits.allows("relay:25")
    limits.refused("relay:25")
    now[0] = 3599.0
    assert not limits.allows("relay:25")
    assert limits.allows("other:25")
    now[0] = 3600.0
    assert limits.allows("relay:25")


def test_what_is_remembered_of_next_hops_has_a_bound() -> None:
    limits = BatchLimits(lambda: 0.0)
    for number in range(1001):
        limits.refused(f"relay{number}:25")
    assert limits.allows("relay0:25")
    assert not limits.allows("relay1000:25")


# --- what is remembered and counted, domain by domain


class History:
    """What `store.destinations` is to delivery, without its file."""

    def __init__(self) -> None:
        self.known: dict[DestinationName, DestinationHistory] = {}

    def find(self, name: DestinationName) -> DestinationHistory:
        return self.known.get(name, DestinationHistory())

    def note(self, name: DestinationName, session: SeenSession, *, logged: bool = False) -> None:
        self.known[name] = seen(self.find(name), session)


def remembering(world: Any, **fields: Any) -> History:
    history = History()
    world.settings["memory"] = DestinationMemory(history, lambda: NOW)
    world.resources |= fields
    return history


def test_what_a_shared_connection_did_is_remembered_of_each_domain(world: Any, kit: Any) -> None:
    shared_mx(world)
    history = remembering(world)
    peer = kit.Peer(tls=world.identity("mx1.host.example", "mx2.host.example"))
    attempt(world, peer, deliveries())
    assert together(peer) == [everybody()]
    assert set(history.known) == {DestinationName("contoso", domain, "") for domain in DOMAINS}
    assert {best(one, NOW).achieved for one in history.known.values()} == {Achieved(TlsLevel.AUTHENTICATED)}


def test_only_who_did_better_before_is_told_of_a_drop(world: Any, kit: Any) -> None:
    shared_mx(world)
    history = remembering(world)
    peer = kit.Peer()
    before = SeenSession("mx9.host.example", Achieved(TlsLevel.AUTHENTICATED), NOW - 86400)
    history.note(DestinationName("contoso", "b.example", ""), before)
    tried = attempt(world, peer, deliveries())
    assert together(peer) == [everybody()]
    told = {domain: "protection_drop" in one.results[0].detail for domain, one in tried.outcomes.items()}
    assert told == {"a.example": False, "b.example": True, "c.example": False}


def test_where_a_drop_holds_mail_each_domain_goes_by_itself(world: Any, kit: Any) -> None:
    shared_mx(world)
    remembering(world, protection_drop="hold")
    peer = kit.Peer()
    tried = attempt(world, peer, deliveries())
    assert (together(peer), len(set(tried.apart.values()))) == ([["bob@a.example"]], 2)


def test_where_the_connector_is_what_is_remembered_a_drop_holds_all(world: Any, kit: Any) -> None:
    history = remembering(world, protection_drop="hold")
    before = SeenSession("mx9.host.example", Achieved(TlsLevel.AUTHENTICATED), NOW - 86400)
    history.note(DestinationName("contoso", "", "out"), before)
    peer = kit.Peer()
    tried = attempt(world, peer, deliveries(), connector={})
    assert (peer.said("MAIL"), set(tried.sorts().values())) == (0, {Disposition.HELD})


@pytest.mark.parametrize(
    ("certificate", "counted"),
    [("mx1.host.example", "passed"), ("", "starttls-not-supported")],
)
def test_a_shared_session_is_counted_for_each_domain(
    world: Any, kit: Any, tmp_path: Path, certificate: str, counted: str
) -> None:
    """Of what the reports of each domain say; the gateway's own numbers have one handshake."""
    shared_mx(world)
    log = SessionLog(Storage(SQLITE, tmp_path).session_counts(), interval=3600, clock=lambda: NOW)
    world.settings["sessions"] = log
    peer = kit.Peer(tls=world.identity(certificate, "mx2.host.example") if certificate else None)
    attempt(world, peer, deliveries())
    log.close()
    assert together(peer) == [everybody()]
    counts = Storage(SQLITE, tmp_path).session_counts().read(day_of(NOW))
    found = {one.domain: str(one.failure.result) if one.failure else "passed" for one in counts}
    assert found == dict.fromkeys(DOMAINS, counted)
    assert sum(log.counts.numbers.values()) == (1 if certificate else 0)
