"""The resources: found, and changed all at once or one by one. The use cases of `resource_cases`, `part_cases` use it.

A principal that sees only some organizations finds and changes those, and makes and removes none. Fields are given as
values by key, as JSON has them; see `assignments`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from gatepost.manage.use_cases.assignments import merge
from gatepost.manage.use_cases.change import NOTHING, ChangeOptions, ChangeResult, Edit, change
from gatepost.manage.use_cases.name_lookup import (
    KINDS,
    OUTBOUND,
    Part,
    PartKind,
    choose_organization,
    choose_part,
    chosen_organizations,
    owner_of,
    visible,
)
from gatepost.manage.use_cases.paging import ListPage, ListSelection
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.policy.connectors.errors import FieldError, unknown_key
from gatepost.policy.connectors.records import Organization

if TYPE_CHECKING:
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.context import Gateway
    from gatepost.policy.connectors.resources import Resources


ALL = ListSelection()


class PartName(NamedTuple):
    """Name of a part, in any case. organization: "" where the name alone must be unique."""

    kind: PartKind
    organization: str
    name: str


type Fields = Mapping[str, Any]
"""Values by key: a merge patch (RFC 7396) of what is there, or a table."""

# ------------------------------------------------------------------------------------------------ looking


def seen(gateway: Gateway, principal: Principal) -> Resources:
    """All resources that who asks sees."""
    return visible(gateway.directory().resources, principal)


def organization(gateway: Gateway, principal: Principal, name: str) -> Organization:
    """The organization of that name. Raises Refusal (MISSING)."""
    return choose_organization(seen(gateway, principal), name)


def parts(gateway: Gateway, principal: Principal, kind: PartKind, selection: ListSelection = ALL) -> ListPage[Part]:
    """Parts of a kind, in the order of their organizations. Raises Refusal (MISSING) if that is not there."""
    directory = gateway.directory()
    return parts_in(visible(directory.resources, principal), kind, selection, directory.version)


def parts_in(resources: Resources, kind: PartKind, selection: ListSelection = ALL, version: int = 0) -> ListPage[Part]:
    """The same of resources at hand, which have that version."""
    owners = chosen_organizations(resources, selection.organization)
    rows = [
        Part(kind, owner, record) for owner in owners for record in kind.of(owner) if selection.names(kind.name(record))
    ]
    return selection.page(version, rows)


def part(gateway: Gateway, principal: Principal, part_name: PartName) -> Part:
    """The part of that name. Raises Refusal: MISSING if there is none, INPUT if it could be several."""
    return _chosen(seen(gateway, principal), part_name)


def _chosen(resources: Resources, part_name: PartName) -> Part:
    return choose_part(resources, part_name.kind, part_name.name, part_name.organization)


# ------------------------------------------------------------------------------------------------ the whole document


def apply_document(
    gateway: Gateway, principal: Principal, given: Mapping[str, Any], options: ChangeOptions, *, adds: bool = False
) -> ChangeResult:
    """Make the organizations that the document has exactly what it says; others stay as they are.

    adds: what an organization has and the document has not stays, too: its other fields and parts. A part that both
    have becomes what the document says.
    """
    named, strange = organizations_in(given)

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        for name in named:
            if not principal.is_of_gateway:
                choose_organization(resources, name)
            draft[name] = _added(draft.get(name), named[name]) if adds else named[name]
        return Edit(tuple(named), errors=strange)

    return change(gateway, principal, step, options, whole=not adds)


def _added(stored: dict[str, Any] | None, given: Any) -> Any:
    """The table of an organization with what is given in it, a part in place of that of the same name."""
    if stored is None or not isinstance(given, dict):
        return given
    joined = {**stored, **given}
    for key, kind in KINDS.items():
        both = stored.get(key), given.get(key)
        if all(isinstance(tables, list) for tables in both):
            joined[key] = _parts_added(kind, *both)  # type: ignore[arg-type] # they are lists
    return joined


def _parts_added(kind: PartKind, stored: list[Any], given: list[Any]) -> list[Any]:
    """Stored parts in their order, then new ones. What has no name yet is refused where all is checked."""

    def identity(part: Any) -> str | None:
        name = part.get(kind.identity) if isinstance(part, dict) else None
        return kind.one_form(name) if isinstance(name, str) else None

    named = {name: part for part in given if (name := identity(part)) is not None}
    known = {identity(part) for part in stored}
    kept = [named.get(identity(part) or "", part) for part in stored]
    return [*kept, *(part for part in given if identity(part) not in known)]


def organizations_in(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[FieldError]]:
    """The organizations of a document, and what it must not have. Raises Refusal (INPUT) if they are no table."""
    named = given.get("organization", {})
    if not isinstance(named, dict):
        raise Refusal(RefusalKind.INPUT, f"organization must be tables like [organization.contoso]; {NOTHING}")
    return named, [
        FieldError(str(key), unknown_key(str(key), ["organization"])) for key in given if key != "organization"
    ]


# ------------------------------------------------------------------------------------------------ parts


def add_part(
    gateway: Gateway, principal: Principal, part_name: PartName, fields: Fields, options: ChangeOptions
) -> ChangeResult:
    """A new part. Where no organization is named it is the one whose domain it is in, or the only one there is."""

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        owner = owner_of(resources, part_name.organization, domain_of(part_name.kind, part_name.name))
        return part_added(part_name.kind, owner.name, part_name.name, fields, draft)

    return change(gateway, principal, step, options)


def set_part(
    gateway: Gateway, principal: Principal, part_name: PartName, fields: Fields, options: ChangeOptions
) -> ChangeResult:
    """Change fields of a part; its others stay. With another name, mail flow rules that name a connector follow."""

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        return part_set(_chosen(resources, part_name), fields, draft)

    return change(gateway, principal, step, options)


def put_part(
    gateway: Gateway, principal: Principal, part_name: PartName, table: Mapping[str, Any], options: ChangeOptions
) -> ChangeResult:
    """Make a part, new or not, exactly what its table says; fields that it leaves out have their defaults."""

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        kind = part_name.kind
        owner = choose_organization(resources, part_name.organization)
        wanted = kind.one_form(part_name.name)
        match = next((candidate for candidate in kind.of(owner) if kind.name(candidate).lower() == wanted), None)
        if match is None:
            return part_added(kind, owner.name, part_name.name, table, draft)
        known = Part(kind, owner, match)
        draft[owner.name][kind.key][known.place] = {kind.identity: known.name}
        return part_set(known, table, draft)

    return change(gateway, principal, step, options)


def remove_part(gateway: Gateway, principal: Principal, part_name: PartName, options: ChangeOptions) -> ChangeResult:
    """Remove a part, unless another needs it."""

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        return part_removed(_chosen(resources, part_name), draft)

    return change(gateway, principal, step, options)


# ------------------------------------------------------------------------------------------------ steps


def organization_set(name: str, fields: Fields, draft: dict[str, Any]) -> Edit:
    """Change an organization's own fields in the draft."""
    table = draft[name]
    errors = merge(Organization, table, fields)
    if "name" in table:
        del table["name"]
        errors.append(
            FieldError("name", "cannot be changed, because file names and queued mail contain it; add a new one")
        )
    return Edit((name,), f"organization.{name}", errors=errors)


def part_added(kind: PartKind, owner: str, name: str, fields: Fields, draft: dict[str, Any]) -> Edit:
    """Append a part to the organization `owner` of the draft."""
    there: list[dict[str, Any]] = draft[owner].setdefault(kind.key, [])
    wanted = kind.one_form(name)
    if any(str(existing.get(kind.identity)).lower() == wanted for existing in there):
        change_it = f"change it with `gatepost {kind.command} set`"
        raise Refusal(RefusalKind.BLOCKED, f"{owner} already has the {kind.label} {name!r}; {change_it}; {NOTHING}")
    table: dict[str, Any] = {kind.identity: name}
    errors = merge(kind.model, table, fields)
    if table.get(kind.identity) != name:
        errors.append(FieldError(kind.identity, f"is given twice; leave out {kind.identity}="))
        table[kind.identity] = name
    there.append(table)
    return _edit(kind, owner, (len(there) - 1, name), errors)


def part_set(part: Part, fields: Fields, draft: dict[str, Any]) -> Edit:
    """Change a part in the draft, and the name of a connector where mail flow rules have it."""
    kind, owner = part.kind, part.organization.name
    table: dict[str, Any] = draft[owner][kind.key][part.place]
    errors = merge(kind.model, table, fields)
    name = table.get(kind.identity)
    for rule in _naming(part, draft[owner]) if name else ():
        rule["route_via_connector"] = name
    return _edit(kind, owner, (part.place, name), errors)


def part_removed(part: Part, draft: dict[str, Any]) -> Edit:
    """Take a part out of the draft. Raises Refusal (BLOCKED) if it is a connector that mail flow rules name."""
    kind, owner = part.kind, part.organization.name
    needed = f"{part.label} cannot be removed, it is needed by:"
    if naming := [rule["name"] for rule in _naming(part, draft[owner])]:
        rules = "\n".join(f"  mail flow rule {rule!r} of {owner}: route_via_connector" for rule in naming)
        raise Refusal(RefusalKind.BLOCKED, f"{needed}\n{rules}\nChange or remove these first; {NOTHING}")
    del draft[owner][kind.key][part.place]
    if not draft[owner][kind.key]:
        del draft[owner][kind.key]
    return Edit((owner,), f"organization.{owner}", needed=needed)


def _naming(part: Part, table: dict[str, Any]) -> list[dict[str, Any]]:
    """The mail flow rules of the draft that send messages by this connector."""
    if part.kind is not OUTBOUND:
        return []
    name = part.name.lower()
    return [rule for rule in table.get("mail_flow_rule", ()) if str(rule.get("route_via_connector")).lower() == name]


def _edit(kind: PartKind, owner: str, place: tuple[int, object], errors: list[FieldError]) -> Edit:
    index, name = place
    heading = f"organization.{owner}.{kind.key}[{index}]"
    return Edit(
        (owner,),
        heading if name is None else f"{heading} {name!r}",
        (f"{name!r}", f"{kind.label} {name} of {owner}"),
        errors,
    )


def domain_of(kind: PartKind, name: str) -> str:
    """The domain by which a new mailbox finds its organization; "" if it has none, and for other parts."""
    return kind.one_form(name).rpartition("@")[2] if kind.identity == "address" and "@" in name else ""
