"""`gatepost trace search|show`: what happened to a message, by which connector, over which TLS, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gatepost.manage.cli.door import door
from gatepost.manage.cli.options import NO, config_option, fail, json_option
from gatepost.manage.cli.tables import print_json, print_table, printable
from gatepost.manage.cli.times import MOMENT
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.manage.use_cases.trace import EVENTS, MOST, PROTECTIONS, event_record, events, events_of
from gatepost.manage.use_cases.trace_text import detail_lines, tls_lines
from gatepost.store.interface import TraceFilter

if TYPE_CHECKING:
    from gatepost.mail.model.trace_event import TraceEvent


_COLUMNS = ("time", "event", "message", "sender", "recipient", "connector", "requirement", "achieved", "tls", "reply")


@click.group()
def trace() -> None:
    """The message trace: one row for every recipient and event."""


@trace.command()
@click.option("--since", type=MOMENT, default=0.0, help="From then on: 30m, 2h, 7d or a date.")
@click.option("--until", type=MOMENT, default=0.0, help="Up to then.")
@click.option("--message", default="", help="Queue id, here or on another node of the site.")
@click.option("--message-id", default="", help="Message-ID field.")
@click.option("--session", default="", help="Session id, as replies end in it; of another node, too.")
@click.option("--organization", default="")
@click.option("--sender", default="", help="Reverse-path, or @domain.")
@click.option("--recipient", default="", help="Forward-path, or @domain.")
@click.option("--address", default="", help="Of sender or recipient.")
@click.option("--domain", default="", help="Of sender or recipient.")
@click.option("--peer", default="", help="Host name or IP address of the other side.")
@click.option("--connector", default="")
@click.option(
    "--achieved", default="", metavar="LEVEL", help="none, encrypted, authenticated; or with the MX: dnssec/encrypted."
)
@click.option(
    "--protection",
    default="",
    type=click.Choice(["", *PROTECTIONS]),
    metavar="HOW",
    help=f"Of mail received or sent, as reports count it: {', '.join(PROTECTIONS)}.",
)
@click.option("--tls-version", default="", metavar="VERSION", help='"TLSv1.2" or "TLSv1.3".')
@click.option("--tls-group", default="", metavar="GROUP", help="Key exchange, such as X25519MLKEM768.")
@click.option("--result-type", default="", metavar="TYPE", help="Of a TLS failure (RFC 8460 section 4.3).")
@click.option("--event", default="", type=click.Choice(["", *EVENTS], case_sensitive=False), metavar="EVENT")
@click.option("--limit", default=100, type=click.IntRange(1, MOST), show_default=True)
@config_option
@json_option
def search(config: str | None, as_json: bool, **wanted: Any) -> None:
    """Rows that match every option, newest first. Exit codes: 0 found, 1 none, 2 wrong use, 3 unreadable."""
    found = door(config)(events, TraceFilter(**wanted))
    if as_json:
        print_json([event_record(event) for event in found])
    else:
        print_table(_COLUMNS, [_row(event) for event in found])
    if not found:
        raise SystemExit(NO)


@trace.command()
@click.argument("identity", metavar="ID")
@config_option
@json_option
def show(identity: str, config: str | None, as_json: bool) -> None:
    """Everything about one message (queue id, or Message-ID in <>) or one session id, oldest first.

    Exit codes: 0 found, 1 nothing has this id, 3 unreadable.
    """
    try:
        found = door(config)(events_of, identity)
    except Refusal as refusal:
        if refusal.kind is Kind.MISSING:
            fail(NO, printable(refusal.text))
        raise
    if as_json:
        print_json([event_record(event) for event in found])
        return
    for event in found:
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
