from __future__ import annotations

import asyncio
import time

import pytest
from support.clock import Clock

from gatepost.mail.queue.retry_pace import RetryPace
from gatepost.net.tasks import spawn


def late_pace(clock, *, late=1.0, cost=0.001):
    """Under pressure, with a delivery that costs so much."""
    pace = RetryPace(clock, iter([0.0, cost] * 50).__next__)
    for _ in range(40):
        pace.spent(pace.mark(), 1)
    pace.arrived()
    pace.late = late
    return pace


@pytest.mark.parametrize(("late", "pressure"), [(0.0, 0.0), (0.003, 0.0), (0.008, 0.5), (0.013, 1.0), (2.0, 1.0)])
def test_pressure_is_new_mail_in_a_loop_that_is_late(late, pressure):
    clock = Clock(100.0)
    pace = RetryPace(clock)
    pace.late = late
    assert pace.pressure == 0.0, "no new mail came yet"
    pace.arrived()
    assert pace.pressure == pytest.approx(pressure)
    clock.now += 4.9
    assert pace.pressure == pytest.approx(pressure)
    clock.now += 0.1
    assert pace.pressure == 0.0, "it came long ago"


@pytest.mark.parametrize(
    ("late", "wanted", "most"), [(0.0, 100, 100), (0.008, 100, 50), (1.0, 100, 10), (1.0, 4, 4), (0.012, 50, 10)]
)
def test_fewer_at_a_time_under_pressure(late, wanted, most):
    assert late_pace(Clock(100.0), late=late).most(wanted) == most


def test_without_new_mail_nobody_waits():
    async def run():
        pace = RetryPace()
        pace.late = 1.0
        for _ in range(100):
            await pace.turn()
            pace.took(100)

    begun = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - begun < 5


def test_under_pressure_a_delivery_is_followed_by_a_rest_of_fifty_times_what_it_takes():
    """Of 1 ms here and 12 ms in all: 0.6 s. A turn counts as one delivery until it is known how many it was."""

    async def run():
        clock = Clock(100.0)
        pace = late_pace(clock)
        await asyncio.wait_for(pace.turn(), 5)
        pace.late = 1.0  # what was learned of this test's own loop does not count
        pace.took(3)
        waits = spawn(pace.turn(), "turn")
        await asyncio.sleep(0.01)
        assert pace._free_at - clock.now == pytest.approx(1.8, rel=0.01)
        assert not waits.done()
        pace.stop()
        await asyncio.wait_for(waits, 5)

    asyncio.run(run())


def test_nothing_taken_is_no_delivery_and_a_long_idle_time_is_no_credit():
    async def run():
        clock = Clock(100.0)
        pace = late_pace(clock)
        for _ in range(3):
            clock.now += 0.0
            pace.late = 1.0
            await asyncio.wait_for(pace.turn(), 5)
            pace.late = 1.0
            pace.took(0)
            assert pace._free_at == pytest.approx(clock.now)

    asyncio.run(run())


def test_callers_come_one_after_the_other():
    async def run():
        pace = RetryPace()
        pace.arrived()
        done = []

        async def one(number):
            await pace.turn()
            done.append(number)

        await asyncio.gather(*[one(number) for number in range(5)])
        assert done == [0, 1, 2, 3, 4]

    asyncio.run(run())


def test_a_loop_that_is_late_is_noticed_and_forgotten_again():
    async def run():
        pace = RetryPace()
        for _ in range(12):
            pace.arrived()
            waits = spawn(pace.turn(), "turn")
            for _ in range(3):  # it waits for its timer by then
                await asyncio.sleep(0)
            time.sleep(0.03)  # noqa: ASYNC251 - the loop is busy
            await waits
            pace.took(0)
        assert pace.late > 0.01
        assert pace.pressure > 0
        late = pace.late
        pace.late = 0.5
        await pace.turn()
        assert pace.late < 0.5
        assert late < 0.5

    asyncio.run(run())


def test_what_a_delivery_costs_is_bounded():
    """Another task that ran meanwhile is none of its cost."""
    pace = late_pace(Clock(100.0), cost=10.0)
    assert pace._cost == pytest.approx(0.005, rel=0.01)
