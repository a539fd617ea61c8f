"""Organizations and their parts as pages look at them: as records, with who changed them. REST has them as tables.

`manage.use_cases.part_cases` and `resource_cases` have what changes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.declaration import Items, Visibility, use_case
from gatepost.manage.use_cases.history import PartChange, differences_of, history, part_history
from gatepost.manage.use_cases.list_page import ListPage, ListSelection
from gatepost.manage.use_cases.listings import OrganizationRow, organization_rows
from gatepost.manage.use_cases.name_lookup import choose_organization, owner_of
from gatepost.manage.use_cases.parts import KINDS, Part
from gatepost.manage.use_cases.resources import PartName, domain_of, part, parts, seen
from gatepost.policy.connectors.records import Organization  # noqa: TC001 - the declaration reads it

if TYPE_CHECKING:
    from gatepost.manage.use_cases.context import Context


class Rows(msgspec.Struct, kw_only=True):
    """Choose rows of a list, as `ListSelection` does."""

    organization: str = ""
    q: str = ""
    limit: int | None = None
    offset: int = 0

    @property
    def selection(self) -> ListSelection:
        """The same as lists take it."""
        return ListSelection(self.organization, self.q, self.limit, self.offset)


class FindOrganizations(Rows, kw_only=True):
    """Of the organizations."""


@use_case(scope=Scope.READ, visibility=Visibility.SEEN, tag="organizations", pages=("/organizations",))
def find_organizations(context: Context, request: FindOrganizations) -> ListPage[OrganizationRow]:
    """The organizations, with how much each has."""
    return organization_rows(seen(context.gateway, context.principal), request.selection)


class ViewOrganization(msgspec.Struct, kw_only=True):
    """Choose one organization."""

    organization: str


@use_case(
    scope=Scope.READ,
    visibility=Visibility.SEEN,
    tag="organizations",
    pages=(
        "/organizations/edit/{name}",
        "/organizations/view/{name}",
    ),
)
def view_organization(context: Context, request: ViewOrganization) -> Organization:
    """One organization with all that it has."""
    return choose_organization(seen(context.gateway, context.principal), request.organization)


class ListOwnOrganizations(msgspec.Struct, kw_only=True):
    """All that are seen."""


@use_case(
    scope=None,
    visibility=Visibility.SEEN,
    tag="organizations",
    pages=(
        "/",
        "/certificates/add",
        "/certificates/requests/new",
        "/connectors/new",
        "/connectors/new/issuer",
        "/connectors/new/validate",
        "/dkim/new",
        "/domains/new",
        "/hooks/new",
        "/issuers/new",
        "/mailboxes/new",
        "/quickstart",
        "/rules/new",
    ),
)
def list_own_organizations(
    context: Context,
    request: ListOwnOrganizations,  # noqa: ARG001 - all
) -> Items[Organization]:
    """The organizations that there are for a form to choose from."""
    return Items(seen(context.gateway, context.principal).organizations)


class ChooseOwner(msgspec.Struct, kw_only=True):
    """Of a part to be added. kind: its key. organization: as it was chosen, "" where it is not."""

    kind: str
    name: str
    organization: str = ""


@use_case(
    scope=Scope.CONNECTORS,
    visibility=Visibility.SEEN,
    tag="organizations",
    pages=(
        "/domains/new",
        "/hooks/new",
        "/issuers/new",
        "/mailboxes/new",
        "/rules/new",
    ),
)
def choose_owner(context: Context, request: ChooseOwner) -> Organization:
    """The organization that a new part would be of: the one that is chosen, or whose domain it is in."""
    domain = domain_of(KINDS[request.kind], request.name)
    return owner_of(seen(context.gateway, context.principal), request.organization, domain)


class ListOrganizationChanges(msgspec.Struct, kw_only=True):
    """Of which one."""

    organization: str


@use_case(scope=Scope.READ, visibility=Visibility.SEEN, tag="organizations", pages=("/organizations/edit/{name}",))
def list_organization_changes(context: Context, request: ListOrganizationChanges) -> Items[PartChange]:
    """List the changes of an organization's own fields, newest first."""
    changes = history(context.gateway, context.principal, organization=request.organization)
    return Items(
        [PartChange(change, [part for part in differences_of(change) if "[" not in part.path]) for change in changes]
    )


class FindParts(Rows, kw_only=True):
    """kind: the key of it."""

    kind: str


@use_case(
    scope=Scope.READ,
    visibility=Visibility.SEEN,
    tag="organizations",
    pages=(
        "/domains",
        "/find",
        "/hooks",
        "/issuers",
        "/mailboxes",
        "/rules",
    ),
)
def find_parts(context: Context, request: FindParts) -> ListPage[Part]:
    """Parts of one kind, of all organizations or of one."""
    return parts(context.gateway, context.principal, KINDS[request.kind], request.selection)


class ViewPart(msgspec.Struct, kw_only=True):
    """Choose one part. kind: its key. organization: "" where the name is enough."""

    kind: str
    name: str
    organization: str = ""

    @property
    def part(self) -> PartName:
        """The same as a name."""
        return PartName(KINDS[self.kind], self.organization, self.name)


@use_case(
    scope=Scope.READ,
    visibility=Visibility.SEEN,
    tag="organizations",
    pages=(
        "/connectors/edit/{organization}/inbound/{name:path}",
        "/connectors/edit/{organization}/outbound/{name:path}",
        "/domains/edit/{organization}/{name:path}",
        "/domains/new",
        "/domains/view/{organization}/{name:path}",
        "/hooks/edit/{organization}/{name:path}",
        "/hooks/new",
        "/hooks/view/{organization}/{name:path}",
        "/issuers/edit/{organization}/{name:path}",
        "/issuers/new",
        "/issuers/view/{organization}/{name:path}",
        "/mailboxes/edit/{organization}/{name:path}",
        "/mailboxes/new",
        "/mailboxes/view/{organization}/{name:path}",
        "/rules/edit/{organization}/{name:path}",
        "/rules/new",
        "/rules/view/{organization}/{name:path}",
    ),
)
def view_part(context: Context, request: ViewPart) -> Part:
    """One part of an organization."""
    return part(context.gateway, context.principal, request.part)


class ListPartChanges(ViewPart, kw_only=True):
    """limit: of them."""

    limit: int = 5


@use_case(
    scope=Scope.READ,
    visibility=Visibility.SEEN,
    tag="organizations",
    pages=(
        "/connectors/edit/{organization}/inbound/{name:path}",
        "/connectors/edit/{organization}/outbound/{name:path}",
        "/connectors/validate/{organization}/inbound/{name:path}",
        "/connectors/validate/{organization}/outbound/{name:path}",
        "/connectors/{organization}/inbound/{name:path}",
        "/connectors/{organization}/outbound/{name:path}",
        "/dkim/view/{organization}/{name:path}",
        "/domains/edit/{organization}/{name:path}",
        "/domains/view/{organization}/{name:path}",
        "/hooks/edit/{organization}/{name:path}",
        "/hooks/view/{organization}/{name:path}",
        "/issuers/edit/{organization}/{name:path}",
        "/issuers/view/{organization}/{name:path}",
        "/mailboxes/edit/{organization}/{name:path}",
        "/mailboxes/view/{organization}/{name:path}",
        "/rules/edit/{organization}/{name:path}",
        "/rules/view/{organization}/{name:path}",
    ),
)
def list_part_changes(context: Context, request: ListPartChanges) -> Items[PartChange]:
    """List the changes of a part, newest first."""
    chosen = part(context.gateway, context.principal, request.part)
    return Items(part_history(context.gateway, chosen, limit=request.limit))


USE_CASES = (
    find_organizations,
    view_organization,
    list_own_organizations,
    choose_owner,
    list_organization_changes,
    find_parts,
    view_part,
    list_part_changes,
)
