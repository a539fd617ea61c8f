"""A TLS report as an SVG file: what protected the mail, day by day. Drawn by `manage.pages.svg`, as pages are. Pure.

It is for people, so it is in the language of the terminal; CSV and JSON are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatepost.analysis.reports.pictures import span
from gatepost.analysis.reports.tls import Direction
from gatepost.language import in_language
from gatepost.manage.cli.output import _, language
from gatepost.manage.pages.report_charts import protections
from gatepost.manage.pages.svg import Series, document, stacked
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.use_cases.reports import TlsReportSummary


_HEADINGS: Final = {
    Direction.INBOUND: N_("inbound: messages by recipient"),
    Direction.OUTBOUND: N_("outbound: messages by recipient"),
}


def chart_of(report: TlsReportSummary) -> str:
    """The file. A day without mail has its place."""
    days = span(report.first, report.last)
    title = _("Mail by protection, %(first)s to %(last)s (UTC)", first=report.first, last=report.last)
    pictures = [
        (
            _(_HEADINGS[direction]),
            stacked(_(_HEADINGS[direction]), days, _series(report, days, direction), str(direction)),
        )
        for direction in Direction
    ]
    return document(title, pictures, _series(report, days, Direction.OUTBOUND))


def _series(report: TlsReportSummary, days: Sequence[str], direction: Direction) -> list[Series]:
    with in_language(language()):
        named = protections()
    return [
        Series(
            name,
            tone,
            [report.days[day][direction][protection] if day in report.days else 0 for day in days],
        )
        for protection, (name, tone) in named.items()
    ]
