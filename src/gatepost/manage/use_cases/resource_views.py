"""Organizations and their parts as pages look at them: as records, with who changed them. REST has them as tables.

`manage.use_cases.part_cases` and `resource_cases` have what changes them.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.declaration import Items, Visibility, use_cases
from gatepost.manage.use_cases.history import PartChange, differences_of, history, part_history
from gatepost.manage.use_cases.name_lookup import DOMAIN, KINDS, MAILBOX, Part, choose_organization, owner_of
from gatepost.manage.use_cases.paging import ListPage, ListSelection
from gatepost.manage.use_cases.resources import ALL, PartName, domain_of, part, parts, parts_in
from gatepost.policy.connectors.records import Organization  # noqa: TC001 - the declaration reads it

if TYPE_CHECKING:
    from gatepost.manage.use_cases.context import Context
    from gatepost.policy.connectors.accepted_domain import AcceptedDomain
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


class MailboxSelection(ListSelection, frozen=True):
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


use_case = use_cases(visibility=Visibility.SEEN, tag="organizations")


@use_case(scope=Scope.READ)
def find_organizations(context: Context, request: ListSelection) -> ListPage[OrganizationRow]:
    """The organizations, with how much each has."""
    return organization_rows(context.seen(), request)


class ViewOrganization(msgspec.Struct, kw_only=True):
    """Choose one organization."""

    organization: str


@use_case(scope=Scope.READ)
def view_organization(context: Context, request: ViewOrganization) -> Organization:
    """One organization with all that it has."""
    return choose_organization(context.seen(), request.organization)


class ListOwnOrganizations(msgspec.Struct, kw_only=True):
    """All that are seen."""


@use_case(scope=None)
def list_own_organizations(
    context: Context,
    request: ListOwnOrganizations,  # noqa: ARG001 - all
) -> Items[Organization]:
    """The organizations that there are for a form to choose from."""
    return Items(context.seen().organizations)


class ChooseOwner(msgspec.Struct, kw_only=True):
    """Of a part to be added. kind: its key. organization: as it was chosen, "" where it is not."""

    kind: str
    name: str
    organization: str = ""


@use_case(scope=Scope.CONNECTORS)
def choose_owner(context: Context, request: ChooseOwner) -> Organization:
    """The organization that a new part would be of: the one that is chosen, or whose domain it is in."""
    domain = domain_of(KINDS[request.kind], request.name)
    return owner_of(context.seen(), request.organization, domain)


class ListOrganizationChanges(msgspec.Struct, kw_only=True):
    """Of which one."""

    organization: str


@use_case(scope=Scope.READ)
def list_organization_changes(context: Context, request: ListOrganizationChanges) -> Items[PartChange]:
    """List the changes of an organization's own fields, newest first."""
    changes = history(context.gateway, context.principal, organization=request.organization)
    return Items(
        [PartChange(change, [part for part in differences_of(change) if "[" not in part.path]) for change in changes]
    )


class FindParts(ListSelection, kw_only=True, frozen=True):
    """kind: the key of it."""

    kind: str


@use_case(scope=Scope.READ)
def find_parts(context: Context, request: FindParts) -> ListPage[Part]:
    """Parts of one kind, of all organizations or of one."""
    return parts(context.gateway, context.principal, KINDS[request.kind], request)


class ViewPart(msgspec.Struct, kw_only=True):
    """Choose one part. kind: its key. organization: "" where the name is enough."""

    kind: str
    name: str
    organization: str = ""

    @property
    def part(self) -> PartName:
        """The same as a name."""
        return PartName(KINDS[self.kind], self.organization, self.name)


@use_case(scope=Scope.READ)
def view_part(context: Context, request: ViewPart) -> Part:
    """One part of an organization."""
    return part(context.gateway, context.principal, request.part)


class ListPartChanges(ViewPart, kw_only=True):
    """limit: of them."""

    limit: int = 5


@use_case(scope=Scope.READ)
def list_part_changes(context: Context, request: ListPartChanges) -> Items[PartChange]:
    """List the changes of a part, newest first."""
    chosen = part(context.gateway, context.principal, request.part)
    return Items(part_history(context.gateway, chosen, limit=request.limit))
