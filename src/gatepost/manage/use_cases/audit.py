"""The audit log: audit events and the changes of resources as one list, the newest first.

Events are with the accounts, changes in the history of the configuration; each entry says which of the two it is, and
leads to what was before and after. What belongs to organizations is there for who sees them.
"""

from __future__ import annotations

from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from gatepost.manage.access.actions import ACTIONS, action_name
from gatepost.manage.access.principal import Scope
from gatepost.manage.access.records import AuditEvent, AuditFilter, AuditOutcome
from gatepost.manage.use_cases.declaration import Items, Visibility, use_cases
from gatepost.manage.use_cases.differences import FieldChange
from gatepost.manage.use_cases.execution import CHANGE
from gatepost.manage.use_cases.name_lookup import instead
from gatepost.manage.use_cases.paging import After, Limit, cursor, position
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.times import read_time
from gatepost.manage.use_cases.users import ShortText  # noqa: TC001 - msgspec reads it
from gatepost.values import copy_fields

if TYPE_CHECKING:
    from gatepost.manage.use_cases.context import Context
    from gatepost.store.changes import Version


use_case = use_cases(scope=Scope.READ, visibility=Visibility.SEEN, tag="audit")
type _Time = Annotated[str, Meta(max_length=100)]
type _Number = Annotated[int, Meta(ge=0, lt=2**62)]


class AuditEntry(msgspec.Struct):
    """An action, done or refused, or a change of resources. at: seconds since 1970.

    event, version: which of the two it is, by its number; the other is null. who: "" is a log-in with a name that
    nobody has. address: "" is the command line. organization: "" is the gateway itself, or several organizations.
    organizations: of a change, how many. detail: of a change the note that its author gave.
    """

    at: float
    who: str
    address: str
    action: str
    organization: str
    subject: str
    outcome: AuditOutcome
    event: int | None
    version: int | None
    organizations: int | None
    detail: dict[str, Any]


class ListAudit(msgspec.Struct, kw_only=True):
    """Filters of the audit log; empty fields match all."""

    who: Annotated[ShortText, Meta(description='Only events of this user, token ("token NAME") or account.')] = ""
    action: Annotated[
        ShortText,
        Meta(description='Only events with this action: its name or label, such as user-set or "Change user".'),
    ] = ""
    organization: Annotated[
        ShortText | None, Meta(description="Only events of this organization; empty: those of the gateway itself.")
    ] = None
    subject: Annotated[
        ShortText, Meta(description="Only events with this text in their subject, in upper or lower case.")
    ] = ""
    outcome: Annotated[
        AuditOutcome | None,
        Meta(description="Only events with this outcome; begun: it still runs, or the gateway was killed."),
    ] = None
    since: Annotated[_Time, Meta(description="Only events since this time: 2h, 7d or a date (UTC).")] = ""
    until: Annotated[_Time, Meta(description="Only events before this time: 2h, 7d or a date (UTC).")] = ""
    changes: Annotated[bool, Meta(description="Also list changes of resources.")] = True
    before: Annotated[
        int,
        Meta(ge=0, lt=2**62, description="Only events with a number below this one; lists no changes of resources."),
    ] = 0
    limit: Limit = 100
    after: After = ""


class _Place(NamedTuple):
    """Where a page begins: before the event and the version of these numbers, 0 for the newest of each."""

    event: int = 0
    version: int = 0


@use_case("GET /audit/events")
def list_audit(context: Context, request: ListAudit) -> Items[AuditEntry]:
    """List the audit log: actions and every change of resources, the newest first."""
    wanted = copy_fields(
        AuditFilter,
        request,
        action=action_name(request.action),
        since=_time("since", request.since),
        until=_time("until", request.until),
    )
    place = _Place(*position(request.after, tuple[_Number, _Number])) if request.after else _Place(request.before)
    limit = min(request.limit, 999)
    events = _events(context, wanted, limit + 1, place.event)
    changes = _changes(context, wanted, limit + 1, place.version) if request.changes else []
    entries = list(islice(merge(events, changes, key=lambda event: -event.at), limit + 1))
    shown = entries[:limit]
    if not entries and wanted.action not in {"", CHANGE, *ACTIONS}:  # else nothing of the kind seems to have happened
        text = f"there is no action {request.action!r}; {instead(wanted.action, ACTIONS)}"
        raise Refusal(RefusalKind.INPUT, text)
    if len(entries) <= limit:
        return Items(shown)
    last_event = next((audit_entry.event for audit_entry in reversed(shown) if audit_entry.event), place.event)
    last_version = next((audit_entry.version for audit_entry in reversed(shown) if audit_entry.version), place.version)
    return Items(shown, cursor((last_event, last_version)))


class ShowAuditEvent(msgspec.Struct, kw_only=True):
    """event: its number."""

    event: int


@use_case()
def get_audit_event(context: Context, request: ShowAuditEvent) -> AuditEntry:
    """One event, as far as its organization is seen."""
    number = request.event
    events = []
    if 0 < number < 2**62:
        events = context.accounts.audit_events(context.principal, limit=1, before=number + 1)
    if not events or events[0].id != number:
        raise Refusal(RefusalKind.MISSING, f"there is no audit event {number}; they are kept for 400 days")
    return _entry(events[0])


def differences(entry: AuditEntry) -> list[FieldChange]:
    """Fields that an event changed, where it has values before or after."""
    if "before" not in entry.detail and "after" not in entry.detail:
        return []
    before, after = (_table(entry.detail.get(key)) for key in ("before", "after"))
    changes = []
    for name in {**before, **after}:
        was, now = before.get(name), after.get(name)
        sign = "+" if name not in before else "-" if name not in after else "~"
        if sign != "~" or was != now:
            changes.append(FieldChange(sign, name, was, now))
    return changes


def _time(field: str, text: str) -> float:
    return read_time(field, text) if text else 0.0


def _events(context: Context, audit_filter: AuditFilter, limit: int, before: int) -> list[AuditEntry]:
    return [
        _entry(audit_event)
        for audit_event in context.accounts.audit_events(context.principal, audit_filter, limit=limit, before=before)
    ]


def _entry(event: AuditEvent) -> AuditEntry:
    return copy_fields(AuditEntry, event, event=event.id, version=None, organizations=None)


def _changes(context: Context, audit_filter: AuditFilter, limit: int, before: int) -> list[AuditEntry]:
    if (
        audit_filter.action not in {"", CHANGE}
        or audit_filter.outcome not in {None, AuditOutcome.DONE}
        or audit_filter.organization == ""
    ):
        return []
    if audit_filter.subject:  # which they have not
        return []
    names = context.principal.organizations
    if audit_filter.organization:
        is_seen = context.principal.sees(audit_filter.organization)
        names = frozenset({audit_filter.organization}) if is_seen else frozenset()
    with context.config() as store:
        versions = store.versions(
            names=names,
            author=audit_filter.who,
            since=audit_filter.since,
            until=audit_filter.until,
            before=before,
            limit=limit,
        )
    return [_change(version) for version in versions]


def _change(version: Version) -> AuditEntry:
    return AuditEntry(
        version.at,
        version.author,
        "",
        CHANGE,
        "" if len(version.names) > 1 else version.names[0],
        f"revision {version.version}",
        AuditOutcome.DONE,
        None,
        version.version,
        len(version.names) or None,
        {"note": version.note} if version.note else {},
    )


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
