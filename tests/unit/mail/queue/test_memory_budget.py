from __future__ import annotations

import pytest

from gatepost.mail.queue.memory_budget import MemoryBudget, QueueLimits
from gatepost.net.places import FairShares


@pytest.mark.parametrize(("waiting", "ready", "room"), [(0, 0, 3), (8, 0, 2), (0, 3, 0), (10, 0, 0), (12, 5, -2)])
def test_room(waiting, ready, room):
    window = MemoryBudget(QueueLimits(window_messages=10, window_per_destination=3))
    window.enter("contoso", waiting)
    assert window.room("contoso", ready) == room


def test_a_shared_body_is_counted_once(make):
    window = MemoryBudget(QueueLimits(window_bytes=10))
    one, two = make.delivery(1, body=b"12345678"), make.delivery(2, body=b"12345678")
    window.keep_body(one)
    window.keep_body(two)
    assert window.bytes == 8
    window.forget_body(one)
    assert (window.bytes, one.body) == (8, None)
    window.forget_body(two)
    window.forget_body(two)
    assert window.bytes == 0


def test_beyond_the_limit_bodies_are_let_go(make):
    window = MemoryBudget(QueueLimits(window_bytes=10))
    kept = make.delivery(1, body=b"12345678")
    other = make.delivery(2, message=make.message(9), body=b"123")
    bodiless = make.delivery(3)
    for delivery in (kept, other, bodiless):
        window.keep_body(delivery)
    assert (kept.body, other.body, window.bytes) == (b"12345678", None, 8)


def test_a_body_that_was_never_counted_is_not_counted_out(make):
    window = MemoryBudget(QueueLimits())
    stray = make.delivery(1, body=b"123")
    window.forget_body(stray)
    assert (window.bytes, stray.body) == (0, None)


@pytest.mark.parametrize(
    ("ready", "behind", "room"), [(0, 0, 3), (1, 11, 1), (1, 12, 0), (0, 12, 3), (0, 22, 2), (0, 24, 0)]
)
def test_destinations_share_the_room_of_their_next_hop(ready, behind, room):
    window = MemoryBudget(QueueLimits(window_messages=100, window_per_destination=3))
    assert window.room("contoso", ready, behind) == room


def test_room_behind_a_next_hop():
    window = MemoryBudget(QueueLimits(window_messages=10, window_per_destination=2))
    assert [window.room_at_next_hop(ready) for ready in (0, 8, 9)] == [8, 0, -1]
    window.enter("contoso", 7)
    assert window.room_at_next_hop(0) == 3


def test_mail_of_one_organization_leaves_room_for_others():
    limits = QueueLimits(window_messages=100, window_per_destination=100)
    window = MemoryBudget(limits, FairShares(100))
    assert window.room("contoso", 0) == 75
    window.enter("contoso", 75)
    assert (window.room("contoso", 0), window.room("fabrikam", 0), window.room_at_next_hop(0)) == (0, 18, 25)
    window.leave("contoso", 5)
    assert (window.waiting, window.room("contoso", 0)) == (70, 5)


def test_bodies_of_one_organization_leave_room_for_those_of_others(make):
    shares = FairShares(100)
    window = MemoryBudget(QueueLimits(window_bytes=100), body_shares=shares)
    bodies = [
        make.delivery(number, message=make.message(number), body=bytes(25), destination=f"{organization}/x.example")
        for number, organization in enumerate(("contoso", "contoso", "contoso", "contoso", "fabrikam"))
    ]
    bodies[4].body = bytes(15)
    for delivery in bodies:
        window.keep_body(delivery)
    assert [delivery.body is not None for delivery in bodies] == [True, True, True, False, True]
    for delivery in bodies:
        window.forget_body(delivery)
    assert (window.bytes, shares.free) == (0, 100)
