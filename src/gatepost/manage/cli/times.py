"""Points in time as people type them: `--since 2h`, `--since 2026-11-24T16:00`, `--at 2h`."""

from __future__ import annotations

import click

from gatepost.manage.use_cases.times import moment


class _Moment(click.ParamType[float]):
    """Seconds since 1970, as `manage.use_cases.times.moment` reads them."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return moment(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _MomentText(click.ParamType[str]):
    """The same as it was written, for whoever reads it later."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            moment(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


MOMENT = _Moment()
MOMENT_TEXT = _MomentText()
