"""`gatepost limit …`: what users and own servers with a daily limit sent today, and lifting such a limit."""

from __future__ import annotations

import click

from gatepost.manage.cli.options import client, gateway_options
from gatepost.manage.cli.output import _, print_rows, printed_json, say
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.use_cases.sending_limits import LiftLimit, ListLimits, SenderToday, lift_limit, list_limits
from gatepost.manage.use_cases.times import stamp as moment

_COLUMNS = ("organization", "sender", "messages", "recipients", "lifted", "limit reached")


@click.group()
def limit() -> None:
    """Show what users and own servers that have a daily limit sent today (UTC), and lift a limit.

    Limits are fields of organizations, mailboxes and inbound connectors (docs/sending-limits.md).
    """


@limit.command("list")
@request_options(ListLimits)
@gateway_options
def list_(request: ListLimits) -> None:
    """List users and servers with a daily limit that sent something today.

    Exit codes: 0 done (also if there are none), 2 usage error, 3 the data cannot be read.
    """
    print_rows(_COLUMNS, client().call(list_limits, request).items, _row)


@limit.command()
@request_options(LiftLimit)
@gateway_options
def lift(request: LiftLimit) -> None:
    """Lift the daily limit of SENDER, a mailbox or an inbound connector, for the rest of the day (UTC).

    Running gateways apply it within four seconds. An administrator of an organization can lift the limit of a mailbox
    or connector, not that of the organization. Exit codes: 0 done, 2 usage error, or there is no such limit, 3 the data
    cannot be written.
    """
    sender = client().call(lift_limit, request)
    if not printed_json(sender):
        say("lifted for today: %(sender)s of %(organization)s", sender=sender.sender, organization=sender.organization)


def _row(sender: SenderToday) -> tuple[object, ...]:
    return (
        sender.organization,
        sender.sender,
        _of(sender.messages, sender.messages_allowed),
        _of(sender.recipients, sender.recipients_allowed),
        sender.lifted,
        moment(sender.reached) if sender.reached else "",
    )


def _of(sent: int, allowed: int) -> str:
    return _("%(sent)s of %(allowed)s", sent=sent, allowed=allowed) if allowed else str(sent)
