from __future__ import annotations

import pytest

from gatepost.node.retention import forget_before
from gatepost.times import day_text

DAY = 86400.0
NOW = 1_795_996_800.0  # 2026-11-30T00:00:00Z
DAYS = [day_text(NOW - number * DAY) for number in range(91)]

# how far the clock is ahead, the days that there are -> the first day that stays
CASES = [
    (0.0, DAYS, "2026-09-01"),
    (DAY, DAYS, "2026-09-02"),
    (400 * DAY, DAYS, "2026-09-03"),
    (400 * DAY, ["2026-11-29"], "2026-12-01"),
    (0.0, ["2026-11-29"], "2026-09-01"),
    (0.0, [], "2026-09-01"),
]


@pytest.mark.parametrize(("ahead", "days", "first"), CASES)
def test_a_wrong_clock_costs_two_days_at_once(ahead, days, first):
    assert day_text(forget_before(NOW + ahead, 90 * DAY, days)) == first
