"""One recipient of a transaction that policy accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from gatepost.policy.decisions.decision import InboundVerdict
    from gatepost.policy.decisions.forwarding import Target
    from gatepost.protocols.smtp.server.events import RecipientEvent


class AcceptedRecipient(msgspec.Struct, frozen=True):
    """A forward-path that policy said yes to, and its reasons.

    targets: where its mail goes; at least one.
    """

    event: RecipientEvent
    verdict: InboundVerdict
    targets: tuple[Target, ...]
