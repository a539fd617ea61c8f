"""Reports on how mail was protected, counted from the message trace.

A principal limited to some organizations finds their mail counted. A command and REST have it counted at once. For
pages it is counted in the background, once, and further on as the trace grows (`ReportCounts`). What others report of
it, and what we report to others: `tls_reports`.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from gatepost.analysis.reports.pictures import PictureCounter, TlsPictures
from gatepost.analysis.reports.tls import TlsCounter, TlsReport, Wanted, report_record
from gatepost.decoding import converted
from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.declaration import Cli, Visibility, use_cases
from gatepost.manage.use_cases.jobs import (
    FRESH,
    BackgroundResult,
    BackgroundResults,
    ConcurrencyLimit,
    crowded_out,
)
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, wrong_field
from gatepost.protocols.tls.names import normalise
from gatepost.store.storage import Storage
from gatepost.store.trace import HOUR, Flow, HourCounts, TracePart, tally_days, tally_part
from gatepost.times import day_text
from gatepost.values import replace

if TYPE_CHECKING:
    from gatepost.manage.use_cases.context import Context
    from gatepost.settings.model import Settings


_log = logging.getLogger(__name__)

_WORTH: Final = 20.0  # an answer that took a second to find is good enough for so many
_KEPT: Final = 4  # questions whose sums are kept: some ten megabytes each where there are many partners


class CountRequest(NamedTuple):
    """A count over days. first, last: UTC days."""

    wanted: Wanted
    first: str
    last: str


class _Start(NamedTuple):
    """Progress of counting one part of the trace. state: by `Trace.parts`."""

    state: object
    rows: int


@dataclass(slots=True)
class _Sums:
    """Sums kept for one request."""

    counter: PictureCounter
    parts: dict[TracePart, _Start] = field(default_factory=dict)
    pictures: TlsPictures | None = None


class ReportCounts:
    """The counts of one trace, got by `Context.kept`. For any thread.

    fresh: seconds for which a count is good enough. counting: held while somebody counts, who is the only one.
    of_one: held before it by calls, so that one user or tenant does not stand there many times.
    answers: whatever else is worked out behind pages, in turn with the counting.
    """

    def __init__(self, settings: Settings, fresh: float = FRESH) -> None:
        self.counting = Lock()
        self.of_one = ConcurrencyLimit(
            _ASKERS, 1, "other reports are being counted; ask again when one of them is done"
        )
        self.answers = BackgroundResults(self.counting, worth=_WORTH)
        self._trace = Storage.of(settings).trace()
        self._behind = BackgroundResults(self.counting, kept=_KEPT, fresh=fresh)
        self._sums: OrderedDict[CountRequest, _Sums] = OrderedDict()

    def of(self, user: str, question: CountRequest, wait: float) -> BackgroundResult[TlsPictures] | None:
        """The counts, None if there are none yet. user, wait: as of `BackgroundResults.of`.

        Raises Refusal (UNREADABLE) if it cannot be counted.
        """
        return self._behind.of(user, question, partial(self._pictures, question), wait)

    def _pictures(self, question: CountRequest) -> TlsPictures:
        """On the thread that counts. What fails is counted from the beginning the next time."""
        sums = self._sums.pop(question, None) or _none(question)
        try:
            sums, pictures = self._counted(question, sums)
        except Exception as error:
            _log.exception("the message trace cannot be counted")
            text = "The message trace could not be counted; the gateway's log says why."
            raise Refusal(RefusalKind.UNREADABLE, text) from error
        self._sums[question] = sums
        while len(self._sums) > _KEPT:
            del self._sums[crowded_out({kept: kept.wanted.organizations for kept in self._sums})]
        return pictures

    def _counted(self, question: CountRequest, known: _Sums) -> tuple[_Sums, TlsPictures]:
        """Count what was added since the last time; everything, if something was removed."""
        parts = self._trace.parts(question.first, question.last)
        if not known.parts.keys() <= parts.keys():
            known = _none(question)
        before, unreadable = dict(known.parts), list[str]()
        for part, state in parts.items():
            start = known.parts.get(part)
            if start is not None and start.state == state:
                continue
            after = start.rows if start is not None else 0
            counted = tally_part(self._trace, part, after, unreadable)
            if counted is None:
                continue
            rows, kinds = counted
            if rows < after:  # another part of that name
                return self._counted(question, _none(question))
            known.counter.add(part.day, kinds)
            known.parts[part] = _Start(state, rows)
        if known.pictures is None or known.parts != before or known.pictures.unreadable != tuple(unreadable):
            known.pictures = known.counter.pictures(unreadable)
        return known, known.pictures


def _none(question: CountRequest) -> _Sums:
    return _Sums(PictureCounter(*question))


use_case = use_cases(scope=Scope.READ, visibility=Visibility.SEEN, tag="reports")
DAYS: Final = 30
"""Of a period, if nothing else is said."""
LONGEST: Final = 400
"""Days of a period, at most."""
MOST: Final = 10_000
"""Partners and domains in the lists of a report, at most."""
_DAY: Final = 86_400.0
_LATEST: Final = date(9998, 12, 31)
_PATIENCE: Final = 240.0  # seconds for one's turn
_ASKERS: Final = 100
_PARTNERS: Final = 20_000  # told apart where not all are asked for

type Text = Annotated[str, Meta(max_length=1000)]
type Day = Annotated[str, Meta(pattern=r"^(\d{4}-\d{2}-\d{2})?$", description="UTC day, 2026-11-24.")]


class Period(NamedTuple):
    """Whole UTC days, both included: "2026-11-24"."""

    first: str
    last: str

    @property
    def days(self) -> int:
        """Number of days."""
        return (date.fromisoformat(self.last) - date.fromisoformat(self.first)).days + 1

    @property
    def times(self) -> tuple[float, float]:
        """Seconds since 1970: the begin of the first day and the end of the last."""
        begin, end = (datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() for day in self)
        return begin, end + _DAY


def period(since: str = "", until: str = "", now: float | None = None) -> Period:
    """The days from one to another, as a person gives them; "" is today, and 30 days up to the last.

    now: seconds since 1970, for tests. Raises Refusal (INPUT), with the fields `since` and `until`.
    """
    last = _date("until", until or day_text(time.time() if now is None else now))
    first = _date("since", since) if since else date.fromordinal(max(1, last.toordinal() - DAYS + 1))
    if first > last:
        raise _wrong("since", f"{first} is after {last}, the last day")
    if (last - first).days >= LONGEST:
        raise _wrong("since", f"{first} to {last} are more than {LONGEST} days: choose fewer")
    return Period(first.isoformat(), last.isoformat())


def utc_day(field: str, text: str) -> str:
    """A day as "2026-11-24". Raises Refusal (INPUT), with the field."""
    return _date(field, text).isoformat()


def domain_name(field: str, text: str) -> str:
    """A domain as A-labels, "" for none. Raises Refusal (INPUT), with the field."""
    name = normalise(text) if text else ""
    if text and not name:
        raise _wrong(field, f"{text!r} is not a domain name")
    return name


# how mail was protected


class ReportPeriod(msgspec.Struct, kw_only=True):
    """Whole UTC days, both included; without them, 30 days up to today."""

    since: Day = ""
    until: Day = ""
    organization: Annotated[Text, Cli(help="Only mail of this organization.")] = ""


class GetTlsReport(ReportPeriod, kw_only=True):
    """Filters of a report. partner: a domain. top: partners and domains in the lists, at most."""

    partner: Annotated[Text, Cli(metavar="DOMAIN", help="Only mail of this partner's domain.")] = ""
    connector: Annotated[Text, Cli(help="Only mail by this connector.")] = ""
    at_least: Annotated[
        int,
        Meta(ge=1, le=1_000_000, description="Deliveries of a ready partner."),
        Cli(help="Minimum number of deliveries of a ready partner. Default: 10."),
    ] = 10
    top: Annotated[int, Meta(ge=1, le=MOST, description="Partners and domains in the lists, at most.")] = 100


class GetTlsPictures(ReportPeriod, kw_only=True):
    """Period of the charts. wait: seconds to wait for a first count."""

    wait: Annotated[float, Meta(ge=0, le=60)] = 0.0


class TlsHops(msgspec.Struct, kw_only=True):
    """Rows, one for each recipient and hop. carried: of mail that went. The others: of them, by name."""

    carried: int
    post_quantum: int
    trusted: int
    refused: int
    protections: dict[str, int]
    versions: dict[str, int]
    groups: dict[str, int]
    suites: dict[str, int]
    failures: dict[str, int]


class TlsNamed(TlsHops, kw_only=True):
    """Those of a partner's domain or of a connector, in one direction."""

    name: str
    direction: str


class TlsDomain(msgspec.Struct):
    """A domain, and how much went there. messages: deliveries, one for each recipient and hop."""

    partner: str
    messages: int


class TlsReady(msgspec.Struct):
    """A partner of whom TLS could be demanded: the strictest demand that all mail would have met.

    messages: deliveries, one for each recipient and hop.
    """

    partner: str
    direction: str
    messages: int
    demand: str
    names: list[str]


class TlsReportSummary(msgspec.Struct):
    """As `gatepost report tls --json` prints it; `top` bounds the lists. unreadable: files that are not counted."""

    first: str
    last: str
    unreadable: list[str]
    hops: dict[str, TlsHops]
    days: dict[str, dict[str, dict[str, int]]]
    partners: list[TlsNamed]
    connectors: list[TlsNamed]
    never_tls: list[TlsDomain]
    ready: list[TlsReady]


class ConnectorReport(msgspec.Struct):
    """Mail by connector; "" is mail without one."""

    items: list[TlsNamed]


@use_case("GET /reports/tls")
def get_tls_report(context: Context, request: GetTlsReport) -> TlsReportSummary:
    """Report how mail was protected: counted now, which takes seconds the first time."""
    record = report_record(_report(context, request))
    return converted(record, TlsReportSummary)


@use_case("GET /reports/connectors")
def get_connector_report(context: Context, request: GetTlsReport) -> ConnectorReport:
    """Report the mail of each connector, and how it was protected."""
    record = report_record(_report(context, msgspec.structs.replace(request, partner="")))
    return converted({"items": record["connectors"]}, ConnectorReport)


@use_case()
def get_tls_pictures(context: Context, request: GetTlsPictures) -> BackgroundResult[TlsPictures] | None:
    """Count the data of charts; None while it is counted for the first time."""
    days = period(request.since, request.until)
    wanted = Wanted(request.organization, organizations=context.principal.organizations)
    question = CountRequest(wanted, *days)
    return context.kept(ReportCounts).of(context.principal.share_key, question, request.wait)


def _report(context: Context, request: GetTlsReport) -> TlsReport:
    """Counted now: some seconds for a million rows that were never counted before. One count runs at a time."""
    days = period(request.since, request.until)
    wanted = Wanted(
        request.organization,
        domain_name("partner", request.partner),
        request.connector,
        request.at_least,
        context.principal.organizations,
    )
    counter, top = TlsCounter(wanted), request.top
    unreadable: list[str] = []
    counts = context.kept(ReportCounts)
    with counts.of_one.slot(context.principal.share_key, _PATIENCE), counts.counting:
        for day, kinds in tally_days(context.storage.trace(), days.first, days.last, unreadable):
            counter.add(day, kinds)
            counter.shed(max(2 * top, _PARTNERS))
    tls_report = counter.report(days.first, days.last, unreadable)
    return replace(
        tls_report,
        partners=tls_report.partners[:top],
        never_tls=tls_report.never_tls[:top],
        ready=tls_report.ready[:top],
    )


def _date(field: str, text: str) -> date:
    try:
        result = date.fromisoformat(text)
    except ValueError:
        raise _wrong(field, f"{text!r} is not a day like 2026-11-24") from None
    if result > _LATEST:  # the day behind it must be one, too
        raise _wrong(field, f"no mail is of {text}: give a day up to {_LATEST}")
    return result


def _wrong(field: str, text: str) -> Refusal:
    return wrong_field(field, text, "This time or name cannot be used.")


_HOURS: Final = 24


class CountFlows(msgspec.Struct, kw_only=True):
    """organization: "" for all that are seen."""

    organization: Annotated[str, Meta(max_length=1000)] = ""


class FlowHour(msgspec.Struct):
    """Messages of the hour that begins then, seconds since 1970, by the protection of their connection."""

    begin: int
    event: Literal["SEND", "RECEIVE"]
    authenticated: int
    encrypted: int
    none: int


class Flows(msgspec.Struct):
    """The hours from `begin` on, those of each event in their order. counted: whether there is any message."""

    begin: int
    counted: bool
    hours: list[FlowHour]


def trace_hours(settings: Settings) -> HourCounts:
    """Hourly counts of the trace, kept between calls by `Context.kept`."""
    return Storage.of(settings).trace().hours()


@use_case()
def count_flows(context: Context, request: CountFlows) -> Flows:
    """Count mail received and sent in the last day, hour by hour, by its protection."""
    end = (int(time.time()) // HOUR + 1) * HOUR
    begin = end - _HOURS * HOUR
    seen, organization = context.principal.organizations, request.organization
    if organization:
        seen = frozenset({organization}) if context.principal.sees(organization) else frozenset()
    counted = context.kept(trace_hours).counted(begin, end, seen)
    levels = ("authenticated", "encrypted", "none")
    events: tuple[Literal["SEND", "RECEIVE"], ...] = ("SEND", "RECEIVE")
    hours = [
        FlowHour(hour, event, *(counted[Flow(hour, event, level)] for level in levels))
        for event in events
        for hour in range(begin, end, HOUR)
    ]
    return Flows(begin, bool(counted), hours)
