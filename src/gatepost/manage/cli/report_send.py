"""`gatepost report send`: what a day's TLS reports to others say and where they go, and to send them now."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from gatepost.analysis.reports.tlsrpt import report_object
from gatepost.manage.cli.options import BAD_INPUT, NO, UNKNOWN, ending, fail, gateway_options, local_gateway
from gatepost.manage.cli.output import _, ours, print_json, printable, printed_json, say
from gatepost.manage.cli.report_tlsrpt import counted, day_option, domain_option
from gatepost.manage.use_cases.listener_checks import resolver_of
from gatepost.net.lookups.question import LookupFailed
from gatepost.net.lookups.tlsrpt import report_record
from gatepost.node.report_sending import reporter_of
from gatepost.protocols.dns.text_record import RecordError
from gatepost.protocols.tlsrpt.outgoing import Outgoing, outgoing
from gatepost.protocols.tlsrpt.record import TlsRptRecord, record_name
from gatepost.store.interface import StoreFailure
from gatepost.store.sent_reports import SentState
from gatepost.store.storage import Storage
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.settings.model import Settings


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
