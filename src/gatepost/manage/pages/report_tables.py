"""The tables of the reports as columns and rows: for CSV and JSON, and for the print view. Pure.

The names of the columns are the keys in JSON. A page has several tables: `?sort=blocked.attempts` is the table of
`?table=blocked` by its attempts, "-" before it turns it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gatepost.analysis.reports.tls import Direction, Protection, Ready
from gatepost.manage.pages import report_charts
from gatepost.manage.pages.paging import by_fields
from gatepost.manage.pages.report_charts import MOST_PARTS, Chart, ReportView
from gatepost.manage.use_cases.paging import Columns, sorted_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from gatepost.analysis.reports.pictures import Blocked, DayResult, HeatRow, Sums, TlsPictures
    from gatepost.analysis.reports.tlsrpt import ReceivedSums
    from gatepost.manage.use_cases.evidence import Head
    from gatepost.manage.use_cases.tls_reports import ReportedFailure, SentReportState

    type HeatLine = tuple[HeatRow, Sequence[tuple[DayResult, str]]]


# Names of columns stay the same when a label is worded anew.
_KEYS: Final = {
    "Unencrypted": "cleartext",
    "None (unencrypted)": "none:_cleartext",
    "Required name verified": "proved_a_demanded_name",
    "Trusted, not required": "trusted,_not_demanded",
}
_PROTECTIONS: Final = tuple(protection.value.replace("-", "_") for protection in Protection)


class ReportTable(NamedTuple):
    """columns: their names. rows: in any number."""

    columns: Sequence[str]
    rows: Iterable[Sequence[Any]]

    def records(self) -> Iterator[dict[str, Any]]:
        """For JSON."""
        return (dict(zip(self.columns, row, strict=True)) for row in self.rows)


def chart_table(chart: Chart) -> ReportTable:
    """A row for each part of the time: its days, and a number for each series."""
    columns = (
        "first",
        "last",
        *(_KEYS.get(column.name) or column.name.lower().replace(" ", "_") for column in chart.columns),
    )
    rows = (
        (part.first, part.last, *(column.values[place] for column in chart.columns))
        for place, part in enumerate(chart.parts)
    )
    return ReportTable(columns, list(rows))


def _named(what: str, sums: Iterable[Sums]) -> ReportTable:
    columns = (what, "direction", *_PROTECTIONS, "carried", "post_quantum", "refused", "tls_failures", "failures")
    return ReportTable(
        columns,
        [
            (
                *(totals.name, totals.direction.value, *totals.protections),
                *(totals.carried, totals.post_quantum, totals.refused, totals.failed),
                "; ".join(f"{name} {count}" for name, count in totals.failures),
            )
            for totals in sums
        ],
    )  # fmt: skip


def _cleartext(pictures: TlsPictures, _: ReportView) -> ReportTable:
    totals = [totals for direction in Direction for totals in pictures.in_clear(direction)]
    rows = [(totals.name, totals.direction.value, totals.cleartext, totals.carried) for totals in totals]
    return ReportTable(("partner", "direction", "cleartext", "carried"), rows)


def _heat(direction: Direction) -> Callable[[TlsPictures, ReportView], ReportTable]:
    def table(pictures: TlsPictures, _: ReportView) -> ReportTable:
        columns = ("partner", "carried", *pictures.days)
        rows = (
            (row.name, row.carried, *(day.name.lower().replace("_", "-") for day in row.days))
            for row in pictures.heat[direction]
        )
        return ReportTable(columns, list(rows))

    return table


def _blocked(pictures: TlsPictures, _: ReportView) -> ReportTable:
    columns = ("domain", "demanded_by", "attempts", "returned", "distinct_errors", "errors", "last_day")
    rows = [
        (row.domain, "; ".join(row.sources), row.attempts, row.returned, len(row.errors),
         "; ".join(f"{name} {count}" for name, count in row.errors), row.last)
        for row in pictures.blocked
    ]  # fmt: skip
    return ReportTable(columns, rows)


def _ready(pictures: TlsPictures, _: ReportView) -> ReportTable:
    columns = ("partner", "direction", "messages", "demand", "names")
    rows = (
        (row.partner, "inbound" if row.inbound else "outbound", row.messages, row.demand, "; ".join(row.names))
        for row in pictures.ready
    )
    return ReportTable(columns, list(rows))


TABLES: Final[Mapping[str, Callable[[TlsPictures, ReportView], ReportTable]]] = {
    "outbound": lambda pictures, view: chart_table(report_charts.by_protection(pictures, view, Direction.OUTBOUND)),
    "inbound": lambda pictures, view: chart_table(report_charts.by_protection(pictures, view, Direction.INBOUND)),
    "versions": lambda pictures, view: chart_table(report_charts.by_version(pictures, view)),
    "certificates": lambda pictures, view: chart_table(report_charts.by_certificate(pictures, view)),
    "key-exchange-outbound": lambda pictures, view: chart_table(
        report_charts.by_group(pictures, view, Direction.OUTBOUND)
    ),
    "key-exchange-inbound": lambda pictures, view: chart_table(
        report_charts.by_group(pictures, view, Direction.INBOUND)
    ),
    "cleartext": _cleartext,
    "heat-outbound": _heat(Direction.OUTBOUND),
    "heat-inbound": _heat(Direction.INBOUND),
    "partners": lambda pictures, _: _named("partner", pictures.partners),
    "connectors": lambda pictures, _: _named("connector", pictures.connectors),
    "blocked": _blocked,
    "suites": lambda pictures, _: ReportTable(("suite", "rows"), pictures.hops[Direction.INBOUND].suites.most_common()),
    "never-tls": lambda pictures, _: ReportTable(("partner", "messages"), pictures.never_tls),
    "ready": _ready,
}
"""By the name that `?table=` has."""

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
_FAILURES: Final[Columns[ReportedFailure]] = by_fields(
    "reporter", "domain", day="begin", result="failure.result", sessions="failure.sessions"
) | {
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
_SORT_KEYS: Final = {
    table: {f"{table}.{column}": of for column, of in columns.items()} for table, columns in _SORTS.items()
}
_NAMES: Final = frozenset().union(*_SORT_KEYS.values())


def report_order(text: str) -> str:
    """The order that an address asks for, "" for none that a table has."""
    return text if text.removeprefix("-") in _NAMES else ""


def ordered[T](sort: str, table: str, rows: Iterable[T]) -> list[T]:
    """Rows of a table in such an order; as they are if it is that of another table."""
    return sorted_by(rows, sort, _SORT_KEYS[table])
