"""`gatepost quarantine …`: look at messages in quarantine, release and delete them."""

from __future__ import annotations

import click

from gatepost.manage.cli.options import NO, client, gateway_options, missing_is_no
from gatepost.manage.cli.output import _, ours, print_content, print_facts, print_rows, printed_json, quantity, say
from gatepost.manage.cli.request_options import limit_option, request_options
from gatepost.manage.use_cases import quarantine as quarantine_cases
from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.times import stamp

_COLUMNS = ("message", "organization", "received", "sender", "recipient", "subject", "reason", "deleted")


@click.group()
def quarantine() -> None:
    """Review messages that a content hook or a mail flow rule holds. A running gateway applies changes in a second."""


@quarantine.command("list")
@request_options(quarantine_cases.ListQuarantine)
@limit_option
@gateway_options
def list_(request: quarantine_cases.ListQuarantine, limit: int) -> None:
    """List messages in quarantine, newest first, a row for each recipient.

    Exit codes: 0 done (also if there are none), 3 the data cannot be read.
    """
    print_rows(_COLUMNS, all_items(client().call, quarantine_cases.list_quarantine, request, limit), _row)


@quarantine.command()
@request_options(quarantine_cases.GetQuarantined)
@click.option("--body", is_flag=True, help="Also print the stored message. It may contain malware.")
@gateway_options
def show(request: quarantine_cases.GetQuarantined, body: bool) -> None:
    """Show all details of one message in quarantine.

    Exit codes: 0 found, 1 not in quarantine, 2 not a queue id.
    """
    gateway = client()
    with missing_is_no():
        messages = gateway.call(quarantine_cases.get_quarantined, request).items
        chunks = gateway.call(quarantine_cases.read_quarantined, request).chunks if body else ()
    if not printed_json(messages):
        for message in messages:
            _print_message(message)
    print_content(chunks)


def _action(action: quarantine_cases.QuarantineAction, summary: str) -> None:
    @quarantine.command(
        str(action),
        help=f"{summary} Exit codes: 0 done, 1 nothing matched, 2 usage error, 3 the data cannot be written.",
    )
    @request_options(quarantine_cases.QuarantineActions, action=action)
    @click.option("--dry-run", is_flag=True, help="Preview: only print how many messages match.")
    @gateway_options
    def command(request: quarantine_cases.QuarantineActions, dry_run: bool) -> None:
        done = client().call(quarantine_cases.act_on_quarantine, request, dry_run=dry_run)
        if not printed_json(done.items):
            count = quantity(done.changed, "recipient")
            click.echo(f"{action}: {count}{_(' (dry run)') if dry_run else ''}")
            for name in sorted({message.next for message in done.items} - {""}):
                say("also in quarantine of %(name)s, which has to release it, too", name=name)
        if not done.changed:
            raise SystemExit(NO)


_action(
    quarantine_cases.QuarantineAction.RELEASE,
    "Release messages: they are delivered, and no content hook or rule holds them again.",
)
_action(quarantine_cases.QuarantineAction.DELETE, "Delete messages without a notice to the sender.")


def _row(message: quarantine_cases.QuarantinedMessage) -> tuple[object, ...]:
    return (
        message.message,
        message.organization,
        stamp(message.received),
        f"<{message.sender}>",
        message.recipient,
        message.subject,
        f"{ours(message.by)}: {message.reason}" if message.reason else ours(message.by),
        stamp(message.deleted_at),
    )


def _print_message(message: quarantine_cases.QuarantinedMessage) -> None:
    facts = {
        "message": message.message,
        "organization": message.organization,
        "held by": ours(message.by),
        "reason": message.reason,
        "sender": f"<{message.sender}>",
        "recipient": message.recipient,
        "subject": message.subject,
        "Message-ID": message.message_id,
        "direction": message.direction,
        "size": message.size,
        "received": stamp(message.received),
        "deleted": stamp(message.deleted_at),
        "then held by": message.next,
    }
    print_facts((name, value) for name, value in facts.items() if value != "" or name == "subject")
    click.echo()
