"""The settings of the quarantine, `[quarantine]`. A part of `settings.model`."""

from __future__ import annotations

from typing import Annotated

from gatepost.policy.connectors.fields import Range, Size, Whole
from gatepost.policy.connectors.units import format_size
from gatepost.settings.section import Section, setting


class Quarantine(Section):
    """Limits of the quarantine (docs/quarantine.md). Each organization has its own quarantine in the queue."""

    messages: Annotated[Whole, Range(1, 100_000)] = setting(
        default=10_000,
        description="How many messages an organization may have in quarantine; one to several recipients counts once "
        "for each. When it is full, the gateway asks senders of further messages to try again later (452).",
    )
    size: Annotated[Size, Range(1 << 20, 1 << 40, format_size)] = setting(
        default=1 << 30, description="The same for the size of the messages in all."
    )
    digest_hour: Annotated[Whole, Range(0, 23)] = setting(
        default=6,
        description="The hour (UTC) from which the daily lists for recipients are sent, where an organization has "
        "quarantine_digest.",
    )
