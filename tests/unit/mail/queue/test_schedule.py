from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.mail.queue.schedule import Schedule

DAY = 86_400.0
FAR = 1e12


@pytest.mark.parametrize(("attempts", "wait"), [(1, 900), (2, 900), (3, 3600), (4, 3600), (50, 3600)])
def test_the_default_waits(attempts, wait):
    assert Schedule().next_attempt(attempts, 1000.0, FAR, 0.5) == 1000.0 + wait


@given(st.integers(1, 100), st.floats(0, 1))
def test_luck_spreads_by_ten_percent(attempts, jitter):
    schedule = Schedule()
    middle = schedule.next_attempt(attempts, 0.0, FAR, 0.5)
    assert 0.899 * middle <= schedule.next_attempt(attempts, 0.0, FAR, jitter) <= 1.101 * middle


def test_the_last_attempt_is_at_expiry():
    assert Schedule().next_attempt(5, 1000.0, 1600.0, 0.5) == 1600.0
    assert Schedule().next_attempt(5, 1700.0, 1600.0, 0.5) == 1700.0


def test_a_day_of_attempts():
    schedule, now, attempts = Schedule(), 0.0, 0
    while now < DAY:
        attempts += 1
        now = schedule.next_attempt(attempts, now, DAY, 0.5)
    assert attempts == 26
    assert now == DAY


@pytest.mark.parametrize(("own", "expected"), [(0.0, 1000.0 + DAY), (5000.0, 5000.0)])
def test_expiry(own, expected):
    assert Schedule().expires_at(1000.0, own, 9000.0) == expected


@pytest.mark.parametrize(("now", "expected"), [(1999.0, 2000.0), (2000.0, 2000.0 + 3960.0), (1e9, 1e9 + 3960.0)])
def test_while_the_clock_is_wrong_nothing_is_old(now, expected):
    """What would be over is tried again, by the longest wait, and no sender is told that it waits."""
    schedule = Schedule(is_trusted=lambda: False)
    assert schedule.expires_at(1000.0, 2000.0, now) == pytest.approx(expected)
    assert not schedule.delay_due(1000.0, 1e9)


def test_gates_double_up_to_the_first_retry_wait():
    gates = [Schedule().gate(failures) for failures in range(1, 10)]
    assert gates == [10, 20, 40, 80, 160, 320, 640, 900, 900]
    assert Schedule().gate(10_000) == 900
    assert Schedule(retry=(5.0,)).gate(1) == 5.0


@pytest.mark.parametrize(("notice", "age", "due"), [(14_400, 14_399, False), (14_400, 14_400, True), (0, DAY, False)])
def test_delay_notices(notice, age, due):
    assert Schedule(delay_notice=notice).delay_due(1000.0, 1000.0 + age) is due


@pytest.mark.parametrize(("notice", "trusted", "after"), [(100, True, 900.0), (0, True, 0.0), (100, False, 0.0)])
def test_what_was_received_late_enough_is_due_no_delay_notice(notice, trusted, after):
    schedule = Schedule(delay_notice=notice, is_trusted=lambda: trusted)
    assert schedule.unnoticed_after(1000.0) == after
    assert not schedule.delay_due(900.1, 1000.0)
    assert schedule.delay_due(900.0, 1000.0) is bool(after)


@pytest.mark.parametrize(
    ("notice", "now", "expires_at", "looks"),
    [
        (100, 1000.0, 5000.0, 1100.0),  # received at 1000: its sender is told
        (100, 1100.0, 5000.0, 5000.0),
        (100, 1000.0, 1050.0, 1050.0),
        (0, 1000.0, 5000.0, 5000.0),
        (100, 6000.0, 5000.0, 6000.0),
    ],
)
def test_held_mail_is_looked_at_when_its_sender_is_to_be_told(notice, now, expires_at, looks):
    assert Schedule(delay_notice=notice).look_again(1000.0, now, expires_at) == looks


def test_no_wait_is_longer_than_the_longest():
    schedule = Schedule(retry=(60.0, 3600.0, 900.0))
    assert schedule.longest == pytest.approx(3960.0)
    waits = [schedule.next_attempt(attempts, 0.0, FAR, 1.0) for attempts in range(1, 5)]
    assert max(waits) <= schedule.longest
