"""Deliveries of one message that are tried together."""

from __future__ import annotations

import asyncio
import contextlib
import time

from gatepost.mail.model.delivery_result import DeliveryResult, Disposition, RecipientResult
from gatepost.mail.queue.hop_queue import LaneKey
from gatepost.mail.queue.lane_budget import LaneBudget
from gatepost.protocols.smtp.replies import Reply
from gatepost.store.interface import QueueFilter

OK = Reply(250, "2.0.0", ("OK",))
LATER = Reply(451, "4.3.0", ("Later",))
BUSY = Reply(421, "4.7.0", ("Too many connections",))
UNKNOWN = Reply(550, "5.1.1", ("User unknown",))


class Relay:
    """All of a message goes by one relay in one batch. replies: by address. turns: domains tried at once.

    apart: domains that cannot share a transaction; with: what else of these may be tried together.
    """

    def __init__(self, **replies):
        self.replies = replies
        self.turns = []
        self.apart = ()
        self.batch = None
        self.fails = None
        self.crowded = 0
        self.gate = None
        self.came_alone = []

    def known(self, delivery, *, alone=False):
        self.came_alone.append(alone)
        return LaneKey("relay", "", delivery.message.id)

    async def find(self, delivery):
        return self.known(delivery)

    def usual(self, destination):
        return LaneKey("relay")

    async def one(self, delivery):
        (outcome,) = await self.many([delivery], None)
        return outcome

    async def many(self, deliveries, leave_out):
        first, *others = deliveries
        kept = [first]
        for delivery in others:
            if (domain(delivery) in self.apart) != (domain(first) in self.apart):
                leave_out(delivery, self.batch)
            else:
                kept.append(delivery)
        self.turns.append([domain(delivery) for delivery in kept])
        if self.gate is not None:
            await self.gate.wait()
        if self.fails is not None:
            raise self.fails
        if self.crowded:
            self.crowded -= 1
            return [outcome(delivery, {}, BUSY, failed=True) for delivery in kept]
        return [outcome(delivery, self.replies) for delivery in kept]


def domain(delivery):
    return delivery.destination.removeprefix("contoso/").removesuffix(".example")


def outcome(delivery, replies, usual=OK, *, failed=False):
    results = []
    for recipient in delivery.recipients:
        reply = replies.get(recipient.address.partition("@")[0], usual)
        disposition = {2: Disposition.DELIVERED, 4: Disposition.DEFERRED, 5: Disposition.FAILED}[reply.code // 100]
        results.append(RecipientResult(recipient, disposition, reply, {}))
    return DeliveryResult(results, destination_failed=failed, next_hop_failed=failed, crowded=failed)


def run(work):
    asyncio.run(asyncio.wait_for(work(), 50))


@contextlib.asynccontextmanager
async def opened(rig, relay, **options):
    rig.finder = relay
    async with rig.open(deliver=relay.one, deliver_batch=relay.many, lane_wait=0.001, **options) as manager:
        yield manager


def domains(number, user="u"):
    return [f"{user}@d{index}.example" for index in range(number)]


def test_one_attempt_for_all_domains_of_a_message(rig):
    relay = Relay()

    async def main():
        async with opened(rig, relay) as manager:
            await rig.accept(*domains(20))
            await rig.accept(*domains(2))
            await rig.calm()
            first, second = relay.turns
            assert first == [f"d{index}" for index in range(20)]
            assert sorted(second) == ["d0", "d1"]  # whichever has waited longer at that next hop goes first
            assert len(rig.told) == 22
            assert rig.entries() == []
            assert (manager.waiting, manager._window.bytes, manager._in_flight) == (0, 0, set())
            assert manager._waiting.hops == {}

    run(main)


def test_a_single_delivery_is_known_to_be_alone(rig):
    relay = Relay()

    async def main():
        async with opened(rig, relay):
            await rig.accept(*domains(1))
            await rig.accept(*domains(2))
            await rig.calm()
            assert relay.came_alone == [True, False, False]

    run(main)


def test_each_domain_has_its_own_outcome(rig):
    relay = Relay(busy=LATER, nobody=UNKNOWN)

    async def main():
        async with opened(rig, relay):
            await rig.accept("a@d0.example", "busy@d1.example", "nobody@d2.example", "busy@d3.example", "b@d3.example")
            await rig.calm()
            assert relay.turns[0] == ["d0", "d1", "d2", "d3"]
            told = {(address, event) for event, address, _, _ in rig.told}
            assert told >= {
                ("a@d0.example", "delivered"),
                ("busy@d1.example", "deferred"),
                ("nobody@d2.example", "failed"),
                ("busy@d3.example", "deferred"),
                ("b@d3.example", "delivered"),
            }
            waiting = rig.entries()
            assert sorted(entry.delivery.destination for entry in waiting) == [
                "contoso/d1.example",
                "contoso/d3.example",
            ]
            # What was deferred together comes back together.
            assert len({entry.delivery.next_at for entry in waiting}) == 1
            relay.turns.clear()
            relay.replies = {}
            await rig.pass_time(1100)
            assert {name for turn in relay.turns for name in turn} == {"d1", "d3"}
            assert rig.entries() == []

    run(main)


def test_messages_deferred_at_one_time_are_spread_all_the_same(rig):
    relay = Relay(u=LATER)

    async def main():
        async with opened(rig, relay):
            for _ in range(10):
                await rig.accept("u@d0.example")
            await rig.calm()
            assert len({round(entry.delivery.next_at) for entry in rig.entries()}) > 5

    run(main)


def test_who_cannot_share_does_not_wait_for_the_first(rig):
    """Those that can go with one another do."""
    relay = Relay()
    relay.apart, relay.batch = {"d2", "d4"}, "others"
    relay.gate = asyncio.Event()

    async def main():
        async with opened(rig, relay) as manager:
            await rig.accept(*domains(5))
            while len(relay.turns) < 2:  # noqa: ASYNC110 - a double that knows no event
                await asyncio.sleep(0.005)
            assert relay.turns == [["d0", "d1", "d3"], ["d2", "d4"]]
            relay.gate.set()
            await rig.calm()
            assert rig.entries() == []
            assert manager._waiting.hops == {}

    run(main)


def test_who_is_left_out_of_every_batch_goes_alone(rig):
    relay = Relay()
    relay.apart = {f"d{index}" for index in range(1, 5)}

    async def main():
        async with opened(rig, relay):
            await rig.accept(*domains(5))
            await rig.calm()
            assert sorted(relay.turns) == [["d0"], ["d1"], ["d2"], ["d3"], ["d4"]]
            assert rig.entries() == []

    run(main)


def test_a_fault_of_ours_defers_the_batch(rig, caplog):
    relay = Relay()
    relay.fails = KeyError("a mistake of ours")

    async def main():
        async with opened(rig, relay):
            await rig.accept(*domains(3))
            await rig.calm()
            assert len(rig.entries()) == 3
            assert {entry.delivery.last_error for entry in rig.entries()} == {
                "451 4.3.0 The attempt failed for a reason of our own"
            }

    run(main)
    assert "our own failure" in caplog.text


def test_a_stop_puts_the_whole_batch_back(rig):
    relay = Relay()
    relay.gate = asyncio.Event()

    async def main():
        async with opened(rig, relay, drain=0.05):
            await rig.accept(*domains(3))
            while not relay.turns:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.005)
            assert relay.turns == [["d0", "d1", "d2"]]
        assert [entry.state for entry in rig.entries()] == ["deferred"] * 3

    run(main)


def test_one_refused_connection_is_one_lane_less_whatever_the_batch(rig):
    relay = Relay()
    rig.budget = LaneBudget(100, 20, lambda: 0.0)

    async def main():
        async with opened(rig, relay):
            relay.gate = asyncio.Event()
            for _ in range(5):
                await rig.accept(*domains(10))
            while rig.budget.lanes("relay") < 5:  # noqa: ASYNC110 - a budget knows no event
                await asyncio.sleep(0.005)
            relay.crowded = 1
            relay.gate.set()
            while len(relay.turns) <= 5:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.005)
            assert rig.budget.limit("relay") == 4
            await rig.calm()
            assert [len(turn) for turn in relay.turns] == [10] * 6
            assert rig.entries() == []
            assert rig.manager._turned_away == {}

    run(main)


def test_a_silent_next_hop_is_one_failure_for_the_batch(rig):
    relay = Relay()

    async def main():
        async with opened(rig, relay) as manager:
            relay.crowded = 1
            await rig.accept(*domains(10))
            await rig.calm()
            assert manager.backing_off == 1
            assert {hop.gate.failures for hop in manager._waiting.hops.values()} == {1}

    run(main)


def test_what_is_to_be_returned_is_no_part_of_a_batch(rig):
    relay = Relay(u=LATER)

    async def main():
        async with opened(rig, relay):
            await rig.accept(*domains(3))
            await rig.calm()
            relay.turns.clear()
            await asyncio.to_thread(
                rig.admin.send_back, QueueFilter(domain="d1.example"), author="me", text="The case is closed"
            )
            rig.now = max(rig.now + 0.001, time.time())
            await rig.calm()
            assert not any("d1" in turn for turn in relay.turns)
            assert sorted(entry.delivery.destination for entry in rig.entries()) == [
                "contoso/d0.example",
                "contoso/d2.example",
            ]

    run(main)
