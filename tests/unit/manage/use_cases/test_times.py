from __future__ import annotations

import pytest

from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.times import ahead, last_moment, moment, read_time, stamp, time_text

NOW = 1_795_528_800.0  # 2026-11-24T14:00:00Z


@pytest.fixture(autouse=True)
def _now(monkeypatch):
    monkeypatch.setattr("time.time", lambda: NOW)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30s", NOW - 30),
        ("2h", NOW - 7200),
        ("7d", NOW - 7 * 86400),
        ("1w", NOW - 7 * 86400),
        ("2026-11-24", NOW - 14 * 3600),
        ("2026-11-24T14:00", NOW),
        ("2026-11-24T14:00:00Z", NOW),
        ("2026-11-24T14:00+02:00", NOW - 7200),
    ],
)
def test_moments(text, expected):
    assert moment(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-24T14:00:07", "2026-11-24T14:00:07.999999"),
        ("2026-11-24 14:00:07+01", "2026-11-24 14:00:07.999999+01"),
        ("2026-11-24T14:00:07Z", "2026-11-24T14:00:07.999999Z"),
        ("2026-11-24T14:00-03:30", "2026-11-24T14:00:59.999999-03:30"),
        ("2026-11-24 14:00", "2026-11-24 14:00:59.999999"),
        *((text, text) for text in ("2026-11-24T14:00:07.5", "2026-11-24", "2h", "", "yesterday", "2026-13-24T14:00")),
    ],
)
def test_the_last_moment_of_what_a_person_wrote(text, expected):
    assert last_moment(text) == expected


def test_ahead():
    assert ahead("2h") == NOW + 7200
    assert ahead("2026-11-24") == NOW - 14 * 3600


@pytest.mark.parametrize(("read", "span"), [(moment, "an age"), (ahead, "a time from now on")], ids=["moment", "ahead"])
@pytest.mark.parametrize("text", ["", "yesterday", "5", "-2h", "0000-01-01", "2026-13-01"])
def test_what_is_no_time(read, span, text):
    with pytest.raises(ValueError, match=f"is neither {span} like 30m"):
        read(text)


@pytest.mark.parametrize("read", [moment, ahead])
def test_an_age_beyond_the_calendar(read):
    with pytest.raises(ValueError, match="'999999999w' is beyond the years 1 to 9999"):
        read("999999999w")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, ""),
        (1_795_528_800.0, "2026-11-24 14:00:00Z"),
        (0.5, "1970-01-01 00:00:00Z"),
        (-1.0, "1969-12-31 23:59:59Z"),
    ],
)
def test_a_time_in_a_sentence(seconds, text):
    assert stamp(seconds) == text


@pytest.mark.parametrize("text", ["2026-11-24", "2h"])
def test_times_in_fields_of_a_request(text):
    assert read_time("since", text) == moment(text)
    assert read_time("until", text, ahead) == ahead(text)


@pytest.mark.parametrize("read", [moment, ahead])
def test_the_field_is_named_that_holds_no_time(read):
    with pytest.raises(Refusal) as refused:
        read_time("since", "yesterday", read)
    assert (refused.value.kind, [error.path for error in refused.value.errors]) == (RefusalKind.INPUT, ["since"])


def test_times_as_requests_take_them():
    assert (time_text(None), time_text(0.0)) == ("", "")
    assert moment(time_text(1_795_528_800.0)) == 1_795_528_800.0
    assert time_text(1e20) == "9999-12-31T23:59:59.000000Z"
