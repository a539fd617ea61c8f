"""Organizations and their parts as pages look at them: as records, with who changed them. REST has them as tables.

`manage.use_cases.part_cases` and `resource_cases` have what changes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.declaration import Items, Visibility, use_cases
from gatepost.manage.use_cases.history import PartChange, differences_of, history, part_history
from gatepost.manage.use_cases.list_page import ListPage, ListSelection
from gatepost.manage.use_cases.listings import OrganizationRow, organization_rows
from gatepost.manage.use_cases.name_lookup import choose_organization, owner_of
from gatepost.manage.use_cases.parts import KINDS, Part
from gatepost.manage.use_cases.resources import PartName, domain_of, part, parts
from gatepost.policy.connectors.records import Organization  # noqa: TC001 - the declaration reads it

if TYPE_CHECKING:
    from gatepost.manage.use_cases.context import Context


use_case = use_cases(visibility=Visibility.SEEN, tag="organizations")


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


@use_case(scope=Scope.READ)
def find_organizations(context: Context, request: FindOrganizations) -> ListPage[OrganizationRow]:
    """The organizations, with how much each has."""
    return organization_rows(context.seen(), request.selection)


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


class FindParts(Rows, kw_only=True):
    """kind: the key of it."""

    kind: str


@use_case(scope=Scope.READ)
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
