from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost import times

SOURCE = Path(times.__file__).parent
AT = datetime(2026, 11, 24, 16, 12, 52, 987654, UTC).timestamp()
WRITERS = {"times.py", "protocols/message/header_text.py"}


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (times.second_text(AT), "2026-11-24 16:12:52Z"),
        (times.minute_text(AT), "2026-11-24 16:12Z"),
        (times.day_text(AT), "2026-11-24"),
        (times.rfc3339(AT), "2026-11-24T16:12:52Z"),
        (times.rfc3339(AT, "milliseconds"), "2026-11-24T16:12:52.987Z"),
        (times.rfc3339(AT, "microseconds"), "2026-11-24T16:12:52.987654Z"),
        (times.name_text(AT), "20261124T161252Z"),
    ],
)
def test_a_time_is_written(written, text):
    assert written == text


@pytest.mark.parametrize(("seconds", "year"), [(-1e18, "0001"), (1e18, "9999"), (-1e12, "0001")])
def test_what_lies_beyond_the_calendar_is_its_first_or_last_second(seconds, year):
    for text in (times.second_text(seconds), times.minute_text(seconds), times.day_text(seconds)):
        assert text.startswith(year)


def test_what_is_beyond_the_calendar_is_not_possible():
    assert times.is_possible(AT)
    assert not times.is_possible(-1e12)
    assert not times.is_possible(1e12)


@given(st.integers(-62135596800, 253402300799))
def test_what_is_written_is_read_again(seconds):
    for text in (times.second_text(seconds), times.rfc3339(seconds), times.name_text(seconds)):
        assert datetime.fromisoformat(text).timestamp() == seconds


def test_nothing_else_writes_times():
    own = re.compile(r"fromtimestamp\(|strftime\(|gmtime\(|\{[^{}]*:%[YHdm]")
    found = {
        f"{file.relative_to(SOURCE)}: {line.strip()}"
        for file in SOURCE.rglob("*.py")
        if str(file.relative_to(SOURCE)) not in WRITERS
        for line in file.read_text().splitlines()
        if own.search(line)
    }
    assert sorted(found) == []
