"""`gatepost queue …`: look at deferred and held mail and act on it, on a running gateway as on a stopped one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from gatepost.mail.model.queue_id import format_id
from gatepost.manage.cli.door import door
from gatepost.manage.cli.options import (
    BAD_INPUT,
    NO,
    administrator,
    config_option,
    fail,
    json_option,
)
from gatepost.manage.cli.tables import print_json, print_table, printable
from gatepost.manage.use_cases.queue import (
    RETURN_TEXT,
    QueueAction,
    acted,
    entries,
    entry_record,
    message_body,
    message_entries,
)
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.store.interface import QueueFilter

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.store.admin_rows import QueueEntry


_COLUMNS = (
    "message",
    "state",
    "destination",
    "sender",
    "recipients",
    "attempts",
    "next attempt",
    "expires",
    "last error",
)


def _filters[F: Callable[..., Any]](command: F) -> F:
    options: tuple[Callable[[F], F], ...] = (
        click.option("--organization", default=""),
        click.option("--domain", default="", help="Domain of the recipients."),
        click.option("--sender", default="", help="Reverse-path, or @domain."),
        click.option("--recipient", default="", help="Forward-path, or @domain."),
    )
    for option in options:
        command = option(command)
    return command


@click.group()
def queue() -> None:
    """Deferred and held mail. Changes are made at once, or taken up by the running gateway within a second."""


@queue.command("list")
@_filters
@click.option("--held", is_flag=True, help="Only held mail.")
@click.option("--limit", default=1000, type=click.IntRange(0), show_default=True, help="At most so many; 0 = all.")
@config_option
@json_option
def list_(config: str | None, as_json: bool, held: bool, **wanted: Any) -> None:
    """Deliveries that wait, oldest first. Exit codes: 0 done (also if there are none), 3 unreadable."""
    found = door(config)(entries, QueueFilter(**wanted, held=True if held else None))
    if as_json:
        _print_records(found)
    else:
        print_table(_COLUMNS, [_row(entry) for entry in found])


@queue.command()
@click.argument("message", metavar="ID")
@click.option("--body", is_flag=True, help="Also print the stored message.")
@config_option
@json_option
def show(message: str, body: bool, config: str | None, as_json: bool) -> None:
    """Everything the queue knows of one message. Exit codes: 0 found, 1 not in the queue, 2 no queue id."""
    go = door(config)
    try:
        found = go(message_entries, QueueFilter(message=message))
        if as_json:
            _print_records(found)
        else:
            for entry in found:
                _print_entry(entry)
        for chunk in go(message_body, message) if body else ():
            sys.stdout.buffer.write(chunk)
    except Refusal as refusal:
        if refusal.kind is Kind.MISSING:
            fail(NO, printable(refusal.text))
        raise


def _print_records(found: list[QueueEntry]) -> None:
    print_json([entry_record(entry, administrator()) for entry in found])


def _telling[F: Callable[..., Any]](action: QueueAction) -> Callable[[F], F]:
    """What a sender is told, where one is told anything."""
    if action is not QueueAction.RETURN:
        return lambda command: command
    return click.option("--text", default=RETURN_TEXT, show_default=True, help="What the sender is told.")


def _action(action: QueueAction, summary: str) -> None:
    @queue.command(str(action), help=f"{summary} Exit codes: 0 done, 1 nothing matched, 2 wrong use, 3 not writable.")
    @click.argument("messages", nargs=-1, metavar="[ID]...")
    @_filters
    @click.option("--all", "everything", is_flag=True, help="All mail in the queue.")
    @click.option("--reason", default="", help="Why, for the trace and the evidence log.")
    @click.option("--dry-run", is_flag=True, help="Only say to how many deliveries it would be done.")
    @_telling(action)
    @config_option
    @json_option
    def command(  # noqa: PLR0913 - the options of a command
        *,
        messages: tuple[str, ...],
        config: str | None,
        as_json: bool,
        everything: bool,
        reason: str,
        dry_run: bool,
        text: str = "",
        **wanted: Any,
    ) -> None:
        if not messages and not everything and not any(wanted.values()):
            fail(
                BAD_INPUT,
                f"say which mail to {action}: queue ids, --domain, --sender, --recipient, --organization or --all",
            )
        done = door(config)(
            acted,
            action,
            QueueFilter(**wanted),
            messages=messages,
            dry_run=dry_run,
            reason=reason,
            text=text,
        )
        if as_json:
            _print_records(done.shown)
            if len(done.shown) < done.changed:
                click.echo(f"{action}: {done.changed} deliveries; the first {len(done.shown)} are printed", err=True)
        else:
            click.echo(f"{action}: {done.changed} deliveries{' (dry run)' if dry_run else ''}")
        if not done.changed:
            raise SystemExit(NO)


_action(QueueAction.RETRY, "Try again now.")
_action(QueueAction.HOLD, "Keep from being tried until released.")
_action(QueueAction.RELEASE, "Let held mail go, even to a destination that protects less than before.")
_action(QueueAction.RETURN, "End delivery with a notice to the sender.")
_action(QueueAction.DROP, "Remove without telling the sender.")


def _row(entry: QueueEntry) -> tuple[object, ...]:
    delivery = entry.delivery
    return (
        format_id(delivery.message.id),
        entry.state,
        delivery.destination,
        f"<{delivery.message.reverse_path}>",
        len(delivery.recipients),
        delivery.attempts,
        moment(delivery.next_at),
        moment(delivery.expires_at),
        delivery.last_error,
    )


def _why_held(entry: QueueEntry) -> str:
    if entry.state != "held":
        return ""
    if entry.delivery.held:
        return "by an administrator"
    return "its destination protects less than it did, see `gatepost destination list --below`"


_SELDOM = {"REQUIRETLS", "TLS-Required", "why held"}


def _print_entry(entry: QueueEntry) -> None:
    delivery, message = entry.delivery, entry.delivery.message
    facts = {
        "message": format_id(message.id),
        "state": entry.state,
        "why held": _why_held(entry),
        "destination": delivery.destination,
        "sender": f"<{message.reverse_path}>",
        "recipients": ", ".join(recipient.address for recipient in delivery.recipients[:20]),
        "received": moment(message.received),
        "size": message.size,
        "REQUIRETLS": "yes, TLS all the way" if message.require_tls else "",
        "TLS-Required": "No" if message.tls_required_no else "",
        "Message-ID": message.message_id,
        "session": message.session,
        "attempts": delivery.attempts,
        "next attempt": moment(delivery.next_at),
        "expires": moment(delivery.expires_at),
        "last error": delivery.last_error,
    }
    for name, value in facts.items():
        if value != "" or name not in _SELDOM:
            click.echo(f"{name:13} {printable(value)}")
    click.echo()
