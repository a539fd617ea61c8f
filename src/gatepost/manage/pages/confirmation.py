"""Before something grave is done, whoever sits there proves again who they are: lately, or by their password now.

A session that was left open, or whose cookie was stolen, must not make an owner. Used by the pages of users and tokens.
A program with an API token has no session, and is not asked.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.responses import RedirectResponse
from starlette.routing import Route

from gatepost.language import _
from gatepost.manage.access.principal import Scope
from gatepost.manage.access.records import is_confirmed
from gatepost.manage.pages.guard import needs, perform
from gatepost.manage.pages.login import local_target
from gatepost.manage.pages.rendering import link, render, see_other
from gatepost.manage.use_cases.entrance import ConfirmPassword, LogInDenied, confirm_password
from gatepost.manage.web.forms import UNSAFE
from gatepost.manage.web.refusal_audit import note_throttled
from gatepost.texts import N_

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.manage.access.records import UserSession


_LOST: Final = N_("The change was not saved. Confirm your password, then fill in the form again.")


def demand_owner(request: Request) -> None:
    """Raise HTTPException unless an owner asks; `manage.web.refusal_audit` keeps who tried."""
    needs(request, Scope.OWNER)


def ask_again(request: Request, back: str) -> Response | None:
    """Where the person proves who they are; None if they did lately. back: the page to go to afterwards."""
    if is_confirmed(request.state.session, time.time()):
        return None
    path = link("/confirm", next=back)
    return see_other(request, path, _(_LOST), "warn") if request.method in UNSAFE else see_other(request, path)


def _confirm(request: Request) -> Response:
    session: UserSession | None = request.state.session
    target = local_target(request.query_params.get("next", "/"))
    if session is None:
        return RedirectResponse(target, HTTPStatus.SEE_OTHER)
    if request.method == "GET" or session.user.issuer:
        return _page(request, session, target)
    password = ConfirmPassword(password=request.state.form.get("password", ""), session=session.id)
    try:
        perform(request, confirm_password, password)
    except LogInDenied as denied:
        if denied.wait:
            note_throttled(request.scope)
        status = HTTPStatus.TOO_MANY_REQUESTS if denied.wait else 0
        text = (
            _("Too many failed attempts. Wait %(seconds)s s.", seconds=f"{denied.wait:.0f}")
            if denied.wait
            else _("The password is wrong.")
        )
        return _page(request, session, target, text, status)
    return see_other(request, target)


def _page(request: Request, session: UserSession, target: str, error: str = "", status: int = 0) -> Response:
    return render(request, "accounts/confirm.html", status, issuer=session.user.issuer, target=target, error=error)


ROUTES = [Route("/confirm", _confirm, methods=["GET", "POST"])]
