from __future__ import annotations

import pytest

from gatepost.policy.logins.throttle import FailuresInMemory, Throttle


def charged(throttle, key, times):
    for _ in range(times):
        throttle.charge(key)
    return throttle.wait(key)


@pytest.mark.parametrize(
    ("failures", "wait"), [(0, 0), (2, 0), (3, 10), (4, 20), (5, 40), (6, 80), (7, 100), (40, 100), (2000, 100)]
)
def test_each_failure_makes_the_next_wait_longer(clock, failures, wait):
    assert charged(Throttle(clock, free=2, longest=100), "a", failures) == wait


def test_waiting_and_forgetting(clock):
    throttle = Throttle(clock, free=0, longest=100)
    assert charged(throttle, "a", 2) == 20
    assert throttle.wait("b") == 0
    clock.now += 15
    assert throttle.wait("a") == 5
    clock.now += 5
    assert throttle.wait("a") == 0
    assert charged(throttle, "a", 1) == 40
    clock.now += 3601
    assert charged(throttle, "a", 1) == 10


def test_forgiving(clock):
    throttle = Throttle(clock, free=0, longest=100)
    charged(throttle, "a", 3)
    throttle.forgive("a", everything=False)
    assert throttle.wait("a") == 20
    throttle.forgive("a", everything=True)
    throttle.forgive("b", everything=False)
    assert (throttle.wait("a"), throttle.wait("b")) == (0, 0)
    assert charged(throttle, "a", 1) == 10


def test_memory_is_bounded(clock):
    throttle = Throttle(clock, free=0, longest=100, failures=FailuresInMemory(3))
    for key in "abcd":
        throttle.charge(key)
        clock.now += 1
    assert [throttle.wait(key) > 0 for key in "abcd"] == [False, True, True, True]
    throttle.charge("b")  # it failed last now
    throttle.charge("e")
    assert [throttle.wait(key) > 0 for key in "bcde"] == [True, False, True, True]
