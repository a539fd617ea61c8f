"""Write points in time, always in UTC: for people "2026-11-24 16:12:52Z", for programs as RFC 3339.

Below all rooms, and used by all of them; it reads no clock. Both forms are read again where a time is asked for.
Times are seconds since 1970. What lies beyond the calendar (the years 1 to 9999) is written as its first or last
second, since certificates and other people's files may say anything.

Elsewhere are forms that belong to one format: the date-time of RFC 5322 (`protocols.message.header_text`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, Literal

_FIRST: Final = -62135596800.0
_LAST: Final = 253402300799.0


def utc(seconds: float) -> datetime:
    """The time as a `datetime` in UTC."""
    return datetime.fromtimestamp(seconds if _FIRST <= seconds <= _LAST else min(max(seconds, _FIRST), _LAST), UTC)


def is_possible(seconds: float) -> bool:
    """Whether the calendar has this time."""
    return _FIRST <= seconds <= _LAST


def second_text(seconds: float) -> str:
    """For people, to the second: "2026-11-24 16:12:52Z"."""
    return f"{utc(seconds).isoformat(' ', 'seconds')[:19]}Z"


def minute_text(seconds: float) -> str:
    """For people, to the minute that has begun: "2026-11-24 16:12Z"."""
    return f"{utc(seconds).isoformat(' ', 'minutes')[:16]}Z"


def day_text(seconds: float) -> str:
    """The day: "2026-11-24"."""
    return utc(seconds).isoformat()[:10]


def rfc3339(seconds: float, digits: Literal["seconds", "milliseconds", "microseconds"] = "seconds") -> str:
    """For programs: "2026-11-24T16:12:52Z", or with so many digits of the second; what is beyond them is cut off."""
    return f"{utc(seconds).isoformat(timespec=digits)[:-6]}Z"


def name_text(seconds: float) -> str:
    """For the name of a file: "20261124T161252Z"."""
    return rfc3339(seconds).replace("-", "").replace(":", "")
