"""Act on mail that waits: retry, hold, release, return or drop it, on a running gateway as on a stopped one."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from gatepost.mail.model.queue_id import format_id, parse_id
from gatepost.manage.access.actions import named
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases import queue
from gatepost.manage.use_cases.declaration import Cli, Visibility, use_case
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.stored_message import first_ids
from gatepost.policy.connectors.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.use_cases.context import Context, Gateway
    from gatepost.store.interface import QueueFilter
    from gatepost.store.queue_admin import QueueEntry


RETURN_TEXT = "Delivery was ended by the administrator"
"""What the sender of returned mail is told, if nothing else is said."""
_TOLD = f"Text of the notice to the sender.  [default: {RETURN_TEXT}]"
_SHOWN = 1000


class QueueAction(StrEnum):
    """Actions on waiting mail.

    RETRY: try again now. HOLD: keep from being tried until released. RELEASE: let held mail go, even to a destination
    that protects less than before. RETURN: end it with a notice to the sender. DROP: remove without telling the sender.
    """

    RETRY = "retry"
    HOLD = "hold"
    RELEASE = "release"
    RETURN = "return"
    DROP = "drop"


class QueueActions(queue.QueueSelection, kw_only=True, forbid_unknown_fields=True):
    """An action, and the mail it applies to: messages (queue ids), or what matches every filter given, or all of it.

    retry: try again now. hold: keep from being tried. release: let held mail go. return: end delivery with a notice to
    the sender. drop: remove, telling nobody, for a reason.
    """

    action: QueueAction
    messages: Annotated[list[str], Meta(max_length=1000), Cli(argument=True, metavar="[ID]...")] = msgspec.field(
        default_factory=list
    )
    all: Annotated[bool, Cli(help="All mail in the queue.")] = False
    reason: Annotated[str, Meta(max_length=300, description="Reason, recorded in the trace and the evidence log.")] = ""
    text: Annotated[
        str, Meta(max_length=300, description="What senders of returned mail are told."), Cli(help=_TOLD)
    ] = ""


class QueueChanged(msgspec.Struct):
    """The deliveries it was done to, or with dry_run would be, as they were.

    changed: how many, of how many messages. items: the first 1000 of them.
    """

    action: QueueAction
    dry_run: bool
    changed: int
    messages: int
    items: list[queue.QueueDelivery]


@use_case(
    "POST /queue/actions", scope=Scope.QUEUE, visibility=Visibility.SEEN, tag="queue", dry_run=True, action="queue"
)
def act_on_queue(context: Context, request: QueueActions) -> QueueChanged:
    """Retry, hold, release, return or drop mail.

    A running gateway takes it up within a second. Nothing matching is no error: changed is 0.
    """
    action = named("queue", request.action)
    values = {"reason": request.reason, "text": request.text}
    subject = first_ids(request.messages)
    context.audit.describe(action, organization=request.organization, subject=subject, **values)
    _check(request, dry_run=context.dry_run)
    if context.dry_run:
        return _planned(context, request)
    entries = apply_action(
        context.gateway,
        context.principal,
        request.action,
        request.narrowed(),
        messages=request.messages,
        reason=request.reason,
        text=request.text,
    )
    ids = list(dict.fromkeys(format_id(queue_entry.delivery.message.id) for queue_entry in entries))
    queue.record_each(context, action, entries, first_ids(ids), **values)
    return QueueChanged(request.action, False, len(entries), len(ids), _first(entries, context.principal))


def apply_action(  # noqa: PLR0913 - what is done to which mail, by whom and why
    gateway: Gateway,
    principal: Principal,
    action: QueueAction,
    queue_filter: QueueFilter,
    *,
    messages: Sequence[str] = (),
    reason: str = "",
    text: str = "",
) -> list[QueueEntry]:
    """Do it to every delivery that matches, and is of one of the messages where some are named; those, as they were.

    Raises StoreFailure, and then a part may have been done.
    """
    administration = queue.administration_of(gateway)
    entries: list[QueueEntry] = []
    for narrowed in _filters(principal, queue_filter, messages):
        if action is QueueAction.RETURN:
            entries += administration.send_back(
                narrowed, author=principal.name, text=text or RETURN_TEXT, reason=reason
            )
        else:
            entries += getattr(administration, action)(narrowed, author=principal.name, reason=reason)
    return queue.without_others(gateway, principal, entries)


def _planned(context: Context, request: QueueActions) -> QueueChanged:
    """Count what would be changed. Raises as `apply_action`."""
    administration = queue.administration_of(context.gateway)
    deliveries, messages = 0, 0
    first: list[QueueEntry] = []
    for queue_filter in _filters(context.principal, request.narrowed(), request.messages):
        some, of = administration.applying_to(request.action, queue_filter)
        deliveries, messages = deliveries + some, messages + of
        if (left := _SHOWN - len(first)) > 0:
            first += administration.applying(request.action, msgspec.structs.replace(queue_filter, limit=left))
    shown = _first(queue.without_others(context.gateway, context.principal, first), context.principal)
    return QueueChanged(request.action, True, deliveries, messages, shown)


def _check(request: QueueActions, *, dry_run: bool) -> None:
    """Everything that is wrong, before anything is changed. Raises Refusal (INPUT)."""
    errors = []
    is_chosen = request.messages or request.all or not request.matches_all
    if not is_chosen:
        errors.append(FieldError("messages", f"choose the mail to {request.action}"))
    for place, message in enumerate(request.messages):
        try:
            parse_id(message)
        except ValueError as error:
            errors.append(FieldError(f"messages[{place}]", str(error)))
    # A line of a row, and of a notice, which has no letters beyond ASCII (RFC 3464 section 2.3.6).
    for name, text in (("reason", request.reason), ("text", request.text)):
        if not text.isprintable() or (name == "text" and not text.isascii()):
            errors.append(FieldError(name, f"is one line of printable {'ASCII ' * (name == 'text')}characters"))
    if request.action is QueueAction.DROP and not request.reason.strip() and not dry_run:
        errors.append(
            FieldError("reason", "give a reason: the senders are not notified, and the action cannot be undone")
        )
    if errors:
        if is_chosen:
            raise Refusal(RefusalKind.INPUT, "Nothing was done.", errors)
        text = "nothing was done: name messages by their ids, give filters, or choose all"
        raise Refusal(RefusalKind.INPUT, text, errors, options=[*queue.QueueSelection.__struct_fields__, "all"])


def _filters(principal: Principal, queue_filter: QueueFilter, messages: Sequence[str]) -> list[QueueFilter]:
    seen = queue.seen_by(principal, queue_filter)
    return [msgspec.structs.replace(seen, message=text, limit=0) for text in dict.fromkeys(messages or ("",))]


def _first(entries: Sequence[QueueEntry], principal: Principal) -> list[queue.QueueDelivery]:
    return [queue.delivery_shown(entry, principal) for entry in entries[:_SHOWN]]
