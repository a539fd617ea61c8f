from __future__ import annotations

import time

import click
import pytest

from gatepost.manage.cli.times import MOMENT

AGES = [("0s", 0), ("90s", 90), ("30m", 1800), ("2h", 7200), ("7d", 604800), ("1w", 604800)]


@pytest.mark.parametrize(("text", "seconds"), AGES)
def test_an_age_is_counted_back_from_now(text, seconds):
    assert abs(MOMENT.convert(text, None, None) - (time.time() - seconds)) < 5


DATES = [
    ("2026-11-24", 1_795_478_400.0),
    ("2026-11-24T14:00", 1_795_528_800.0),
    ("2026-11-24 14:00:00", 1_795_528_800.0),
    ("2026-11-24T14:00Z", 1_795_528_800.0),
    ("2026-11-24T15:00+01:00", 1_795_528_800.0),
    ("2026-11-24T14:00:00.250", 1_795_528_800.25),
]


@pytest.mark.parametrize(("text", "moment"), DATES)
def test_a_date_is_utc_unless_it_says_otherwise(text, moment):
    assert MOMENT.convert(text, None, None) == moment


@pytest.mark.parametrize(
    "text",
    ["", "2", "h", "-2h", "2 h", "2H", "1.5h", "2y", "yesterday", "24.11.2026", "2026-13-01", "1" * 10 + "h", "²h"],
)
def test_what_is_neither_is_refused_with_examples(text):
    with pytest.raises(click.BadParameter, match="is neither an age like 30m, 2h, 7d nor a date like 2026-11-24T16:00"):
        MOMENT.convert(text, None, None)


def test_a_default_stays_as_it_is():
    assert MOMENT.convert(0.0, None, None) == 0.0
