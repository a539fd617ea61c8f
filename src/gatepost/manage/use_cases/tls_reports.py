"""TLS reports (RFC 8460): what others report of their sessions with us, and what we count and send to others.

Who sees only some organizations finds the reports of others on their accepted domains; the reports that the gateway
sends are about all mail to a partner, and for who sees the whole gateway.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta

from gatepost.analysis.reports import tlsrpt
from gatepost.decoding import converted
from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.declaration import Cli, Items, Visibility, use_cases
from gatepost.manage.use_cases.paging import Paging, page_of
from gatepost.manage.use_cases.refusal import RefusalKind, refusing
from gatepost.manage.use_cases.reports import DAYS, Day, Text, domain_name, period, utc_day
from gatepost.manage.use_cases.times import TimeText, read_time
from gatepost.newest import Newest
from gatepost.store.interface import StoreFailure, TraceFilter
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.manage.use_cases.context import Context
    from gatepost.settings.model import Settings
    from gatepost.store.sent_reports import SentReport, StoredReport
    from gatepost.store.session_counts import SessionCounts


use_case = use_cases(scope=Scope.READ, tag="reports")
_DAY: Final = 86_400.0
_KEPT: Final = 60.0  # seconds
_LISTS: Final = 4


# what others report


class ListReceivedReports(Paging, kw_only=True):
    """Filters of received reports. reporter: a part of its name."""

    since: Annotated[TimeText, Cli(metavar="TIME", help="Reports since this time: 7d or a date. Default: 30d.")] = ""
    until: Annotated[TimeText, Cli(metavar="TIME", help="Reports until this time.")] = ""
    domain: Annotated[Text, Cli(help="Only policies of this domain.")] = ""
    reporter: Annotated[Text, Cli(metavar="TEXT", help="Only reporters whose name contains this text.")] = ""
    result: Annotated[
        str,
        Meta(max_length=100, description="Of a failure (RFC 8460 section 4.3)."),
        Cli(metavar="TYPE", help="Only failures with this result (RFC 8460 section 4.3)."),
    ] = ""


class FailedSessions(msgspec.Struct):
    """Why sessions failed as their sender saw it; "" stands for what is not said."""

    result: str
    sessions: int
    sending_address: str
    mx_host: str
    helo: str
    receiving_address: str
    reason: str
    information: str


class ClientTrace(msgspec.Struct):
    """Messages, by recipient, of the same client in our own trace of that time."""

    received: int
    refused: int


class ReportedFailure(msgspec.Struct):
    """Sessions that failed by somebody's report. begin, end: of the report. here: null if no client is named."""

    begin: float
    end: float
    reporter: str
    domain: str
    policy: str
    failure: FailedSessions
    here: ClientTrace | None


class _LastLists:
    """Lists that were made for their first page, for the pages that follow it soon: reports and trace are read once."""

    def __init__(self, _: Settings) -> None:
        self._lists: Newest[Any, tuple[float, list[Any]]] = Newest(_LISTS)

    def of[T](self, what: str, context: Context, request: ListReceivedReports, work: Callable[[], list[T]]) -> list[T]:
        """what: the list is of. work: makes it."""
        question = msgspec.structs.astuple(msgspec.structs.replace(request, after="", limit=1))
        key = what, context.principal.organizations, question
        at, rows = self._lists.get(key) or (0.0, [])
        if not request.after or time.monotonic() > at + _KEPT:
            at, rows = time.monotonic(), work()
        self._lists.keep(key, (at, rows))
        return rows


@use_case("GET /reports/received", visibility=Visibility.SEEN)
def list_received_reports(context: Context, request: ListReceivedReports) -> Items[tlsrpt.ReceivedSums]:
    """List TLS reports of others about their sessions with us (RFC 8460), by reporter and policy."""
    rows = context.kept(_LastLists).of("sums", context, request, lambda: tlsrpt.reported(*_received(context, request)))
    return page_of(rows, lambda row: f"{row.reporter} {row.domain} {row.policy}", request, lambda row: row)


@use_case("GET /reports/received/failures", visibility=Visibility.SEEN)
def list_received_failures(context: Context, request: ListReceivedReports) -> Items[ReportedFailure]:
    """Every failure that others report, with what our own trace has of its client."""

    def work() -> list[tlsrpt.FailedThere]:
        kept, wished = _received(context, request)
        return list(tlsrpt.failed_there(kept, wished, _traced_clients(context, kept, wished)))

    rows = context.kept(_LastLists).of("failures", context, request, work)

    def name(failure: tlsrpt.FailedThere) -> str:
        return f"{failure.begin} {failure.reporter} {failure.domain} {failure.policy} {failure.failure.result}"

    return page_of(rows, name, request, _failure)


def _received(context: Context, request: ListReceivedReports) -> tuple[list[StoredReport], tlsrpt.ReportFilter]:
    """Reports about the time that is asked for, and which of their policies. Raises Refusal."""
    domain = domain_name("domain", request.domain)
    until = read_time("until", request.until) if request.until else time.time()
    since = read_time("since", request.since) if request.since else until - DAYS * _DAY
    with closing(context.gateway.storage.received_reports()) as reports:
        kept = list(reports.read(since, until))
    return kept, tlsrpt.ReportFilter(domain, request.reporter, request.result, _is_seen(context))


def _is_seen(context: Context) -> Callable[[str], bool] | None:
    """Whether a domain is accepted by an organization that somebody sees; None for who sees all."""
    principal = context.principal
    if principal.organizations is None:
        return None  # also where the resources cannot be read
    directory = context.directory()

    def is_seen(domain: str) -> bool:
        owner = directory.organization_of(domain)
        return owner is not None and principal.sees(owner.name)

    return is_seen


def _traced_clients(
    context: Context, kept: list[StoredReport], wished: tlsrpt.ReportFilter
) -> Counter[tuple[str, str]]:
    """Rows of our own trace about the clients that failed, by event and address."""
    policies = [policy for report in kept for policy in wished.policies(report)]
    addresses = {failure.sending_address for policy in policies for failure in policy.failures} - {""}
    here: Counter[tuple[str, str]] = Counter()
    if addresses:
        reports = [report.report for report in kept]
        span = min(report.begin for report in reports), max(report.end for report in reports)
        wanted = TraceFilter(since=span[0], until=span[1], organizations=context.principal.organizations)
        rows = context.storage.trace().scan(wanted, ("event", "peer_address"), events=("RECEIVE", "REFUSE"))
        here.update((event, address) for event, address in rows if address in addresses)
    return here


def _failure(failure: tlsrpt.FailedThere) -> ReportedFailure:
    return converted(failure, ReportedFailure, from_attributes=True)


# what we report


class ListSentReports(Paging, kw_only=True):
    """Filters of our own reports. since: a UTC day."""

    since: Day = ""
    domain: Annotated[Text, Cli(help="Only reports to this policy domain.")] = ""


class SentReportState(msgspec.Struct):
    """A TLS report of ours to one address; times in seconds since 1970, 0 for none."""

    day: str
    domain: str
    rua: str
    state: str
    tries: int
    first: float
    next: float
    tried: float
    detail: str
    message: str


class GetSessions(msgspec.Struct, kw_only=True):
    """Filters of counted sessions. day: today if it is empty."""

    day: Annotated[Day, Cli(metavar="YYYY-MM-DD", help="UTC day; default: today.")] = ""
    domain: Annotated[Text, Cli(help="Only the report to this domain.")] = ""


class DaySessions(msgspec.Struct):
    """Report objects of RFC 8460 section 4.4, without the fields that say who sends them. days: that have counts."""

    day: str
    left_to_the_sender: list[str]
    reports: list[dict[str, Any]]
    days: list[str]


@use_case("GET /reports/sent", visibility=Visibility.GATEWAY)
def list_sent_reports(context: Context, request: ListSentReports) -> Items[SentReportState]:
    """List the TLS reports that we sent, and where."""
    since = utc_day("since", request.since or period().first)
    domain = domain_name("domain", request.domain)
    with closing(context.gateway.storage.sent_reports()) as stored:
        reports = stored.read(since, lambda sent_report: domain in {"", sent_report.domain})
    return page_of(
        reports, lambda sent_report: f"{sent_report.day} {sent_report.domain} {sent_report.rua}", request, _sent
    )


@use_case("GET /reports/sessions", visibility=Visibility.GATEWAY)
def get_sessions(context: Context, request: GetSessions) -> DaySessions:
    """TLS sessions of a day by policy domain, as reports have them."""
    day = utc_day("day", request.day) if request.day else day_text(time.time())
    domain = domain_name("domain", request.domain)
    domain_summaries, days = counted_sessions(context.gateway.storage.session_counts(), day, domain)
    reports = [{"domain": summary.domain, "report": tlsrpt.report_object(summary)} for summary in domain_summaries]
    return DaySessions(day, list(tlsrpt.LEFT_TO_THE_SENDER), reports, days)


def counted_sessions(counts: SessionCounts, day: str, domain: str = "") -> tuple[list[tlsrpt.DomainSummary], list[str]]:
    """TLS sessions of a UTC day by policy domain; and the days of which there are counts, oldest first.

    Raises Refusal (UNREADABLE).
    """
    with refusing(RefusalKind.UNREADABLE, StoreFailure):
        return tlsrpt.summaries(counts, day, domain), counts.days()


def _sent(report: SentReport) -> SentReportState:
    return SentReportState(**msgspec.structs.asdict(report) | {"state": str(report.state)})
