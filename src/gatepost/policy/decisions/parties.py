"""The organizations that have a say in mail for a domain: who routes it, and whose demands apply too.

Called by `policy.decisions.route` and `policy.decisions.forwarding`. Pure. What one organization accepts never weakens
the demands of another for its own mail (docs/decisions/0040): an organization that names a domain in a connector
decides about its own mail for it, and where the owner of the domain decides, the sender's demands apply too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gatepost.policy.connectors.selection import names_domain

if TYPE_CHECKING:
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.records import OutboundConnector


class Parties(msgspec.Struct, frozen=True):
    """The organizations that decide about a message, by name, "" for none.

    router: the one whose connectors and rules choose the route. sender: the owner of the mail, where that is not the
    router: its demands apply too. owner: the one that accepts the domain.
    """

    router: str
    sender: str = ""
    owner: str = ""

    @property
    def rule_owners(self) -> tuple[str, ...]:
        """The organizations whose rules apply; the first of them alone chooses the route."""
        return (self.router, self.sender) if self.sender else (self.router,)


class SenderPart(msgspec.Struct, frozen=True):
    """The demands of the sender's organization on a route that the owner of the recipient's domain chooses.

    connector: the one by which it would send the mail itself, None if by none.
    """

    organization: str
    connector: OutboundConnector | None

    def record(self) -> dict[str, str]:
        """For the trace and for machines."""
        return {"organization": self.organization, "connector": self.connector.name if self.connector else ""}


def parties(directory: Directory, organization: str, domain: str) -> Parties:
    """The organizations that take part in mail of an organization for a domain (lower-case A-labels).

    organization: the one whose mail it is; an unknown one takes no part.
    """
    sender, owner = directory.organization(organization), directory.organization_of(domain)
    if owner is None:
        return Parties(sender.name if sender is not None else "")
    if sender is None or sender.name == owner.name:
        return Parties(owner.name, owner=owner.name)
    if names_domain(directory, sender.name, domain):
        return Parties(sender.name, owner=owner.name)
    return Parties(owner.name, sender.name, owner.name)


def deciding(directory: Directory, organization: str, domain: str, address: str) -> str:
    """By whose word mail for an address goes on, "" for nobody's: for a mailbox by that of its owner alone."""
    concerned = parties(directory, organization, domain)
    if concerned.owner and directory.mailbox(address) is not None:
        return concerned.owner
    return concerned.router
