"""Values of resources that no owner of the gateway granted, and granting one of them as it stands.

What the owner writes is granted with the change (`granting`); what somebody else wrote is granted here, one value by
name, so that nothing is granted in passing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.change import NOTHING
from gatepost.manage.use_cases.change_shapes import Note  # noqa: TC001 - msgspec reads it
from gatepost.manage.use_cases.declaration import Cli, UseCaseReply, Visibility, use_cases
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, VersionConflict, refusing
from gatepost.policy.connectors import grants
from gatepost.policy.connectors.fields import Access
from gatepost.policy.connectors.grants import GRANT, STORED_KINDS, Grant, Ungranted
from gatepost.store.changes import ConfigConflict

if TYPE_CHECKING:
    from gatepost.manage.use_cases.context import Context


use_case = use_cases(scope=Scope.CONNECTORS, visibility=Visibility.GATEWAY, tag="grants")
type _Text = Annotated[str, Meta(max_length=32_768), Cli(argument=True)]


class ListUngranted(msgspec.Struct, kw_only=True):
    """All of them."""


class GrantValue(msgspec.Struct, kw_only=True):
    """A value where it stands, to the letter. resource: such as outbound_connector. name: of a mailbox its address."""

    organization: _Text
    resource: _Text
    name: _Text
    field: _Text
    value: _Text
    note: Note = ""


class GrantedValue(msgspec.Struct):
    """A value where it stands, to the letter. resource: such as outbound_connector. name: of a mailbox its address."""

    organization: str
    resource: str
    name: str
    field: str
    value: str


class UngrantedValue(GrantedValue):
    """A value where it stands. effect: none (a file or socket), or bounded (a host: [network] tenants_may_reach)."""

    effect: str


class UngrantedValues(msgspec.Struct):
    """All of them, in the order of the resources."""

    values: list[UngrantedValue]


class GrantResult(msgspec.Struct):
    """version: the one in force now."""

    version: int
    dry_run: bool
    granted: GrantedValue


@use_case("GET /grants/missing")
def list_ungranted(context: Context, request: ListUngranted) -> UngrantedValues:  # noqa: ARG001 - all
    """Files, sockets and hosts in resources that no owner of the gateway granted."""
    return UngrantedValues([_value(ungranted) for ungranted in grants.ungranted(context.directory().resources)])


@use_case("POST /grants", dry_run=True, guarded=True, versioned=True, may_404=True, action="grant-add")
def grant_value(context: Context, request: GrantValue) -> UseCaseReply[GrantResult]:
    """Grant one of them as it stands.

    The value must stand there to the letter. 404 if it does not, or is granted already.
    """
    owner = request.organization
    context.audit.describe(organization=owner, subject=request.name)
    grant = Grant(request.resource, request.name.lower(), request.field, request.value)
    with context.config() as store:
        version, stored = store.load(*STORED_KINDS)
        if context.expected is not None and context.expected != version:
            raise VersionConflict(f"the configuration is at version {version}, not {context.expected}: look again")
        resources = context.gateway.resources.understood(store, version, stored).resources
        if (owner, grant) not in [
            (ungranted.organization, ungranted.grant) for ungranted in grants.ungranted(resources)
        ]:
            text = (
                f"there is no value {request.value!r} without a grant in {request.field} of the {request.resource} "
                f"{request.name!r} of {owner!r}; `gatepost grant list` lists all; {NOTHING}"
            )
            raise Refusal(RefusalKind.MISSING, text)
        if not context.dry_run:
            change = {GRANT: {owner: grants.with_grant(stored[GRANT][owner], grant)}}
            with refusing(RefusalKind.CONFLICT, ConfigConflict, text=f"{{error}}; {NOTHING}"):
                version = store.apply(change, author=context.principal.name, note=request.note, expected=version)
    detail: dict[str, Any] = {"version": version, request.field: request.value}
    context.audit.describe(**detail)
    granted = GrantedValue(owner, request.resource, request.name, request.field, request.value)
    return UseCaseReply(GrantResult(version, context.dry_run, granted), version)


def _value(ungranted: Ungranted) -> UngrantedValue:
    effect = "none" if ungranted.access is Access.MACHINE else "bounded"
    resource, name, field, value = ungranted.grant
    return UngrantedValue(ungranted.organization, resource, name, field, value, effect)
