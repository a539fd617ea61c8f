"""The settings of the message trace: the table `[trace]`. A part of `settings.model`, read with it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gatepost.policy.connectors.fields import Range, Record, Whole


class Trace(Record):
    """Retention of the message trace (docs/trace.md)."""

    days: Annotated[Whole, Range(0, 3650)] = Field(
        default=90, description="Days to keep rows, besides today; 0: for ever (Exchange: 90)."
    )
    transcripts: Annotated[Whole, Range(0, 1000)] = Field(
        default=1,
        description="For how many of 1000 sessions to keep commands and replies, never content or secrets. Sessions "
        "with a failure are always kept.",
    )
