"""`gatepost report received`: what others report of their TLS sessions with us."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gatepost.manage.cli.client import client
from gatepost.manage.cli.language import _
from gatepost.manage.cli.options import NO, config_option, fail, json_option
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.cli.tables import print_json, print_table
from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.manage.use_cases.tls_reports import ListReceivedReports, list_received_failures, list_received_reports

if TYPE_CHECKING:
    from gatepost.manage.use_cases.tls_reports import ReceivedSums, ReportedFailure


_COLUMNS = ("reporter", "domain", "policy", "reports", "passed", "failed", "results")
_FAILURE_COLUMNS = (
    "day", "reporter", "domain", "policy", "result", "sessions", "from", "to", "reason",
    "received here", "refused here",
)  # fmt: skip


@click.command()
@request_options(ListReceivedReports)
@click.option(
    "--failures", is_flag=True, help="Print a line for each failure, with what our own trace knows about its client."
)
@config_option
@json_option
def received(request: ListReceivedReports, *, failures: bool, config: str | None, as_json: bool) -> None:
    """Show what others report about their TLS sessions with us, by reporter, domain and policy (RFC 8460).

    Reports arrive in a mailbox with tls_reports = true, or over HTTPS ([tls_reports] address); docs/tls-reporting.md
    has the records to publish. --failures shows for each failure how many messages from the same client our trace has
    for that time: if there are some, a later attempt of the sender succeeded.

    Exit codes: 0 there are reports, 1 none, 2 usage error, 3 they cannot be read.
    """
    gateway = client(config)
    case = list_received_failures if failures else list_received_reports
    found: list[Any] = list(all_items(gateway.call, case, request))
    if as_json:
        print_json(found)
    elif found and failures:
        print_table(_FAILURE_COLUMNS, (_failure_row(row) for row in found))
    elif found:
        print_table(_COLUMNS, (_sum_row(row) for row in found))
    if not found:
        span = _(
            "from %(since)s to %(until)s", since=request.since or _("30 days before"), until=request.until or "now"
        )
        fail(NO, "no such reports for the time %(span)s", span=span)


def _sum_row(sums: ReceivedSums) -> tuple[Any, ...]:
    results = ", ".join(f"{name} {count}" for name, count in sums.results.items())
    return sums.reporter, sums.domain, sums.policy, sums.reports, sums.passed, sums.failed, results or "-"


def _failure_row(one: ReportedFailure) -> tuple[Any, ...]:
    failure, here = one.failure, one.here
    target = failure.mx_host or failure.receiving_address
    known = (here.received, here.refused) if here else ("-", "-")
    what = (failure.result, failure.sessions, failure.sending_address, target, failure.reason)
    return moment(one.begin)[:10], one.reporter, one.domain, one.policy, *what, *known
