"""The tables of the reports as columns and rows: for CSV and JSON, and for the print view. Pure.

The names of the columns are the keys in JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gatepost.analysis.reports.tls import Direction, Protection
from gatepost.manage.pages import report_charts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from gatepost.analysis.reports.pictures import Sums, TlsPictures
    from gatepost.manage.pages.report_charts import Chart
    from gatepost.manage.pages.report_query import ReportView


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
