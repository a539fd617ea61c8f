"""`gatepost audit`: who did or tried what in the admin centre, over REST, and with accounts on the command line."""

from __future__ import annotations

import json

import click
import msgspec

from gatepost.manage.access.actions import action_label, action_name
from gatepost.manage.cli.options import client, gateway_options
from gatepost.manage.cli.output import print_rows
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.use_cases.audit import AuditEntry, ListAudit, list_audit
from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.execution import CHANGE
from gatepost.manage.use_cases.times import stamp as moment

_COLUMNS = ("id", "at", "who", "from", "action", "organization", "subject", "outcome", "detail")


@click.command()
@request_options(ListAudit, changes=False)
@click.option("--changes", is_flag=True, help="Also list changes of resources, as the page and REST do.")
@click.option("--limit", default=50, type=click.IntRange(1, 1000), show_default=True, help="Maximum number of entries.")
@gateway_options
def audit(request: ListAudit, limit: int, *, changes: bool) -> None:
    """Show the audit log, the newest event first.

    It contains log-ins, changes of users and tokens, and actions in the admin centre and over REST, including those
    that were refused. Events are kept for 400 days. `gatepost history` shows what changed in the resources; --changes
    or --action change lists these changes here, too.

    Exit codes: 0 done (also if there are no events), 2 usage error, 3 the data cannot be read.
    """
    request = msgspec.structs.replace(request, changes=changes or action_name(request.action) == CHANGE)
    print_rows(_COLUMNS, all_items(client().call, list_audit, request, limit), _row)


def _row(entry: AuditEntry) -> tuple[object, ...]:
    return (
        entry.event or "",
        moment(entry.at),
        entry.who,
        entry.address or ("command line" if entry.event else ""),
        action_label(entry.action),
        entry.organization,
        entry.subject,
        entry.outcome.value,
        json.dumps(entry.detail, ensure_ascii=False) if entry.detail else "",
    )
