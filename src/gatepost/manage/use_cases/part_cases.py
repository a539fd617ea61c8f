"""The parts of organizations as use cases: each kind listed, added, shown, replaced, changed and removed alike.

`PARTS` has the six use cases of each kind, all made by one function. Commands and pages read parts as records
(`resources.parts`), since they need more than a table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from urllib.parse import quote

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases import resources
from gatepost.manage.use_cases.change_shapes import ChangeReport, ChangeRequest, change_reply, options_of
from gatepost.manage.use_cases.declaration import Document, Items, UseCase, UseCaseReply, Visibility, use_case
from gatepost.manage.use_cases.name_lookup import DKIM, DOMAIN, HOOK, INBOUND, ISSUER, MAILBOX, OUTBOUND, RULE, PartKind
from gatepost.manage.use_cases.paging import ListSelection, Paging, page_of
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resource_cases import Defaults, shown, text_in
from gatepost.manage.use_cases.resources import PartName

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatepost.manage.use_cases.context import Context


type _Owner = Annotated[str, Meta(description="Whose it is.")]
type _Name = Annotated[str, Meta(description="Its name, of a mailbox its address, in any case.")]
_PATCH = "A merge patch (RFC 7396): what is left out stays, null goes back to the default, a list is taken whole."


class ListParts(Paging, kw_only=True):
    """Parts of an organization."""

    organization: _Owner
    defaults: Defaults = False


class GetPart(msgspec.Struct, kw_only=True):
    """One part."""

    organization: _Owner
    name: _Name
    defaults: Defaults = False


class AddPart(ChangeRequest, kw_only=True):
    """A new part. document: its table, with its name."""

    organization: _Owner
    document: dict[str, Any]


class RemovePart(ChangeRequest, kw_only=True):
    """A part that is to go."""

    organization: _Owner
    name: _Name


class PutPart(RemovePart, kw_only=True):
    """A part, new or not. document: its table; fields that it leaves out have their defaults."""

    document: dict[str, Any]


class SetPart(PutPart, kw_only=True):
    """A change of a part. document: a merge patch of its table (RFC 7396)."""


class PartCases(NamedTuple):
    """Use cases of one kind of part."""

    list: UseCase[ListParts, Items[dict[str, Any]]]
    add: UseCase[AddPart, UseCaseReply[ChangeReport]]
    get: UseCase[GetPart, UseCaseReply[dict[str, Any]]]
    put: UseCase[PutPart, UseCaseReply[ChangeReport]]
    set: UseCase[SetPart, UseCaseReply[ChangeReport]]
    remove: UseCase[RemovePart, UseCaseReply[ChangeReport]]


def _functions(kind: PartKind, plural: str) -> dict[str, Callable[[Context, Any], Any]]:
    """The functions of the use cases of one kind, by verb, without names."""

    def list_parts(context: Context, request: ListParts) -> Items[dict[str, Any]]:
        selection = ListSelection(organization=request.organization)
        parts = resources.parts(context.gateway, context.principal, kind, selection)
        rows, table = parts.rows, lambda part: shown(part.record, defaults=request.defaults)
        return page_of(rows, lambda part: part.name, request, table, parts.version)

    def add_part(context: Context, request: AddPart) -> UseCaseReply[ChangeReport]:
        owner, name = request.organization, text_in(request.document, kind.identity)
        context.audit.name(name)
        part, options = PartName(kind, owner, name), options_of(context, request)
        outcome = resources.add_part(context.gateway, context.principal, part, request.document, options)
        return change_reply(context, outcome, location=_location(plural, part))

    def get_part(context: Context, request: GetPart) -> UseCaseReply[dict[str, Any]]:
        version = context.directory().version
        part = resources.part(context.gateway, context.principal, _named(kind, request))
        return UseCaseReply(shown(part.record, defaults=request.defaults), version)

    def put_part(context: Context, request: PutPart) -> UseCaseReply[ChangeReport]:
        part, table = _named(kind, request), request.document
        is_new = not _is_there(context, part)
        table = table if kind.identity in table else {kind.identity: part.name, **table}
        options = options_of(context, request)
        outcome = resources.put_part(context.gateway, context.principal, part, table, options)
        return change_reply(context, outcome, location=_location(plural, part) * is_new, created=is_new)

    def set_part(context: Context, request: SetPart) -> UseCaseReply[ChangeReport]:
        part, options = _named(kind, request), options_of(context, request)
        return change_reply(
            context, resources.set_part(context.gateway, context.principal, part, request.document, options)
        )

    def remove_part(context: Context, request: RemovePart) -> UseCaseReply[ChangeReport]:
        part, options = _named(kind, request), options_of(context, request)
        return change_reply(context, resources.remove_part(context.gateway, context.principal, part, options))

    functions = (list_parts, add_part, get_part, put_part, set_part, remove_part)
    return dict(zip(PartCases._fields, functions, strict=True))


def _cases(kind: PartKind, plural: str) -> PartCases:
    """The use cases of one kind. plural: its name in the path of REST."""
    within = f"/organizations/{{organization}}/{plural}"
    item_path, whole, part = f"{within}/{{name:path}}", Document(kind.model), Document(kind.model, whole=False)
    common: dict[str, Any] = {"visibility": Visibility.ORGANIZATION, "tag": plural.replace("_", " ")}
    reads = common | {"scope": Scope.READ, "versioned": True, "result_document": whole}
    changes = common | {"scope": Scope.CONNECTORS, "dry_run": True, "guarded": True, "versioned": True}
    label = f"{'an' if kind.label[0] in 'aeioO' else 'a'} {kind.label}"
    does = _functions(kind, plural)

    def case(verb: str, route: str, text: str, **options: Any) -> Any:
        function = does[verb]
        function.__name__ = f"{verb}_{plural if verb == 'list' else kind.key}"
        function.__doc__ = text
        return use_case(route, **options)(function)

    return PartCases(
        case("list", f"GET {within}", "The mailboxes." if kind is MAILBOX else f"The {kind.label}s.", **reads),
        case("add", f"POST {within}", f"Add {label}.", body=whole, status=201, **changes),
        case("get", f"GET {item_path}", f"{label[0].upper()}{label[1:]}.", **reads),
        case("put", f"PUT {item_path}", f"Make {label} exactly this.", body=whole, may_create=True, **changes),
        case("set", f"PATCH {item_path}", f"Change {label}.\n\n{_PATCH}", body=part, **changes),
        case("remove", f"DELETE {item_path}", f"Remove {label}, unless something needs it.", **changes),
    )


def _named(kind: PartKind, request: GetPart | RemovePart) -> PartName:
    return PartName(kind, request.organization, request.name)


def _is_there(context: Context, part: PartName) -> bool:
    try:
        resources.part(context.gateway, context.principal, part)
    except Refusal as refusal:
        if refusal.kind is RefusalKind.MISSING:
            return False
        raise
    return True


def _location(plural: str, part: PartName) -> str:
    return f"/organizations/{quote(part.organization, safe='')}/{plural}/{quote(part.name, safe='')}"


PARTS: Mapping[str, PartCases] = {
    kind.key: _cases(kind, plural)
    for kind, plural in (
        (DOMAIN, "accepted_domains"),
        (MAILBOX, "mailboxes"),
        (INBOUND, "inbound_connectors"),
        (OUTBOUND, "outbound_connectors"),
        (RULE, "mail_flow_rules"),
        (ISSUER, "oauth_issuers"),
        (HOOK, "content_hooks"),
        (DKIM, "dkim_keys"),
    )
}
"""By the key of the kind."""
