"""Decide whether a message may bring Exchange's own header fields, and whether it counts as internal.

Called by `mail.inbound.transaction` when the header section is about to come. The fields say how a sender was
authenticated, and whoever reads them believes them, so only an on-premises connector with cloud_services_mail_enabled
brings them in, and only by certificate: an address that others share proves too little. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gatepost.protocols.message.organization_headers import Crossing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.facts import SessionFacts
    from gatepost.policy.decisions.decision import InboundVerdict
    from gatepost.protocols.smtp.grammar import Path


class HeaderTrust(msgspec.Struct, frozen=True):
    """crossing: what the firewall does to the header section, None where another node of the site was the firewall.

    internal: the sender is one of the organization's own.

    A message that brings fields may say in them that it is internal: that is not meant here.
    """

    crossing: Crossing | None
    internal: bool


_STRANGER = HeaderTrust(Crossing.STRIPPED, internal=False)
_NODE = HeaderTrust(None, internal=False)  # what it found out comes with the message (`policy.decisions.handover`)
_USER = HeaderTrust(Crossing.STRIPPED, internal=True)


def header_trust(
    directory: Directory, session: SessionFacts, reverse_path: Path, verdicts: Sequence[InboundVerdict]
) -> HeaderTrust:
    """Decide the header trust of a message. verdicts: on its recipients, all of which must agree; at least one."""
    if session.node:
        return _NODE
    if session.user:
        return _USER
    if all(verdict.attribution.connector is None for verdict in verdicts):
        return _STRANGER
    crossing = Crossing.PROMOTED if all(map(_promotes, verdicts)) else Crossing.STRIPPED
    owner = directory.organization_of(reverse_path.domain)
    own = owner is not None and all(_is_trusted(verdict, owner.name) for verdict in verdicts)
    return HeaderTrust(crossing, internal=own)


def _promotes(verdict: InboundVerdict) -> bool:
    connector = verdict.attribution.connector
    by_certificate = verdict.attribution.basis.startswith("certificate")
    return connector is not None and by_certificate and connector.cloud_services_mail_enabled


def _is_trusted(verdict: InboundVerdict, owner: str) -> bool:
    """Whether the connector says that mail of the organization's own domains is internal."""
    connector = verdict.attribution.connector
    return connector is not None and connector.treat_messages_as_internal and verdict.organization == owner
