"""`gatepost report received`: what others report of their TLS sessions with us."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from gatepost.analysis.reports.received import Wished
from gatepost.manage.cli.door import door
from gatepost.manage.cli.options import NO, config_option, fail, json_option
from gatepost.manage.cli.report_tlsrpt import domain_option
from gatepost.manage.cli.tables import print_json, print_table
from gatepost.manage.cli.times import MOMENT
from gatepost.manage.use_cases import reports
from gatepost.manage.use_cases.times import stamp as moment

if TYPE_CHECKING:
    from gatepost.analysis.reports.received import FailedThere, Reported


_DAYS = 30 * 86400.0
_COLUMNS = ("reporter", "domain", "policy", "reports", "passed", "failed", "results")
_FAILURES = (
    "day", "reporter", "domain", "policy", "result", "sessions", "from", "to", "reason",
    "received here", "refused here",
)  # fmt: skip


@click.command()
@click.option("--since", type=MOMENT, default=0.0, help="Reports about that time or later: 7d or a date; default: 30d.")
@click.option("--until", type=MOMENT, default=0.0, help="Reports about that time or earlier.")
@click.option("--domain", default="", help="Only policies of this domain.")
@click.option("--reporter", default="", metavar="TEXT", help="Only of reporters whose name has this.")
@click.option("--result", default="", metavar="TYPE", help="Only failures with this result (RFC 8460 section 4.3).")
@click.option("--failures", is_flag=True, help="A line for each failure, with what our own trace has of its client.")
@config_option
@json_option
def received(*, since: float, until: float, failures: bool, config: str | None, as_json: bool, **chosen: str) -> None:
    """What others report of their TLS sessions with us, by reporter, domain and policy (RFC 8460).

    Reports come to a mailbox with tls_reports = true, or over HTTPS ([tls_reports] address); docs/tls-reporting.md has
    the records to publish. --failures says of each failure how many messages of the same client our trace has of that
    time: where there are some, the sender came through by another try.

    Exit codes: 0 there are reports, 1 none, 2 wrong use, 3 they cannot be read.
    """
    wished = Wished(domain_option(chosen["domain"]), chosen["reporter"], chosen["result"])
    go, now = door(config), time.time()
    begin, end = since or now - _DAYS, until or now
    if failures:
        failed = go(reports.received_failed, wished, begin, end)
        _print_failures(failed, as_json=as_json)
    else:
        sums = go(reports.received_sums, wished, begin, end)
        _print_sums(sums, as_json=as_json)
    if not (failed if failures else sums):
        fail(NO, f"no such reports about the time from {moment(begin)} to {moment(end)}")


def _print_sums(found: list[Reported], *, as_json: bool) -> None:
    if as_json:
        print_json([reports.received_record(one) for one in found])
    elif found:
        print_table(_COLUMNS, [_sum_row(one) for one in found])


def _sum_row(one: Reported) -> tuple[Any, ...]:
    results = ", ".join(f"{name} {count}" for name, count in one.results.most_common())
    return one.reporter, one.domain, one.policy, one.reports, one.passed, one.failed, results or "-"


def _print_failures(found: list[FailedThere], *, as_json: bool) -> None:
    if as_json:
        print_json([reports.failures_record(one) for one in found])
    elif found:
        print_table(_FAILURES, [_failure_row(one) for one in found])


def _failure_row(one: FailedThere) -> tuple[Any, ...]:
    failure, here = one.failure, one.here
    target = failure.mx_host or failure.receiving_address
    known = (here.received, here.refused) if here else ("-", "-")
    what = (failure.result, failure.sessions, failure.sending_address, target, failure.reason)
    return moment(one.begin)[:10], one.reporter, one.domain, one.policy, *what, *known
