"""The result of one delivery attempt, in the same values for a mailbox, a smart host and an MX.

Made by `mail.outbound.deliverer`, read by `mail.queue.manager`, the trace and the DSNs.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from gatepost.mail.model.message import Recipient
    from gatepost.protocols.smtp.replies import Reply


class Disposition(StrEnum):
    """The result of an attempt for a recipient. HELD: deferred until an administrator acts, or a notice is due."""

    DELIVERED = "delivered"
    DEFERRED = "deferred"
    HELD = "held"
    FAILED = "failed"


class RecipientResult(msgspec.Struct, frozen=True):
    """The result for one recipient. reply: of the peer, or ours in the same form. detail: for the trace, JSON-able."""

    recipient: Recipient
    disposition: Disposition
    reply: Reply
    detail: dict[str, Any]


class DeliveryResult(msgspec.Struct, frozen=True):
    """The results of one attempt, one for each recipient of the delivery.

    destination_failed: no host answered for a single recipient, so that other mail for the destination on the same
    terms need not be tried now. next_hop_failed: nor other mail by the same hosts, as they talk to no client. crowded:
    they turned connections away for now. seconds: that the attempt took, 0.0 if none was made.
    """

    results: list[RecipientResult]
    destination_failed: bool = False
    next_hop_failed: bool = False
    crowded: bool = False
    seconds: float = 0.0


def disposition_of(reply: Reply) -> Disposition:
    """The disposition that a final reply means."""
    if reply.positive:
        return Disposition.DELIVERED
    return Disposition.FAILED if reply.permanent else Disposition.DEFERRED
