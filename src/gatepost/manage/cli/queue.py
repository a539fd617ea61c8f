"""`gatepost queue …`: look at deferred and held mail and act on it, on a running gateway as on a stopped one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from gatepost.manage.cli.options import BAD_INPUT, NO, client, fail, gateway_options, missing_is_no
from gatepost.manage.cli.output import (
    _,
    ours,
    print_content,
    print_facts,
    print_table,
    printable,
    printed_json,
    quantity,
    queue_states,
    say,
)
from gatepost.manage.cli.request_options import limit_option, request_options
from gatepost.manage.use_cases import queue as queue_cases
from gatepost.manage.use_cases.client import Client, all_items
from gatepost.manage.use_cases.queue_actions import QueueAction, QueueActions, act_on_queue
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.manage.use_cases.queue import QueueDelivery
    from gatepost.store.queue_admin import QueueTotals


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


@click.group()
def queue() -> None:
    """Show and manage mail that waits or is held. A running gateway applies changes within a second."""


@queue.command("list")
@request_options(queue_cases.ListQueue)
@limit_option
@gateway_options
def list_(request: queue_cases.ListQueue, limit: int) -> None:
    """List deliveries that wait, oldest first or by --sort, and sum them up.

    Exit codes: 0 done (also if there are none), 3 the data cannot be read.
    """
    deliveries = list(all_items(client().call, queue_cases.list_queue, request, limit))
    if not printed_json(deliveries):
        print_table(_COLUMNS, (_row(delivery) for delivery in deliveries))
        same = {name: getattr(request, name) for name in queue_cases.SumQueue.__struct_fields__}
        click.echo(_sums(client().call(queue_cases.sum_queue, queue_cases.SumQueue(**same))), err=True)


def _sums(totals: QueueTotals) -> str:
    """Sums in one line."""
    deliveries = f"{'' if totals.exact else _('at least ')}{_deliveries(totals.deliveries)}"
    messages, recipients = quantity(totals.messages, "message"), quantity(totals.recipients, "recipient")
    return _(
        "%(deliveries)s of %(messages)s, %(recipients)s, %(bytes)s: %(states)s",
        deliveries=deliveries,
        messages=messages,
        recipients=recipients,
        bytes=quantity(totals.bytes, "byte"),
        states=queue_states(totals.active, totals.deferred, totals.held),
    )


@queue.command()
@request_options(queue_cases.GetQueued)
@click.option("--body", is_flag=True, help="Also print the stored message.")
@gateway_options
def show(request: queue_cases.GetQueued, body: bool) -> None:
    """Show all details of one message in the queue. Exit codes: 0 found, 1 not in the queue, 2 not a queue id."""
    gateway = client()
    with missing_is_no():
        deliveries = gateway.call(queue_cases.get_queued, request).items
        chunks = gateway.call(queue_cases.read_queued, request).chunks if body else ()
    if not printed_json(deliveries):
        for delivery in deliveries:
            _print_delivery(delivery)
    print_content(chunks)


_FINAL: Final = {
    QueueAction.RETURN: N_("Return %(mail)s to their senders? You cannot undo this."),
    QueueAction.DROP: N_("Drop %(mail)s without a notice to their senders? You cannot undo this."),
}
"""Actions that cannot be undone, with the question before they are done to all mail."""


def _action(action: QueueAction, summary: str) -> None:
    fixed: dict[str, Any] = {"action": action} | ({} if action is QueueAction.RETURN else {"text": ""})

    @queue.command(
        str(action),
        help=f"{summary} Exit codes: 0 done, 1 nothing matched, 2 usage error, 3 the data cannot be written.",
    )
    @request_options(QueueActions, **fixed)
    @click.option("--dry-run", is_flag=True, help="Preview: only print how many deliveries match.")
    @_asking(action)
    @gateway_options
    def command(request: QueueActions, dry_run: bool, *, yes: bool = False) -> None:
        gateway = client()
        if not (yes or dry_run) and request.all:
            _ask(gateway, request)
        done = gateway.call(act_on_queue, request, dry_run=dry_run)
        changed = _deliveries(done.changed)
        if not printed_json(done.items):
            click.echo(f"{action}: {changed}{_(' (dry run)') if dry_run else ''}")
        elif (first := len(done.items)) < done.changed:
            say(
                "%(action)s: %(changed)s; the first %(items)s are printed",
                err=True,
                action=action,
                changed=changed,
                items=first,
            )
        if not done.changed:
            raise SystemExit(NO)


def _asking(action: QueueAction) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the option that answers the question, to the actions that ask one."""
    if action not in _FINAL:
        return lambda command: command
    return click.option("--yes", is_flag=True, help="Do not ask before --all.")


def _ask(gateway: Client, request: QueueActions) -> None:
    """Ask whether all of it is meant; end the command if it is not, or if nobody is there to answer.

    Not before what is refused all the same: dropping mail without a reason.
    """
    unfounded = request.action is QueueAction.DROP and not request.reason.strip()
    if request.action not in _FINAL or unfounded:
        return
    planned = gateway.call(act_on_queue, request, dry_run=True)
    if not planned.changed:
        return
    many = _(
        "%(changed)s of %(messages)s",
        changed=_deliveries(planned.changed),
        messages=quantity(planned.messages, "message"),
    )
    if not _is_answered():
        fail(
            BAD_INPUT,
            "%(action)s --all would end %(many)s: add --yes, or --dry-run to see them",
            action=request.action,
            many=many,
        )
    if not click.confirm(_(_FINAL[request.action], mail=many), err=True):
        fail(NO, "nothing was done")


def _is_answered() -> bool:
    return sys.stdin.isatty()


_action(QueueAction.RETRY, "Retry deliveries now.")
_action(QueueAction.HOLD, "Hold deliveries: no attempt is made until they are released.")
_action(QueueAction.RELEASE, "Release held deliveries, even to a destination that protects mail less than before.")
_action(QueueAction.RETURN, "Return messages to their senders with a failure notice.")
_action(QueueAction.DROP, "Delete messages without a notice to the sender.")


def _deliveries(number: int) -> str:
    return quantity(number, "delivery", "deliveries")


def _row(delivery: QueueDelivery) -> tuple[object, ...]:
    return (
        delivery.message.id,
        delivery.state,
        delivery.destination,
        f"<{delivery.message.reverse_path}>",
        len(delivery.recipients),
        delivery.attempts,
        "" if delivery.state == "held" else moment(delivery.next_at),
        moment(delivery.expires_at),
        delivery.last_error,
    )


def _why_held(delivery: QueueDelivery) -> str:
    if delivery.state != "held":
        return ""
    if delivery.held:
        return _("by an administrator")
    return _("its destination protects less than it did, see `gatepost destination list --below`")


_OPTIONAL_FIELDS = {"REQUIRETLS", "TLS-Required", "why held", "returned by"}


def _print_delivery(delivery: QueueDelivery) -> None:
    message = delivery.message
    if delivery.next_step:
        click.echo(f"{printable(ours(delivery.next_step))}\n")
    facts = {
        "message": message.id,
        "state": _("waiting (deferred)") if delivery.state == "deferred" else delivery.state,
        "why held": _why_held(delivery),
        "returned by": delivery.returned_by,
        "destination": delivery.destination,
        "sender": f"<{message.reverse_path}>",
        "recipients": ", ".join(recipient.address for recipient in delivery.recipients[:20]),
        "received": moment(message.received),
        "size": message.size,
        "REQUIRETLS": _("yes, TLS all the way") if message.require_tls else "",
        "TLS-Required": "No" if message.tls_required_no else "",
        "Message-ID": message.message_id,
        "session": message.session,
        "attempts": delivery.attempts,
        "next attempt": _("none while it is held") if delivery.state == "held" else moment(delivery.next_at),
        "expires": moment(delivery.expires_at),
        "last error": delivery.last_error,
    }
    print_facts((name, value) for name, value in facts.items() if value != "" or name not in _OPTIONAL_FIELDS)
    click.echo()
