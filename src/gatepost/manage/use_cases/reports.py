"""The reports as administrators see them: how mail was protected, what others report of it, what we reported.

Who sees only some organizations finds their mail counted, and the reports of others on their accepted domains; the TLS
reports that the gateway sends are about all mail to a partner, and for who sees the whole gateway. For one command
everything is read at once; for pages `pictures` has it counted behind them.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gatepost.analysis.reports.received import Wished, failed_there, reported
from gatepost.analysis.reports.tls import TlsCounter, Wanted
from gatepost.analysis.reports.tls_record import report_record
from gatepost.analysis.reports.tlsrpt import LEFT_TO_THE_SENDER, report_object, summaries, summary_of
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.report_counts import Question
from gatepost.policy.connectors.errors import FieldError
from gatepost.protocols.tls.names import normalise
from gatepost.store.interface import StoreFailure, TraceFilter
from gatepost.store.received_reports import read_reports
from gatepost.store.sent_reports import read_sent
from gatepost.store.session_counts import SESSIONS_DIRECTORY, counted_days
from gatepost.store.trace_files import day_of
from gatepost.store.trace_search import scan_trace
from gatepost.store.trace_tally import tally_trace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.analysis.reports.pictures import TlsPictures
    from gatepost.analysis.reports.received import FailedThere, Reported
    from gatepost.analysis.reports.tls import TlsReport
    from gatepost.analysis.reports.tlsrpt import DomainSummary
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.behind import Answered
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.store.received_reports import Kept
    from gatepost.store.sent_reports import SentReport


DAYS: Final = 30
"""Of a period, if nothing else is said."""
LONGEST: Final = 400
"""Days of a period, at most."""
_DAY: Final = 86_400.0
_LATEST: Final = date(9998, 12, 31)
_PARTNERS: Final = 20_000  # told apart where not all are asked for


class Period(NamedTuple):
    """Whole UTC days, both included: "2026-11-24"."""

    first: str
    last: str

    @property
    def days(self) -> int:
        """How many."""
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
    last = _date("until", until or day_of(time.time() if now is None else now))
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
        raise _wrong(field, f"{text!r} is no domain name")
    return name


# how mail was protected


def pictures(
    gateway: Gateway, who: Principal, wanted: Wanted, days: Period, wait: float
) -> Answered[TlsPictures] | None:
    """What the pictures are drawn from, as it was counted last; None while it is counted for the first time.

    wait: so many seconds for what is not there. Raises Refusal (UNREADABLE).
    """
    return gateway.counts.of(Question(_seen(who, wanted), *days), wait)


def tls_report(gateway: Gateway, who: Principal, wanted: Wanted, days: Period, most: int = 0) -> TlsReport:
    """All of it, counted now: some seconds for a million rows that were never counted before.

    most: partners and domains that are told apart at least, so that memory has a bound; 0 for all of them. One count
    of a gateway runs at a time.
    """
    counter = TlsCounter(_seen(who, wanted))
    unreadable: list[str] = []
    with gateway.counts.counting:
        for day, kinds in tally_trace(gateway.data / "trace", days.first, days.last, unreadable):
            counter.add(day, kinds)
            if most:
                counter.shed(max(2 * most, _PARTNERS))
    report = counter.report(days.first, days.last, unreadable)
    if most:
        return replace(
            report, partners=report.partners[:most], never_tls=report.never_tls[:most], ready=report.ready[:most]
        )
    return report


def connectors_record(report: TlsReport) -> list[dict[str, Any]]:
    """What each connector carried, for machines, as `gatepost report connectors --json` prints it."""
    found: list[dict[str, Any]] = report_record(report)["connectors"]
    return found


# what others report


class Received(NamedTuple):
    """Reports of others, and which of their policies are asked for. domains: those that are seen, None for all."""

    kept: list[Kept]
    wished: Wished

    def sums(self) -> list[Reported]:
        """By reporter, policy domain and policy; most failures first."""
        return reported(self.kept, self.wished)


def received(gateway: Gateway, who: Principal, wished: Wished, since: float, until: float) -> Received:
    """Reports about a time that lies between two times (seconds since 1970). Raises Refusal (UNREADABLE)."""
    try:
        kept = list(read_reports(gateway.data, since, until))
    except StoreFailure as failure:
        raise Refusal(Kind.UNREADABLE, str(failure)) from failure
    return Received(kept, replace(wished, domains=_domains(gateway, who)))


def received_sums(gateway: Gateway, who: Principal, wished: Wished, since: float, until: float) -> list[Reported]:
    """What others report, summed up. Raises as `received`."""
    return received(gateway, who, wished, since, until).sums()


def received_failed(gateway: Gateway, who: Principal, wished: Wished, since: float, until: float) -> list[FailedThere]:
    """Every failure that others report, with what our own trace has of its client. Raises as `received`."""
    return received_failures(gateway, who, received(gateway, who, wished, since, until))


def received_failures(gateway: Gateway, who: Principal, found: Received) -> list[FailedThere]:
    """Every failure that was reported, with what our own trace has of its client."""
    wished = found.wished
    addresses = {
        failure.sending_address for kept in found.kept for one in wished.policies(kept) for failure in one.failures
    } - {""}
    here: Counter[tuple[str, str]] = Counter()
    if addresses:
        reports = [one.report for one in found.kept]
        span = min(one.begin for one in reports), max(one.end for one in reports)
        wanted = TraceFilter(since=span[0], until=span[1], organizations=who.organizations)
        rows = scan_trace(gateway.data / "trace", wanted, ("event", "peer_address"), events=("RECEIVE", "REFUSE"))
        here.update((event, address) for event, address in rows if address in addresses)
    return list(failed_there(found.kept, wished, here))


def received_record(one: Reported) -> dict[str, Any]:
    """For machines, as `gatepost report received --json` prints it."""
    return asdict(one) | {"results": dict(one.results.most_common())}


def failures_record(one: FailedThere) -> dict[str, Any]:
    """For machines, as `gatepost report received --failures --json` prints it."""
    return asdict(one)


# what we report


class DaySessions(NamedTuple):
    """TLS sessions of a UTC day by policy domain. days: those of which there are counts, oldest first."""

    day: str
    found: list[DomainSummary]
    days: list[str]


def sessions(gateway: Gateway, who: Principal, day: str, domain: str = "") -> DaySessions:
    """TLS sessions of a UTC day, of all mail. Raises Refusal: UNREADABLE; FORBIDDEN to who sees not all."""
    _of_gateway(who)
    directory = gateway.data / SESSIONS_DIRECTORY
    try:
        return DaySessions(day, summaries(directory, day, domain), counted_days(directory))
    except StoreFailure as failure:
        raise Refusal(Kind.UNREADABLE, str(failure)) from failure


def sessions_record(one: DaySessions) -> dict[str, Any]:
    """For machines, as `gatepost report tlsrpt --json` prints it."""
    reports = [{"domain": domain.domain, "report": report_object(domain)} for domain in one.found]
    return {"day": one.day, "left_to_the_sender": list(LEFT_TO_THE_SENDER), "reports": reports, "days": one.days}


def sessions_of(record: Mapping[str, Any]) -> DaySessions:
    """What `sessions_record` tells. Raises ValueError or LookupError for what it never told."""
    day = str(record["day"])
    found = [summary_of(day, str(one["domain"]), one["report"]) for one in record["reports"]]
    return DaySessions(day, found, [str(one) for one in record["days"]])


def sent(gateway: Gateway, who: Principal, since: str, domain: str = "") -> list[SentReport]:
    """Which TLS reports of a UTC day or later went where, of all mail. Raises as `sessions`."""
    _of_gateway(who)
    try:
        return read_sent(gateway.data, since, lambda one: domain in {"", one.domain})
    except StoreFailure as failure:
        raise Refusal(Kind.UNREADABLE, str(failure)) from failure


def sent_record(one: SentReport) -> dict[str, Any]:
    """For machines, as `gatepost report sent --json` prints it."""
    return asdict(one)


def _of_gateway(who: Principal) -> None:
    if not who.is_of_gateway:
        raise Refusal(Kind.FORBIDDEN, "TLS reports of ours are about all mail, and you see some organizations only.")


def _seen(who: Principal, wanted: Wanted) -> Wanted:
    """What is wanted, of what is seen: of another organization there is nothing."""
    return replace(wanted, organizations=who.organizations)


def _domains(gateway: Gateway, who: Principal) -> frozenset[str] | None:
    """The accepted domains that count of who sees some organizations, None for who sees all."""
    if who.organizations is None:
        return None
    seen = (one for one in gateway.directory().organizations if who.sees(one.name))
    return frozenset(normalise(domain.name) for one in seen for domain in one.accepted_domains)


def _date(field: str, text: str) -> date:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise _wrong(field, f"{text!r} is no day like 2026-11-24") from None
    if found > _LATEST:  # the day behind it must be one, too
        raise _wrong(field, f"no mail is of {text}: give a day up to {_LATEST}")
    return found


def _wrong(field: str, text: str) -> Refusal:
    return Refusal(Kind.INPUT, "This time or name cannot be used.", [FieldError(field, text)])
