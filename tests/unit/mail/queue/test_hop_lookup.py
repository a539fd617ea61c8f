from __future__ import annotations

import asyncio

import pytest

from gatepost.mail.queue.hop_lookup import HopLookups
from gatepost.mail.queue.hop_queue import LaneKey
from gatepost.mail.queue.memory_budget import MemoryBudget, QueueLimits
from gatepost.net.places import FairShares
from gatepost.net.tasks import spawn

PARTNER, OTHER = "contoso/partner.example", "contoso/other.example"


class Finder:
    """Says where deliveries go once it is let; what is in `broken` it cannot say."""

    def __init__(self):
        self.gate = asyncio.Event()
        self.asked, self.at_once, self.broken = [], set(), set()

    def known(self, delivery, *, alone=False):
        return LaneKey("known") if delivery.id in self.at_once else None

    async def find(self, delivery):
        self.asked.append(delivery.id)
        await self.gate.wait()
        if delivery.id in self.broken:
            raise ValueError("no resolver")
        return LaneKey("relay", "terms")

    def usual(self, destination):
        raise AssertionError(destination)

    def only_hop(self, destination):
        return f"all of {destination}"


def run(work, *, limit=2):
    """`work` is given the look-ups, their finder and the list of what was found."""

    async def main():
        finder, found, window = Finder(), [], MemoryBudget(QueueLimits())
        tasks = []
        lookups = HopLookups(
            finder,
            FairShares(limit),
            window,
            lambda coroutine, name: tasks.append(spawn(coroutine, name)),
            lambda delivery, key: found.append((delivery.id, key)),
        )
        await work(lookups, finder, found)
        assert window.waiting == sum(lookups.waiting(destination) for destination in (PARTNER, OTHER))
        finder.gate.set()
        await turns()
        await asyncio.gather(*tasks)
        assert window.waiting == 0

    asyncio.run(asyncio.wait_for(main(), 40))


async def turns(count=10):
    for _ in range(count):
        await asyncio.sleep(0)


def test_organizations_take_turns(make):
    async def work(lookups, finder, found):
        for number in range(1, 8):
            lookups.add(make.delivery(number, destination=f"contoso/d{number}.example"))
        lookups.add(make.delivery(10, destination="fabrikam/a.example"))
        lookups.add(make.delivery(11, destination="fabrikam/b.example"))
        await turns()
        assert finder.asked == [1, 2, 3, 10]
        finder.gate.set()
        await turns(100)
        assert finder.asked == [1, 2, 3, 10, 4, 11, 5, 6, 7]

    run(work, limit=4)


def test_two_organizations_hold_up_no_third(make):
    async def work(lookups, finder, found):
        for number in range(1, 41):
            lookups.add(make.delivery(number, destination=f"contoso/d{number}.example"))
        for number in range(41, 81):
            lookups.add(make.delivery(number, destination=f"fabrikam/d{number}.example"))
        lookups.add(make.delivery(81, destination="adatum/a.example"))
        await turns()
        assert finder.asked == [*range(1, 13), 41, 42, 43, 81]
        finder.gate.set()
        await turns(1000)
        assert sorted(finder.asked) == list(range(1, 82))

    run(work, limit=16)


def test_those_of_one_destination_wait_for_each_other_and_keep_their_order(make):
    async def work(lookups, finder, found):
        for number in (1, 2, 3):
            lookups.add(make.delivery(number, destination=PARTNER))
        lookups.add(make.delivery(4, destination=OTHER))
        await turns()
        assert finder.asked == [1, 4]
        assert (lookups.waiting(PARTNER), lookups.waiting(OTHER), lookups.waiting("contoso/x")) == (3, 1, 0)
        finder.gate.set()
        await turns()
        assert [number for number, _ in found] == [1, 4, 2, 3] or sorted(found) == found
        assert {key for _, key in found} == {LaneKey("relay", "terms")}
        assert lookups.waiting(PARTNER) == 0

    run(work, limit=3)


def test_so_many_destinations_at_a_time_and_the_others_in_their_order(make):
    async def work(lookups, finder, found):
        for number in (1, 2, 3):
            lookups.add(make.delivery(number, destination=f"contoso/d{number}.example"))
        await turns()
        assert finder.asked == [1]
        finder.gate.set()
        await turns(30)
        assert finder.asked == [1, 2, 3]
        assert [number for number, _ in found] == [1, 2, 3]

    run(work, limit=1)


def test_what_is_taken_out_meanwhile_is_not_found(make):
    async def work(lookups, finder, found):
        deliveries = [make.delivery(number, destination=PARTNER) for number in (1, 2, 3)]
        for delivery in deliveries:
            lookups.add(delivery)
        await turns()
        assert lookups.remove(PARTNER, 9) is None
        assert lookups.remove(OTHER, 1) is None
        assert lookups.remove(PARTNER, 1) is deliveries[0]
        assert lookups.remove(PARTNER, 1) is None
        finder.gate.set()
        await turns(20)
        assert [number for number, _ in found] == [2, 3]

    run(work)


def test_so_many_of_a_destination_may_wait(make):
    async def work(lookups, finder, found):
        one = make.delivery(1, destination=PARTNER)
        most = lookups.room(one)
        lookups.add(one)
        assert lookups.room(make.delivery(2, destination=PARTNER)) == most - 1 > 0
        assert lookups.room(make.delivery(3, destination=OTHER)) == most

    run(work)


def test_everything_is_taken_out(make):
    async def work(lookups, finder, found):
        for number, destination in ((1, PARTNER), (2, PARTNER), (3, OTHER)):
            lookups.add(make.delivery(number, destination=destination))
        await turns()
        assert [delivery.id for delivery in lookups.take_all()] == [1, 2, 3]
        assert lookups.take_all() == []
        finder.gate.set()
        await turns(20)
        assert found == []
        lookups.add(make.delivery(4, destination=PARTNER))
        await turns()
        assert [number for number, _ in found] == [4]

    run(work)


def test_what_is_known_is_not_looked_up(make):
    async def work(lookups, finder, found):
        finder.at_once = {1}
        assert await lookups.find(make.delivery(1)) == LaneKey("known")
        assert finder.asked == []

    run(work)


def test_what_cannot_be_found_goes_by_its_destination(make, caplog):
    async def work(lookups, finder, found):
        finder.broken = {1}
        finder.gate.set()
        assert await lookups.find(make.delivery(1)) == LaneKey(PARTNER)

    run(work)
    assert f"delivery 1 to {PARTNER}: no next hop was found" in caplog.text


def test_a_look_up_that_is_cancelled_leaves_room_for_others(make):
    async def main():
        finder, tasks = Finder(), []
        lookups = HopLookups(
            finder,
            FairShares(1),
            MemoryBudget(QueueLimits()),
            lambda work, name: tasks.append(spawn(work, name)),
            lambda *_: None,
        )
        lookups.add(make.delivery(1, destination=PARTNER))
        lookups.add(make.delivery(2, destination=OTHER))
        await turns()
        tasks[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        await turns()
        assert finder.asked == [1, 2]
        finder.gate.set()
        await tasks[1]

    asyncio.run(main())


def test_the_next_hop_of_all_mail_is_the_finders():
    async def work(lookups, _finder, _found):
        assert lookups.only_hop(PARTNER) == f"all of {PARTNER}"

    run(work)
