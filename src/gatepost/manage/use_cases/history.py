"""History of the resources: who changed them, when and why, and each change field by field.

Reads the configuration store. An organization's changes are there for who sees the organization, and stay so when it is
gone.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.declaration import Items, Visibility, use_cases
from gatepost.manage.use_cases.differences import FieldChange, differences
from gatepost.manage.use_cases.paging import Paging, cursor, position
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, wrong_field
from gatepost.policy.connectors.grants import GRANT
from gatepost.values import copy_fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatepost.manage.use_cases.context import Context, Gateway
    from gatepost.manage.use_cases.name_lookup import Part
    from gatepost.store.changes import Change, ConfigStore


use_case = use_cases(scope=Scope.READ, visibility=Visibility.SEEN, tag="resources")
_STEP = 10
# a part, named as repr writes its name
_NAMED = re.compile(r"""(\w+)\[('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\]""")


def history(
    gateway: Gateway, principal: Principal, *, organization: str = "", limit: int = 20, before: int = 0
) -> list[Change]:
    """The newest changes first, each of one organization. before: only those of versions before this one, 0 for all."""
    names = [organization] if organization or principal.organizations is None else sorted(principal.organizations)
    with gateway.config() as store:
        matches = [
            change
            for name in names
            if principal.is_of_gateway or principal.sees(name)
            for change in store.history("organization", name, limit, before=before)
        ]
    return sorted(matches, key=lambda change: -change.version)[:limit]


class ListHistory(Paging, kw_only=True):
    """Of the history."""

    organization: Annotated[str, Meta(description="Only changes of this organization.")] = ""


class GetVersion(msgspec.Struct, kw_only=True):
    """One version. version: a number from 1 on."""

    version: str


class HistoryEntry(msgspec.Struct):
    """Changes of one version in one organization. at: seconds since 1970. changes: how many fields.

    summary: which parts.
    """

    version: int
    at: float
    author: str
    organization: str
    note: str
    changes: int
    summary: str


class HistoryVersion(msgspec.Struct):
    """One version and its changes. at: seconds since 1970."""

    version: int
    at: float
    author: str
    note: str
    changes: list[FieldChange]


class _Place(msgspec.Struct, array_like=True):
    """A version, and how many of its changes were shown."""

    version: Annotated[int, Meta(ge=1, lt=2**62)]
    seen: Annotated[int, Meta(ge=0, le=1_000_000)]


@use_case("GET /history")
def list_history(context: Context, request: ListHistory) -> Items[HistoryEntry]:
    """List changes of the resources with author, time and note, the newest first."""
    # A version may have changed several organizations, and a page may end between them.
    after = position(request.after, _Place) if request.after else None
    seen = after.seen if after else 0
    end = seen + request.limit
    changes = history(
        context.gateway,
        context.principal,
        organization=request.organization,
        limit=end + 1,
        before=after.version + 1 if after else 0,
    )
    last = changes[:end][-1].version if changes else 0
    behind = (
        cursor(_Place(last, sum(change.version == last for change in changes[:end]))) if len(changes) > end else None
    )
    return Items([history_entry(change) for change in changes[seen:end]], behind)


@use_case("GET /history/{version}")
def get_version(context: Context, request: GetVersion) -> HistoryVersion:
    """Show the changes of one version."""
    text = request.version
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text[:20]) < 2**63:
        raise Refusal(RefusalKind.MISSING, f"There is no version {text!r}; versions are numbers from 1.")
    change, changes = version_changes(context.gateway, context.principal, int(text))
    return HistoryVersion(change.version, change.at, change.author, change.note, changes)


class PartChange(NamedTuple):
    """One change of one part: who, when, why, and its fields before and after."""

    change: Change
    differences: list[FieldChange]


def part_history(gateway: Gateway, part: Part, *, limit: int = 5, within: int = 200) -> list[PartChange]:
    """The newest changes of a part by its present name, newest first. within: changes of its organization looked at.

    Who asks must see the organization.
    """
    key, name, owner = part.kind.key, part.name, part.organization.name
    part_changes: list[PartChange] = []
    before = 0
    while within > 0 and len(part_changes) < limit:
        with gateway.config() as store:
            changes = store.history("organization", owner, min(_STEP, within), before=before)
        for change in changes:
            old, new = (_part_of(table, key, part.kind.identity, name) for table in (change.before, change.after))
            if old != new:
                stored, wanted = ({owner: {key: [table]} if table else {}} for table in (old, new))
                part_changes.append(PartChange(change, differences({"organization": stored}, {"organization": wanted})))
        if len(changes) < _STEP:
            break
        before, within = changes[-1].version, within - len(changes)
    return part_changes[:limit]


def _part_of(table: dict[str, Any] | None, key: str, identity: str, name: str) -> dict[str, Any] | None:
    return next((candidate for candidate in (table or {}).get(key, ()) if candidate.get(identity) == name), None)


def version_changes(gateway: Gateway, principal: Principal, version: int) -> tuple[Change, list[FieldChange]]:
    """One change of a version, which has its time, author and note; and all that the version changed, as applied.

    Raises Refusal (MISSING) if there is no such version, or nothing of it to see.
    """
    changes: list[Change] = []
    if version > 0:  # the store takes 0 for all of them
        with gateway.config() as store:
            changes = [
                change
                for change in store.history("organization", limit=-1, version=version)
                if principal.sees(change.name)
            ]
    if not changes:
        raise Refusal(RefusalKind.MISSING, _no_version(gateway, principal, version))
    return changes[0], [difference for change in reversed(changes) for difference in differences_of(change)]


def earlier_organizations(store: ConfigStore, version: int, names: Iterable[str] | None = None) -> dict[str, Any]:
    """Organizations that were changed after a version, as they were then, by name; None if one was not there.

    names: only these; None is all. Raises Refusal (INPUT) for a version that is not there yet.
    """
    if version > (current := store.version()):
        text = f"there is no version {version} yet; the newest is {current}"
        raise wrong_field("version", text, "Nothing was done.")
    return store.earlier(version, names)


def _no_version(gateway: Gateway, principal: Principal, version: int) -> str:
    """Why a version is not there. Certificates are counted by the same numbers, and the trace and the log name them."""
    if version > 0 and principal.is_of_gateway:
        with gateway.config() as store:
            others = {change.kind for change in store.history(limit=-1, version=version)}
        if others == {GRANT}:
            return f"version {version} granted existing files and sockets, and changed no resources"
        if others:
            return (
                f"version {version} changed certificates, not resources: see their history, "
                "`gatepost certificate history`"
            )
    return f"there is no version {version}; `gatepost history` lists those there are"


def differences_of(change: Change) -> list[FieldChange]:
    """Differences of one change, field by field."""
    stored = {} if change.before is None else {change.name: change.before}
    return differences({"organization": stored}, {"organization": {change.name: change.after}})


def change_summary(change: Change) -> str:
    """Added, removed, or which parts are different: "outbound connector 'bank-out' changed; display_name changed"."""
    if change.before is None:
        return "added"
    if change.after is None:
        return "removed"
    return "; ".join(_counted(differences_of(change)))


def history_entry(change: Change) -> HistoryEntry:
    """The same as a list has it."""
    return copy_fields(
        HistoryEntry,
        change,
        organization=change.name,
        changes=len(differences_of(change)),
        summary=change_summary(change),
    )


def _counted(changes: Sequence[FieldChange]) -> list[str]:
    """Each resource that changed, and how."""
    result = []
    for place, group in groupby(changes, key=lambda change: _place(change.path)):
        members = list(group)
        whole = len(members) == 1 and members[0].path.endswith("]")
        said = {"+": f"{place} added", "-": f"{place} removed"}
        result.append(said.get(members[0].sign if whole else "~", f"{place} changed"))
    return result


def _place(path: str) -> str:
    """The resource that a path is in, less the organization: "outbound connector 'bank-out'", "message_expiration"."""
    rest = path.split(".", 2)[2]
    match = _NAMED.match(rest)
    return f"{match[1].replace('_', ' ')} {match[2]}" if match else rest
