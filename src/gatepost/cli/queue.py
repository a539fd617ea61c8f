"""`gatepost queue …`: look at deferred and held mail and act on it, on a running gateway as on a stopped one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from gatepost.administration.evidence_log import evidence_log
from gatepost.cli.options import BAD_INPUT, NO, UNKNOWN, author, config_option, fail, json_option, settings_of
from gatepost.cli.tables import moment, print_json, print_table, printable
from gatepost.store.administration import Administration
from gatepost.store.interface import QueueFilter, StoreFailure
from gatepost.store.queue_id import format_id, parse_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.store.administration import QueueEntry

__all__ = ["queue"]

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
    entries = _entries(config, QueueFilter(**wanted, held=True if held else None))
    if as_json:
        print_json([_as_json(entry) for entry in entries])
    else:
        print_table(_COLUMNS, [_row(entry) for entry in entries])


@queue.command()
@click.argument("message", metavar="ID")
@click.option("--body", is_flag=True, help="Also print the stored message.")
@config_option
@json_option
def show(message: str, body: bool, config: str | None, as_json: bool) -> None:
    """Everything the queue knows of one message. Exit codes: 0 found, 1 not in the queue, 2 no queue id."""
    entries = _entries(config, QueueFilter(message=message, limit=0))
    if not entries:
        name = printable(message)
        fail(NO, f"{name} is not in the queue; `gatepost trace show {name}` says what became of it")
    if as_json:
        print_json([_as_json(entry) for entry in entries])
    else:
        for entry in entries:
            _print_entry(entry)
    if body:
        stdout = sys.stdout.buffer
        try:
            for chunk in _administration(config).body(message):
                stdout.write(chunk)
        except LookupError as gone:
            fail(NO, str(gone))
        except StoreFailure as failure:
            fail(UNKNOWN, str(failure))


def _action(name: str, summary: str) -> None:
    @queue.command(name, help=f"{summary} Exit codes: 0 done, 1 nothing matched, 2 wrong use, 3 not writable.")
    @click.argument("messages", nargs=-1, metavar="[ID]...")
    @_filters
    @click.option("--all", "everything", is_flag=True, help="All mail in the queue.")
    @config_option
    @json_option
    def command(messages: tuple[str, ...], config: str | None, as_json: bool, everything: bool, **wanted: Any) -> None:
        if not messages and not everything and not any(wanted.values()):
            fail(
                BAD_INPUT,
                f"say which mail to {name}: queue ids, --domain, --sender, --recipient, --organization or --all",
            )
        changed: list[QueueEntry] = []
        _check_ids(messages)
        for message in messages or ("",):
            changed += _change(config, name, QueueFilter(message=message, **wanted, limit=0))
        if as_json:
            print_json([_as_json(entry) for entry in changed])
        else:
            click.echo(f"{name}: {len(changed)} deliveries")
        if not changed:
            raise SystemExit(NO)


_action("retry", "Try again now.")
_action("hold", "Keep from being tried until released.")
_action("release", "Let held mail go, even to a destination that protects less than before.")
_action("drop", "Remove without telling the sender.")


def _check_ids(messages: tuple[str, ...]) -> None:
    """All of them before anything is changed."""
    try:
        for message in messages:
            parse_id(message)
    except ValueError as error:
        fail(BAD_INPUT, str(error))


def _administration(config: str | None) -> Administration:
    settings = settings_of(config)
    data = Path(settings.server.data_dir)
    return Administration(data / "queue", data / "trace", evidence_log(settings))


def _entries(config: str | None, wanted: QueueFilter) -> list[QueueEntry]:
    try:
        return _administration(config).entries(wanted)
    except ValueError as error:
        fail(BAD_INPUT, str(error))
    except StoreFailure as failure:
        fail(UNKNOWN, str(failure))


def _change(config: str | None, action: str, wanted: QueueFilter) -> list[QueueEntry]:
    try:
        changed: list[QueueEntry] = getattr(_administration(config), action)(wanted, author=author())
    except ValueError as error:
        fail(BAD_INPUT, str(error))
    except StoreFailure as failure:
        fail(UNKNOWN, str(failure))
    return changed


def _as_json(entry: QueueEntry) -> dict[str, Any]:
    delivery = entry.delivery
    record: dict[str, Any] = msgspec.structs.asdict(delivery.message)
    record["id"] = format_id(delivery.message.id)
    return {
        "message": record,
        "state": entry.state,
        "destination": delivery.destination,
        "recipients": [msgspec.structs.asdict(recipient) for recipient in delivery.recipients],
        "attempts": delivery.attempts,
        "next_at": delivery.next_at,
        "expires_at": delivery.expires_at,
        "last_error": delivery.last_error,
    }


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
