"""Who changed the resources, when and why, and what each change was, field by field.

Reads the configuration store. An organization's changes are there for who sees the organization, and stay so when it is
gone.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from gatepost.manage.use_cases.differences import changes_record, differences
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.policy.connectors.grants import GRANT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.differences import FieldChange
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.manage.use_cases.parts import Part
    from gatepost.store.changes import Change


_STEP = 10
# a part, named as repr writes its name
_NAMED = re.compile(r"""\w+\[(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\]""")


def history(
    gateway: Gateway, who: Principal, *, organization: str = "", limit: int = 20, before: int = 0
) -> list[Change]:
    """The newest changes first, each of one organization. before: only those of versions before this one, 0 for all."""
    names = [organization] if organization or who.organizations is None else sorted(who.organizations)
    with gateway.config() as store:
        found = [
            change
            for name in names
            if who.is_of_gateway or who.sees(name)
            for change in store.history("organization", name, limit, before=before)
        ]
    return sorted(found, key=lambda one: -one.version)[:limit]


class PartChange(NamedTuple):
    """One change of one part: who, when, why, and its fields before and after."""

    change: Change
    differences: list[FieldChange]


def part_history(gateway: Gateway, part: Part, *, limit: int = 5, within: int = 200) -> list[PartChange]:
    """The newest changes of a part by its present name, newest first. within: changes of its organization looked at.

    Who asks must see the organization.
    """
    key, name, owner = part.kind.key, part.name, part.organization.name
    found: list[PartChange] = []
    before = 0
    while within > 0 and len(found) < limit:
        with gateway.config() as store:
            changes = store.history("organization", owner, min(_STEP, within), before=before)
        for one in changes:
            old, new = (_part_of(table, key, part.kind.identity, name) for table in (one.before, one.after))
            if old != new:
                stored, wanted = ({owner: {key: [table]} if table else {}} for table in (old, new))
                found.append(PartChange(one, differences({"organization": stored}, {"organization": wanted})))
        if len(changes) < _STEP:
            break
        before, within = changes[-1].version, within - len(changes)
    return found[:limit]


def _part_of(table: dict[str, Any] | None, key: str, identity: str, name: str) -> dict[str, Any] | None:
    return next((one for one in (table or {}).get(key, ()) if one.get(identity) == name), None)


def version_changes(gateway: Gateway, who: Principal, version: int) -> tuple[Change, list[FieldChange]]:
    """One change of a version, which has its time, author and note; and all that the version changed, as applied.

    Raises Refusal (MISSING) if there is no such version, or nothing of it to see.
    """
    found: list[Change] = []
    if version > 0:  # the store takes 0 for all of them
        with gateway.config() as store:
            found = [one for one in store.history("organization", limit=-1, version=version) if who.sees(one.name)]
    if not found:
        raise Refusal(Kind.MISSING, _no_version(gateway, who, version))
    return found[0], [one for change in reversed(found) for one in differences_of(change)]


def _no_version(gateway: Gateway, who: Principal, version: int) -> str:
    """Why a version is not there. Certificates are counted by the same numbers, and the trace and the log name them."""
    if version > 0 and who.is_of_gateway:
        with gateway.config() as store:
            others = {one.kind for one in store.history(limit=-1, version=version)}
        if others == {GRANT}:
            return f"version {version} granted what stood in resources already, and changed none"
        if others:
            return (
                f"version {version} changed certificates, and no resources: see their history, "
                "`gatepost certificate history`"
            )
    return f"there is no version {version}; `gatepost history` lists those there are"


def differences_of(change: Change) -> list[FieldChange]:
    """What a change was."""
    stored = {} if change.before is None else {change.name: change.before}
    return differences({"organization": stored}, {"organization": {change.name: change.after}})


def change_summary(change: Change) -> str:
    """Added, removed, or which parts are different: "outbound_connector['bank-out'] changed, display_name changed"."""
    if change.before is None:
        return "added"
    if change.after is None:
        return "removed"
    return ", ".join(_counted(differences_of(change)))


def change_record(change: Change) -> dict[str, Any]:
    """For machines. changes: how many fields. summary: which."""
    return {
        "version": change.version,
        "at": change.at,
        "author": change.author,
        "organization": change.name,
        "note": change.note,
        "changes": len(differences_of(change)),
        "summary": change_summary(change),
    }


def history_records(
    gateway: Gateway, who: Principal, *, organization: str = "", limit: int = 20
) -> list[dict[str, Any]]:
    """`history`, for machines."""
    return [change_record(one) for one in history(gateway, who, organization=organization, limit=limit)]


def version_record(change: Change, changes: Sequence[FieldChange]) -> dict[str, Any]:
    """The same of what `version_changes` says, with each field before and after."""
    head = {"version": change.version, "at": change.at, "author": change.author, "note": change.note}
    return head | {"changes": changes_record(changes)}


def version_records(gateway: Gateway, who: Principal, version: int) -> dict[str, Any]:
    """`version_changes`, for machines. Raises Refusal (MISSING)."""
    return version_record(*version_changes(gateway, who, version))


def _counted(changes: Sequence[FieldChange]) -> list[str]:
    """Each resource that changed, and how."""
    signs = {"+": "added", "-": "removed", "~": "changed"}
    found = []
    for place, group in groupby(changes, key=lambda one: _place(one.path)):
        members = list(group)
        whole = len(members) == 1 and members[0].path.endswith("]")
        found.append(f"{place} {signs[members[0].sign] if whole else 'changed'}")
    return found


def _place(path: str) -> str:
    """The resource that a path is in, less the organization: "outbound_connector['bank-out']", "message_expiration"."""
    rest = path.split(".", 2)[2]
    found = _NAMED.match(rest)
    return found[0] if found else rest
