"""One's own account: password, time zone, sessions and passkeys. For every person; a token has none.

The password is asked for before it is changed, and before a passkey is made, so that who finds an open session gains
no way back in.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from gatepost.language import ENGLISH, _, language_choices, ngettext, offered, use
from gatepost.manage.pages.account_forms import demand_same, field_errors
from gatepost.manage.pages.guard import context_of, not_there, perform
from gatepost.manage.pages.login import agent_of, entered, rp_id
from gatepost.manage.pages.rendering import render, see_other
from gatepost.manage.pages.resource_paths import number_of
from gatepost.manage.pages.time_zones import place_names
from gatepost.manage.use_cases import own_account
from gatepost.manage.use_cases.entrance import LogInDenied
from gatepost.manage.use_cases.execution import execute, recording_refusals
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.manage.use_cases.request_values import limits
from gatepost.manage.web.application import preferred
from gatepost.manage.web.problem import note_throttled
from gatepost.sentences import ours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.manage.access.records import UserSession
    from gatepost.manage.use_cases.users import AccountSession


def _account(request: Request) -> Response:
    return _page(request, _own(request))


def _page(request: Request, session: UserSession, status: int = 0, **context: Any) -> Response:
    known: dict[str, Any] = {
        "errors": {},
        "passkeys_here": bool(rp_id(request)),
        "limits": limits(own_account.SetOwnPassword),
    }
    return render(
        request,
        "accounts/account.html",
        status,
        user=session.user,
        here=session.id,
        languages=language_choices(),
        sessions=_open_sessions(request),
        time_zones=place_names(),
        passkeys=perform(request, own_account.list_own_passkeys, own_account.ListOwnPasskeys()).items,
        **known | context,
    )


def _open_sessions(request: Request) -> Sequence[AccountSession]:
    return perform(request, own_account.list_own_sessions, own_account.ListOwnSessions()).items


def _password(request: Request) -> Response:
    session = _own(request)
    form, name = request.state.form, session.user.name
    if session.user.issuer:
        raise not_there(_("You log in with your organization, which keeps your password."))
    context = context_of(request)
    try:
        with recording_refusals(own_account.set_own_password, context, name=name):
            demand_same(form.get("password", ""), form.get("again", ""))
        changed = own_account.SetOwnPassword(
            old=form.get("old", ""), password=form.get("password", ""), agent=agent_of(request)
        )
        secret = execute(own_account.set_own_password, context, changed).secret
    except LogInDenied as denied:
        if denied.wait:
            note_throttled(request.scope)
        text = ours(denied.text) if denied.wait else _("wrong password")
        return _page(request, session, HTTPStatus.TOO_MANY_REQUESTS if denied.wait else 0, errors={"old": text})
    except Refusal as refusal:
        return _page(request, session, errors=field_errors(refusal))
    said = _("Your password was changed. Your other sessions ended.")
    return entered(request, secret, see_other(request, "/account", said))


def _preferences(request: Request) -> Response:
    session, form = _own(request), request.state.form
    choices = {name: form[name].strip() for name in ("language", "time_zone") if name in form}
    if choices.get("language") and choices["language"] not in offered():
        raise not_there(_("There is no such language."))
    try:
        chosen = perform(request, own_account.set_own_preferences, own_account.SetOwnPreferences(**choices))
    except Refusal as refusal:
        return _page(request, session, errors=field_errors(refusal))
    use(chosen.language or preferred(request.headers.get("accept-language", "")) or ENGLISH)
    zone = chosen.time_zone or _("the time zone of your browser")
    return see_other(request, "/account", _("Saved. Times are shown in %(zone)s.", zone=zone))


def _sessions(request: Request) -> Response:
    session = _own(request)
    if text := request.state.form.get("session", ""):
        number = number_of(text)
        ended = 0 if number is None else _ended(request, [number])
        said = _("The session was ended.") if ended else _("The session has already ended.")
        return see_other(request, "/account", said)
    ended = _ended(
        request, [account_session.id for account_session in _open_sessions(request) if account_session.id != session.id]
    )
    return see_other(
        request, "/account", ngettext("%(num)s other session ended.", "%(num)s other sessions ended.", ended)
    )


def _ended(request: Request, sessions: list[int]) -> int:
    return perform(request, own_account.end_own_sessions, own_account.EndOwnSessions(sessions=sessions)).ended


def _own(request: Request) -> UserSession:
    """Raises HTTPException for a token."""
    session: UserSession | None = request.state.session
    if session is None:
        raise not_there(_("An API token has no account."))
    return session


ROUTES = [
    Route("/account", _account),
    Route("/account/preferences", _preferences, methods=["POST"]),
    Route("/account/password", _password, methods=["POST"]),
    Route("/account/sessions", _sessions, methods=["POST"]),
]
