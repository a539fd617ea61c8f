"""The resources as a whole, and organizations, as use cases: shown, applied, added, replaced, changed and removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.change import Edit, change
from gatepost.manage.use_cases.change_shapes import ChangeReport, ChangeRequest, change_reply, options_of
from gatepost.manage.use_cases.declaration import Cli, Document, Items, UseCaseReply, Visibility, use_cases
from gatepost.manage.use_cases.history import earlier_organizations
from gatepost.manage.use_cases.name_lookup import choose_organization, visible
from gatepost.manage.use_cases.paging import Paging, page_of
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, wrong_field
from gatepost.manage.use_cases.resources import apply_document, organization_set, organizations_in
from gatepost.policy.connectors.records import Organization
from gatepost.quantity import quantity
from gatepost.store.interface import QueueFilter, StoreFailure
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.manage.use_cases.context import Context, Gateway
    from gatepost.policy.connectors.record_base import Record
    from gatepost.policy.connectors.resources import Resources


type Defaults = Annotated[bool, Meta(description="Also what was not written, with its default.")]

_COUNTED = 1000
use_case = use_cases(tag="organizations")
_MEGABYTE: Final = 1024 * 1024
_ALL: Final = Document(Organization, named=True)
_ONE: Final = Document(Organization)
_PARTS: Final = frozenset(name for name, info in Organization.model_fields.items() if info.alias is not None)
_CHANGE: Final[dict[str, Any]] = {
    "scope": Scope.CONNECTORS,
    "dry_run": True,
    "guarded": True,
    "versioned": True,
    "max_body": 32 * _MEGABYTE,
}

type _Organization = Annotated[str, Meta(description="Its name, as the heading of a resource file has it.")]


def shown(record: Record, *, defaults: bool, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """A resource as a file has it; defaults: with every field that has a value. without: fields, by attribute."""
    return record.model_dump(
        mode="json", by_alias=True, exclude_unset=not defaults, exclude_none=True, exclude=set(without)
    )


def text_in(document: Mapping[str, Any], key: str) -> str:
    """A text that must be in a document. Raises Refusal (INPUT)."""
    text = document.get(key)
    if isinstance(text, str) and text:
        return text
    raise wrong_field(
        key,
        "must be a text in quotes, and not empty" if key in document else "is required: it has no default",
        "1 error; nothing was done.",
    )


class ExportResources(msgspec.Struct, kw_only=True):
    """All that the caller sees. version: as they were then; with 0 as they are now."""

    version: Annotated[
        int,
        Meta(ge=0, lt=2**62, description="As they were at this version of the history. 0: as they are now."),
        Cli(option="at-version"),
    ] = 0


class ReplaceResources(ChangeRequest, kw_only=True):
    """document: organizations by name, below the key "organization"."""

    document: dict[str, Any]


class ApplyResources(ReplaceResources, kw_only=True):
    """document: organizations by name, below the key "organization"."""

    add: Annotated[
        bool, Meta(description="Keep what an organization has and the document has not: its other fields and parts.")
    ] = False


@use_case(
    "GET /resources",
    scope=Scope.READ,
    visibility=Visibility.SEEN,
    tag="resources",
    versioned=True,
    result_document=_ALL,
)
def export_resources(context: Context, request: ExportResources) -> UseCaseReply[dict[str, Any]]:
    """All resources, as a resource file has them."""
    with context.config() as store:
        current, document = store.load()
        named = document.get("organization", {})
        if request.version:  # read after the others: what is changed in between is among what is put back
            named |= earlier_organizations(store, request.version)
    seen = {name: table for name, table in named.items() if table is not None and context.principal.sees(name)}
    return UseCaseReply({"organization": seen}, request.version or current)


@use_case("PATCH /resources", visibility=Visibility.SEEN, tag="resources", body=_ALL, **_CHANGE)
def apply_resources(context: Context, request: ApplyResources) -> UseCaseReply[ChangeReport]:
    """Apply.

    As `gatepost apply`: the organizations in the document become exactly what it says, others stay as they are. With
    add they keep what the document has not.
    """
    options = options_of(context, request)
    context.audit.name(*organizations_in(request.document)[0])
    result = apply_document(context.gateway, context.principal, request.document, options, adds=request.add)
    return change_reply(context, result)


@use_case("PUT /resources", visibility=Visibility.GATEWAY, tag="resources", body=_ALL, **_CHANGE)
def replace_resources(context: Context, request: ReplaceResources) -> UseCaseReply[ChangeReport]:
    """Replace all resources.

    Organizations that are not in the document are removed.
    """
    named, strange = organizations_in(request.document)
    context.audit.name(*named)

    def step(_: Resources, draft: dict[str, Any]) -> Edit:
        edit = Edit(tuple({**draft, **named}), errors=strange)
        draft.clear()
        draft.update(named)
        return edit

    return change_reply(
        context, change(context.gateway, context.principal, step, options_of(context, request), whole=True)
    )


# ------------------------------------------------------------------------------------------------ organizations


class ListOrganizations(Paging, kw_only=True):
    """Organizations."""

    defaults: Defaults = False


class GetOrganization(msgspec.Struct, kw_only=True):
    """One organization."""

    organization: _Organization
    defaults: Defaults = False


class AddOrganization(ChangeRequest, kw_only=True):
    """A new organization. document: its table, with its name and all its parts."""

    document: dict[str, Any]


class PutOrganization(ChangeRequest, kw_only=True):
    """An organization, new or not. document: its table, with all its parts."""

    organization: _Organization
    document: dict[str, Any]


class SetOrganization(ChangeRequest, kw_only=True):
    """A change of an organization. document: a merge patch of its own fields (RFC 7396)."""

    organization: _Organization
    document: dict[str, Any]


class RemoveOrganization(ChangeRequest, kw_only=True):
    """An organization that is to go."""

    organization: _Organization


@use_case("GET /organizations", scope=Scope.READ, visibility=Visibility.SEEN, versioned=True, result_document=_ONE)
def list_organizations(context: Context, request: ListOrganizations) -> Items[dict[str, Any]]:
    """The organizations, without their parts."""
    directory = context.directory()
    organizations = visible(directory.resources, context.principal).organizations

    def table(organization: Organization) -> dict[str, Any]:
        return shown(organization, defaults=request.defaults, without=_PARTS)

    return page_of(organizations, lambda organization: organization.name, request, table, directory.version)


@use_case("POST /organizations", visibility=Visibility.GATEWAY, body=_ONE, status=201, **_CHANGE)
def add_organization(context: Context, request: AddOrganization) -> UseCaseReply[ChangeReport]:
    """Add an organization."""
    name = text_in(request.document, "name")
    context.audit.name(name)
    fields = {key: value for key, value in request.document.items() if key != "name"}

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        if resources.organization(name):
            text = f"an organization {name!r} already exists; change it with `gatepost organization set`"
            raise Refusal(RefusalKind.BLOCKED, text)
        draft[name] = {}
        return organization_set(name, fields, draft)

    outcome = change(context.gateway, context.principal, step, options_of(context, request))
    return change_reply(context, outcome, location=_location(name))


@use_case(
    "GET /organizations/{organization}",
    scope=Scope.READ,
    visibility=Visibility.ORGANIZATION,
    versioned=True,
    result_document=_ONE,
)
def get_organization(context: Context, request: GetOrganization) -> UseCaseReply[dict[str, Any]]:
    """An organization with all its parts."""
    directory = context.directory()
    organization = visible(directory.resources, context.principal).organization(request.organization)
    if organization is None:
        raise Refusal(RefusalKind.MISSING, f"There is no organization {request.organization!r}.")
    return UseCaseReply(shown(organization, defaults=request.defaults), directory.version)


@use_case(
    "PUT /organizations/{organization}",
    visibility=Visibility.ORGANIZATION,
    body=Document(Organization, nameless=True),
    may_create=True,
    **_CHANGE,
)
def put_organization(context: Context, request: PutOrganization) -> UseCaseReply[ChangeReport]:
    """Make an organization exactly this, with all its parts."""
    name, table = request.organization, dict(request.document)
    if table.pop("name", name) != name:
        raise wrong_field(
            "name", "cannot be changed: file names and queued mail have it; leave it out", "1 error; nothing was done."
        )
    is_new = context.directory().resources.organization(name) is None
    document, options = {"organization": {name: table}}, options_of(context, request)
    outcome = apply_document(context.gateway, context.principal, document, options)
    return change_reply(context, outcome, location=_location(name) * is_new, created=is_new)


@use_case(
    "PATCH /organizations/{organization}",
    visibility=Visibility.ORGANIZATION,
    body=Document(Organization, whole=False),
    **_CHANGE,
)
def set_organization(context: Context, request: SetOrganization) -> UseCaseReply[ChangeReport]:
    """Change an organization's own fields.

    A merge patch (RFC 7396): null goes back to the default. Parts are changed one by one.
    """
    name = request.organization

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        choose_organization(resources, name)
        return organization_set(name, request.document, draft)

    return change_reply(context, change(context.gateway, context.principal, step, options_of(context, request)))


@use_case("DELETE /organizations/{organization}", visibility=Visibility.GATEWAY, **_CHANGE)
def remove_organization(context: Context, request: RemoveOrganization) -> UseCaseReply[ChangeReport]:
    """Remove an organization with all its parts."""  # a warning says how much mail of it is queued
    name = request.organization

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        choose_organization(resources, name)
        del draft[name]
        return Edit((name,), f"organization.{name}")

    outcome = change(context.gateway, context.principal, step, options_of(context, request))
    return change_reply(context, replace(outcome, warnings=[*_queued(context.gateway, name), *outcome.warnings]))


def _location(name: str) -> str:
    return f"/organizations/{quote(name, safe='')}"


def _queued(gateway: Gateway, name: str) -> list[str]:
    """Warn about queued mail of an organization that is removed: sentences, [] if there is none."""
    try:
        queue = gateway.storage.queue_admin()
        queued = queue.entries(QueueFilter(organization=name, limit=_COUNTED))
    except StoreFailure as failure:
        return [f"whether {name} has mail in the queue is not known: {failure}"]
    if not queued:
        return []
    number = quantity(len(queued), "delivery", "deliveries") + (" or more" if len(queued) == _COUNTED else "")
    text = (
        f"queued of {name}: {number}; without it they wait and go back to "
        "their senders when they expire, unless another organization accepts the recipients"
    )
    return [text]
