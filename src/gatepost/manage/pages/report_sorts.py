"""The columns by which the tables of reports can be sorted. A page has several tables, so that `?sort=` names both.

`?sort=blocked.attempts` is the table of `?table=blocked` by its attempts, "-" before it for descending. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gatepost.manage.pages.paging import by_fields
from gatepost.manage.pages.report_query import MOST_PARTS
from gatepost.manage.use_cases.paging import sorted_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gatepost.analysis.reports.pictures import Blocked, DayResult, HeatRow, Sums
    from gatepost.analysis.reports.tls_ready import Ready
    from gatepost.manage.use_cases.evidence import Head
    from gatepost.manage.use_cases.paging import Columns
    from gatepost.manage.use_cases.tls_reports import ReceivedSums, ReportedFailure, SentReportState

    type HeatLine = tuple[HeatRow, Sequence[tuple[DayResult, str]]]


_SUMS: Final[Columns[Sums]] = by_fields("name", "direction", "carried", "cleartext", "refused", "failed") | {
    "share": lambda sums: sums.cleartext / sums.carried if sums.carried else None,
    "post-quantum": lambda sums: sums.post_quantum / sums.carried if sums.carried else None,
}
_BLOCKED: Final[Columns[Blocked]] = by_fields("domain", "sources", "attempts", "returned", "last")
_NEVER: Final[Columns[tuple[str, int]]] = {"domain": lambda row: row[0], "messages": lambda row: row[1]}
_SUITES: Final[Columns[tuple[str, int]]] = {"suite": lambda row: row[0], "count": lambda row: row[1]}
_READY: Final[Columns[tuple[Ready, str]]] = {
    "partner": lambda row: row[0].partner,
    "direction": lambda row: "inbound" if row[0].inbound else "outbound",
    "messages": lambda row: row[0].messages,
    "requirement": lambda row: row[0].demand,
}
_RECEIVED: Final[Columns[ReceivedSums]] = by_fields("reporter", "domain", "policy", "reports", "failed") | {
    "success": lambda sums: sums.passed / all_ if (all_ := sums.passed + sums.failed) else None,
}
_FAILURES: Final[Columns[ReportedFailure]] = {
    "day": lambda failure: failure.begin,
    "reporter": lambda failure: failure.reporter,
    "domain": lambda failure: failure.domain,
    "result": lambda failure: failure.failure.result,
    "sessions": lambda failure: failure.failure.sessions,
    "from": lambda failure: failure.failure.sending_address,
    "to": lambda failure: failure.failure.mx_host or failure.failure.receiving_address,
}
_SENT: Final[Columns[SentReportState]] = by_fields("day", "domain", "state", to="rua", attempts="tries")


def _protection(place: int) -> Callable[[HeatLine], int | None]:
    """By the least protected mail of a part of the period, the weakest first; without mail, last."""
    return lambda line: -line[1][place][0] or None if place < len(line[1]) else None


_HEAT: Final[Columns[HeatLine]] = {
    "name": lambda line: line[0].name,
    "carried": lambda line: line[0].carried,
    **{str(place): _protection(place) for place in range(MOST_PARTS)},
}
_HEADS: Final[Columns[Head]] = {"day": lambda head: head.day}

_SORTS: Final[Mapping[str, Columns[Any]]] = {
    "cleartext": _SUMS,
    "partners": _SUMS,
    "connectors": _SUMS,
    "heat": _HEAT,
    "blocked": _BLOCKED,
    "never-tls": _NEVER,
    "ready": _READY,
    "suites": _SUITES,
    "received": _RECEIVED,
    "received-failures": _FAILURES,
    "sent": _SENT,
    "heads": _HEADS,
}
_KEYS: Final = {table: {f"{table}.{column}": of for column, of in columns.items()} for table, columns in _SORTS.items()}
_NAMES: Final = frozenset().union(*_KEYS.values())


def report_order(text: str) -> str:
    """The order that an address asks for, "" for none that a table has."""
    return text if text.removeprefix("-") in _NAMES else ""


def ordered[T](sort: str, table: str, rows: Iterable[T]) -> list[T]:
    """Rows of a table in such an order; as they are if it is that of another table."""
    return sorted_by(rows, sort, _KEYS[table])
