"""The settings of the evidence log: the table `[evidence]`.

A part of `settings.model`, read with it; used by `node.assembly` and the commands that add to the log.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gatepost.events.evidence.entry import AddressPrivacy, MessageIds, Privacy
from gatepost.policy.connectors.fields import Duration, Range, Record, Switch
from gatepost.policy.connectors.units import format_duration


class Evidence(Record):
    """The evidence log: what was required, negotiated and proven for every message and hop (docs/evidence.md)."""

    enabled: Switch = Field(default=True, description="Keep it, under evidence in data_dir.")
    keep: Annotated[Duration, Range(86400, 31_622_400 * 30, format_duration)] = Field(
        default=34_560_000,
        description="How long, in whole days; at least a day, at most 30 years. The daily heads are kept for ever.",
    )
    addresses: AddressPrivacy = Field(
        default=AddressPrivacy.DOMAIN,
        description="What is kept of senders, recipients and users who logged in. domain: the domain alone. hash: and "
        "a hash, by which an address can be recognised by who knows it, or tries all there are. full: the whole "
        "address, what peers replied, and from where users sent.",
    )
    message_ids: MessageIds = Field(
        default=MessageIds.FULL,
        description="full: as they are. hash: their SHA-256, by which who has a message finds its entries.",
    )

    def privacy(self) -> Privacy:
        """The part that entries are made by."""
        return Privacy(self.addresses, self.message_ids)
