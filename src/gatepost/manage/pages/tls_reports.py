"""TLS reports (RFC 8460) as a page: what others report of their sessions with us, and what we sent to others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from starlette.routing import Route

from gatepost.language import _
from gatepost.manage.pages.exports import wants_file
from gatepost.manage.pages.guard import every, not_there, principal_of
from gatepost.manage.pages.rendering import render
from gatepost.manage.pages.report_tables import ReportTable
from gatepost.manage.pages.reports import SHOWN, frame_of, received_in, table_file
from gatepost.manage.use_cases import tls_reports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.analysis.reports.tlsrpt import ReceivedSums
    from gatepost.manage.pages.report_charts import ReportView


_PATH: Final = "/reports/tls-rpt"


class _ReportLists(NamedTuple):
    """Reports about the days."""

    sums: list[ReceivedSums]
    failures: list[tls_reports.ReportedFailure]
    sent: list[tls_reports.SentReportState]


def _page(request: Request) -> Response:
    view, frame = frame_of(request, _PATH)
    report_lists = _found(request, view)
    if wants_file(request):
        name = request.query_params.get("table", "")
        if name not in _TABLES:
            raise not_there(_("There is no table of this name. Tables: %(value)s.", value=", ".join(_TABLES)))
        return table_file(request, name, _TABLES[name](report_lists))
    frame |= {"heading": _("TLS reports"), "part": "reports/tls_rpt.html", "counted": None, "shown": SHOWN}
    return render(request, "reports/page.html", block="report", **frame, **report_lists._asdict())


def _found(request: Request, view: ReportView) -> _ReportLists:
    received = received_in(view)
    sent: Iterable[tls_reports.SentReportState] = ()
    if principal_of(request).is_of_gateway:
        sent = every(request, tls_reports.list_sent_reports, tls_reports.ListSentReports(since=view.days.first))
    return _ReportLists(
        list(every(request, tls_reports.list_received_reports, received)),
        list(every(request, tls_reports.list_received_failures, received)),
        [state for state in sent if state.day <= view.days.last],
    )


def _sums(lists: _ReportLists) -> ReportTable:
    columns = ("reporter", "domain", "policy", "reports", "passed", "failed", "results")
    rows = [
        (sums.reporter, sums.domain, sums.policy, sums.reports, sums.passed, sums.failed, _words(sums.results))
        for sums in lists.sums
    ]
    return ReportTable(columns, rows)


def _failures(lists: _ReportLists) -> ReportTable:
    columns = ("reporter", "domain", "policy", "result", "sessions", "from", "to", "reason", "received", "refused")
    return ReportTable(columns, [_failure(failure) for failure in lists.failures])


def _failure(one: tls_reports.ReportedFailure) -> tuple[Any, ...]:
    failure, here = one.failure, one.here
    to = failure.mx_host or failure.receiving_address
    what = failure.result, failure.sessions, failure.sending_address, to, failure.reason
    return one.reporter, one.domain, one.policy, *what, *((here.received, here.refused) if here else ("", ""))


def _sent(lists: _ReportLists) -> ReportTable:
    columns = ("day", "domain", "to", "state", "tries", "mail", "detail")
    rows = [
        (state.day, state.domain, state.rua, state.state, state.tries, state.message, state.detail)
        for state in lists.sent
    ]
    return ReportTable(columns, rows)


def _words(counts: Mapping[str, int]) -> str:
    return "; ".join(f"{name} {count}" for name, count in counts.items())


_TABLES: Final[Mapping[str, Callable[[_ReportLists], ReportTable]]] = {
    "received": _sums,
    "received-failures": _failures,
    "sent": _sent,
}

ROUTES: Final = [Route(_PATH, _page)]
