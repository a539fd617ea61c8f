"""Points in time as people type them: `--since 2h`, `--since 2026-11-24T16:00`, `--at 2h`."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import click

__all__ = ["AHEAD", "MOMENT"]

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_AGO = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)


class _Moment(click.ParamType[float]):
    """Seconds since 1970, from "30m" (ago), a date or a date with time (UTC unless it says otherwise)."""

    name = "time"
    span = "an age"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        text = str(value)
        if ago := _AGO.fullmatch(text):
            return time.time() - int(ago[1]) * _SECONDS[ago[2]]
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"{text!r} is neither {self.span} like 30m, 2h, 7d nor a date like 2026-11-24T16:00", param, ctx)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class _Ahead(_Moment):
    """The same, but "30m" is from now on."""

    span = "a time from now on"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        ahead = _AGO.fullmatch(str(value))
        return time.time() + int(ahead[1]) * _SECONDS[ahead[2]] if ahead else super().convert(value, param, ctx)


MOMENT = _Moment()
AHEAD = _Ahead()
