"""`gatepost trace search|show`: what happened to a message, by which connector, over which TLS, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gatepost.administration.refusal import Kind, Refusal
from gatepost.administration.trace import EVENTS, MOST, event_record, events, events_of
from gatepost.cli.door import door
from gatepost.cli.options import NO, config_option, fail, json_option
from gatepost.cli.tables import moment, print_json, print_table, printable
from gatepost.cli.times import MOMENT
from gatepost.store.interface import TraceFilter

if TYPE_CHECKING:
    from gatepost.store.interface import TraceEvent

__all__ = ["trace"]

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
@click.option("--domain", default="", help="Of sender or recipient.")
@click.option("--peer", default="", help="Host name or IP address of the other side.")
@click.option("--connector", default="")
@click.option(
    "--achieved", default="", metavar="LEVEL", help="none, encrypted, authenticated; or with the MX: dnssec/encrypted."
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
    for name, value in event.tls.items():
        _print_tls(name, value)
    for name, value in event.detail.items():
        for line in _lines(name, value):
            click.echo(f"    {_LABELS.get(name, name):13} {printable(line)}")


# Keys of `detail` as a person reads them; the rest are words already.
_LABELS = {
    "content_hooks": "content hook",
    "passed_over": "passed over",
    "would_refuse": "would refuse",
    "would_refuse_connector": "in rehearsal",
    "requirement_sources": "asked by",
    "handshake_error": "handshake",
    "starttls_offered": "STARTTLS",
    "next_attempt": "next attempt",
    "reasons": "why",
    "dsn_passed_on": "DSN passed on",
    "requiretls": "REQUIRETLS",
    "tls_required": "TLS-Required",
    "protection_drop": "less than",
    "handover": "between nodes",
}


_TIMES = {"not_before", "not_after", "next_attempt", "since"}


def _print_tls(name: str, value: Any) -> None:
    if name == "certificate":
        for field, content in value.items():
            if content not in ("", []):
                click.echo(f"    certificate   {field}: {printable(_shown(field, content))}")
    elif name == "chains":
        for anchors, judged in value.items():
            said = ", ".join(text for text in judged.values() if text)
            click.echo(f"    tls           by {printable(anchors)}: {printable(said)}")
    elif value != "":
        click.echo(f"    tls           {name}: {printable(_shown(name, value))}")


def _lines(name: str, value: Any) -> list[str]:
    """A value of `detail`, a line each: lists item by item, and of records what they say."""
    return [_line(name, one) for one in value] if isinstance(value, list) else [_line(name, value)]


def _line(name: str, value: Any) -> str:
    if not isinstance(value, dict):
        return _shown(name, value)
    if set(value) == {"connector", "why"}:
        return f"{value['connector']} {value['why']}"
    said = {each: _shown(each, one) for each, one in value.items() if one is not None}
    return "; ".join(f"{each}: {one}" for each, one in said.items() if one)


def _shown(name: str, value: Any) -> str:
    """One value for a person."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return moment(value) if name in _TIMES and isinstance(value, float) else str(value)
