"""A destination that does less than it was seen to do, through a real deliverer, real sockets and a real memory."""

from __future__ import annotations

import asyncio

import pytest

from gatepost.mail.model.delivery_result import Disposition
from gatepost.mail.model.message import Recipient
from gatepost.mail.outbound.destination_history import DestinationMemory
from gatepost.net.lookups.dns import DnssecFault
from gatepost.net.lookups.question import LookupFailed
from gatepost.policy.decisions.destination_history import (
    DestinationHistory,
    DestinationName,
    SeenSession,
    accept,
    best,
    seen,
    warned,
)
from gatepost.policy.decisions.requirement import Achieved, MxLevel, TlsLevel
from gatepost.store.interface import StoreFailure
from gatepost.values import replace

NOW = 1_700_000_000.0
AUTH, CLEAR = Achieved(TlsLevel.AUTHENTICATED), Achieved(TlsLevel.NONE)
DOMAIN, SMART = DestinationName("contoso", "b.example"), DestinationName("contoso", "", "out")


class Memory:
    """What `store.destinations` is to delivery, without its file."""

    def __init__(self):
        self.known = {}
        self.failure = None
        self.looks = 0

    def find(self, name):
        self.looks += 1
        if self.failure is not None:
            raise self.failure
        return self.known.get(name, DestinationHistory())

    def note(self, name, session, *, logged=False):
        remembered = seen(self.known.get(name, DestinationHistory()), session)
        self.known[name] = warned(remembered, session.at) if logged else remembered

    def was(self, name, host, achieved=AUTH, at=NOW - 86400.0 * 9):
        self.note(name, SeenSession(host, achieved, at))


@pytest.fixture
def memory():
    return Memory()


@pytest.fixture
def clock():
    return [NOW]


@pytest.fixture
def holding(world, memory, clock):
    """A world that remembers, and holds what falls short."""
    world.settings["memory"] = DestinationMemory(memory, lambda: clock[0])
    world.resources["protection_drop"] = "hold"
    return world


def run(work):
    return asyncio.run(asyncio.wait_for(work, 20))


def secure(world, kit, host="mx.b.example"):
    return kit.Peer(tls=world.identity(host))


def test_what_a_connection_did_is_remembered_by_domain_or_by_connector(holding, kit, memory):
    async def scene():
        async with secure(holding, kit) as peer:
            deliverer = holding.build(peer.port)
            await deliverer.deliver(kit.delivery())
            holding.connector(peer.port)
            deliverer.use(holding.directory())
            await deliverer.deliver(kit.delivery())
            holding.connector(peer.port, use_mx_record=True, smart_hosts=[])
            deliverer.use(holding.directory())
            await deliverer.deliver(kit.delivery())
        return peer.port

    port = run(scene())
    assert set(memory.known) == {DOMAIN, SMART, DestinationName("contoso", "b.example", "out")}
    for remembered in memory.known.values():
        assert best(remembered, NOW).achieved == AUTH
        assert list(remembered.hosts) == [f"mx.b.example:{port}"]
        assert remembered.hosts[f"mx.b.example:{port}"].version == "TLSv1.3"


def test_warn_sends_and_says_so_once_an_hour(holding, kit, memory, clock, caplog):
    holding.resources["protection_drop"] = "warn"

    async def scene():
        async with kit.Peer() as peer:
            memory.was(DOMAIN, f"mx.b.example:{peer.port}")
            deliverer = holding.build(peer.port)
            outcomes = []
            for wait in (0, 60, 3600):
                clock[0] += wait
                holding.pool.close()
                outcomes.append(await deliverer.deliver(kit.delivery()))
        return outcomes

    for outcome in run(scene()):
        (result,) = outcome.results
        assert result.disposition is Disposition.DELIVERED
        assert result.detail["protection_drop"] == {
            "was": "none/authenticated",
            "since": NOW - 86400.0 * 9,
            "now": "none/none",
        }
    assert caplog.text.count("b.example of contoso protects connections less than before") == 2


def test_hold_sends_nothing_and_asks_for_no_second_connection(holding, kit, memory, caplog):
    async def scene():
        async with kit.Peer() as peer:
            memory.was(DOMAIN, f"mx.b.example:{peer.port}")
            deliverer = holding.build(peer.port)
            outcomes = [await deliverer.deliver(kit.delivery()) for _ in range(3)]
        return peer, outcomes

    peer, outcomes = run(scene())
    assert not peer.said("MAIL")
    assert len(peer.connections) == 1  # it rests in the pool meanwhile
    for outcome in outcomes:
        (result,) = outcome.results
        assert result.disposition is Disposition.HELD
        assert result.reply.code == 450
        assert result.reply.enhanced == "4.4.317"
        assert "Expected: none/authenticated, as seen since 2023-11-05" in result.reply.text
        assert result.detail["protection_drop"]["now"] == "none/none"
        assert result.detail["host"] == "mx.b.example"
        assert "result_type" not in result.detail
        assert not outcome.destination_failed
    assert "protects connections less than before; mail for it is held" in caplog.text


def test_a_certificate_that_was_mended_is_seen_by_the_next_connection(holding, kit, memory):
    """One that fell short leaves no session behind, whose old certificate would be shown again."""

    async def scene():
        async with secure(holding, kit, "other.b.example") as peer:
            memory.was(DOMAIN, f"mx.b.example:{peer.port}")
            deliverer = holding.build(peer.port)
            outcomes = []
            for _ in range(2):
                outcomes.append(await deliverer.deliver(kit.delivery()))
                holding.pool.close()
                await asyncio.sleep(0.05)
        return peer, outcomes

    peer, outcomes = run(scene())
    assert [one.results[0].disposition for one in outcomes] == [Disposition.HELD] * 2
    assert [one.facts.resumed for one in peer.connections] == [False, False]


def test_a_kept_connection_that_fell_short_is_used_once_it_is_accepted(holding, kit, memory):
    async def scene():
        async with kit.Peer() as peer:
            memory.was(DOMAIN, f"mx.b.example:{peer.port}")
            deliverer = holding.build(peer.port)
            await deliverer.deliver(kit.delivery())
            memory.known[DOMAIN] = accept(memory.known[DOMAIN], at=NOW, by="ann")
            outcome = await deliverer.deliver(kit.delivery())
        return peer, outcome

    peer, outcome = run(scene())
    assert outcome.results[0].disposition is Disposition.DELIVERED
    assert "protection_drop" not in outcome.results[0].detail
    assert len(peer.connections) == 1


def test_a_released_message_goes_and_opens_the_way_for_no_other(holding, kit, memory):
    async def scene():
        async with kit.Peer() as peer:
            memory.was(DOMAIN, f"mx.b.example:{peer.port}")
            deliverer = holding.build(peer.port)
            released = kit.delivery()
            released.recipients[0].released = True
            first = await deliverer.deliver(released)
            both = kit.delivery()
            both.recipients = [Recipient("bob@b.example", released=True), Recipient("joe@b.example")]
            return first, await deliverer.deliver(both), await deliverer.deliver(kit.delivery())

    first, both, other = run(scene())
    assert first.results[0].disposition is Disposition.DELIVERED
    assert first.results[0].detail["protection_drop"]["now"] == "none/none"
    assert [result.disposition for result in both.results] == [Disposition.HELD, Disposition.HELD]
    assert other.results[0].disposition is Disposition.HELD


def test_over_a_kept_connection_a_message_costs_no_look(holding, kit, memory):
    async def scene():
        async with secure(holding, kit) as peer:
            deliverer = holding.build(peer.port)
            for _ in range(5):
                await deliverer.deliver(kit.delivery())
        return peer

    assert len(run(scene()).connections) == 1
    assert memory.looks == 3  # of one connection: before it, for its key exchange, and twice when it was open


def test_a_connection_shared_by_domains_is_held_against_each_ones_memory(holding, kit, memory):
    holding.names.table["c.example", "MX"] = ["10 mx.b.example."]

    async def scene():
        async with kit.Peer() as peer:
            memory.was(DestinationName("contoso", "c.example"), f"mx.b.example:{peer.port}")
            deliverer = holding.build(peer.port)
            first = await deliverer.deliver(kit.delivery())
            return first, await deliverer.deliver(kit.delivery("joe@c.example"))

    first, second = run(scene())
    assert first.results[0].disposition is Disposition.DELIVERED
    assert second.results[0].disposition is Disposition.HELD


@pytest.mark.parametrize("weak_first", [True, False])
def test_another_host_that_is_as_good_takes_the_mail(holding, kit, memory, weak_first):
    weak, good = ("127.0.0.1", "127.0.0.2") if weak_first else ("127.0.0.2", "127.0.0.1")
    holding.mx("10 mx.b.example.", "20 mx2.b.example.")
    holding.host("mx.b.example", "127.0.0.1")
    holding.host("mx2.b.example", "127.0.0.2")
    name = "mx2.b.example" if weak_first else "mx.b.example"

    async def scene():
        async with (
            kit.Peer(host=good, tls=holding.identity(name)) as peer,
            kit.Peer(host=weak, port=peer.port) as other,
        ):
            memory.was(DOMAIN, f"{name}:{peer.port}")
            return other, await holding.build(peer.port).deliver(kit.delivery())

    other, outcome = run(scene())
    assert outcome.results[0].disposition is Disposition.DELIVERED
    assert "protection_drop" not in outcome.results[0].detail
    assert not other.said("MAIL")
    assert bool(other.connections) is weak_first


def test_while_the_good_host_is_only_out_of_reach_mail_waits_for_it_and_for_nobody(holding, kit, memory):
    holding.mx("10 mx.b.example.", "20 mx2.b.example.")
    holding.host("mx.b.example", "127.0.0.2")
    holding.host("mx2.b.example", "127.0.0.1")

    async def scene():
        async with kit.Peer() as peer:
            memory.was(DOMAIN, f"mx.b.example:{peer.port}")
            outcome = await holding.build(peer.port).deliver(kit.delivery())
        return peer, outcome

    peer, outcome = run(scene())
    (result,) = outcome.results
    assert result.disposition is Disposition.DEFERRED
    assert "ProtectionDrop" in result.reply.text
    assert not peer.said("MAIL")


def test_a_host_without_address_is_waited_for_by_nobody(holding, kit, memory):
    holding.mx("10 gone.b.example.", "20 mx.b.example.")
    holding.names.table["gone.b.example", "A"] = LookupFailed("no such name", temporary=False)

    async def scene():
        async with kit.Peer() as peer:
            memory.was(DOMAIN, f"mx.b.example:{peer.port}")
            return await holding.build(peer.port).deliver(kit.delivery())

    assert run(scene()).results[0].disposition is Disposition.HELD


@pytest.mark.parametrize(("mode", "disposition"), [("warn", Disposition.DELIVERED), ("hold", Disposition.DEFERRED)])
def test_a_memory_that_cannot_be_read_lets_pass_or_makes_wait(holding, kit, memory, mode, disposition, caplog):
    holding.resources["protection_drop"] = mode
    memory.failure = StoreFailure("the disk is on fire")

    async def scene():
        async with secure(holding, kit) as peer:
            deliverer = holding.build(peer.port)
            return peer, [await deliverer.deliver(kit.delivery()) for _ in range(2)]

    peer, outcomes = run(scene())
    assert {result.disposition for outcome in outcomes for result in outcome.results} == {disposition}
    assert caplog.text.count("cannot be read: the disk is on fire") == 1
    assert "fire" not in "".join(peer.commands)
    if mode == "hold":
        assert "the disk is on fire" in outcomes[0].results[0].detail["detail"]
        assert "fire" not in outcomes[0].results[0].reply.text
        memory.failure = None


@pytest.mark.parametrize(
    ("mode", "tls", "disposition"),
    [
        ("warn", False, Disposition.DELIVERED),
        ("hold", True, Disposition.DELIVERED),  # its certificate proves less than before, which the message waives
        ("hold", False, Disposition.HELD),  # what an administrator demands is no message's to waive
    ],
)
def test_tls_required_no_waives_proof_but_no_hold_where_tls_was_taken_away(
    holding, kit, memory, mode, tls, disposition
):
    holding.resources["protection_drop"] = mode

    async def scene():
        async with kit.Peer(tls=holding.identity("x.example") if tls else None) as peer:
            memory.was(DOMAIN, f"mx.b.example:{peer.port}")
            before = dict(memory.known)
            outcome = await holding.build(peer.port).deliver(kit.delivery(tls_required_no=True))
        return peer, before, outcome

    peer, before, outcome = run(scene())
    assert outcome.results[0].disposition is disposition
    assert bool(peer.said("MAIL")) is (disposition is Disposition.DELIVERED)
    assert (memory.known == before) is (disposition is Disposition.DELIVERED)


def test_a_requirement_is_judged_first(holding, kit, memory):
    async def scene():
        async with kit.Peer() as peer:
            holding.connector(peer.port, tls_settings="encryption-only")
            memory.was(SMART, f"mx.b.example:{peer.port}")
            before = dict(memory.known)
            outcome = await holding.build().deliver(kit.delivery())
        return before, outcome

    before, outcome = run(scene())
    (result,) = outcome.results
    assert result.disposition is Disposition.DEFERRED
    assert result.detail["result_type"] == "starttls-not-supported"
    assert memory.known == before


def test_without_dnssec_of_our_own_nobody_fell_from_it(holding, kit, memory, clock):
    holding.settings["memory"] = DestinationMemory(memory, lambda: clock[0], dnssec=False)

    async def scene():
        async with secure(holding, kit) as peer:
            proved = replace(AUTH, mx=MxLevel.DNSSEC)
            memory.was(DOMAIN, f"mx.b.example:{peer.port}", proved)
            return await holding.build(peer.port).deliver(kit.delivery())

    assert run(scene()).results[0].disposition is Disposition.DELIVERED


@pytest.mark.parametrize(
    ("was", "fault", "disposition"),
    [
        (MxLevel.DNSSEC, "the root is not authentic", Disposition.DEFERRED),
        (MxLevel.DNSSEC, "", Disposition.HELD),
        (MxLevel.NONE, "the root is not authentic", Disposition.DELIVERED),
    ],
)
def test_mail_waits_where_our_resolver_lost_what_dnssec_proved(holding, kit, memory, was, fault, disposition):
    asked = []

    async def dnssec_fault(domain):
        asked.append(domain)
        return DnssecFault(fault, stops_mail=False) if fault else None

    async def scene():
        async with secure(holding, kit) as peer:
            memory.was(DOMAIN, f"mx.b.example:{peer.port}", replace(AUTH, mx=was))
            before = dict(memory.known)
            deliverer = holding.build(peer.port)
            deliverer._transactions._dnssec_fault = dnssec_fault
            return peer, before, await deliverer.deliver(kit.delivery())

    peer, before, outcome = run(scene())
    (result,) = outcome.results
    assert (result.disposition, bool(peer.said("MAIL"))) == (disposition, disposition is Disposition.DELIVERED)
    assert asked == (["b.example"] if was is MxLevel.DNSSEC else [])
    if disposition is Disposition.DEFERRED:
        assert (result.reply.enhanced, "Message=TlsaLookupFailed" in result.reply.text) == ("4.4.312", True)
        assert memory.known == before  # the partner is not to blame


def test_cleartext_after_a_broken_handshake_is_a_drop_as_well(holding, kit, memory):
    holding.resources["cleartext"] = "after-failed-handshake"

    async def scene():
        async with kit.Peer(says={"STARTTLS": "!break"}, tls=holding.identity("mx.b.example")) as peer:
            memory.was(DOMAIN, f"mx.b.example:{peer.port}")
            return peer, await holding.build(peer.port).deliver(kit.delivery(attempts=1))

    peer, outcome = run(scene())
    assert outcome.results[0].disposition is Disposition.DEFERRED  # TLS may be mended, which releases it
    assert not peer.said("MAIL")
