from __future__ import annotations

import pytest
from support.clock import Clock

from gatepost.net.lookups.cache import Cache


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


def test_a_value_is_kept_until_its_time_is_over(clock: Clock) -> None:
    cache: Cache[str, int] = Cache(1000, clock)
    cache.put("a", 1, 10, 5)
    clock.now = 9.9
    assert cache.get("a") == 1
    clock.now = 10
    assert cache.get("a") is None
    assert len(cache) == 0


def test_what_was_not_used_for_longest_leaves_first(clock: Clock) -> None:
    cache: Cache[str, int] = Cache(300, clock)
    for number in range(100):
        cache.put(f"n{number}", number, 10, 3)
    assert cache.get("n0") == 0
    cache.put("more", 100, 10, 3)
    assert cache.get("n0") == 0
    assert cache.get("n1") is None
    assert len(cache) == 100


def test_replacing_a_value_gives_back_its_cost(clock: Clock) -> None:
    cache: Cache[str, int] = Cache(300, clock)
    for number in range(1000):
        cache.put("same", number, 10, 3)
        cache.put("other", number, 10, 3)
    assert (cache.get("same"), cache.get("other"), len(cache)) == (999, 999, 2)


@pytest.mark.parametrize(("seconds", "cost"), [(0, 1), (-1, 1), (10, 11)])
def test_what_is_over_at_once_or_too_big_is_not_kept(clock: Clock, seconds: float, cost: int) -> None:
    cache: Cache[str, int] = Cache(1000, clock)
    cache.put("a", 1, seconds, cost)
    assert cache.get("a") is None


def test_clear_forgets_everything(clock: Clock) -> None:
    cache: Cache[str, int] = Cache(100, clock)
    cache.put("a", 1, 10, 1)
    cache.clear()
    assert cache.get("a") is None
    for number in range(100):
        cache.put(str(number), number, 10, 1)
    assert len(cache) == 100


def test_a_value_may_be_allowed_a_greater_share(clock: Clock) -> None:
    cache: Cache[str, int] = Cache(1000, clock, share=2)
    cache.put("a", 1, 10, 500)
    cache.put("b", 1, 10, 501)
    assert (cache.get("a"), cache.get("b")) == (1, None)
