"""Limit what a tenant adds in a day to the records that nobody removes: history of resources, audit log, drills.

Used by `execution`, which every call passes, by `change`, which every change of resources passes, and by `drills`. Each
change keeps the organization as it was and as it is, each call an audit event, each drill its result: without a limit a
tenant fills the disk, and the gateway then accepts no mail for anybody. The last quarter is left to calls of persons,
such as holding a message or deleting it, which neither a program that runs on nor changes of a large organization are
to prevent. Principals of the gateway have no limit. It counts in this process alone.
"""

from __future__ import annotations

import math
import time
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.manage.use_cases.refusal import BusyRefusal, Refusal, RefusalKind
from gatepost.policy.connectors.units import format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatepost.manage.access.principal import Principal
    from gatepost.settings.model import Settings


AUDIT_EVENT: Final = 8192
"""Octets that a call counts with: the most that the details of its audit event take (`manage.access.audit_rows`)."""
RESERVE: Final = 65_536
"""Octets beyond its limit within which an organization can be changed, but gets no resource more.

The second half of them is for what lengthens no list either: so a connector can always be disabled.
"""
_DAY: Final = 86_400.0
_MINUTE: Final = 60


class RecordBudget:
    """The octets that each tenant has added lately, which count less from second to second: a day's worth in a day.

    ticks: seconds that never go back. For any thread.
    """

    def __init__(self, settings: Settings, *, ticks: Callable[[], float] = time.monotonic) -> None:
        self._most = settings.limits.tenant_records_per_day
        self._ticks = ticks
        self._spent: dict[str, tuple[float, float]] = {}  # octets, and when they were counted
        self._lock = Lock()

    def charge(self, principal: Principal, octets: int, *, is_call: bool = False) -> None:
        """Count what is about to be added. Raises BusyRefusal if the tenant has added as much as it may already.

        is_call: an audit event alone; a person's may take the last quarter of a day's worth, too.

        One addition may go beyond the limit, so that a large organization can be changed at all.
        """
        if principal.is_of_gateway or not principal.organizations or not self._most:
            return
        key, now = principal.share_key, self._ticks()
        most = self._most if is_call and principal.is_person else self._most * 3 // 4
        with self._lock:
            spent, at = self._spent.get(key, (0.0, now))
            spent = max(0.0, spent - (now - at) * self._most / _DAY)
            if spent < most:
                self._spent[key] = spent + octets, now
                return
        again = int((spent - most) * _DAY / self._most) + 1
        wait = again if again < 2 * _MINUTE else math.ceil(again / _MINUTE) * _MINUTE
        text = (
            f"Changes and calls of your organization have added {format_size(most)} to history and audit log in "
            f"a day, and more is not kept. Try again in {format_duration(wait)}, or ask the gateway's owner to raise "
            "[limits] tenant_records_per_day."
        )
        raise BusyRefusal(text, again)


def added_to_history(
    principal: Principal, stored: Mapping[str, Any], wanted: Mapping[str, Mapping[str, Any] | None], largest: int
) -> int:
    """Octets that a change of organizations adds to the history. Raises Refusal if a tenant may not store as much.

    stored, wanted: the organizations by name, before and after. largest: octets that a tenant's organization may have.
    """
    added = 0
    for name, table in wanted.items():
        before, after = _size(stored.get(name)), _size(table)
        is_larger = after > max(largest, before)
        if is_larger and not principal.is_of_gateway and after > _most(stored.get(name), table, largest):
            text = (
                f"organization {name} would have more than {format_size(largest)} of resources; store less, or ask "
                "the gateway's owner to raise [limits] organization_bytes"
            )
            raise Refusal(RefusalKind.INPUT, text)
        added += before + after
    return added


def _most(stored: Mapping[str, Any] | None, wanted: Mapping[str, Any] | None, largest: int) -> int:
    """Octets that a change may leave of an organization, beyond its limit where it has no resource more than before.

    Of one that has far more, as the gateway's owner may write it, they are rounded up in steps from there: so no number
    of changes gets on.
    """
    if _entries(wanted, of_tables=True) > _entries(stored, of_tables=True):
        return largest
    step = RESERVE if _entries(wanted) <= _entries(stored) else RESERVE // 2
    return largest + step * max(1, math.ceil((_size(stored) - largest) / step))


def _entries(value: object, *, of_tables: bool = False) -> int:
    """The entries of all lists. of_tables: those alone that are tables, such as connectors."""
    if isinstance(value, dict):
        return sum(_entries(field, of_tables=of_tables) for field in value.values())
    if not isinstance(value, list):
        return 0
    tables = [entry for entry in value if isinstance(entry, dict)]
    return len(tables if of_tables else value) + sum(_entries(table, of_tables=of_tables) for table in tables)


_MOST_RULES: Final = 1000
"""Mail flow rules of an organization, and texts that they look for in headers, as its own administrators may have."""


def check_rules(
    principal: Principal, stored: Mapping[str, Any], wanted: Mapping[str, Mapping[str, Any] | None]
) -> None:
    """Raise Refusal if a tenant would have more mail flow rules, or texts in them, than a worker looks through at once.

    All of them are tried on each message, while nobody else is served. The arguments are those of `added_to_history`.
    """
    if principal.is_of_gateway:
        return
    for name, table in wanted.items():
        had_rules, had_texts = _rules(stored.get(name))
        rules, texts = _rules(table)
        if rules > max(_MOST_RULES, had_rules):
            text = (
                f"organization {name} would have {rules} mail flow rules, and its own administrators may store "
                f"{_MOST_RULES}; store fewer, or ask the gateway's owner to store them"
            )
            raise Refusal(RefusalKind.INPUT, text)
        if texts > max(_MOST_RULES, had_texts):
            text = (
                f"the mail flow rules of organization {name} would have {texts} texts in header_contains, and its own "
                f"administrators may store {_MOST_RULES}; store fewer, or ask the gateway's owner to store them"
            )
            raise Refusal(RefusalKind.INPUT, text)


def _rules(table: Mapping[str, Any] | None) -> tuple[int, int]:
    """How many rules, and how many texts in them."""
    rules = [rule for rule in (table or {}).get("mail_flow_rule", ()) if isinstance(rule, dict)]
    return len(rules), sum(len(rule.get("header_contains", ())) for rule in rules)


def _size(table: Mapping[str, Any] | None) -> int:
    return 0 if table is None else len(msgspec.json.encode(table))
