from __future__ import annotations

import pytest

from gatepost.mail.queue.allowance import Allowance, HopLimit
from gatepost.quantity import quantity


class Shared:
    def __init__(self, places=(), *, scarce=False):
        self.at = 0.0
        self.places = list(places)
        self.given = []
        self.scarce = scarce

    def reserve(self, key, interval, now):
        at = max(now, self.at)
        self.at = at + interval
        return at

    def take(self, key, most):
        return self.places.pop() if self.places else None

    def give(self, key, place):
        self.given.append(place)

    def is_scarce(self, most):
        return self.scarce


def allowance(shared, **limit):
    return Allowance("relay:25", HopLimit("contoso/out", "connector out", **limit), shared)


def test_messages_are_spread_over_the_minute():
    limited = allowance(Shared(), messages_per_minute=60)
    assert limited.admit(100.0)
    assert (limited.wait(100.0), limited.admit(100.5)) == (1.0, False)
    assert limited.admit(101.0)
    assert limited.lanes == 2
    limited.ended(101.0)
    assert (limited.lanes, limited.rest()) == (1, False)


def test_what_was_planned_and_not_used_is_gone():
    limited = allowance(Shared(), messages_per_minute=60)
    limited.admit(100.0)
    assert limited.wait(100.0) == 1.0
    assert limited.admit(200.0)
    assert not limited.admit(200.0)


def test_a_clock_that_is_put_back_blocks_nothing():
    shared = Shared()
    limited = allowance(shared, messages_per_minute=60)
    limited.admit(10_000.0)
    assert limited.wait(10_000.0) == 1.0
    shared.at = 0.0
    assert limited.wait(100.0) == 0.0


def test_connections_at_a_time():
    shared = Shared([1])
    limited = allowance(shared, connections=1)
    assert limited.admit(100.0)
    assert not limited.admit(100.0)
    assert limited.wait(100.0) == 0.5
    limited.ended(101.0)
    assert limited.admit(101.0)  # by the same connection
    limited.ended(101.0)
    assert limited.rest() is False
    assert shared.given == [1]


def test_a_scarce_connection_is_left_to_others_after_a_while():
    shared = Shared([1], scarce=True)
    limited = allowance(shared, connections=1)
    limited.admit(100.0)
    limited.ended(101.0)
    assert (shared.given, limited.wait(101.0)) == ([], 0.0)
    limited.admit(104.0)
    limited.ended(106.0)
    assert (shared.given, limited.wait(106.0)) == ([1], 1.0)
    assert limited.rest() is True


def test_a_limit_that_comes_while_an_attempt_runs():
    limited = allowance(Shared(), messages_per_minute=60)
    limited.admit(100.0)
    limited.limit = HopLimit("contoso/out", "connector out", connections=1)
    limited.ended(101.0)
    assert limited.lanes == 0


@pytest.mark.parametrize(
    ("rate", "most", "refill"), [(1, 2, 60.0), (60, 10, 5.0), (600, 100, 5.0), (6000, 1000, 5.0), (0, 1_000_000, None)]
)
def test_some_seconds_of_it_are_kept_in_memory(rate, most, refill):
    limited = allowance(Shared(), messages_per_minute=rate)
    assert limited.most_in_memory == most
    assert refill is None or limited.refill == refill
    assert limited.reason == f"limited to {quantity(rate, 'message')} a minute by connector out"
