"""Points in time as people and programs write them: "2h" ago, a date, a date with time, seconds since 1970."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta

from gatepost.manage.use_cases.refusal import wrong_field
from gatepost.times import is_possible, rfc3339, second_text

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_AGE = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)
_WRITTEN = re.compile(r"(\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2})(:\d{2})?(Z|[+-]\d{2}(?::?\d{2})?)?", re.ASCII)

type TimeText = Annotated[
    str,
    Meta(max_length=64, description='An age such as "30m", "2h" or "7d", a date, or a date with time (UTC).'),
]
"""A time in a request; `read_time` reads it."""


def moment(text: str, span: str = "an age") -> float:
    """Seconds since 1970, from "30m" (ago), a date or a date with time (UTC unless it says otherwise).

    span: what "30m" is called. Raises ValueError with a sentence for the person who wrote it.
    """
    if age := _AGE.fullmatch(text):
        return _possible(time.time() - int(age[1]) * _SECONDS[age[2]], text)
    try:
        parsed = datetime.fromisoformat(text)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is neither {span} like 30m, 2h, 7d nor a date like 2026-11-24T16:00") from None


def ahead(text: str) -> float:
    """The same, but "30m" is from now on."""
    age = _AGE.fullmatch(text)
    if age is None:
        return moment(text, "a time from now on")
    return _possible(time.time() + int(age[1]) * _SECONDS[age[2]], text)


def last_moment(text: str) -> str:
    """The end of the second or minute that a person wrote, as they are shown: "15:13:09" is until 15:13:09.999999.

    A row of 15:13:09.7 stands as 15:13:09 on its page. A date, an age, a time with a fraction and what is no time stay.
    """
    written = _WRITTEN.fullmatch(text)
    if written is None or not _is_moment(text):
        return text
    whole, seconds, offset = written.groups("")
    return f"{whole}{seconds or ':59'}.999999{offset}"


def _is_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _possible(at: float, text: str) -> float:
    if not is_possible(at):
        raise ValueError(f"{text!r} is beyond the years 1 to 9999")
    return at


def time_text(at: float | None) -> str:
    """Seconds since 1970 as requests take times; "" for 0 and none."""
    return rfc3339(at, "microseconds") if at else ""


def read_time(field: str, text: str, read: Callable[[str], float] = moment) -> float:
    """A time in a field of a request. read: `moment` or `ahead`. Raises Refusal (INPUT) that names the field."""
    try:
        return read(text)
    except ValueError as error:
        raise wrong_field(field, str(error), "1 error; nothing was done.") from error


def stamp(seconds: float) -> str:
    """A time as 2026-11-24 16:12:52Z, "" for 0."""
    return second_text(seconds) if seconds else ""
