"""`gatepost trace search|show`: what happened to a message, by which connector, over which TLS, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import click
import msgspec

from gatepost.manage.cli.options import NO, client, gateway_options, missing_is_no
from gatepost.manage.cli.output import (
    _,
    ours,
    print_facts,
    print_table,
    printable,
    printed_json,
    quantity,
    say,
    wants_json,
)
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.use_cases import trace as trace_cases
from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.explain_text import REASON, detail_lines, tls_lines
from gatepost.manage.use_cases.times import stamp as moment

if TYPE_CHECKING:
    from gatepost.mail.model.trace_event import TraceEvent


_COLUMNS = ("time", "event", "message", "sender", "recipient", "connector", "requirement", "achieved", "tls", "reply")

_MESSAGE_COLUMNS = ("time", "event", "message", "sender", "recipients", "subject", "reply")


@click.group()
def trace() -> None:
    """Search the message trace: one row for every recipient and event."""


@trace.command()
@request_options(trace_cases.SearchTrace, event="")
@click.option(
    "--event",
    type=click.Choice(trace_cases.EVENTS, case_sensitive=False),
    metavar="EVENT",
    help=f"Only events of this kind: {', '.join(trace_cases.EVENTS)}.",
)
@click.option(
    "--limit",
    default=100,
    type=click.IntRange(1, trace_cases.MOST),
    show_default=True,
    help="Maximum number of rows or messages.",
)
@click.option("--by-message", is_flag=True, help="One line for each message, with the number of its recipients.")
@gateway_options
def search(request: trace_cases.SearchTrace, event: str | None, limit: int, *, by_message: bool) -> None:
    """Search rows that match every option, newest first, or the oldest with --sort time.

    For example: `gatepost trace search --words "bob invoice"`, `--sender "*@partner.example" --recipient bob*`.

    Exit codes: 0 found, 1 none, 2 usage error, 3 the data cannot be read.
    """
    request = msgspec.structs.replace(request, event=event or "")
    if by_message:
        _print_messages(list(all_items(client().call, trace_cases.search_messages, request, limit)), request)
        return
    events = list(all_items(client().call, trace_cases.search_trace_events, request, limit))
    if not printed_json(events):
        print_table(_COLUMNS, (_row(trace_event) for trace_event in events))
    if not events:
        _end_without(request)
    if not wants_json():
        _print_sums(request)


def _print_sums(request: trace_cases.SearchTrace) -> None:
    """Print the sums of a search that found something."""
    same = {name: getattr(request, name) for name in trace_cases.SumTrace.__struct_fields__}
    totals = client().call(trace_cases.sum_trace, trace_cases.SumTrace(**same))
    said = _(
        "%(messages)s to %(recipients)s",
        messages=quantity(totals.messages, "message"),
        recipients=quantity(totals.recipients, "recipient"),
    )
    events = ", ".join(f"{number} {event}" for event, number in sorted(totals.events.items()))
    size = quantity(totals.bytes, "byte")
    click.echo(
        f"{'' if totals.exact else _('at least ')}{said}, {size}; {quantity(totals.rows, 'row')}: {events}", err=True
    )


@trace.command()
@request_options(trace_cases.ShowTrace)
@gateway_options
def show(request: trace_cases.ShowTrace) -> None:
    """Show everything about one message (queue id, or Message-ID in <>) or one session id, oldest first.

    Exit codes: 0 found, 1 nothing has this id, 3 the data cannot be read.
    """
    with missing_is_no():
        traced = client().call(trace_cases.show_trace, request)
    if printed_json(traced.items):
        return
    if traced.next_step:
        click.echo(f"{printable(ours(traced.next_step))}\n")
    for event in traced.items:
        _print_event(event)


def _print_messages(messages: list[trace_cases.TracedMessage], request: trace_cases.SearchTrace) -> None:
    if not printed_json(messages):
        print_table(_MESSAGE_COLUMNS, (_message_row(message) for message in messages))
    if not messages:
        _end_without(request)


def _message_row(message: trace_cases.TracedMessage) -> tuple[object, ...]:
    newest = message.events[0]
    more = len(message.events) - 1
    recipients = _("%(newest)s and %(more)s more", newest=_recipient(newest), more=more) if more else _recipient(newest)
    sender = trace_cases.shown_sender(newest)
    return moment(newest.at), newest.event, message.message, sender, recipients, newest.subject, newest.reply


def _end_without(request: trace_cases.SearchTrace) -> NoReturn:
    """Say what was searched for, and the next wider search, where there is one."""
    say("no rows found by: %(request)s", err=True, request=trace_cases.search_command(request))
    if request.since or request.until:
        say(
            "for all that the trace keeps: %(request)s",
            err=True,
            request=trace_cases.search_command(request, since="", until=""),
        )
    raise SystemExit(NO)


def _row(event: TraceEvent) -> tuple[str, ...]:
    tls = f"{event.tls_version} {event.tls_group}".strip()
    return (
        moment(event.at),
        event.event,
        event.message,
        trace_cases.shown_sender(event),
        _recipient(event),
        event.connector,
        event.requirement,
        event.achieved,
        tls,
        event.reply,
    )


def _recipient(event: TraceEvent) -> str:
    """Nothing where no recipient was said: "<>" would be the null path."""
    return f"<{event.recipient}>" if event.recipient else ""


def _print_event(event: TraceEvent) -> None:
    way = " -> ".join(filter(None, (trace_cases.shown_sender(event), _recipient(event))))
    click.echo(f"{moment(event.at)}  {event.event}  {printable(way)}")
    facts = {
        "message": event.message,
        "session": event.session,
        "organization": event.organization,
        "Message-ID": event.message_id,
        "subject": event.subject,
        "peer": f"{event.peer_host} {event.peer_address}".strip(),
        "connector": event.connector,
        "requirement": event.requirement,
        "achieved": event.achieved,
        "reply": event.reply,
        "result type": event.result_type,
    }
    shown = ((name, value) for name, value in facts.items() if value)
    details = ((name, ours(text) if name == REASON else text) for name, text in detail_lines(event.detail))
    print_facts((*shown, *tls_lines(event.tls), *details), indent="    ")
