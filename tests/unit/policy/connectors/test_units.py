from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.policy.connectors.units import format_duration, format_size, measured_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30s", 30),
        ("15m", 900),
        ("24h", 86400),
        ("7d", 604800),
        ("1h30m", 5400),
        ("20ms", 0.02),
        ("0.5s", 0.5),
        ("900", 900),
        ("1.5", 1.5),
        (900, 900),
        (0, 0),
        (0.25, 0.25),
    ],
)
def test_durations_that_people_write(written: object, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize("written", ["", "soon", "15 m", "15M", "-1s", "1e3", "m", "1h 30m", "٣s", True, None, []])
def test_what_is_no_duration_is_refused_with_examples(written: object) -> None:
    with pytest.raises(ValueError, match='is not a duration: write seconds, or a text such as "30s"'):
        parse_duration(written)


@pytest.mark.parametrize(
    "written",
    [-1, float("inf"), float("nan"), 1e13, 10**13, 10**400, "1" * 20, "9" * 400, "999999999d", "1s999999999999m"],
)
def test_a_number_out_of_range_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="must be between 0 and 1,000,000,000,000 seconds"):
        parse_duration(written)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(86400, "24h"), (172800, "2d"), (900, "15m"), (3600, "1h"), (30, "30s"), (90, "90s"), (0, "0s"), (0.02, "0.02s")],
)
def test_durations_are_shown_in_the_largest_whole_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(0, 10**10).map(lambda milliseconds: milliseconds / 1000))
def test_a_shown_duration_reads_back(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=0.0005)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("50MB", 52428800),
        ("50 MB", 52428800),
        ("50mb", 52428800),
        ("256KB", 262144),
        ("1KiB", 1024),
        ("2gb", 2 << 30),
        ("7", 7),
        ("7B", 7),
        (7, 7),
        (0, 0),
    ],
)
def test_sizes_that_people_write(written: object, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize("written", ["", "big", "-1", "1.5MB", "1TB", "50M", "MB", 1.0, True, None])
def test_what_is_no_size_is_refused_with_examples(written: object) -> None:
    with pytest.raises(ValueError, match='write bytes, or a text such as "256KB" or "50MB"'):
        parse_size(written)


@pytest.mark.parametrize("written", [-1, 10**18 + 1, "9" * 20, "1000000000GB"])
def test_a_size_out_of_range_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="must be between 0 and 1,000,000,000,000,000,000 bytes"):
        parse_size(written)


@pytest.mark.parametrize(
    ("size", "text"), [(52428800, "50MB"), (262144, "256KB"), (1 << 30, "1GB"), (7, "7"), (0, "0")]
)
def test_sizes_are_shown_in_the_largest_whole_unit(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KB"),
        (5 << 20, "5.0 MB"),
        (400_000_000, "381 MB"),
        (81_500_000_000, "75.9 GB"),
        (5000 << 30, "5,000 GB"),
    ],
)
def test_measured_sizes_are_short(size: int, text: str) -> None:
    assert measured_size(size) == text


@given(st.integers(0, 10**15 - 1))
def test_a_shown_size_reads_back(size: int) -> None:
    assert parse_size(format_size(size)) == size
