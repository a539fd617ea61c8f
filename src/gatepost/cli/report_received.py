"""`gatepost report received`: what others report of their TLS sessions with us."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatepost.cli.options import BAD_INPUT, NO, UNKNOWN, config_option, fail, json_option, settings_of
from gatepost.cli.tables import moment, print_json, print_table
from gatepost.cli.times import MOMENT
from gatepost.reports.received import Wished, failed_there, reported
from gatepost.store.interface import StoreFailure, TraceFilter
from gatepost.store.received_reports import read_reports
from gatepost.store.trace_search import scan_trace
from gatepost.tls.names import normalise

if TYPE_CHECKING:
    from gatepost.reports.received import FailedThere, Reported
    from gatepost.store.received_reports import Kept

__all__ = ["received"]

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
    domain = normalise(chosen["domain"])
    if chosen["domain"] and not domain:
        fail(BAD_INPUT, f"--domain {chosen['domain']!r} is no domain name")
    data = Path(settings_of(config).server.data_dir)
    now = time.time()
    begin, end = since or now - _DAYS, until or now
    try:
        found = list(read_reports(data, begin, end))
    except StoreFailure as failure:
        fail(UNKNOWN, str(failure))
    wished = Wished(domain, chosen["reporter"], chosen["result"])
    if failures:
        failed = list(failed_there(found, wished, _seen(data / "trace", found, wished)))
        _print_failures(failed, as_json=as_json)
    else:
        sums = reported(found, wished)
        _print_sums(sums, as_json=as_json)
    if not (failed if failures else sums):
        fail(NO, f"no such reports about the time from {moment(begin)} to {moment(end)}")


def _seen(trace: Path, found: list[Kept], wished: Wished) -> Counter[tuple[str, str]]:
    """Rows of our trace by event and peer address, of the clients that reports name, in the time of all reports."""
    addresses = {
        failure.sending_address for kept in found for one in wished.policies(kept) for failure in one.failures
    } - {""}
    if not addresses:
        return Counter()
    wanted = TraceFilter(since=min(one.report.begin for one in found), until=max(one.report.end for one in found))
    rows = scan_trace(trace, wanted, ("event", "peer_address"), events=("RECEIVE", "REFUSE"))
    return Counter((event, address) for event, address in rows if address in addresses)


def _print_sums(found: list[Reported], *, as_json: bool) -> None:
    if as_json:
        print_json([asdict(one) | {"results": dict(one.results.most_common())} for one in found])
    elif found:
        print_table(_COLUMNS, [_sum_row(one) for one in found])


def _sum_row(one: Reported) -> tuple[Any, ...]:
    results = ", ".join(f"{name} {count}" for name, count in one.results.most_common())
    return one.reporter, one.domain, one.policy, one.reports, one.passed, one.failed, results or "-"


def _print_failures(found: list[FailedThere], *, as_json: bool) -> None:
    if as_json:
        print_json([asdict(one) for one in found])
    elif found:
        print_table(_FAILURES, [_failure_row(one) for one in found])


def _failure_row(one: FailedThere) -> tuple[Any, ...]:
    failure, here = one.failure, one.here
    target = failure.mx_host or failure.receiving_address
    known = (here.received, here.refused) if here else ("-", "-")
    what = (failure.result, failure.sessions, failure.sending_address, target, failure.reason)
    return moment(one.begin)[:10], one.reporter, one.domain, one.policy, *what, *known
