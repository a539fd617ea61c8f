"""Encode the facts of a message for another node of the site, and read where that node stored it.

Called by `mail.outbound.deliverer` and `mail.outbound.delivery_attempt`. The words are `policy.decisions.handover`'s.
Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gatepost.mail.model.queue_id import format_id
from gatepost.policy.decisions.handover import Origin, write_origin

if TYPE_CHECKING:
    from gatepost.mail.model.message import Delivery
    from gatepost.protocols.smtp.replies import Reply


_QUEUED = re.compile(r"Queued as (\w{1,40})")
_STAMP = re.compile(r"\[\S{1,255} \S{1,40} (\w{1,40})\]$")  # see `mail.inbound.stamp`

# Of the session by which the message came, what its home is told, too; what matters most first.
_TOLD = (
    "user",
    "mechanism",
    "notice_about",
    "notice_about_message_id",
    "tls_report",
    "internal",
    "connector",
    "requirement",
    "basis",
    "peer",
    "hello",
)


def origin_of(delivery: Delivery) -> str:
    """XGATEPOST for a delivery, whose recipients are all forwarded by the same mailbox, or by none."""
    message = delivery.message
    first, inbound = delivery.recipients[0], message.inbound
    facts = {name: str(inbound[name]) for name in _TOLD if inbound.get(name)}
    facts |= {name: str(value) for name, value in (("tls", inbound.get("tls", {}).get("version")),) if value}
    if message.has_organization_headers:
        facts["headers"] = str(inbound["headers"]["renamed"])
    return write_origin(
        Origin(
            organization=delivery.organization,
            direction=message.direction,
            session=message.session,
            message=format_id(message.id),
            forwarded_by=first.forwarded_by,
            return_path=first.return_path,
            facts=facts,
        )
    )


def hop_record(node: str, reply: Reply) -> dict[str, str]:
    """Under which ids the other node knows it. session: of the hop, as the node's reply ends in it."""
    queued, stamp = _QUEUED.search(reply.text), _STAMP.search(reply.text)
    found = {"message": queued[1] if queued else "", "session": stamp[1] if stamp else ""}
    return {"node": node} | {name: value for name, value in found.items() if value}
