"""`gatepost report sent`: which TLS reports of ours went where, and which did not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click
import msgspec

from gatepost.manage.cli.client import client
from gatepost.manage.cli.language import _
from gatepost.manage.cli.options import MOMENT, NO, config_option, fail, json_option
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.cli.tables import print_json, print_table, printable
from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.manage.use_cases.tls_reports import ListSentReports, list_sent_reports
from gatepost.store.sent_reports import SentState
from gatepost.times import day_text

if TYPE_CHECKING:
    from gatepost.manage.use_cases.tls_reports import SentReportState


_DAYS = 14 * 86400.0
_COLUMNS = ("day", "domain", "to", "state", "tries", "last try", "next try", "mail", "detail")


@click.command()
@click.option("--since", type=MOMENT, default=0.0, help="Reports since this day: 7d or a date. Default: 14d.")
@request_options(ListSentReports, since="")
@config_option
@json_option
def sent(since: float, request: ListSentReports, config: str | None, *, as_json: bool) -> None:
    """List TLS reports (RFC 8460): when they were sent, to which address, and what failed.

    A report goes to each address in the domain's record. A mail counts as sent when it is queued; the trace shows its
    delivery (`gatepost trace show` with the id in the column mail). A report has no address until the record is looked
    up. Domains that ask for no report are not listed.

    Exit codes: 0 there are reports, 1 none, 2 usage error, 3 they cannot be read.
    """
    day = day_text(since or time.time() - _DAYS)
    states = list(all_items(client(config).call, list_sent_reports, msgspec.structs.replace(request, since=day)))
    if as_json:
        print_json(states)
    elif states:
        print_table(_COLUMNS, (_row(state) for state in states))
    if not states:
        fail(
            NO,
            _("no reports since %(day)s", day=day)
            + (_(" to %(domain)s", domain=printable(request.domain)) if request.domain else ""),
        )


def _row(report: SentReportState) -> tuple[object, ...]:
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
