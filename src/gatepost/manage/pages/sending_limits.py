"""The page of sending limits: who sent how much of what is allowed today, and lifting a limit; as `gatepost limit`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.routing import Route

from gatepost.language import _
from gatepost.manage.access.principal import Scope
from gatepost.manage.pages.exports import exported
from gatepost.manage.pages.guard import needs, perform, principal_of
from gatepost.manage.pages.paging import order_of
from gatepost.manage.pages.rendering import render, see_other
from gatepost.manage.pages.resource_paths import named_path
from gatepost.manage.use_cases.name_lookup import INBOUND, MAILBOX
from gatepost.manage.use_cases.paging import Columns, sorted_by
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.sending_limits import LiftLimit, ListLimits, SenderToday, lift_limit, list_limits

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


_PATH: Final = "/limits"
_SHOWN: Final = 200
_NEAR: Final = 0.8
"""From this share of a limit on a sender is near it."""


class SenderRow(NamedTuple):
    """A sender as the page shows it. share: of the limit that is nearest, None if it may send any number today.

    state: "reached", "near", "lifted" or "".
    """

    sender: SenderToday
    share: float | None
    state: str

    @property
    def path(self) -> str:
        """The page of the mailbox or connector."""
        kind, _space, name = self.sender.sender.partition(" ")
        return named_path(MAILBOX if kind == "user" else INBOUND, self.sender.organization, name)


_SORTS: Final[Columns[SenderRow]] = {
    "sender": lambda row: row.sender.sender.partition(" ")[2],
    "messages": lambda row: row.sender.messages,
    "recipients": lambda row: row.sender.recipients,
    "share": lambda row: row.share or 0.0,
}


def row_of(sender: SenderToday) -> SenderRow:
    """A row for a sender."""
    pairs = ((sender.messages, sender.messages_allowed), (sender.recipients, sender.recipients_allowed))
    share = max((sent / allowed for sent, allowed in pairs if allowed), default=None)
    if share is None or (share < 1 and sender.lifted != "no"):
        return SenderRow(sender, share, "lifted")
    # It is refused for the next message or recipient, whatever it was refused for before.
    return SenderRow(sender, share, "reached" if share >= 1 else "near" if share >= _NEAR else "")


def _page(request: Request, error: str = "") -> Response:
    listed = ListLimits(organization=request.query_params.get("organization", ""))
    senders = list(perform(request, list_limits, listed).items)
    columns = SenderToday.__struct_fields__
    if file := exported(request, "sending-limits", columns, lambda: senders):
        return file
    sort = order_of(request, _SORTS)
    rows = sorted_by(map(row_of, senders), sort or "-share", _SORTS)
    principal = principal_of(request)
    return render(
        request,
        "limits/list.html",
        rows=rows[:_SHOWN],
        total=len(rows),
        sort=sort,
        counts={state: sum(row.state == state for row in rows) for state in ("reached", "near", "lifted")},
        may_lift=lambda row: principal.may(Scope.CONNECTORS, row.sender.organization) and row.share is not None,
        error=error,
    )


def _lift(request: Request) -> Response:
    form = request.state.form
    organization, sender = form.get("organization", ""), form.get("sender", "")
    needs(request, Scope.CONNECTORS, organization or None)
    try:
        lifted = perform(request, lift_limit, LiftLimit(sender=sender, organization=organization))
    except Refusal as refusal:
        if refusal.kind is RefusalKind.UNREADABLE:
            raise
        return _page(request, refusal.text)
    name = lifted.sender.partition(" ")[2]
    return see_other(
        request, _PATH, _("The limit of %(name)s is lifted until midnight UTC, in force in a few seconds.", name=name)
    )


ROUTES = [Route(_PATH, _page), Route(_PATH, _lift, methods=["POST"], name="lift")]
