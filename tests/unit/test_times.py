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


HTTP = ["Tue, 24 Nov 2026 16:12:52 GMT", "Tuesday, 24-Nov-26 16:12:52 GMT", "Tue Nov 24 16:12:52 2026"]


@pytest.mark.parametrize("text", HTTP)
def test_a_date_of_http_is_in_utc_whatever_the_machines_time_zone(new_york, text):
    assert times.read_http_date(text) == int(AT)


@pytest.mark.parametrize("text", ["", "tomorrow", "Tue, 14 Nov 99999 22:13:19 GMT"])
def test_what_is_no_date_of_http(text):
    with pytest.raises((ValueError, OverflowError)):
        times.read_http_date(text)


@given(
    st.floats(-1e12, 1e12)
    | st.floats(1.7e9, 2e9)
    | st.integers(0, 2**31).map(lambda at: at + 0.9999997)
    | st.integers()
)
def test_parts_of_a_second_are_those_of_the_calendar(at):
    for digits in ("milliseconds", "microseconds"):
        assert times.rfc3339(at, digits) == f"{times.utc(at).isoformat(timespec=digits)[:-6]}Z"


def test_a_second_is_written_once_for_all_that_happens_in_it():
    times._second.cache_clear()
    written = [times.rfc3339(AT + part / 1000, "milliseconds") for part in range(10)]
    assert (written[0][-5:], written[-1][-5:]) == (".987Z", ".996Z")
    assert times._second.cache_info().misses == 1


STOCKHOLM = times.named_zone("Europe/Stockholm")
SPRING = datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC).timestamp()  # the last second before clocks go from 2 to 3
AUTUMN = datetime(2026, 10, 25, 0, 59, 59, tzinfo=UTC).timestamp()  # and from 3 to 2


@pytest.mark.parametrize(
    ("name", "seconds", "text"),
    [
        ("UTC", AT, "2026-11-24 16:12:52Z"),
        ("Europe/London", AT, "2026-11-24 16:12:52+00"),
        ("Europe/Stockholm", AT, "2026-11-24 17:12:52+01"),
        ("America/St_Johns", AT, "2026-11-24 12:42:52-03:30"),
        ("Asia/Kolkata", AT, "2026-11-24 21:42:52+05:30"),
        ("Europe/Stockholm", SPRING, "2026-03-29 01:59:59+01"),
        ("Europe/Stockholm", SPRING + 1, "2026-03-29 03:00:00+02"),
        ("Europe/Stockholm", AUTUMN, "2026-10-25 02:59:59+02"),
        ("Europe/Stockholm", AUTUMN + 1, "2026-10-25 02:00:00+01"),
        ("Pacific/Auckland", 1e18, "9999-12-31 23:59:59Z"),
        ("America/Denver", -1e18, "0001-01-01 00:00:00Z"),
    ],
)
def test_a_time_is_written_in_a_zone_with_its_offset(name, seconds, text):
    zone = times.named_zone(name)
    assert times.second_text(seconds, zone) == text
    assert times.minute_text(seconds, zone) == text[:16] + text[19:]
    assert times.day_text(seconds, zone) == text[:10]


@pytest.mark.parametrize("seconds", [SPRING + n for n in (0, 1, 3600)] + [AUTUMN + n for n in (-3600, 0, 1, 3600)])
def test_what_is_written_around_a_change_of_the_clock_is_read_again(seconds):
    assert datetime.fromisoformat(times.second_text(seconds, STOCKHOLM)).timestamp() == seconds


NAMES = [
    "",
    "utc",
    "../../../etc/passwd",
    "/etc/localtime",
    "posix",
    "Europe",
    "Europe/Stockholm\0",
    "tzdata.zi",
    "x" * 999,
]


@pytest.mark.parametrize("name", NAMES)
def test_no_file_is_read_for_a_name_that_is_no_zone(name):
    assert times.named_zone(name) is None


def test_without_time_zone_data_utc_is_known(monkeypatch):
    monkeypatch.setattr("zoneinfo.available_timezones", set)
    times.zone_names.cache_clear()
    try:
        assert times.zone_names() == {"UTC"}
        assert times.named_zone("UTC") is UTC
        assert times.named_zone("Europe/Stockholm") is None
    finally:
        times.zone_names.cache_clear()


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2026-11-24", "2026-11-24T00:00:00+01:00"),
        ("2026-11-24 16:12", "2026-11-24T16:12:00+01:00"),
        ("2026-10-25T02:30", "2026-10-25T02:30:00+02:00"),  # comes twice
        ("2026-03-29T02:30", "2026-03-29T02:30:00+01:00"),  # does not come
        ("2026-11-24T16:12Z", "2026-11-24T16:12Z"),
        ("2026-11-24 17:12:52-05", "2026-11-24 17:12:52-05"),
        ("2h", "2h"),
        ("", ""),
        ("<b>", "<b>"),
        ("0001-01-01", "0001-01-01T00:00:00+01:12:12"),
    ],
)
def test_a_time_without_an_offset_gets_that_of_the_zone(text, read):
    assert times.with_offset(text, STOCKHOLM) == read
    assert times.with_offset(text, UTC) == text


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("It ends at 2026-11-24 16:12Z: now.", "It ends at 2026-11-24 21:42+05:30: now."),
        ("from 2026-12-31 20:00:05Z", "from 2027-01-01 01:30:05+05:30"),
        ("a 2026-11-24 16:12Z, b 2026-11-24 16:13Z", "a 2026-11-24 21:42+05:30, b 2026-11-24 21:43+05:30"),
        ("run: gatepost x --at 2026-11-24T16:12Z", "run: gatepost x --at 2026-11-24T16:12Z"),
        ("2026-99-24 16:12Z", "2026-99-24 16:12Z"),
        ("12026-11-24 16:12Z and 2026-11-24 16:12Zulu", "12026-11-24 16:12Z and 2026-11-24 16:12Zulu"),
        ("2026-11-24", "2026-11-24"),
    ],
)
def test_a_time_within_a_sentence_is_in_the_zone_of_its_reader(text, shown):
    assert times.local_times(text, times.named_zone("Asia/Kolkata")) == shown
    assert times.local_times(text, UTC) == text
