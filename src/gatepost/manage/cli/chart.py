"""A TLS report as an SVG file: what protected the mail, day by day. Drawn by `manage.pages.svg`, as pages are. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.analysis.reports.pictures import span
from gatepost.analysis.reports.tls import Direction
from gatepost.manage.pages.report_charts import PROTECTIONS
from gatepost.manage.pages.svg import Series, document, stacked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.analysis.reports.tls import TlsReport


def chart_of(report: TlsReport) -> str:
    """The file. A day without mail has its place."""
    days = span(report.first, report.last)
    title = f"Mail by protection, {report.first} to {report.last} (UTC)"
    pictures = [
        (
            f"{direction}: messages by recipient",
            stacked(str(direction), days, _series(report, days, direction), str(direction)),
        )
        for direction in Direction
    ]
    return document(title, pictures, _series(report, days, Direction.OUTBOUND))


def _series(report: TlsReport, days: Sequence[str], direction: Direction) -> list[Series]:
    return [
        Series(
            name,
            tone,
            [report.days[day][direction][protection] if day in report.days else 0 for day in days],
        )
        for protection, (name, tone) in PROTECTIONS.items()
    ]
