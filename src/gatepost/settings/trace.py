"""The settings of the message trace: the table `[trace]`. A part of `settings.model`, read with it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gatepost.policy.connectors.fields import Range, Record, Whole


class Trace(Record):
    """The message trace and how long it is kept (docs/trace.md)."""

    days: Annotated[Whole, Range(0, 3650)] = Field(
        default=90, description="For how many days before today rows are kept; 0 for ever (Exchange: 90)."
    )
    transcripts: Annotated[Whole, Range(0, 1000)] = Field(
        default=1,
        description="Of how many sessions in a thousand the commands and replies are kept, never content or secrets; "
        "of sessions where something failed they are kept anyway.",
    )
