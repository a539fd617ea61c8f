"""The rows of audit events: who did or tried what, when. Called by `manage.access.accounts` inside a transaction.

Kept for 400 days. An event that was begun gets its outcome in place; nothing else is ever changed. What strangers and
tenants can fill it with is bounded: of refused and failed ones the newest 10,000 of each who. Those that were done are
as many as there were changes, and calls of REST that are not safe, of which tenants have a number in a day
(`manage.use_cases.record_budget`).
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.decoding import from_json
from gatepost.manage.access.actions import present, spellings
from gatepost.manage.access.fields import cleaned
from gatepost.manage.access.records import AuditEvent, AuditFilter, AuditOutcome

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gatepost.manage.access.principal import Principal
    from gatepost.store.interface import DatabaseConnection


_DAY: Final = 86_400.0
_KEPT: Final = 400 * _DAY
_AT_ONCE: Final = 10 * _DAY  # of the oldest events that go at a time: a clock that is wrong for a day costs no more
_LAST: Final = 2**63 - 1  # the largest number that a column has
_REFUSED: Final = 10_000  # of each action, so that nobody pushes refused log-ins out by other requests
_MOST: Final = 1000  # rows of a page
_WHO, _ADDRESS, _ACTION, _ORGANIZATION, _SUBJECT = 128, 64, 64, 256, 512
_DETAIL: Final = 8192  # octets of JSON
_TEXT: Final = 1000
_ENTRIES: Final = 100
_DEPTH: Final = 4
_SELECT: Final = "SELECT id, at, who, address, action, organization, subject, outcome, detail FROM audit_event"
_INSERT: Final = (
    "INSERT INTO audit_event (who, address, action, organization, subject, outcome, detail, at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id"
)
_END: Final = (
    "UPDATE audit_event SET who = ?, address = ?, action = ?, organization = ?, subject = ?, outcome = ?, detail = ?"
    " WHERE id = ? AND outcome = 'begun'"
)
_LITERAL: Final = re.compile("[!%_]")  # what LIKE takes for more than itself
_SECRETS: Final = ("password", "secret", "code", "csrf", "cookie", "authorization", "private")


def write(connection: DatabaseConnection, event: AuditEvent) -> int:
    """One event more, or the outcome of one that was begun, which keeps its time; returns its id.

    What is too long of it is cut, and what is named like a secret is left out. Nobody pushes out what was begun.
    """
    who, action = cleaned(event.who, _WHO), cleaned(event.action, _ACTION)
    values = (
        who,
        cleaned(event.address, _ADDRESS),
        action,
        cleaned(event.organization, _ORGANIZATION),
        cleaned(event.subject, _SUBJECT),
        event.outcome.value,
        _encoded(event.detail),
    )
    kept = connection.execute(_END, (*values, event.id)) if event.id else 0
    number: int = event.id if kept else connection.value(_INSERT, (*values, event.at))
    if event.outcome in {AuditOutcome.REFUSED, AuditOutcome.FAILED}:
        connection.execute(
            "DELETE FROM audit_event WHERE id IN (SELECT id FROM audit_event WHERE who = ? AND action = ?"
            " AND outcome <> 'done' AND outcome <> 'begun' ORDER BY id DESC LIMIT ? OFFSET ?)",
            (who, action, _LAST, _REFUSED),
        )
    return number


def find(
    connection: DatabaseConnection, principal: Principal, audit_filter: AuditFilter, limit: int, before: int
) -> list[AuditEvent]:
    """The newest first, of the organizations that `principal` sees."""
    conditions: list[str] = []
    values: list[str | float] = []

    def narrow(condition: str, *chosen: str | float) -> None:
        conditions.append(condition)
        values.extend(chosen)

    def among(column: str, chosen: Collection[str]) -> None:
        narrow(f"{column} IN ({', '.join('?' * len(chosen))})" if chosen else "1 = 0", *chosen)

    if principal.organizations is not None:
        among("organization", sorted(principal.organizations))
    if before:
        narrow("id < ?", min(before, _LAST))
    if audit_filter.action:
        names = [cleaned(spelling, _ACTION) for spelling in spellings(audit_filter.action)]
        among("action", names)
    narrow("lower(subject) LIKE lower(?) ESCAPE '!'", _containing(audit_filter.subject))
    for column in ("who", "organization", "outcome"):
        if (value := getattr(audit_filter, column)) not in {"", None} or (column == "organization" and value == ""):
            narrow(f"{column} = ?", cleaned(str(value), _SUBJECT))
    if audit_filter.since:
        narrow("at >= ?", audit_filter.since)
    if audit_filter.until:
        narrow("at < ?", audit_filter.until)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    query = f"{_SELECT}{where} ORDER BY id DESC LIMIT ?"
    return [_event(row) for row in connection.rows(query, (*values, max(1, min(limit, _MOST))))]


def _containing(text: str) -> str:
    """The pattern of LIKE for what contains a text."""
    return f"%{_LITERAL.sub(r'!\g<0>', cleaned(text, _SUBJECT))}%"


def prune(connection: DatabaseConnection, now: float) -> int:
    """Remove what is too old, some days of it at a time; how many."""
    oldest: float | None = connection.value("SELECT min(at) FROM audit_event")
    if oldest is None:
        return 0
    return connection.execute("DELETE FROM audit_event WHERE at < ?", (min(now - _KEPT, oldest + _AT_ONCE),))


def _event(row: tuple[Any, ...]) -> AuditEvent:
    number, at, who, address, action, organization, subject, outcome, detail = row
    decoded = from_json(detail)
    return AuditEvent(number, at, who, address, present(action), organization, subject, AuditOutcome(outcome), decoded)


def _encoded(detail: Mapping[str, Any]) -> str:
    text = _json(_clean(detail, _DEPTH))
    return (
        text if len(text.encode()) <= _DETAIL else _json({"cut": sorted(cleaned(str(key), 64) for key in detail)[:100]})
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _clean(value: object, depth: int) -> object:
    """Clean a detail for storage: bounded, JSON only, and nothing that is named like a secret."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str) or depth == 0:
        text = str(value)
        return "..." if text.startswith("gp_") else cleaned(text, _TEXT)
    if isinstance(value, dict | MappingProxyType):
        entries = list(value.items())[:_ENTRIES]
        return {
            cleaned(str(key), 64): "..." if _is_secret(key, entry) else _clean(entry, depth - 1)
            for key, entry in entries
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(entry, depth - 1) for entry in list(value)[:_ENTRIES]]
    return cleaned(str(value), _TEXT)


def _is_secret(key: object, value: object) -> bool:
    return isinstance(value, str | bytes) and any(word in str(key).lower() for word in _SECRETS)
