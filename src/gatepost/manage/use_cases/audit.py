"""Who did what: the deeds of accounts and the changes of resources as one list, the newest first.

Deeds are in `access.db`, changes in the history of the configuration; each row says of which of the two it is, and
leads to what was before and after. What belongs to organizations is there for who sees them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import merge
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gatepost.manage.access.records import DeedFilter, Outcome
from gatepost.manage.use_cases.accounts import refusing
from gatepost.manage.use_cases.differences import FieldChange
from gatepost.manage.use_cases.refusal import Kind, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gatepost.manage.access.accounts import Accounts
    from gatepost.manage.access.actions import Action
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.access.records import Deed
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.store.changes import Version


CHANGE: Final[Action] = "change"
"""The action of a row that is a change of resources, and of a deed that is one which was refused."""
_AT_ONCE: Final = 500


class AuditPlace(NamedTuple):
    """Where a page begins: before the deed and the version of these numbers, 0 for the newest of each."""

    deed: int = 0
    version: int = 0


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A row. deed, version: which of the two it is; the other is 0. organizations: of a change, how many.

    organization: "" is the gateway itself, or several organizations. subject, detail: as the deed has them; of a change
    the note that its author gave.
    """

    at: float
    who: str
    address: str
    action: str
    organization: str
    subject: str
    outcome: Outcome
    deed: int = 0
    version: int = 0
    organizations: int = 0
    detail: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


def audit(  # noqa: PLR0913 - which of them, and how many
    gateway: Gateway,
    accounts: Accounts,
    who: Principal,
    wanted: DeedFilter,
    *,
    limit: int = 50,
    before: AuditPlace = AuditPlace(),  # noqa: B008 - it is immutable
    changes: bool = True,
) -> tuple[list[AuditEntry], AuditPlace | None]:
    """A page, and where the one behind it begins, None on the last. limit: 1 to 999. changes: of resources, too.

    Raises Refusal (UNREADABLE).
    """
    most = limit + 1
    with refusing():
        deeds = _deeds(accounts, who, wanted, most, before.deed)
    versions = _changes(gateway, who, wanted, most, before.version) if changes else []
    found = list(islice(merge(deeds, versions, key=lambda one: -one.at), most))
    shown = found[:limit]
    if len(found) <= limit:
        return shown, None
    last_deed = next((one.deed for one in reversed(shown) if one.deed), before.deed)
    last_version = next((one.version for one in reversed(shown) if one.version), before.version)
    return shown, AuditPlace(last_deed, last_version)


def every_entry(gateway: Gateway, accounts: Accounts, who: Principal, wanted: DeedFilter) -> Iterator[AuditEntry]:
    """All of it, read some at a time. Raises Refusal (UNREADABLE)."""
    place: AuditPlace | None = AuditPlace()
    while place is not None:
        found, place = audit(gateway, accounts, who, wanted, limit=_AT_ONCE, before=place)
        yield from found


def deed(accounts: Accounts, who: Principal, number: int) -> Deed:
    """One deed. Raises Refusal (MISSING) if it is not there, or not to be seen."""
    with refusing():
        found = accounts.deeds(who, limit=1, before=number + 1) if 0 < number < 2**62 else []
    if not found or found[0].id != number:
        raise Refusal(Kind.MISSING, f"there is no deed {number}; they are kept for 400 days")
    return found[0]


def deed_differences(one: Deed) -> list[FieldChange]:
    """What a deed changed, field by field, where it says what was before or after."""
    detail = one.detail
    if "before" not in detail and "after" not in detail:
        return []
    before, after = (_table(detail.get(key)) for key in ("before", "after"))
    found = []
    for name in {**before, **after}:
        was, now = before.get(name), after.get(name)
        sign = "+" if name not in before else "-" if name not in after else "~"
        if sign != "~" or was != now:
            found.append(FieldChange(sign, name, was, now))
    return found


def audit_entry_record(one: AuditEntry) -> dict[str, Any]:
    """For JSON. at: seconds since 1970. deed or version is null."""
    return {
        "at": one.at,
        "who": one.who,
        "address": one.address,
        "action": one.action,
        "organization": one.organization,
        "subject": one.subject,
        "outcome": one.outcome.value,
        "deed": one.deed or None,
        "version": one.version or None,
        "organizations": one.organizations or None,
        "detail": dict(one.detail),
    }


def _deeds(accounts: Accounts, who: Principal, wanted: DeedFilter, most: int, before: int) -> list[AuditEntry]:
    return [
        AuditEntry(
            *(one.at, one.who, one.address, one.action, one.organization, one.subject, one.outcome),
            deed=one.id,
            detail=one.detail,
        )
        for one in accounts.deeds(who, wanted, limit=most, before=before)
    ]


def _changes(gateway: Gateway, who: Principal, wanted: DeedFilter, most: int, before: int) -> list[AuditEntry]:
    if wanted.action not in {"", CHANGE} or wanted.outcome not in {None, Outcome.DONE} or wanted.organization == "":
        return []
    if wanted.subject:  # which they have not
        return []
    names = who.organizations
    if wanted.organization:
        names = frozenset({wanted.organization}) if who.sees(wanted.organization) else frozenset()
    with gateway.config() as store:
        found = store.versions(
            names=names, author=wanted.who, since=wanted.since, until=wanted.until, before=before, limit=most
        )
    return [_change(one) for one in found]


def _change(one: Version) -> AuditEntry:
    several = len(one.names) > 1
    return AuditEntry(
        *(one.at, one.author, "", CHANGE, "" if several else one.names[0], f"version {one.version}", Outcome.DONE),
        version=one.version,
        organizations=len(one.names),
        detail={"note": one.note} if one.note else {},
    )


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
