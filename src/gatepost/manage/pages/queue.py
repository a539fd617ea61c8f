"""Mail that waits: listed, by destination, message by message; and what administrators do about it.

Every action asks first how much it would be done to. A header section is shown, and content handed out, only to who may
act on mail, and both are put on record. What is seen and acted on is of the organizations of who asks alone.
"""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import StreamingResponse
from starlette.routing import Route

from gatepost.mail.model.queue_id import format_id, made_at
from gatepost.manage.access.actions import named
from gatepost.manage.access.principal import Scope
from gatepost.manage.pages.entrance import local_target
from gatepost.manage.pages.exports import exported
from gatepost.manage.pages.guard import actor_of, gateway_of, needs_scope, not_there, who
from gatepost.manage.pages.pages import link, render, see_other
from gatepost.manage.pages.paging import foot, paged
from gatepost.manage.use_cases.cursors import cursor, position
from gatepost.manage.use_cases.queue import (
    RETURN_TEXT,
    QueueAction,
    act,
    chosen,
    destinations,
    entries,
    entry_record,
    message_body,
    message_entries,
    place_of,
    subject_of,
)
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.store.administration import QueuePlace
from gatepost.store.interface import QueueFilter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.manage.access.actions import Action
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.store.admin_rows import DestinationCount, QueueEntry


PAGE: Final = 50
_MOST: Final = 10_000
_HEADER: Final = 64 * 1024
FILTERS: Final = {"state": "State", "domain": "Destination", "sender": "From", "recipient": "To"}
STATES: Final = (("", "Any"), ("active", "Active"), ("deferred", "Deferred"), ("held", "Held"))
_ONE: Final = "returned to its sender"
DONE: Final = {
    QueueAction.RETRY: "tried again now",
    QueueAction.HOLD: "held",
    QueueAction.RELEASE: "released",
    QueueAction.RETURN: "returned to their senders",
    QueueAction.DROP: "dropped",
}
"""What becomes of deliveries, after "N deliveries are"."""
COLUMNS: Final = (
    "queue_id", "state", "destination", "organization", "sender", "recipients", "subject", "size", "received",
    "attempts", "next_attempt", "expires", "last_error",
)  # fmt: skip


def _filter(given: Mapping[str, str], **more: Any) -> QueueFilter:
    chosen: dict[str, Any] = {name: given.get(name, "").strip()[:1000] for name in (*FILTERS, "organization")}
    if chosen["state"] not in dict(STATES):
        raise Refusal(Kind.INPUT, "The state of a delivery is active, deferred or held.")
    return QueueFilter(**chosen, **more)


def _list(request: Request) -> Response:
    gateway, principal, given = gateway_of(request), who(request), request.query_params
    file = exported(
        request,
        "queue",
        COLUMNS,
        lambda: entries(gateway, principal, _filter(given, limit=_MOST)),
        record=partial(entry_record, who=principal),
        cells=_cells,
    )
    if file is not None:
        return file
    found = entries(gateway, principal, _filter(given, limit=PAGE + 1), _place(given.get("after", "")))
    return render(
        request,
        "queue/list.html",
        block="rows",
        found=found[:PAGE],
        after=cursor(place_of(found[PAGE - 1])) if len(found) > PAGE else "",
        chosen={name: given.get(name, "") for name in FILTERS},
        labels=FILTERS,
        states=STATES,
        actions=_choices(),
        may_act=_may_act(principal),
        shown_id=format_id,
    )


def _by_destination(request: Request) -> Response:
    gateway, principal, given = gateway_of(request), who(request), request.query_params
    found = destinations(gateway, principal, _filter(given, limit=0))
    if file := exported(request, "destinations", _COUNTED, lambda: map(_destination_record, found)):
        return file
    page = paged(request, found)
    return render(
        request,
        "queue/destinations.html",
        found=page.rows,
        foot=foot(page, "destinations, the fullest first", "destination"),
        counts={name: sum(getattr(one, name) for one in found) for name in ("count", "active", "deferred", "held")},
        made_at=made_at,
        shown_id=format_id,
    )


_COUNTED: Final = ("organization", "destination", "count", "active", "deferred", "held", "oldest", "last_error")


def _destination_record(one: DestinationCount) -> dict[str, Any]:
    organization, _, domain = one.destination.partition("/")
    counts = {name: getattr(one, name) for name in ("count", "active", "deferred", "held")}
    oldest = {"oldest": made_at(one.oldest), "last_error": one.last_error}
    return {"organization": organization, "destination": domain, **counts, **oldest}


def _choices() -> Sequence[tuple[str, str]]:
    return (("retry", "Retry now"), ("hold", "Hold"), ("release", "Release"), ("return", "Return to sender"),
            ("drop", "Drop"))  # fmt: skip


def _may_act(principal: Principal) -> bool:
    return not {Scope.QUEUE, Scope.OWNER}.isdisjoint(principal.scopes)


def _place(text: str) -> QueuePlace | None:
    try:
        return QueuePlace(*position(text, tuple[str, int, int])) if text else None
    except ValueError as error:
        raise Refusal(Kind.INPUT, "This page of the list cannot be found: begin with the first one.") from error


def _cells(entry: QueueEntry) -> tuple[object, ...]:
    delivery, message = entry.delivery, entry.delivery.message
    return (
        format_id(message.id), entry.state, delivery.destination.partition("/")[2], delivery.organization,
        message.reverse_path, " ".join(one.address for one in delivery.recipients), message.subject, message.size,
        message.received, delivery.attempts, delivery.next_at, delivery.expires_at, delivery.last_error,
    )  # fmt: skip


def _show(request: Request) -> Response:
    """A message that waits; its header section if it is asked for by who may."""
    gateway, principal, message = gateway_of(request), who(request), request.path_params["message"]
    found = _deliveries(request, message)
    record = partial(entry_record, who=principal)
    if file := exported(request, f"queue-{message}", COLUMNS, lambda: found, record=record, cells=_cells):
        return file
    envelope = found[0].delivery.message
    may_read = _may_act(principal) and principal.sees(envelope.organization)
    header = ""
    if "header" in request.query_params and may_read:
        header = _header(gateway, principal, message)
        _record(request, "queue-header", found, subject=message)
    return render(
        request,
        "queue/message.html",
        message=message,
        found=found[:PAGE],
        total=len(found),
        envelope=envelope,
        may_act=_may_act(principal),
        may_read=may_read,
        header=header,
    )


def _deliveries(request: Request, message: str) -> list[QueueEntry]:
    try:
        return message_entries(gateway_of(request), who(request), QueueFilter(message=message))
    except Refusal as refusal:
        if refusal.kind is Kind.UNREADABLE:
            raise
        raise not_there(f"{message[:40]} is not in the queue. What became of it is in the trace.") from refusal


def _header(gateway: Gateway, principal: Principal, message: str) -> str:
    """The header section, as far as 64 KiB go."""
    taken = b""
    for chunk in message_body(gateway, principal, message):
        taken += chunk
        if b"\r\n\r\n" in taken or len(taken) > _HEADER:
            break
    return taken.partition(b"\r\n\r\n")[0][:_HEADER].decode("utf-8", "replace").replace("\r\n", "\n")


def _content(request: Request) -> Response:
    """The stored message as a file."""
    principal, message = needs_scope(request, Scope.QUEUE), request.path_params["message"]
    found = _deliveries(request, message)
    try:
        chunks = message_body(gateway_of(request), principal, message)
    except Refusal as refusal:
        if refusal.kind is not Kind.MISSING:
            raise
        raise not_there(refusal.text) from refusal
    _record(request, "queue-content", found, subject=message)
    answer = StreamingResponse(chunks, media_type="message/rfc822")
    answer.headers["content-disposition"] = f'attachment; filename="{format_id(found[0].delivery.message.id)}.eml"'
    return answer


def _confirm(request: Request, errors: Mapping[str, str] | None = None) -> Response:
    """How much an action would be done to, and the last question before it. errors: of an answer that was not one."""
    principal, form = needs_scope(request, Scope.QUEUE), request.state.form
    action, messages, wanted = _asked(form)
    found = chosen(gateway_of(request), principal, action, wanted, messages=messages)
    return render(
        request,
        "queue/confirm.html",
        HTTPStatus.UNPROCESSABLE_ENTITY if errors else HTTPStatus.OK,
        errors=errors or {},
        reason=_said(form, "why", "reason", action),
        action=action,
        done=DONE[action],
        names=dict(_choices()),
        found=found.first,
        total=found.deliveries,
        senders=found.messages,
        fields=[(name, value) for name, value in form.multi_items() if name in _FORWARDED],
        return_text=_said(form, "text", "text", action) or RETURN_TEXT,
        back=_back(form),
        shown_id=format_id,
    )


_FORWARDED: Final = ("action", "messages", "which", *FILTERS, "organization", "back")


def _asked(form: Any) -> tuple[QueueAction, Sequence[str], QueueFilter]:
    """What is to be done to what: to the messages that are ticked, or to all that the filter matches."""
    try:
        action = QueueAction(form.get("action", ""))
    except ValueError as error:
        raise Refusal(Kind.INPUT, "Choose what to do: retry, hold, release, return or drop.") from error
    messages = form.getlist("messages")
    if form.get("which") == "all":
        return action, (), _filter(form, limit=0)
    if not messages:
        raise Refusal(Kind.INPUT, "No message was ticked: tick some, or choose all that match the filter.")
    return action, messages, QueueFilter(organization=form.get("organization", ""), limit=0)


def _said(form: Mapping[str, str], dialog: str, field: str, action: QueueAction) -> str:
    """What stands in a field, be it of the page that asks once more or of a message's own dialog."""
    return (form.get(f"{dialog}-{action}") or form.get(field, "")).strip()


def _back(form: Mapping[str, str]) -> str:
    return local_target(form.get("back", "/queue"))


def _do(request: Request) -> Response:
    principal, form = needs_scope(request, Scope.QUEUE), request.state.form
    action, messages, wanted = _asked(form)
    reason, text = _said(form, "why", "reason", action), _said(form, "text", "text", action)
    if action is QueueAction.DROP and not reason:
        return _confirm(request, {"reason": "Say why, for the record. Nothing was dropped yet."})
    try:
        found = act(gateway_of(request), principal, action, wanted, messages=messages, reason=reason, text=text)
    except Refusal as refusal:
        if refusal.kind is not Kind.INPUT:
            raise
        return _confirm(request, {one.path: one.message for one in refusal.errors} or {"": refusal.text})
    if not found:
        return see_other(request, _back(form), "Nothing was done: no such mail waits any more.", "warn")
    _record(request, named("queue", action), found, subject=subject_of(found), reason=reason, text=text)
    back = _back(form)
    gone = action in {QueueAction.DROP, QueueAction.RETURN} and back.startswith("/queue/")
    if len(found) == 1:
        said = f"1 delivery is {_ONE if action is QueueAction.RETURN else DONE[action]}."
    else:
        said = f"{len(found):,} deliveries are {DONE[action]}."
    return see_other(request, link("/queue") if gone else back, said)


def _record(request: Request, action: Action, found: Iterable[QueueEntry], *, subject: str, **detail: str) -> None:
    """On record, for each organization whose mail it was."""
    counted: dict[str, int] = {}
    for one in found:
        counted[one.delivery.organization] = counted.get(one.delivery.organization, 0) + 1
    for organization, count in counted.items():
        kept = {name: text for name, text in detail.items() if text} | {"deliveries": count}
        request.app.state.accounts.record(
            actor_of(request), action, organization=organization, subject=subject, detail=kept
        )


ROUTES = [
    Route("/queue", _list),
    Route("/queue/destinations", _by_destination),
    Route("/queue/confirm", _confirm, methods=["POST"]),
    Route("/queue/actions", _do, methods=["POST"]),
    Route("/queue/{message}", _show),
    Route("/queue/{message}/content", _content, methods=["POST"]),
]
