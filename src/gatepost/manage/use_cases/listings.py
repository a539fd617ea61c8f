"""Organizations, accepted domains and mailboxes as lists have them; connectors are in `connectors`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from gatepost.manage.use_cases.list_page import ListSelection
from gatepost.manage.use_cases.parts import DOMAIN, MAILBOX
from gatepost.manage.use_cases.resources import ALL, parts_in

if TYPE_CHECKING:
    from gatepost.manage.use_cases.list_page import ListPage
    from gatepost.policy.connectors.accepted_domain import AcceptedDomain
    from gatepost.policy.connectors.records import Organization
    from gatepost.policy.connectors.resources import Resources


class OrganizationRow(NamedTuple):
    """An organization, and how much it has."""

    name: str
    display_name: str
    domains: int
    mailboxes: int
    inbound_connectors: int
    outbound_connectors: int
    rules: int
    hooks: int


class DomainRow(NamedTuple):
    """An accepted domain, and how many mailboxes are in it. status: "verified" or "pending"."""

    name: str
    type: str
    organization: str
    mailboxes: int
    status: str


class MailboxRow(NamedTuple):
    """A mailbox, and where its mail goes."""

    address: str
    delivery: str
    aliases: tuple[str, ...]
    forwarding_smtp_address: str
    organization: str


@dataclass(frozen=True, slots=True)
class MailboxSelection(ListSelection):
    """The same of mailboxes. domain: only in this one, "" for any."""

    domain: str = ""

    def names(self, name: str) -> bool:
        """Whether a mailbox of that address is wanted."""
        return self.domain.lower() in {"", name.rpartition("@")[2].lower()} and ListSelection.names(self, name)


def organization_rows(resources: Resources, selection: ListSelection = ALL) -> ListPage[OrganizationRow]:
    """The organizations."""
    return selection.page(
        0,
        [_organization(organization) for organization in resources.organizations if selection.names(organization.name)],
    )


def domain_rows(resources: Resources, selection: ListSelection = ALL) -> ListPage[DomainRow]:
    """Accepted domains. Raises Refusal (MISSING) if there is no such organization."""
    page = parts_in(resources, DOMAIN, selection)
    owners = {part.organization.name: part.organization for part in page.rows}
    populations = {name: _populations(owner) for name, owner in owners.items()}
    return page.holding(
        [
            DomainRow(
                part.name, str(part.record.type), owner, populations[owner][part.name], domain_status(part.record)
            )
            for part in page.rows
            for owner in [part.organization.name]
        ]
    )


def domain_status(domain: AcceptedDomain) -> str:
    """Whether a domain counts: "verified", or "pending" until it is proven."""
    return "verified" if domain.verified else "pending"


def mailbox_rows(resources: Resources, selection: ListSelection = ALL) -> ListPage[MailboxRow]:
    """Mailboxes. Raises Refusal (MISSING) if there is no such organization."""
    page = parts_in(resources, MAILBOX, selection)
    return page.holding(
        [
            MailboxRow(
                mailbox.address,
                mailbox.delivery,
                mailbox.aliases,
                mailbox.forwarding_smtp_address,
                part.organization.name,
            )
            for part in page.rows
            for mailbox in [part.record]
        ]
    )


def _organization(organization: Organization) -> OrganizationRow:
    return OrganizationRow(
        organization.name,
        organization.display_name,
        len(organization.accepted_domains),
        len(organization.mailboxes),
        len(organization.inbound_connectors),
        len(organization.outbound_connectors),
        len(organization.mail_flow_rules),
        len(organization.content_hooks),
    )


def _populations(owner: Organization) -> Counter[str]:
    """Number of mailboxes in each domain."""
    return Counter(box.address.rpartition("@")[2] for box in owner.mailboxes)
