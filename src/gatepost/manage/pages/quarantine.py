"""The quarantine: its messages, one message, and their release or deletion.

Content is never shown as HTML: the header section as plain text, the message as a file, only to who may act on mail,
and both are put on record. What is seen and acted on is in the quarantine of the organizations of who asks alone.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.routing import Route

from gatepost.language import _, ngettext
from gatepost.manage.access.principal import Scope
from gatepost.manage.pages.account_forms import by_field
from gatepost.manage.pages.exports import download, exported
from gatepost.manage.pages.guard import context_of, every, or_not_there, perform, principal_of
from gatepost.manage.pages.login import local_target
from gatepost.manage.pages.paging import by_fields, stored_rows
from gatepost.manage.pages.rendering import link, render, see_other
from gatepost.manage.pages.time_zones import local_times
from gatepost.manage.use_cases import quarantine
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.request_values import limits
from gatepost.manage.use_cases.times import read_time, time_text
from gatepost.texts import N_, NN_

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.manage.use_cases.paging import Columns


_PAGE: Final = 50
_MOST: Final = 10_000
_SORTS: Final[Columns[quarantine.QuarantinedMessage]] = by_fields("subject", time="received", expires="deleted_at") | {
    "sender": lambda held: (held.sender, held.recipient),
    "by": lambda held: (held.by, held.reason),
}
_NAMED: Final = 10
_FILTERS: Final = ("sender", "recipient", "subject", "reason", "since", "until")
_LABELS: Final = {quarantine.QuarantineAction.RELEASE: N_("Release"), quarantine.QuarantineAction.DELETE: N_("Delete")}
_HEADINGS: Final = {
    "time": N_("Message"),
    "sender": N_("From and to"),
    "subject": N_("Subject"),
    "by": N_("Held by"),
    "expires": N_("Expires"),
}
_COLUMNS: Final = (
    "message", "organization", "sender", "recipient", "subject", "message_id", "direction", "size", "received",
    "deleted_at", "by", "reason", "next",
)  # fmt: skip


def _list(request: Request) -> Response:
    values = request.query_params
    chosen = {name: values.get(name, "").strip() for name in _FILTERS}
    organization = values.get("organization", "").strip()
    more = {"organization": organization, "after": values.get("after", "")}
    wanted = quarantine.ListQuarantine(**local_times(request, chosen), **more, limit=_PAGE)
    messages = partial(every, request, quarantine.list_quarantine, wanted, _MOST)
    if file := exported(request, "quarantine", _COLUMNS, messages):
        return file
    page = stored_rows(request, quarantine.list_quarantine, wanted, _SORTS, NN_("%(num)s row", "%(num)s rows"))
    return render(
        request,
        "quarantine/list.html",
        block="rows",
        **page._asdict(),
        columns=[(_(heading), key) for key, heading in _HEADINGS.items()],
        chosen=chosen,
        may_act=not {Scope.QUEUE, Scope.OWNER}.isdisjoint(principal_of(request).scopes),
    )


def _show(request: Request) -> Response:
    """A message in quarantine; its header section if it is asked for by who may."""
    message = request.path_params["message"]
    with _or_gone(message):
        held = perform(request, quarantine.get_quarantined, quarantine.GetQuarantined(message=message))
    header = ""
    if "header" in request.query_params and held.readable:
        header = perform(request, quarantine.read_quarantined_header, quarantine.GetQuarantined(message=message)).text
    return render(
        request,
        "quarantine/message.html",
        message=message,
        found=held.items[:_PAGE],
        total=len(held.items),
        envelope=held.items[0],
        readable=held.readable,
        releasable=held.releasable,
        header=header,
    )


def _or_gone(message: str) -> AbstractContextManager[None]:
    """A text that is no queue id cannot be in quarantine either."""
    text = _("%(message)s is not in quarantine. See the message trace for its result.", message=message[:40])
    return or_not_there(text, RefusalKind.MISSING, RefusalKind.INPUT)


def _content(request: Request) -> Response:
    """The stored message as a file."""
    message = request.path_params["message"]
    with _or_gone(message):
        file = perform(request, quarantine.read_quarantined, quarantine.GetQuarantined(message=message))
    return download(file.chunks, file.name, quarantine.read_quarantined.media_type)


def _confirm(request: Request, errors: Mapping[str, str] | None = None) -> Response:
    """Ask for confirmation and a reason. errors: of an answer that was not one."""
    form, actions = request.state.form, _actions(request)
    planned = execute(
        quarantine.act_on_quarantine, context_of(request, dry_run=True), msgspec.structs.replace(actions, reason="")
    )
    times = {name: getattr(actions, name) for name in _TIMES}
    return render(
        request,
        "quarantine/confirm.html",
        errors=errors or {},
        reason=actions.reason,
        action=actions.action,
        label=_(_LABELS[actions.action]),
        found=planned.items[:_NAMED],
        total=planned.changed,
        messages=planned.messages,
        fields=[(name, value) for name, value in form.multi_items() if name in _FORWARDED] + list(times.items()),
        back=_back(form),
        limits=limits(quarantine.QuarantineActions),
    )


_FORWARDED: Final = (
    "action", "messages", "which", "sender", "to", "subject", "held_because", "recipient", "organization", "back",
)  # fmt: skip
_TIMES: Final = ("since", "until")


def _actions(request: Request) -> quarantine.QuarantineActions:
    """Read an action from a form: on the selected messages, or on all that match the filter."""
    form = request.state.form
    try:
        action = quarantine.QuarantineAction(form.get("action", ""))
    except ValueError as error:
        raise Refusal(RefusalKind.INPUT, N_("Choose an action: release or delete.")) from error
    which: dict[str, Any] = _matching(request) if form.get("which") == "all" else _selected(form)
    reason = form.get("reason", "").strip()
    return quarantine.QuarantineActions(
        action=action, organization=form.get("organization", ""), reason=reason, **which
    )


def _selected(form: Any) -> dict[str, Any]:
    if not (messages := form.getlist("messages")):
        raise Refusal(RefusalKind.INPUT, N_("No message is selected."))
    return {"messages": messages, "recipient": form.get("recipient", "")}


def _matching(request: Request) -> dict[str, Any]:
    """All that match, until the moment of the first question: what comes later was seen by nobody."""
    form = request.state.form
    times = local_times(request, {name: form.get(name, "") for name in _TIMES})
    since = read_time("since", times["since"]) if times["since"] else 0.0
    now = time.time()
    until = min(now, read_time("until", times["until"])) if times["until"] else now
    return {
        "all": True,
        "sender": form.get("sender", ""),
        "recipient": form.get("to", ""),
        "subject": form.get("subject", ""),
        "held_because": form.get("held_because", ""),
        "since": time_text(since),
        "until": time_text(until),
    }


def _back(form: Mapping[str, str]) -> str:
    return local_target(form.get("back", "/quarantine"))


def _do(request: Request) -> Response:
    form, actions = request.state.form, _actions(request)
    try:
        done = perform(request, quarantine.act_on_quarantine, actions)
    except Refusal as refusal:
        if refusal.kind is not RefusalKind.INPUT:
            raise
        return _confirm(request, by_field(refusal))
    back = _back(form)
    if not done.changed:
        return see_other(request, back, _("Nothing was done: the messages are no longer in quarantine."), "warn")
    said = (
        ngettext("Released for %(num)s recipient.", "Released for %(num)s recipients.", done.changed)
        if actions.action is quarantine.QuarantineAction.RELEASE
        else ngettext("Deleted for %(num)s recipient.", "Deleted for %(num)s recipients.", done.changed)
    )
    if actions.action is quarantine.QuarantineAction.RELEASE and (
        others := sorted({item.next for item in done.items} - {""})
    ):
        said += " " + _(
            "Also in quarantine of %(organizations)s, which has to release it, too.", organizations=", ".join(others)
        )
    if back.startswith("/quarantine/") and actions.messages and not _is_held(request, actions.messages[0]):
        back = link("/quarantine")
    return see_other(request, back, said)


def _is_held(request: Request, message: str) -> bool:
    """Whether the message has a page still, as it is held for another recipient or by another organization."""
    try:
        perform(request, quarantine.get_quarantined, quarantine.GetQuarantined(message=message))
    except Refusal as refusal:
        if refusal.kind is RefusalKind.MISSING:
            return False
        raise
    return True


ROUTES = [
    Route("/quarantine", _list),
    Route("/quarantine/confirm", _confirm, methods=["POST"]),
    Route("/quarantine/actions", _do, methods=["POST"]),
    Route("/quarantine/{message}", _show),
    Route("/quarantine/{message}/content", _content, methods=["POST"]),
]
