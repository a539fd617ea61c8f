"""`gatepost report sent`: which TLS reports of ours went where, and which did not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from gatepost.manage.cli.door import door
from gatepost.manage.cli.options import NO, config_option, fail, json_option
from gatepost.manage.cli.report_tlsrpt import domain_option
from gatepost.manage.cli.tables import print_json, print_table
from gatepost.manage.cli.times import MOMENT
from gatepost.manage.use_cases import reports
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.store.sent_reports import SentState
from gatepost.store.trace_files import day_of

if TYPE_CHECKING:
    from gatepost.store.sent_reports import SentReport


_DAYS = 14 * 86400.0
_COLUMNS = ("day", "domain", "to", "state", "tries", "last try", "next try", "mail", "detail")


@click.command()
@click.option("--since", type=MOMENT, default=0.0, help="Reports of that day or later: 7d or a date; default: 14d.")
@click.option("--domain", default="", help="Only reports to this policy domain.")
@config_option
@json_option
def sent(since: float, domain: str, config: str | None, *, as_json: bool) -> None:
    """Which TLS reports were sent (RFC 8460), when, to which address, and what failed.

    A report goes to each address that the domain's record names. A mail is sent as soon as it is queued: its own way is
    in the trace (`gatepost trace show` with the id in the column mail). Before its record is looked up, a report has no
    address; a domain that wants none is not listed.

    Exit codes: 0 there are reports, 1 none, 2 wrong use, 3 they cannot be read.
    """
    name = domain_option(domain)
    day = day_of(since or time.time() - _DAYS)
    found = door(config)(reports.sent, day, name)
    if as_json:
        print_json([reports.sent_record(one) for one in found])
    elif found:
        print_table(_COLUMNS, [_row(one) for one in found])
    if not found:
        fail(NO, f"no reports of {day} or later" + (f" to {name}" if name else ""))


def _row(one: SentReport) -> tuple[object, ...]:
    done = one.state in {SentState.SENT, SentState.GIVEN_UP}
    times = moment(one.tried), "" if done else moment(one.next)
    return one.day, one.domain, one.rua or "?", one.state, one.tries, *times, one.message, one.detail
