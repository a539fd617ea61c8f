"""Recipients that policy accepted, and the deliveries that an accepted message becomes by what was decided of each.

Called by `mail.inbound.transaction` when the message is complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gatepost.mail.model.message import Delivery, Journal, Message, QuarantineHold, Recipient
from gatepost.protocols.smtp.grammar import xtext_encode
from gatepost.store.quarantine import DAY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.mail.inbound.quarantine import QuarantineFindings
    from gatepost.mail.inbound.service import InboundService
    from gatepost.policy.decisions.decision import InboundVerdict
    from gatepost.policy.decisions.forwarding import Target
    from gatepost.policy.decisions.handover import Origin
    from gatepost.protocols.smtp.server.events import RecipientEvent


class AcceptedRecipient(msgspec.Struct, frozen=True):
    """A forward-path that policy said yes to, and its reasons.

    targets: where its mail goes; at least one.
    """

    event: RecipientEvent
    verdict: InboundVerdict
    targets: tuple[Target, ...]


def deliveries_of(
    recipients: Sequence[AcceptedRecipient],
    origin: Origin | None,
    service: InboundService,
    message: Message,
    found: QuarantineFindings | None,
    now: float,
) -> list[Delivery]:
    """A delivery for each destination, and one for each recipient for whom the message is held in quarantine.

    A recipient that is named twice gets the message once.

    origin: what another node says of the message. found: who holds it for whom; None: nobody.
    """
    groups: dict[tuple[str, ...], Delivery] = {}
    seen: set[tuple[object, ...]] = set()
    copied = origin.facts.get("journal", "") if origin is not None else ""
    journal = Journal(copied, made=True) if copied else None
    for accepted in recipients:
        organization = accepted.verdict.organization
        for target in accepted.targets:
            held = found.of(organization, target) if found is not None else []
            destination = f"{organization}/{target.path.domain}"
            key = destination, target.forwarded_by, target.return_path, target.path.text if held else ""
            if (delivery := groups.get(key)) is None:
                expires = now + service.expiration(organization)
                delivery = Delivery(service.store.new_id(), message, destination, [], expires_at=expires)
                groups[key] = delivery
                if held:
                    delivery.quarantine, delivery.held = held[0].organization, True
                    delivery.next_at = now + held[0].days * DAY
            named = key, target.path.text, *_notices_of(accepted.event, target)
            if named not in seen and not (held and delivery.recipients):
                seen.add(named)
                delivery.recipients.append(_recipient(accepted.event, target, held, journal))
    return list(groups.values())


def _notices_of(event: RecipientEvent, target: Target) -> tuple[str, ...]:
    """What tells apart two recipients with one address. None is of a mailbox that was addressed by two names.

    Who asks for other notices, or for the same about another address, hears of both (RFC 3461 section 4).
    """
    return () if target.forwarded_by else (event.parameters.notify, event.parameters.orcpt)


def _recipient(event: RecipientEvent, target: Target, held: list[QuarantineHold], journal: Journal | None) -> Recipient:
    """What notices are asked for goes along where one address stands for another (RFC 3461 section 5.2.7)."""
    orcpt = event.parameters.orcpt
    if target.forwarded_by and not orcpt and event.path.text.isascii():
        orcpt = f"rfc822;{xtext_encode(event.path.text)}"
    return Recipient(
        target.path.text,
        event.parameters.notify,
        orcpt,
        forwarded_by=target.forwarded_by,
        return_path=target.return_path,
        journal=journal,
        quarantines=held,
    )
