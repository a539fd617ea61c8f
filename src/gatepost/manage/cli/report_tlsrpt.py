"""`gatepost report tlsrpt|send|sent|received`: reports of RFC 8460, of the sessions of a day and from others."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click
import msgspec

from gatepost.analysis.reports.tlsrpt import DomainSummary, ReceivedSums, report_object
from gatepost.manage.cli.options import (
    BAD_INPUT,
    MOMENT,
    NO,
    UNKNOWN,
    client,
    ending,
    fail,
    gateway_options,
    local_gateway,
)
from gatepost.manage.cli.output import _, ours, print_json, print_table, printable, printed_json, say
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.use_cases import tls_reports
from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.listener_checks import resolver_of
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.net.lookups.question import LookupFailed
from gatepost.net.lookups.tlsrpt import report_record
from gatepost.node.report_sending import reporter_of
from gatepost.protocols.dns.text_record import RecordError
from gatepost.protocols.tls.names import normalise
from gatepost.protocols.tlsrpt.outgoing import Outgoing, outgoing
from gatepost.protocols.tlsrpt.record import TlsRptRecord, record_name
from gatepost.store.interface import StoreFailure
from gatepost.store.sent_reports import SentState
from gatepost.store.storage import Storage
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gatepost.manage.use_cases.context import Gateway
    from gatepost.settings.model import Settings


_COLUMNS = ("domain", "policy", "policy domain", "passed", "failed", "result", "sessions", "host", "address", "reason")


@click.command()
@request_options(tls_reports.GetSessions)
@gateway_options
def tlsrpt(request: tls_reports.GetSessions) -> None:
    """Show TLS sessions of a day by policy domain, policy and result, as in TLS reports (RFC 8460).

    A session is an attempt to start TLS with one address; further messages on the same connection are not counted
    again. Each policy that a domain publishes (TLSA records, MTA-STS) is judged separately, even if mail was sent
    anyway: in testing mode, unencrypted, or with "TLS-Required: No". Counts are kept for 14 days, and are complete some
    seconds after the event. --json prints the report objects, without the fields that identify the sender.

    Exit codes: 0 there are sessions, 1 none were counted, 2 usage error, 3 the counts cannot be read.
    """
    sessions = client().call(tls_reports.get_sessions, request)
    if not printed_json(sessions) and sessions.reports:
        print_table(_COLUMNS, (row for report in sessions.reports for row in _rows(report["domain"], report["report"])))
    if not sessions.reports:
        _none(sessions.day, sessions.days, request.domain)


def counted(gateway: Gateway, day: str, domain: str) -> list[DomainSummary]:
    """Counts of a day, of one policy domain or ("") of all; ends the command if there are none."""
    summaries, days = tls_reports.counted_sessions(gateway.storage.session_counts(), day, domain)
    if not summaries:
        _none(day, days, domain)
    return summaries


def day_option(text: str) -> str:
    """A day that was given; ends the command with exit code 2 if it is none."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        fail(BAD_INPUT, "--day %(text)s is not a day; write it like 2026-11-24", text=repr(text))


def domain_option(text: str) -> str:
    """A domain that was given, as A-labels, "" for none; ends the command with exit code 2 if it is no name."""
    name = normalise(text) if text else ""
    if text and not name:
        fail(BAD_INPUT, "--domain %(text)s is not a domain name", text=repr(text))
    return name


def _none(day: str, days: list[str], domain: str) -> NoReturn:
    whose = _(" with %(domain)s", domain=domain) if domain else ""
    fail(NO, "no TLS sessions%(whose)s were counted on %(day)s; %(days)s", whose=whose, day=day, days=_there(days))


def _there(days: list[str]) -> str:
    if not days:
        return _("no day has counts")
    return _("there are counts of %(days)s", days=days[0]) + (_(" to %(days)s", days=days[-1]) if len(days) > 1 else "")


def _rows(domain: str, report: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    """A line for each failure of each policy; what belongs to the whole policy stands in its first one."""
    for judged in report["policies"]:
        policy, counts = judged["policy"], judged["summary"]
        of_policy = (domain, policy["policy-type"], policy["policy-domain"])
        sums = (counts["total-successful-session-count"], counts["total-failure-session-count"])
        failures = judged.get("failure-details", ())
        if not failures:
            yield (*of_policy, *sums, "", "", "", "", "")
        for failure in failures:
            where = (failure.get(name, "") for name in ("receiving-mx-hostname", "receiving-ip", "failure-reason-code"))
            yield (*of_policy, *sums, failure["result-type"], failure["failed-session-count"], *where)
            sums = ("", "")


_DAYS = 14 * 86400.0
_SENT_COLUMNS = ("day", "domain", "to", "state", "tries", "last try", "next try", "mail", "detail")


@click.command()
@click.option("--since", type=MOMENT, default=0.0, help="Reports since this day: 7d or a date. Default: 14d.")
@request_options(tls_reports.ListSentReports, since="")
@gateway_options
def sent(since: float, request: tls_reports.ListSentReports) -> None:
    """List TLS reports (RFC 8460): when they were sent, to which address, and what failed.

    A report goes to each address in the domain's record. A mail counts as sent when it is queued; the trace shows its
    delivery (`gatepost trace show` with the id in the column mail). A report has no address until the record is looked
    up. Domains that ask for no report are not listed.

    Exit codes: 0 there are reports, 1 none, 2 usage error, 3 they cannot be read.
    """
    day = day_text(since or time.time() - _DAYS)
    states = list(all_items(client().call, tls_reports.list_sent_reports, msgspec.structs.replace(request, since=day)))
    if not printed_json(states) and states:
        print_table(_SENT_COLUMNS, (_sent_row(state) for state in states))
    if not states:
        fail(
            NO,
            _("no reports since %(day)s", day=day)
            + (_(" to %(domain)s", domain=request.domain) if request.domain else ""),
        )


def _sent_row(report: tls_reports.SentReportState) -> tuple[object, ...]:
    done = report.state in {SentState.SENT, SentState.GIVEN_UP}
    times = moment(report.tried), "" if done else moment(report.next)
    return (
        report.day,
        report.domain,
        report.rua or "?",
        report.state,
        report.tries,
        *times,
        report.message,
        report.detail,
    )


_RECEIVED_COLUMNS = ("reporter", "domain", "policy", "reports", "passed", "failed", "results")
_FAILURE_COLUMNS = (
    "day", "reporter", "domain", "policy", "result", "sessions", "from", "to", "reason",
    "received here", "refused here",
)  # fmt: skip


@click.command()
@request_options(tls_reports.ListReceivedReports)
@click.option(
    "--failures", is_flag=True, help="Print a line for each failure, with what our own trace knows about its client."
)
@gateway_options
def received(request: tls_reports.ListReceivedReports, *, failures: bool) -> None:
    """Show what others report about their TLS sessions with us, by reporter, domain and policy (RFC 8460).

    Reports arrive in a mailbox with tls_reports = true, or over HTTPS ([tls_reports] address); docs/tls-reporting.md
    has the records to publish. --failures shows for each failure how many messages from the same client our trace has
    for that time: if there are some, a later attempt of the sender succeeded.

    Exit codes: 0 there are reports, 1 none, 2 usage error, 3 they cannot be read.
    """
    gateway = client()
    case = tls_reports.list_received_failures if failures else tls_reports.list_received_reports
    found: list[Any] = list(all_items(gateway.call, case, request))
    if not printed_json(found) and found:
        columns, cells = (_FAILURE_COLUMNS, _failure_row) if failures else (_RECEIVED_COLUMNS, _sum_row)
        print_table(columns, map(cells, found))
    if not found:
        span = _(
            "from %(since)s to %(until)s", since=request.since or _("30 days before"), until=request.until or "now"
        )
        fail(NO, "no such reports for the time %(span)s", span=span)


def _sum_row(sums: ReceivedSums) -> tuple[Any, ...]:
    results = ", ".join(f"{name} {count}" for name, count in sums.results.items())
    return sums.reporter, sums.domain, sums.policy, sums.reports, sums.passed, sums.failed, results or "-"


def _failure_row(one: tls_reports.ReportedFailure) -> tuple[Any, ...]:
    failure, here = one.failure, one.here
    target = failure.mx_host or failure.receiving_address
    known = (here.received, here.refused) if here else ("-", "-")
    what = (failure.result, failure.sessions, failure.sending_address, target, failure.reason)
    return moment(one.begin)[:10], one.reporter, one.domain, one.policy, *what, *known


_AT_ONCE: Final = 10
_DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class _PlannedReport:
    """A report, and what the domain's record says: addresses, or why there are none. unknown: it could not be told."""

    report: Outgoing
    rua: tuple[str, ...]
    why: str = ""
    unknown: bool = False


@click.command()
@click.option("--day", default="", metavar="YYYY-MM-DD", help="Finished UTC day. Default: yesterday.")
@click.option("--domain", default="", help="Only the report to this domain.")
@click.option("--dry-run", is_flag=True, help="Look up the records and show the reports; send nothing.")
@gateway_options
def send(day: str, domain: str, *, dry_run: bool) -> None:
    """Send the TLS reports of a day now (RFC 8460), or show with --dry-run what they contain and where they go.

    With [tls_reports] send = true the gateway sends each report once. This command makes reports due now that wait or
    had failed for good: a running gateway sends them within half a minute, a stopped one when it starts. Reports that
    were sent are not sent again. `gatepost report sent` shows the results.

    Exit codes: 0 they are due, or shown; 1 there is nothing to send; 2 usage error, or sending is off; 3 counts cannot
    be read, or with --dry-run a record could not be looked up.
    """
    gateway = local_gateway()
    settings = gateway.settings
    now = time.time()
    chosen = day_option(day) if day else day_text(now - _DAY)
    if chosen >= day_text(now):
        fail(
            BAD_INPUT,
            "--day %(chosen)s has not ended: reports cover whole UTC days; choose an earlier day",
            chosen=chosen,
        )
    summaries = counted(gateway, chosen, domain_option(domain))
    if dry_run:
        reports = [
            outgoing(report_object(summary), reporter_of(settings.tls_reports), chosen, summary.domain)
            for summary in summaries
        ]
        _show(asyncio.run(_looked_up(settings, reports)))
    else:
        _make_due(settings, chosen, [summary.domain for summary in summaries])


def _make_due(settings: Settings, day: str, domains: list[str]) -> None:
    if not settings.tls_reports.send:
        fail(BAD_INPUT, "[tls_reports] send is false, so the gateway sends no reports; set it to true and restart")
    wanted = frozenset(domains)
    with ending(UNKNOWN, StoreFailure), closing(Storage.of(settings).sent_reports()) as reports:
        reports.make_due(day, domains, time.time())
        rows = reports.read(day, lambda sent_report: sent_report.day == day and sent_report.domain in wanted)
    due = sorted({row.domain for row in rows if row.state in {SentState.WAITING, SentState.TRYING}})
    sent = sorted({row.domain for row in rows if row.state is SentState.SENT} - set(due))
    if not printed_json({"day": day, "due": due, "sent_before": sent}):
        for name in due:
            say("%(name)s: due now", name=name)
        for name in sent:
            say("%(name)s: sent before, see `gatepost report sent`", name=name)
    if not due:
        fail(NO, "all reports of %(day)s were sent before", day=day)


async def _looked_up(settings: Settings, reports: Sequence[Outgoing]) -> list[_PlannedReport]:
    resolver = resolver_of(settings)
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(report: Outgoing) -> _PlannedReport:
        async with slots:
            try:
                return _plan(report, await report_record(resolver, report.domain))
            except LookupFailed as failed:
                return _PlannedReport(
                    report,
                    (),
                    _("its record cannot be looked up: %(detail)s", detail=ours(failed.detail)),
                    unknown=True,
                )

    try:
        return await asyncio.gather(*map(one, reports))
    finally:
        await resolver.close()


def _plan(report: Outgoing, record: TlsRptRecord | RecordError | None) -> _PlannedReport:
    if isinstance(record, RecordError):
        return _PlannedReport(report, (), _("its record cannot be used: %(detail)s", detail=ours(record.detail)))
    if record is None:
        return _PlannedReport(
            report,
            (),
            _("there is no record at %(domain)s, so the domain asks for no report", domain=record_name(report.domain)),
        )
    return _PlannedReport(report, record.rua)


def _show(planned: list[_PlannedReport]) -> None:
    if not printed_json([_for_machines(report) for report in planned]):
        for report in planned:
            _print(report)
    if any(report.unknown for report in planned):
        fail(UNKNOWN, "a record could not be looked up")
    if not any(report.rua for report in planned):
        fail(NO, "no domain asks for a report")


def _for_machines(planned: _PlannedReport) -> dict[str, Any]:
    return {
        "domain": planned.report.domain,
        "rua": list(planned.rua),
        "why_not": planned.why,
        "file_name": planned.report.file_name,
        "report": planned.report.document,
    }


def _print(planned: _PlannedReport) -> None:
    click.echo(f"{planned.report.domain}: {printable(planned.why or ', '.join(planned.rua))}")
    if planned.rua:
        click.echo(f"{planned.report.file_name}, {len(planned.report.content)} bytes")
        print_json(planned.report.document)
