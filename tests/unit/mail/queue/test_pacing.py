from __future__ import annotations

import asyncio

import pytest

from gatepost.mail.model.delivery_result import DeliveryResult, Disposition, RecipientResult
from gatepost.mail.model.message import Recipient
from gatepost.mail.queue.allowance import HopLimit
from gatepost.mail.queue.hop_queue import HopQueue
from gatepost.mail.queue.lane_budget import LaneBudget
from gatepost.mail.queue.pacing import Pacing, Pause
from gatepost.mail.queue.shared_limits import DividedLimits
from gatepost.protocols.smtp.replies import Reply

SLOW = HopLimit("contoso/out", "connector out", 0, 60)
FEW = HopLimit("contoso/few", "connector few", 1)
BUSY = Reply(421, "4.7.0", ("Too many connections",))


class Scene:
    def __init__(self):
        self.now = 1000.0
        self.woken = []
        self.budget = LaneBudget(100, 20, lambda: 0.0, limits=DividedLimits(lambda: (0, 1)))
        self.pacing = Pacing(self.budget, lambda: self.now, self.woken.append)
        self.hop = HopQueue("relay:25")

    def backlog(self, make, limit, *numbers, destination="contoso/a.example"):
        backlog = self.hop.backlog(destination, "")
        backlog.allowance = self.budget.allowance("relay:25", limit)
        for number in numbers:
            self.hop.add(backlog, make.delivery(number, destination=destination))
        return backlog

    def take(self):
        return self.hop.take(self.now, lambda backlog: self.pacing.admit(self.hop, backlog, self.now))


@pytest.fixture
def scene():
    return Scene()


def result(reply, *, crowded=False, failed=True):
    kind = Disposition.DEFERRED if reply.transient else Disposition.DELIVERED
    return DeliveryResult([RecipientResult(Recipient("u@a.example"), kind, reply, {})], failed, crowded, crowded)


def test_what_is_beyond_a_limit_waits_and_the_rest_passes(scene, make):
    limited = scene.backlog(make, SLOW, 1, 2)
    scene.backlog(make, None, 3, destination="contoso/b.example")
    turns = [scene.take() for _ in range(3)]
    assert [turn and turn.deliveries[0].id for turn in turns] == [1, 3, None]
    assert (list(scene.hop.paused), turns[0].allowance.lanes) == ([limited], 1)
    scene.pacing.ended(turns[0])
    scene.pacing.ended(turns[1])
    assert turns[0].allowance.lanes == 0


def test_it_goes_on_when_it_may(scene, make):
    async def main():
        scene.pacing.left(scene.hop)
        assert scene.hop.waking is None
        scene.backlog(make, HopLimit("contoso/out", "connector out", 0, 6000), 1, 2)
        scene.take()
        assert scene.take() is None
        scene.pacing.follow(scene.hop)
        scene.pacing.follow(scene.hop)
        assert not scene.hop.forgettable(scene.now)
        await asyncio.sleep(0.1)
        assert scene.woken == [scene.hop]
        assert (scene.hop.paused, scene.hop.waking) == ({}, None)
        scene.now += 1.0
        assert scene.take() is not None

    asyncio.run(main())


def test_a_connection_that_others_have_is_looked_for_again(scene, make):
    async def main():
        scene.backlog(make, FEW, 1, 2)
        first = scene.take()
        assert scene.take() is None
        before = asyncio.get_running_loop().time()
        scene.pacing.follow(scene.hop)
        assert before + 0.2 < scene.hop.waking.when() < asyncio.get_running_loop().time() + 0.6
        scene.hop.waking.cancel()
        scene.pacing.ended(first)
        scene.hop.resume()
        scene.now += 1.0
        assert scene.take() is not None

    asyncio.run(main())


def test_a_next_hop_that_asks_for_less_gets_less(scene, make):
    backlog = scene.backlog(make, None, 1, 2, 3)
    scene.take()
    assert scene.pacing.learn(scene.hop, [result(BUSY, crowded=True)], alone=False) is False
    assert not scene.budget.slowdowns
    assert scene.pacing.learn(scene.hop, [result(BUSY, crowded=True)], alone=True) is True
    assert scene.budget.slowdowns.of("relay:25").rate == 10.0
    assert scene.take() is not None
    assert scene.take() is None
    assert scene.pacing.full(scene.hop, backlog) is None
    scene.backlog(make, None, 4, 5)
    assert scene.pacing.full(scene.hop, backlog) == Pause("slowed to 10 messages a minute after 421 from relay:25", 6.0)
    assert scene.pacing.enough(scene.hop, backlog) == 2
    scene.now += 60
    scene.pacing.learn(scene.hop, [result(BUSY, failed=True, crowded=True)], alone=False)
    assert scene.pacing.learn(scene.hop, [result(Reply(250, "2.0.0", ("OK",)), failed=False)], alone=True) is False
    assert scene.budget.slowdowns.of("relay:25").rate == 15.0


def test_how_much_is_kept_in_memory(scene, make):
    backlog = scene.backlog(make, SLOW, *range(1, 12))
    assert scene.pacing.full(scene.hop, backlog).reason == "limited to 60 messages a minute by connector out"
    assert scene.pacing.enough(scene.hop, backlog) == 10
    assert scene.pacing.enough(scene.hop, None) == 1_000_000


def test_another_organizations_way_is_not_named(scene, make):
    """Neither its connector nor its hosts, and the address that calls them."""
    limited = scene.backlog(make, SLOW, *range(1, 12), destination="fabrikam/a.example")
    slowed = scene.backlog(make, None, *range(12, 24), destination="fabrikam/b.example")
    scene.pacing.learn(scene.hop, [result(BUSY, crowded=True)], alone=True)
    for backlog in (limited, slowed):
        backlog.connector = (("connector", "out"), ("connector_organization", "contoso"))
        assert scene.pacing.full(scene.hop, backlog).reason == "waits for its turn at another organization's connector"


def test_what_is_put_first_goes_though_its_next_hop_is_slowed_and_the_rest_waits(make):
    it = Scene()
    it.budget.slowdowns.refused("relay:25", 20.0, 421, it.now)
    it.backlog(make, None, 1, 2)
    other = it.backlog(make, None, 3, destination="contoso/b.example")
    assert it.take().deliveries[0].id == 1
    assert it.take() is None
    assert other in it.hop.paused
    it.hop.put_first(other)
    it.pacing.open(it.hop)
    assert it.take().deliveries[0].id == 3
    assert it.take() is None
