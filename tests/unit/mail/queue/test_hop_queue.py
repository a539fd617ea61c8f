from __future__ import annotations

import asyncio

from gatepost.mail.queue.hop_queue import EACH_ITS_OWN, HopQueue, LaneKey


def put(make, hop, destination, *numbers, terms=""):
    backlog = hop.backlog(destination, terms)
    for number in numbers:
        hop.add(backlog, make.delivery(number, destination=destination))
    return backlog


def test_destinations_get_their_turns(make):
    hop = HopQueue("relay.example:25")
    put(make, hop, "contoso/large.example", *range(1, 100))
    put(make, hop, "contoso/small.example", 200)
    taken = [hop.take(0.0)[1].id for _ in range(4)]
    assert taken == [1, 200, 2, 3]
    assert hop.size == 96


def test_what_may_not_be_tried_is_passed_over_until_it_may(make):
    hop = HopQueue("relay.example:25")
    backlog = put(make, hop, "contoso/a.example", 1, 2)
    backlog.gate.fail(make.silence, 10.0, "contoso")
    assert hop.take(5.0) is None
    hop.rotation.put(backlog)
    assert hop.take(10.0) == (backlog, hop_delivery(backlog, 1))
    assert hop.take(10.0) is None  # the probe runs
    hop.ended(backlog, 10.0)
    assert hop.take(10.0)[1].id == 2


def hop_delivery(_backlog, number):
    class Same:
        def __eq__(self, other):
            return other.id == number

        __hash__ = None

    return Same()


def test_remove(make):
    hop = HopQueue("relay.example:25")
    backlog = put(make, hop, "contoso/a.example", 1, 2)
    assert hop.remove(backlog, 3) is None
    assert hop.remove(backlog, 2).id == 2
    assert (hop.size, list(backlog.ready)) == (1, [1])


def test_it_is_forgotten_only_when_nothing_is_known(make):
    hop = HopQueue("relay.example:25")
    assert hop.forgettable(0.0)
    for name, value in [("lanes", 1), ("leasing", True), ("queued", True), ("hungry", {"x": ""}), ("sated", {"x": ""})]:
        before = getattr(hop, name)
        setattr(hop, name, value)
        assert not hop.forgettable(0.0), name
        setattr(hop, name, before)
    backlog = put(make, hop, "contoso/a.example", 1)
    assert not hop.forgettable(0.0)
    hop.take(0.0)
    hop.ended(backlog, 0.0)
    assert hop.forgettable(0.0)
    hop.gate.fail(make.silence, 10.0, "contoso")
    assert not hop.forgettable(10.0)


def test_each_destination_may_be_a_next_hop_of_its_own(make):
    delivery = make.delivery(1)
    key = LaneKey("contoso/partner.example")
    assert EACH_ITS_OWN.known(delivery) == EACH_ITS_OWN.usual(delivery.destination) == key
    assert asyncio.run(EACH_ITS_OWN.find(delivery)) == key


def test_what_is_not_ready_is_not_taken_out_twice(make):
    hop = HopQueue("relay.example:25")
    backlog = put(make, hop, "contoso/a.example", 1)
    assert hop.remove(backlog, 2) is None
    assert hop.size == 1
    assert hop.remove(backlog, 1).id == 1
    assert hop.remove(backlog, 1) is None
    assert hop.size == 0


def test_an_attempt_that_ends_with_nothing_left_gives_no_turn(make):
    hop = HopQueue("relay.example:25")
    put(make, hop, "contoso/a.example", 1)
    backlog, _ = hop.take(0.0)
    hop.ended(backlog, 0.0)
    assert not hop.rotation
    assert hop.backlogs == {}


def test_a_backlog_is_made_once_for_its_destination_and_terms():
    hop = HopQueue("relay.example:25")
    backlog = hop.backlog("contoso/a.example", "")
    assert hop.backlog("contoso/a.example", "") is backlog
    assert hop.backlog("contoso/a.example", "by rule") is not backlog
