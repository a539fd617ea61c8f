"""The settings of what is recorded of messages: `[evidence]` and `[trace]`.

A part of `settings.model`, read with it; used by `node.assembly` and the commands that add to the evidence log.
"""

from __future__ import annotations

from typing import Annotated

from gatepost.events.evidence.entry import AddressPrivacy, MessageIds, Privacy
from gatepost.policy.connectors.fields import Duration, Range, Switch, Whole
from gatepost.policy.connectors.units import format_duration
from gatepost.settings.section import Section, setting


class Evidence(Section):
    """The evidence log: what was required, negotiated and proven for every message and hop (docs/evidence.md)."""

    enabled: Switch = setting(default=True, description="Keep the evidence log, under evidence in data_dir.")
    keep: Annotated[Duration, Range(86400, 31_622_400 * 30, format_duration)] = setting(
        default=34_560_000,
        description="How long to keep it, in whole days: one day to 30 years. The daily checkpoints (heads) are kept "
        "for ever.",
    )
    addresses: AddressPrivacy = setting(
        default=AddressPrivacy.DOMAIN,
        description="What is kept of senders, recipients and users who logged in. domain: only the domain. hash: also "
        "a hash, by which those who know the address, or try all addresses, can recognize it. full: the "
        "whole address, the replies of other servers, and the addresses from which users sent.",
    )
    message_ids: MessageIds = setting(
        default=MessageIds.FULL,
        description="full: the Message-ID itself. hash: its SHA-256, by which those who have a message can find its "
        "entries.",
    )

    def privacy(self) -> Privacy:
        """The part that entries are made by."""
        return Privacy(self.addresses, self.message_ids)


class Trace(Section):
    """Retention of the message trace (docs/trace.md)."""

    days: Annotated[Whole, Range(0, 3650)] = setting(
        default=90, description="Days to keep rows, besides today; 0: for ever (Exchange: 90)."
    )
    transcripts: Annotated[Whole, Range(0, 1000)] = setting(
        default=1,
        description="For how many of 1000 sessions to keep commands and replies, never content or secrets. Sessions "
        "with a failure are always kept.",
    )
    subjects: Switch = setting(
        default=True,
        description="Whether to keep subjects. If false, no row written from then on has one, so that no search, page "
        "or export of the trace shows or finds it. Notices, quarantine and journal still have the message's own.",
    )
