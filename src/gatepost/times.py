"""Write points in time: for people "2026-11-24 16:12:52Z", for programs as RFC 3339.

In UTC, unless a time zone is given: then "2026-11-24 17:12:52+01". Below all rooms, and used by all of them; it reads
no clock. All forms are read again where a time is asked for.
Times are seconds since 1970. What lies beyond the calendar (the years 1 to 9999) is written as its first or last
second, since certificates and other people's files may say anything.

Elsewhere are forms that belong to one format: the date-time of RFC 5322 (`protocols.message.header_text`).
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, tzinfo
from functools import cache, lru_cache
from typing import Final, Literal

_FIRST: Final = -62135596800.0
_LAST: Final = 253402300799.0
_UTC_TIME: Final = re.compile(r"\b(\d{4}-\d{2}-\d{2} \d{2}:\d{2}(:\d{2})?)Z\b", re.ASCII)


def utc(seconds: float) -> datetime:
    """The time as a `datetime` in UTC."""
    return datetime.fromtimestamp(seconds if _FIRST <= seconds <= _LAST else min(max(seconds, _FIRST), _LAST), UTC)


def is_possible(seconds: float) -> bool:
    """Whether the calendar has this time."""
    return _FIRST <= seconds <= _LAST


def second_text(seconds: float, zone: tzinfo = UTC) -> str:
    """For people, to the second: "2026-11-24 16:12:52Z", or "2026-11-24 17:12:52+01" in another zone."""
    at = _in_zone(seconds, zone)
    return f"{at.isoformat(' ', 'seconds')[:19]}{_offset(at)}"


def minute_text(seconds: float, zone: tzinfo = UTC) -> str:
    """For people, to the minute that has begun: "2026-11-24 16:12Z"."""
    at = _in_zone(seconds, zone)
    return f"{at.isoformat(' ', 'minutes')[:16]}{_offset(at)}"


def day_text(seconds: float, zone: tzinfo = UTC) -> str:
    """The day: "2026-11-24"."""
    if zone is UTC:
        return _day(min(max(seconds, _FIRST), _LAST) // 86400.0)
    return _in_zone(seconds, zone).isoformat()[:10]


@lru_cache(maxsize=16)  # what happens in one day is written many times
def _day(number: float) -> str:
    """As `day_text`. number: of days since 1970, whole."""
    return utc(number * 86400.0).isoformat()[:10]


def rfc3339(seconds: float, digits: Literal["seconds", "milliseconds", "microseconds"] = "seconds") -> str:
    """For programs: "2026-11-24T16:12:52Z", or with so many digits of the second; what is beyond them is cut off."""
    if digits == "seconds" or not 0 <= seconds < _LAST:
        return f"{utc(seconds).isoformat(timespec=digits)[:-6]}Z"
    fraction, whole = math.modf(seconds)
    microseconds = round(fraction * 1e6)  # as `datetime` does
    if microseconds == 1_000_000:
        whole, microseconds = whole + 1, 0
    part = f"{microseconds:06}" if digits == "microseconds" else f"{microseconds // 1000:03}"
    return f"{_second(int(whole))}.{part}Z"


@lru_cache(maxsize=16)  # what happens in one second is written many times
def _second(seconds: int) -> str:
    """As `rfc3339`, without the Z."""
    return utc(seconds).isoformat()[:-6]


def name_text(seconds: float) -> str:
    """For the name of a file: "20261124T161252Z"."""
    return rfc3339(seconds).replace("-", "").replace(":", "")


def read_http_date(text: str) -> float:
    """A date of HTTP (RFC 9110 section 5.6.7), seconds since 1970; its obsolete forms, without a zone, are in UTC, too.

    Raises ValueError or OverflowError.
    """
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - most commands read none

    at = parsedate_to_datetime(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


@cache
def zone_names() -> frozenset[str]:
    """Names of all time zones, such as "Europe/Stockholm". "UTC" alone where this machine has no time zone data."""
    from zoneinfo import available_timezones  # noqa: PLC0415 - most commands write no local time

    return frozenset(available_timezones()) | {"UTC"}


def named_zone(name: str) -> tzinfo | None:
    """The time zone of that name (IANA); None where this machine knows none. Any text may be given."""
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - as above

    if name in {"UTC", "Etc/UTC"}:
        return UTC
    return ZoneInfo(name) if name in zone_names() else None


def with_offset(text: str, zone: tzinfo) -> str:
    """A date, or a date with time, that was written without an offset, with that of the zone; any other text as it is.

    Of an hour that comes twice the first is meant; a time that the zone leaves out is read as before the change.
    """
    try:
        at = datetime.fromisoformat(text)
        return text if at.tzinfo or zone is UTC else at.replace(tzinfo=zone).isoformat()
    except (ValueError, OverflowError):
        return text


def local_times(text: str, zone: tzinfo) -> str:
    """A sentence of ours, whose times are in UTC ("2026-11-24 16:12Z"), with them in that zone.

    The time of a command, "2026-11-24T16:12Z", stays.
    """
    return text if zone is UTC else _UTC_TIME.sub(lambda match: _local(match, zone), text)


def _local(match: re.Match[str], zone: tzinfo) -> str:
    try:
        seconds = datetime.fromisoformat(f"{match[1]}+00:00").timestamp()
    except ValueError:
        return match[0]
    return second_text(seconds, zone) if match[2] else minute_text(seconds, zone)


def _in_zone(seconds: float, zone: tzinfo) -> datetime:
    try:
        return utc(seconds).astimezone(zone)
    except OverflowError:  # in the first and the last hours of the calendar
        return utc(seconds)


def _offset(at: datetime) -> str:
    """Offset as ISO 8601 has it: "Z", "+01", "-03:30"."""
    return "Z" if at.tzinfo is UTC else at.strftime("%:z").removesuffix(":00")
