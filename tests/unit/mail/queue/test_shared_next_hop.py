"""Several destinations behind one next hop."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from gatepost.mail.model.delivery_result import DeliveryResult, Disposition, RecipientResult
from gatepost.mail.queue.hop_queue import LaneKey
from gatepost.mail.queue.lane_budget import LaneBudget
from gatepost.mail.queue.slowdown import Slowdowns
from gatepost.protocols.smtp.replies import Reply
from gatepost.store.interface import QueueFilter

BUSY = Reply(421, "4.7.0", ("Too many connections",))
OK = Reply(250, "2.0.0", ("OK",))
LOST = Reply(450, "4.4.2", ("Connection lost",))


class OneRelay:
    """Everything goes by one relay; `other`: destinations that do not. slow: what has to be looked up, and how long."""

    def __init__(self, *other, slow=()):
        self.other = other
        self.slow = set(slow)

    def known(self, delivery, *, alone=False):
        return None if delivery.destination in self.slow else self._key(delivery)

    async def find(self, delivery):
        await asyncio.sleep(0.02)
        return self._key(delivery)

    def usual(self, destination):
        return None if destination in self.slow else LaneKey(destination if destination in self.other else "relay")

    def only_hop(self, destination):
        """None, as some mail goes by the rule."""

    def _key(self, delivery):
        by_rule = delivery.recipients[0].address.startswith("ruled")
        if by_rule:
            return LaneKey("archive", "by rule")
        return LaneKey(delivery.destination if delivery.destination in self.other else "relay")


def run(work):
    asyncio.run(asyncio.wait_for(work(), 50))


def domains(number):
    return [f"ann@d{index}.example" for index in range(number)]


async def hold(rig, accepting, lanes):
    """Accept while attempts wait; when so many do, let them go on. How many did in the end."""
    rig.peer.gate = asyncio.Event()
    await accepting()
    while rig.peer.most_in_all < lanes:  # noqa: ASYNC110 - a double that knows no event
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    most = rig.peer.most_in_all
    rig.peer.gate.set()
    rig.peer.gate = None
    return most


@pytest.mark.parametrize("slow", [False, True])
def test_the_limit_is_that_of_the_next_hop(rig, slow):
    rig.finder = OneRelay(slow={f"contoso/d{index}.example" for index in range(60)} if slow else ())

    async def main():
        async with rig.open(connections_per_destination=5, lane_wait=0.001):
            assert await hold(rig, lambda: rig.accept(*domains(60)), 5) == 5
            await rig.calm()
            assert rig.peer.most_in_all == 5
            assert len(rig.tried()) == 60
            assert rig.entries() == []
            assert rig.manager._waiting.hops == {}
            assert rig.manager._window.waiting == rig.manager._window.bytes == 0

    run(main)


def test_a_destination_with_one_message_does_not_wait_for_all_of_another(rig):
    rig.finder = OneRelay()

    async def main():
        async with rig.open(connections_per_destination=1, lane_wait=0.001):
            rig.peer.gate = asyncio.Event()
            for _ in range(100):
                await rig.accept("ann@large.example")
            await rig.accept("eve@small.example")
            rig.peer.gate.set()
            rig.peer.gate = None
            await rig.calm()
            assert rig.tried().index("eve@small.example") < 5

    run(main)


def test_deferred_mail_takes_turns_too(rig):
    rig.finder = OneRelay()

    async def main():
        async with rig.open(paused=True):
            for _ in range(400):
                await rig.accept("ann@large.example")
            await rig.accept("eve@small.example")
        rig.now += 60  # more than accepting took: what a start finds is due by the clock of the machine
        async with rig.open(connections_per_destination=1):
            while len(rig.peer.attempts) < 401:  # noqa: ASYNC110 - a double that knows no event
                await asyncio.sleep(0.01)
            await rig.calm()
            tried = rig.tried()
            assert len(tried) == 401
            assert tried.index("eve@small.example") < 210
            assert rig.entries() == []

    run(main)


def test_a_silent_next_hop_is_probed_once_for_all_its_destinations(rig):
    rig.finder = OneRelay("contoso/other.example")
    rig.peer.failing = {f"contoso/d{index}.example" for index in range(60)}

    async def main():
        async with rig.open(connections_per_destination=1):
            await rig.accept(*domains(60), "eve@other.example")
            await rig.calm()
            tried = rig.tried()
            assert "eve@other.example" in tried
            assert len(tried) == 2
            assert rig.manager.backing_off == 1
            rig.peer.gate = asyncio.Event()  # the probe is held until all of them are known to be due
            await rig.pass_time(10.1)
            assert len(rig.tried()) == 1
            rig.peer.gate.set()
            rig.peer.gate = None
            await rig.calm()
            # The second failure speaks for all.
            assert {entry.delivery.attempts for entry in rig.entries()} <= {1, 2}
            rig.peer.failing = set()
            await rig.pass_time(1100)
            assert rig.entries() == []

    run(main)


def test_what_one_destination_does_wrong_closes_the_gate_of_that_alone(rig):
    rig.finder = OneRelay()
    rig.peer.failing, rig.peer.silent = {"contoso/d0.example"}, False

    async def main():
        async with rig.open(connections_per_destination=1):
            await rig.accept(*domains(10))
            await rig.accept("joe@d0.example")
            await rig.calm()
            assert len(rig.tried()) == 10
            assert [entry.delivery.destination for entry in rig.entries()] == ["contoso/d0.example"] * 2
            assert rig.manager.backing_off == 1
            await rig.accept("joe@d1.example", "joe@d0.example")
            await rig.calm()
            assert rig.tried() == ["joe@d1.example"]
            await rig.pass_time(10.1)
            assert len(rig.tried()) == 1  # the second failure speaks for all of the destination
            assert all(entry.delivery.attempts for entry in rig.entries())
            rig.peer.failing = set()
            await rig.pass_time(1100)
            assert rig.entries() == []
            assert rig.manager._waiting.failing == {}
            assert rig.manager._waiting.hops == {}

    run(main)


def test_mail_that_a_rule_sends_another_way_does_not_wait_for_the_usual_way(rig):
    """Nor is it put back with that one's error."""
    rig.finder = OneRelay()
    rig.peer.failing = {"contoso/d0.example"}

    async def main():
        async with rig.open():
            await rig.accept("ann@d0.example")
            await rig.calm()
            assert rig.manager.backing_off == 1
            rig.peer.failing = set()
            rig.tried()
            await rig.accept("ruled@d0.example")
            await rig.calm()
            assert rig.tried() == ["ruled@d0.example"]

    run(main)


def test_nor_is_it_deferred_with_the_mail_that_goes_the_usual_way(rig):
    rig.finder = OneRelay()

    async def deliver(delivery):
        rig.peer.failing = set() if delivery.recipients[0].address.startswith("ruled") else {"contoso/d0.example"}
        return await rig.peer.deliver(delivery)

    async def main():
        async with rig.open(paused=True):
            for _ in range(10):
                await rig.accept("ann@d0.example")
            await rig.accept("ruled@d0.example")
        rig.now += 60  # more than accepting took: what a start finds is due by the clock of the machine
        async with rig.open(deliver=deliver, connections_per_destination=1, window_per_destination=2):
            await rig.calm()
            await rig.pass_time(10.1)
            assert "ruled@d0.example" in rig.tried()
            assert [entry.delivery.attempts for entry in rig.entries()] >= [1] * 10
            assert len(rig.entries()) == 10

    run(main)


def test_a_retry_of_one_domain_tries_its_next_hop(rig):
    rig.finder = OneRelay()
    rig.peer.failing = {"contoso/d0.example", "contoso/d1.example"}

    async def main():
        async with rig.open():
            await rig.accept("ann@d0.example")
            await rig.calm()
            await rig.accept("ann@d1.example")
            await rig.calm()
            assert rig.tried() == ["ann@d0.example"]
            rig.peer.failing = set()
            await asyncio.to_thread(rig.admin.retry, QueueFilter(domain="d1.example"), author="me")
            rig.now = max(rig.now + 0.001, __import__("time").time())
            while not rig.peer.attempts:  # noqa: ASYNC110 - a double that knows no event
                await asyncio.sleep(0.01)
            await rig.calm()
            assert rig.tried() == ["ann@d1.example"]

    run(main)


def test_what_waits_for_a_look_up_can_be_dropped(rig):
    class Never(OneRelay):
        async def find(self, delivery):
            await asyncio.sleep(1.5)
            return self._key(delivery)

    rig.finder = Never(slow={"contoso/d0.example"})

    async def main():
        async with rig.open():
            await rig.accept("ann@d0.example")
            await rig.accept("joe@d0.example")
            await asyncio.to_thread(rig.admin.drop, QueueFilter(recipient="joe@d0.example"), author="me")
            await asyncio.sleep(1.6)
            await rig.calm()
            assert rig.tried() == ["ann@d0.example"]
            assert rig.entries() == []
            assert rig.manager._window.waiting == rig.manager._window.bytes == 0

    run(main)


def test_a_look_up_that_fails_leaves_the_attempt_to_say_why(rig, caplog):
    class Broken(OneRelay):
        async def find(self, delivery):
            raise KeyError("a mistake of ours")

    rig.finder = Broken(slow={"contoso/d0.example"})

    async def main():
        async with rig.open():
            await rig.accept("ann@d0.example")
            await rig.calm()
            assert rig.tried() == ["ann@d0.example"]

    run(main)
    assert "no next hop was found" in caplog.text


def test_no_more_destinations_are_looked_up_at_a_time_than_there_are_connections(rig):
    most = Counter()

    class Counting(OneRelay):
        async def find(self, delivery):
            most["now"] += 1
            most["most"] = max(most["most"], most["now"])
            await asyncio.sleep(0.01)
            most["now"] -= 1
            return self._key(delivery)

    rig.finder = Counting(slow={f"contoso/d{index}.example" for index in range(30)})

    async def main():
        async with rig.open(connections=4):
            await rig.accept(*domains(30))
            await rig.calm()
            assert len(rig.tried()) == 30
            assert most["most"] == 4

    run(main)


def test_drain_puts_back_what_waits_for_a_look_up(rig):
    class Never(OneRelay):
        async def find(self, delivery):
            await asyncio.sleep(60)

    rig.finder = Never(slow={"contoso/d0.example"})

    async def main():
        async with rig.open(drain=0.05):
            await rig.accept("ann@d0.example")
            await rig.accept("joe@d0.example")
            await asyncio.sleep(0.02)
        assert [entry.state for entry in rig.entries()] == ["deferred"] * 2

    run(main)


# ---------------------------------------------------------------------------------------------- a next hop that is busy


class Crowded:
    """A relay that takes `places` connections at a time, and says 421 to others."""

    def __init__(self, places, seconds=0.004):
        self.places = places
        self.seconds = seconds
        self.now = self.refused = self.taken = 0

    async def deliver(self, delivery):
        if self.now >= self.places:
            self.refused += 1
            await asyncio.sleep(0)
            results = [RecipientResult(recipient, Disposition.DEFERRED, BUSY, {}) for recipient in delivery.recipients]
            return DeliveryResult(results, destination_failed=True, next_hop_failed=True, crowded=True)
        self.now += 1
        await asyncio.sleep(self.seconds)
        self.now -= 1
        self.taken += 1
        ok = Reply(250, "2.0.0", ("OK",))
        return DeliveryResult(
            [RecipientResult(recipient, Disposition.DELIVERED, ok, {}) for recipient in delivery.recipients]
        )


def test_a_busy_next_hop_gets_fewer_lanes_and_nothing_waits(rig):
    rig.finder = OneRelay()
    relay = Crowded(3)

    async def main():
        async with rig.open(connections_per_destination=20, lane_wait=0.001, deliver=relay.deliver):
            await rig.accept(*domains(300))
            while relay.taken < 300:  # noqa: ASYNC110 - a double that knows no event
                await asyncio.sleep(0.02)
            assert relay.refused < 20
            await rig.calm()
            assert rig.entries() == []
            assert rig.manager._turned_away == {}

    run(main)


def test_a_next_hop_that_takes_nobody_is_left_alone(rig):
    rig.finder = OneRelay()
    rig.budget = LaneBudget(1000, 20, time.monotonic)
    relay = Crowded(0)

    async def main():
        async with rig.open(lane_wait=0.001, deliver=relay.deliver):
            await rig.accept(*domains(50))
            while not rig.manager.backing_off:  # noqa: ASYNC110 - the queue knows no event
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
            await rig.store.flushed()
            assert relay.refused < 30
            assert rig.manager.backing_off == 1
            assert len(rig.entries()) == 50
            for _ in range(8):
                await rig.pass_time(61)
            # In the end it speaks for all, or nothing of it would ever be reported late.
            assert all(entry.delivery.attempts for entry in rig.entries())
            relay.places = 100
            assert rig.budget.slowdowns.listed(rig.now)[0].code == 421
            rig.budget.slowdowns = Slowdowns()  # the minutes in which it gets little by little more
            await rig.pass_time(1100)
            await rig.pass_time(1100)
            assert rig.entries() == []

    run(main)


def test_mail_says_that_its_next_hop_was_slowed_when_it_was_in_memory_already(rig):
    """It came faster than the host refused it, so nothing was slowed yet when it came."""
    rig.budget = LaneBudget(1000, 1, time.monotonic)
    rig.peer.replies["partner.example"] = Reply(450, "4.7.1", ("Error: too much mail from 192.0.2.1",))

    async def main():
        async with rig.open(lane_wait=0.001):
            rig.peer.gate = asyncio.Event()
            for index in range(30):
                await rig.accept(f"u{index}@partner.example")
            assert rig.manager.waiting == 29
            rig.peer.gate.set()
            await rig.calm()
            (slowed,) = rig.budget.slowdowns.listed(rig.now)
            said = Counter(entry.delivery.last_error for entry in rig.entries())
            tried, ready = len(rig.peer.attempts), rig.manager.waiting
            assert ready <= slowed.most_in_memory
            assert said == {
                "450 4.7.1 Error: too much mail from 192.0.2.1": tried,
                "": ready,
                slowed.reason: 30 - tried - ready,
            }

    run(main)


def test_queues_share_the_lanes_of_a_worker(tmp_path, rig):
    """A shard that a worker took over does not double the limit."""
    other = type(rig)(tmp_path / "other")
    budget = LaneBudget(100, 4, lambda: 0.0)
    running = Counter()

    async def deliver(delivery):
        running["now"] += 1
        running["most"] = max(running["most"], running["now"])
        await asyncio.sleep(0.003)
        running["now"] -= 1
        running["done"] += 1
        ok = Reply(250, "2.0.0", ("OK",))
        return DeliveryResult(
            [RecipientResult(recipient, Disposition.DELIVERED, ok, {}) for recipient in delivery.recipients]
        )

    async def main():
        for one in (rig, other):
            one.finder, one.budget = OneRelay(), budget
        async with rig.open(lane_wait=0.001, deliver=deliver), other.open(lane_wait=0.001, deliver=deliver):
            await asyncio.gather(rig.accept(*domains(60)), other.accept(*domains(60)))
            while running["done"] < 120:  # noqa: ASYNC110 - a double that knows no event
                await asyncio.sleep(0.02)
            assert running["most"] == 4
            assert budget.running == 0

    run(main)


class Upset:
    """A relay that some mail upsets: it takes the connection, loses it, and is away for a while. taken: by it."""

    def __init__(self, rig, poison, seconds=30.0):
        self.rig, self.poison, self.seconds = rig, poison, seconds
        self.back = 0.0
        self.taken = []

    async def deliver(self, delivery):
        address = delivery.recipients[0].address
        self.rig.peer.attempts.append((delivery.destination, [address]))
        away = self.rig.now < self.back
        if away or address in self.poison:
            self.back = max(self.back, self.rig.now + self.seconds * (not away))
            results = [RecipientResult(recipient, Disposition.DEFERRED, LOST, {}) for recipient in delivery.recipients]
            return DeliveryResult(results, destination_failed=True, next_hop_failed=away)
        self.taken.append(address)
        results = [RecipientResult(recipient, Disposition.DELIVERED, OK, {}) for recipient in delivery.recipients]
        return DeliveryResult(results)


def test_a_message_that_upsets_a_relay_is_not_the_probe_each_time(rig):
    """Somebody has all mail of a domain tried again and again, of which one message upsets the relay."""
    rig.finder = OneRelay()
    relay = Upset(rig, {"ann@d0.example", "poison@a.example"})

    async def main():
        async with rig.open(deliver=relay.deliver, connections_per_destination=1):
            for address in ("ann@d0.example", "ann@d1.example", "poison@a.example", "ann@a.example"):
                await rig.accept(address)
            await rig.calm()
            assert rig.tried() == ["ann@d0.example", "ann@d1.example"]
            for _ in range(2):
                await rig.pass_time(31)
                await asyncio.to_thread(rig.admin.retry, QueueFilter(domain="a.example"), author="me")
                await rig.pass_time(31)
            assert "ann@a.example" in relay.taken

    run(main)
