"""`gatepost audit`: who did or tried what in the admin centre, over REST, and with accounts on the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from gatepost.manage.cli.client import client
from gatepost.manage.cli.options import config_option, json_option
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.cli.tables import print_json, print_table
from gatepost.manage.use_cases.audit import ListAudit, list_audit
from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.times import stamp as moment

if TYPE_CHECKING:
    from gatepost.manage.use_cases.audit import AuditEntry


_COLUMNS = ("id", "at", "who", "from", "action", "organization", "subject", "outcome", "detail")


@click.command()
@request_options(ListAudit, changes=False)
@click.option("--limit", default=50, type=click.IntRange(1, 1000), show_default=True, help="At most so many.")
@config_option
@json_option
def audit(request: ListAudit, limit: int, config: str | None, *, as_json: bool) -> None:
    """Who did or tried what, the newest first.

    Log-ins, changes of users and tokens, actions in the admin centre and over REST, refused ones among them. Kept for
    400 days. What changed of resources is in `gatepost history`.

    Exit codes: 0 done (also if there is nothing), 2 wrong use, 3 not readable.
    """
    entries = list(all_items(client(config).call, list_audit, request, limit))
    if as_json:
        print_json(entries)
    else:
        print_table(_COLUMNS, [_row(entry) for entry in entries])


def _row(entry: AuditEntry) -> tuple[object, ...]:
    return (
        entry.event,
        moment(entry.at),
        entry.who,
        entry.address or "command line",
        entry.action,
        entry.organization,
        entry.subject,
        entry.outcome.value,
        json.dumps(entry.detail, ensure_ascii=False) if entry.detail else "",
    )
