"""`gatepost trace search|show`: what happened to a message, by which connector, over which TLS, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from gatepost.manage.cli.client import client
from gatepost.manage.cli.options import NO, config_option, fail, json_option
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.cli.tables import print_json, print_table, printable
from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.manage.use_cases.trace import EVENTS, MOST, SearchTrace, ShowTrace, search_trace_events, show_trace
from gatepost.manage.use_cases.trace_text import detail_lines, tls_lines

if TYPE_CHECKING:
    from gatepost.mail.model.trace_event import TraceEvent


_COLUMNS = ("time", "event", "message", "sender", "recipient", "connector", "requirement", "achieved", "tls", "reply")


@click.group()
def trace() -> None:
    """Search the message trace: one row for every recipient and event."""


@trace.command()
@request_options(SearchTrace, event="")
@click.option("--event", default="", type=click.Choice(["", *EVENTS], case_sensitive=False), metavar="EVENT")
@click.option("--limit", default=100, type=click.IntRange(1, MOST), show_default=True)
@config_option
@json_option
def search(request: SearchTrace, event: str, limit: int, config: str | None, *, as_json: bool) -> None:
    """Search rows that match every option, newest first.

    Exit codes: 0 found, 1 none, 2 usage error, 3 the data cannot be read.
    """
    request = msgspec.structs.replace(request, event=event)
    events = list(all_items(client(config).call, search_trace_events, request, limit))
    if as_json:
        print_json(events)
    else:
        print_table(_COLUMNS, [_row(trace_event) for trace_event in events])
    if not events:
        raise SystemExit(NO)


@trace.command()
@request_options(ShowTrace)
@config_option
@json_option
def show(request: ShowTrace, config: str | None, *, as_json: bool) -> None:
    """Show everything about one message (queue id, or Message-ID in <>) or one session id, oldest first.

    Exit codes: 0 found, 1 nothing has this id, 3 the data cannot be read.
    """
    try:
        traced = client(config).call(show_trace, request)
    except Refusal as refusal:
        if refusal.kind is RefusalKind.MISSING:
            fail(NO, printable(refusal.text))
        raise
    if as_json:
        print_json(traced.items)
        return
    if traced.next_step:
        click.echo(f"{printable(traced.next_step)}\n")
    for event in traced.items:
        _print_event(event)


def _row(event: TraceEvent) -> tuple[str, ...]:
    tls = f"{event.tls_version} {event.tls_group}".strip()
    return (
        moment(event.at),
        event.event,
        event.message,
        f"<{event.sender}>",
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
    way = " -> ".join(filter(None, (f"<{event.sender}>", _recipient(event))))
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
    for name, value in facts.items():
        if value:
            click.echo(f"    {name:13} {printable(value)}")
    for name, text in (*tls_lines(event.tls), *detail_lines(event.detail)):
        click.echo(f"    {name:13} {printable(text)}")
