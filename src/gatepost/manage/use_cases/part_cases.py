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
from gatepost.manage.use_cases.changing import ChangeOutcome, ChangeRequest, options_of, replied
from gatepost.manage.use_cases.declaration import Document, Items, Reply, UseCase, Visibility, use_case
from gatepost.manage.use_cases.pages import Selection
from gatepost.manage.use_cases.paging import Paging, page_of
from gatepost.manage.use_cases.parts import DKIM, DOMAIN, HOOK, INBOUND, ISSUER, MAILBOX, OUTBOUND, RULE
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.resource_tables import Defaults, shown, text_in
from gatepost.manage.use_cases.resources import PartName

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatepost.manage.use_cases.context import Context
    from gatepost.manage.use_cases.parts import PartKind


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


class PutPart(ChangeRequest, kw_only=True):
    """A part, new or not. document: its table; fields that it leaves out have their defaults."""

    organization: _Owner
    name: _Name
    document: dict[str, Any]


class SetPart(ChangeRequest, kw_only=True):
    """A change of a part. document: a merge patch of its table (RFC 7396)."""

    organization: _Owner
    name: _Name
    document: dict[str, Any]


class RemovePart(ChangeRequest, kw_only=True):
    """A part that is to go."""

    organization: _Owner
    name: _Name


class PartCases(NamedTuple):
    """What can be done with parts of one kind."""

    list: UseCase[ListParts, Items[dict[str, Any]]]
    add: UseCase[AddPart, Reply[ChangeOutcome]]
    get: UseCase[GetPart, Reply[dict[str, Any]]]
    put: UseCase[PutPart, Reply[ChangeOutcome]]
    set: UseCase[SetPart, Reply[ChangeOutcome]]
    remove: UseCase[RemovePart, Reply[ChangeOutcome]]


class _Offered(NamedTuple):
    """Where a kind is. plural: in the path of REST. pages: of the form that adds, those that change, and remove one."""

    plural: str
    kind: PartKind
    add_page: str = ""
    set_pages: tuple[str, ...] = ()
    remove_page: str = ""


def _cases(offered: _Offered) -> PartCases:
    """The use cases of one kind."""
    kind = offered.kind
    within = f"/organizations/{{organization}}/{offered.plural}"
    one, whole = f"{within}/{{name:path}}", Document(kind.model)
    common: dict[str, Any] = {"visibility": Visibility.ORGANIZATION, "tag": offered.plural.replace("_", " ")}
    reads = common | {"scope": Scope.READ, "versioned": True, "result_document": whole}
    changes = common | {"scope": Scope.CONNECTORS, "dry_run": True, "guarded": True, "versioned": True}
    label = f"{'an' if kind.label[0] in 'aeioO' else 'a'} {kind.label}"
    plural_label = "mailboxes" if kind is MAILBOX else f"{kind.label}s"

    def named(verb: str, text: str, function: Callable[[Context, Any], Any], *, many: bool = False) -> Any:
        function.__name__ = f"{verb}_{offered.plural if many else kind.key}"
        function.__doc__ = text
        return function

    def list_parts(context: Context, request: ListParts) -> Items[dict[str, Any]]:
        selection = Selection(organization=request.organization)
        found = resources.parts(context.gateway, context.principal, kind, selection)
        rows, table = found.rows, lambda part: shown(part.record, defaults=request.defaults)
        return page_of(rows, lambda part: part.name, request, table, found.version)

    def add_part(context: Context, request: AddPart) -> Reply[ChangeOutcome]:
        owner, name = request.organization, text_in(request.document, kind.identity)
        part, options = PartName(kind, owner, name), options_of(context, request)
        outcome = resources.add_part(context.gateway, context.principal, part, request.document, options)
        return replied(outcome, location=_location(offered.plural, part))

    def get_part(context: Context, request: GetPart) -> Reply[dict[str, Any]]:
        version = context.directory().version
        part = resources.part(context.gateway, context.principal, _named(kind, request))
        return Reply(shown(part.record, defaults=request.defaults), version)

    def put_part(context: Context, request: PutPart) -> Reply[ChangeOutcome]:
        part, table = _named(kind, request), request.document
        is_new = not _is_there(context, part)
        table = table if kind.identity in table else {kind.identity: part.name, **table}
        options = options_of(context, request)
        outcome = resources.put_part(context.gateway, context.principal, part, table, options)
        return replied(outcome, location=_location(offered.plural, part) * is_new, created=is_new)

    def set_part(context: Context, request: SetPart) -> Reply[ChangeOutcome]:
        part, options = _named(kind, request), options_of(context, request)
        return replied(resources.set_part(context.gateway, context.principal, part, request.document, options))

    def remove_part(context: Context, request: RemovePart) -> Reply[ChangeOutcome]:
        part, options = _named(kind, request), options_of(context, request)
        return replied(resources.remove_part(context.gateway, context.principal, part, options))

    has_add = kind is not DKIM  # `gatepost dkim add` makes a key

    def offers(verb: str, *pages: str) -> dict[str, Any]:
        commands = (f"{kind.command} {verb}",) if verb != "add" or has_add else ()
        return {"commands": commands, "pages": tuple(filter(None, pages))}

    return PartCases(
        use_case(f"GET {within}", **reads)(named("list", f"The {plural_label}.", list_parts, many=True)),
        use_case(f"POST {within}", body=whole, status=201, **changes, **offers("add", offered.add_page))(
            named("add", f"Add {label}.", add_part)
        ),
        use_case(f"GET {one}", **reads)(named("get", f"{label[0].upper()}{label[1:]}.", get_part)),
        use_case(f"PUT {one}", body=whole, may_create=True, **changes)(
            named("put", f"Make {label} exactly this.", put_part)
        ),
        use_case(
            f"PATCH {one}", body=Document(kind.model, whole=False), **changes, **offers("set", *offered.set_pages)
        )(named("set", f"Change {label}.\n\n{_PATCH}", set_part)),
        use_case(f"DELETE {one}", **changes, **offers("remove", offered.remove_page))(
            named("remove", f"Remove {label}, unless something needs it.", remove_part)
        ),
    )


def _named(kind: PartKind, request: GetPart | PutPart | SetPart | RemovePart) -> PartName:
    return PartName(kind, request.organization, request.name)


def _is_there(context: Context, part: PartName) -> bool:
    try:
        resources.part(context.gateway, context.principal, part)
    except Refusal as refusal:
        if refusal.kind is Kind.MISSING:
            return False
        raise
    return True


def _location(plural: str, part: PartName) -> str:
    return f"/organizations/{quote(part.organization, safe='')}/{plural}/{quote(part.name, safe='')}"


def _in_folder(plural: str, kind: PartKind, folder: str) -> _Offered:
    """A kind whose pages are those of `manage.pages.resources`."""
    one = "{organization}/{name:path}"
    return _Offered(plural, kind, f"/{folder}/new", (f"/{folder}/edit/{one}",), f"/{folder}/view/{one}")


def _connector(direction: str, kind: PartKind) -> _Offered:
    one = f"{{organization}}/{direction}/{{name:path}}"
    page = f"/connectors/{one}"
    return _Offered(f"{direction}_connectors", kind, "/connectors/new", (f"/connectors/edit/{one}", page), page)


_DKIM_PAGE = "/dkim/view/{organization}/{name:path}"
PARTS: Mapping[str, PartCases] = {
    offered.kind.key: _cases(offered)
    for offered in (
        _in_folder("accepted_domains", DOMAIN, "domains"),
        _in_folder("mailboxes", MAILBOX, "mailboxes"),
        _connector("inbound", INBOUND),
        _connector("outbound", OUTBOUND),
        _in_folder("mail_flow_rules", RULE, "rules"),
        _in_folder("oauth_issuers", ISSUER, "issuers"),
        _in_folder("content_hooks", HOOK, "hooks"),
        _Offered("dkim_keys", DKIM, "", (_DKIM_PAGE,), _DKIM_PAGE),
    )
}
"""By the key of the kind."""

USE_CASES = tuple(one for cases in PARTS.values() for one in cases)
