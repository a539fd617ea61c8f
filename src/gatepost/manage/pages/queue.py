"""The queue: its messages, its destinations, one message; and the actions of administrators on them.

Every action asks first how much it would be done to. A header section is shown, and content handed out, only to who may
act on mail, and both are put on record. What is seen and acted on is of the organizations of who asks alone.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.routing import Route

from gatepost.language import _, in_sentence, ngettext, translated, translated_choices
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.pages.account_forms import by_field
from gatepost.manage.pages.exports import download, exported, time_cell
from gatepost.manage.pages.guard import context_of, every, or_not_there, perform, principal_of
from gatepost.manage.pages.login import local_target
from gatepost.manage.pages.message_head import head_of
from gatepost.manage.pages.paging import by_fields, sorted_page
from gatepost.manage.pages.rendering import link, render, see_other
from gatepost.manage.pages.resource_paths import trace_path
from gatepost.manage.use_cases import queue as queue_cases
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.queue_actions import RETURN_TEXT, QueueAction, QueueActions, act_on_queue
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.request_values import limits
from gatepost.manage.use_cases.trace import ShowTrace, show_trace
from gatepost.store.queue_admin import SORTS
from gatepost.texts import N_, NN_

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.manage.use_cases.queue import QueueDelivery


PAGE: Final = 50
_MOST: Final = 10_000
_NAMED: Final = 10
FILTERS: Final = {
    "words": N_("Part of a name or subject"),
    "state": N_("State"),
    "domain": N_("Destination"),
    "sender": N_("From"),
    "recipient": N_("To"),
}
STATES: Final = (("", N_("Any")), ("active", N_("Active")), ("deferred", N_("Waiting")), ("held", N_("Held")))
DONE: Final = {
    QueueAction.RETRY: NN_(
        "%(deliveries)s of %(messages)s will be tried again now.",
        "%(deliveries)s of %(messages)s will be tried again now.",
    ),
    QueueAction.HOLD: NN_(
        "%(deliveries)s of %(messages)s will be held.", "%(deliveries)s of %(messages)s will be held."
    ),
    QueueAction.RELEASE: NN_(
        "%(deliveries)s of %(messages)s will be released.", "%(deliveries)s of %(messages)s will be released."
    ),
    QueueAction.DROP: NN_(
        "%(deliveries)s of %(messages)s will be dropped.", "%(deliveries)s of %(messages)s will be dropped."
    ),
    QueueAction.RETURN: NN_(
        "%(deliveries)s of %(messages)s will be returned to its sender.",
        "%(deliveries)s of %(messages)s will be returned to their senders.",
    ),
}
"""What becomes of deliveries, before it is done."""
_SAID: Final = {
    QueueAction.RETRY: NN_("Retrying %(num)s delivery.", "Retrying %(num)s deliveries."),
    QueueAction.HOLD: NN_("%(num)s delivery held.", "%(num)s deliveries held."),
    QueueAction.RELEASE: NN_("%(num)s delivery released.", "%(num)s deliveries released."),
    QueueAction.RETURN: NN_("%(num)s delivery returned to sender.", "%(num)s deliveries returned to sender."),
    QueueAction.DROP: NN_("%(num)s delivery dropped.", "%(num)s deliveries dropped."),
}
COLUMNS: Final = (
    "queue_id", "state", "destination", "organization", "sender", "recipients", "subject", "size", "received",
    "attempts", "next_attempt", "expires", "last_error",
)  # fmt: skip


def _filter(given: Mapping[str, str]) -> dict[str, Any]:
    """Fields of a request, as a form or an address has them."""
    return {name: given.get(name, "").strip() for name in (*FILTERS, "organization")}


def _list(request: Request) -> Response:
    values = request.query_params
    queue = queue_cases.ListQueue(**_filter(values), sort=_order_of(values), limit=PAGE, after=values.get("after", ""))
    deliveries = partial(every, request, queue_cases.list_queue, queue, _MOST)
    if file := exported(request, "queue", COLUMNS, deliveries, cells=_cells):
        return file
    items = perform(request, queue_cases.list_queue, queue)
    totals = perform(request, queue_cases.sum_queue, queue_cases.SumQueue(**_filter(values)))
    return render(
        request,
        "queue/list.html",
        block="rows",
        found=items.items,
        after=items.after or "",
        sort=queue.sort,
        totals=totals,
        chosen={name: values.get(name, "") for name in FILTERS},
        labels=FILTERS,
        searched=", ".join(
            f"{in_sentence(_(label))} {values[name]}" for name, label in FILTERS.items() if values.get(name)
        ),
        states=translated_choices(STATES),
        actions=_choices(),
        may_act=_may_act(principal_of(request)),
    )


def _order_of(given: Mapping[str, str]) -> Any:
    """The order that an address asks for; that of the queue for what is none."""
    sort = given.get("sort", "")
    return sort if sort.removeprefix("-") in SORTS else ""


def _by_destination(request: Request) -> Response:
    destinations = queue_cases.ListWaitingDestinations(**_filter(request.query_params))
    waiting = perform(request, queue_cases.list_waiting_destinations, destinations).items
    if file := exported(request, "destinations", _COUNTED, lambda: waiting):
        return file
    page = sorted_page(request, waiting, by_fields(*_COUNTED), NN_("%(num)s destination", "%(num)s destinations"))
    return render(
        request,
        "queue/destinations.html",
        block="rows",
        found=page.rows,
        foot=page.foot,
        sort=page.sort,
        counts={
            name: sum(getattr(destination, name) for destination in waiting)
            for name in ("count", "active", "deferred", "held")
        },
    )


_COUNTED: Final = ("organization", "destination", "count", "active", "deferred", "held", "oldest", "last_error")


_ACTIONS: Final = {
    "retry": N_("Retry now"),
    "hold": N_("Hold"),
    "release": N_("Release"),
    "return": N_("Return to sender"),
    "drop": N_("Drop"),
}


def _choices() -> Sequence[tuple[str, str]]:
    return tuple(translated(_ACTIONS).items())


def _may_act(principal: Principal) -> bool:
    return not {Scope.QUEUE, Scope.OWNER}.isdisjoint(principal.scopes)


def _cells(queued: QueueDelivery) -> tuple[object, ...]:
    message = queued.message
    return (
        message.id, queued.state, queued.domain, queued.organization, message.reverse_path,
        " ".join(recipient.address for recipient in queued.recipients), message.subject, message.size,
        time_cell(message.received), queued.attempts, time_cell(queued.next_at), time_cell(queued.expires_at),
        queued.last_error,
    )  # fmt: skip


def _show(request: Request) -> Response:
    """A message that waits; its header section if it is asked for by who may."""
    principal, message = principal_of(request), request.path_params["message"]
    events = _trace(request, message)
    try:
        queued = perform(request, queue_cases.get_queued, queue_cases.GetQueued(message=message))
    except Refusal as refusal:
        if refusal.kind is RefusalKind.MISSING and events:  # it has left the queue, perhaps by a retry just now
            return see_other(request, link(trace_path(message)))
        with _or_gone(message):
            raise
    deliveries = queued.items
    if file := exported(request, f"queue-{message}", COLUMNS, lambda: deliveries, cells=_cells):
        return file
    envelope = deliveries[0].message
    header = ""
    if "header" in request.query_params and queued.readable:
        header = perform(request, queue_cases.read_queued_header, queue_cases.GetQueued(message=message)).text
    return render(
        request,
        "queue/message.html",
        message=message,
        head=head_of(request, events, deliveries, message),
        found=deliveries[:PAGE],
        total=len(deliveries),
        envelope=envelope,
        may_act=_may_act(principal),
        may_read=queued.readable,
        header=header,
        limits=limits(QueueActions),
    )


def _trace(request: Request, message: str) -> Sequence[TraceEvent]:
    """Rows of the message, () if there are none: the queue can be looked at without a trace."""
    try:
        return perform(request, show_trace, ShowTrace(id=message)).items
    except Refusal:
        return ()


def _or_gone(message: str) -> AbstractContextManager[None]:
    """A text that is no queue id cannot be in the queue either."""
    text = _("%(message)s is not in the queue. See the message trace for its result.", message=message[:40])
    return or_not_there(text, RefusalKind.MISSING, RefusalKind.INPUT)


def _content(request: Request) -> Response:
    """The stored message as a file."""
    message = request.path_params["message"]
    with _or_gone(message):
        file = perform(request, queue_cases.read_queued, queue_cases.GetQueued(message=message))
    return download(file.chunks, file.name, queue_cases.read_queued.media_type)


def _confirm(request: Request, errors: Mapping[str, str] | None = None) -> Response:
    """Ask for confirmation of an action, with the number of messages it applies to.

    errors: of an answer that was not one.
    """
    form, actions = request.state.form, _action_request(request.state.form)
    texts = {"reason": "", "text": ""} if errors else {}  # what is wrong with them is in errors
    planned = execute(act_on_queue, context_of(request, dry_run=True), msgspec.structs.replace(actions, **texts))
    return render(
        request,
        "queue/confirm.html",
        errors=errors or {},
        reason=actions.reason,
        action=actions.action,
        done=DONE[actions.action],
        names=dict(_choices()),
        found=planned.items[:_NAMED],
        total=planned.changed,
        senders=planned.messages,
        fields=[(name, value) for name, value in form.multi_items() if name in _FORWARDED],
        return_text=actions.text or RETURN_TEXT,
        back=_back(form),
        limits=limits(QueueActions),
    )


_FORWARDED: Final = ("action", "messages", "which", *FILTERS, "organization", "back")


def _action_request(form: Any) -> QueueActions:
    """Read an action from a form: on the selected messages, or on all that match the filter."""
    try:
        action = QueueAction(form.get("action", ""))
    except ValueError as error:
        raise Refusal(RefusalKind.INPUT, N_("Choose an action: retry, hold, release, return or drop.")) from error
    texts: dict[str, Any] = {
        "reason": _said(form, "why", "reason", action),
        "text": _said(form, "text", "text", action),
    }
    if form.get("which") == "all":
        return QueueActions(action=action, all=True, **_filter(form), **texts)
    messages = form.getlist("messages")
    if not messages:
        raise Refusal(
            RefusalKind.INPUT,
            N_("No message is selected. Select messages, or apply the action to all that match the filter."),
        )
    return QueueActions(action=action, messages=messages, organization=form.get("organization", ""), **texts)


def _said(form: Mapping[str, str], dialog: str, field: str, action: QueueAction) -> str:
    """Value of a field, of the confirmation page or of a message's own dialog."""
    return (form.get(f"{dialog}-{action}") or form.get(field, "")).strip()


def _back(form: Mapping[str, str]) -> str:
    return local_target(form.get("back", "/queue"))


def _do(request: Request) -> Response:
    form, actions = request.state.form, _action_request(request.state.form)
    try:
        done = perform(request, act_on_queue, actions)
    except Refusal as refusal:
        if refusal.kind is not RefusalKind.INPUT:
            raise
        return _confirm(request, by_field(refusal))
    back, action = _back(form), actions.action
    if not done.changed:
        return see_other(request, back, _("Nothing was done: the messages are no longer in the queue."), "warn")
    gone = action in {QueueAction.DROP, QueueAction.RETURN} and back.startswith("/queue/")
    said = ngettext(*_SAID[action], done.changed)
    return see_other(request, link("/queue") if gone else back, said)


ROUTES = [
    Route("/queue", _list),
    Route("/queue/destinations", _by_destination),
    Route("/queue/confirm", _confirm, methods=["POST"]),
    Route("/queue/actions", _do, methods=["POST"]),
    Route("/queue/{message}", _show),
    Route("/queue/{message}/content", _content, methods=["POST"]),
]
