"""One's own account: the password, where one is logged in, and passkeys. For every person; a token has none.

The password is asked for before it is changed, and before a passkey is made, so that who finds an open session gains
no way back in.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from gatepost.manage.access.records import LogInRefused, Session
from gatepost.manage.pages.account_forms import end_session, field_errors, refused_fields
from gatepost.manage.pages.entrance import entered
from gatepost.manage.pages.guard import accounts_of, actor_of, gateway_of, not_there
from gatepost.manage.pages.pages import render, see_other
from gatepost.manage.pages.relying_party import rp_id
from gatepost.manage.use_cases.accounts import recording, refusing, set_user
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.manage.web.record import address_of, note_throttled

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


def _account(request: Request) -> Response:
    return _page(request, _own(request))


def _page(request: Request, session: Session, status: HTTPStatus = HTTPStatus.OK, **context: Any) -> Response:
    accounts, name = accounts_of(request), session.user.name
    known: dict[str, Any] = {"errors": {}, "passkeys_here": bool(rp_id(request))}
    with refusing():
        more: dict[str, Any] = {"sessions": accounts.sessions_of(name), "passkeys": accounts.passkeys_of(name)}
    return render(
        request, "accounts/account.html", status, user=session.user, here=session.id, **known | context, **more
    )


def _password(request: Request) -> Response:
    session = _own(request)
    form, accounts, by = request.state.form, accounts_of(request), actor_of(request)
    name, password = session.user.name, form.get("password", "")
    if session.user.issuer:
        raise not_there("Your password is kept by the issuer where you log in.")
    try:
        with refusing():
            accounts.check_password(name, form.get("old", ""), address_of(request.scope))
        with recording(accounts, by, "user-set", name):
            if password != form.get("again", ""):
                raise refused_fields({"again": "the two passwords differ"})
            user = set_user(gateway_of(request), accounts, name, password=password, by=by)
    except LogInRefused as refused:
        if refused.wait:
            note_throttled(request.scope)
        text = f"wait {refused.wait:.0f} s after so many failures" if refused.wait else "is not your password"
        status = HTTPStatus.TOO_MANY_REQUESTS if refused.wait else HTTPStatus.UNPROCESSABLE_ENTITY
        return _page(request, session, status, errors={"old": text})
    except Refusal as refusal:
        return _page(request, session, HTTPStatus.UNPROCESSABLE_ENTITY, errors=field_errors(refusal))
    with refusing():  # all sessions ended with the old password; this one goes on as another
        secret = accounts.start_session(user, by.address, request.headers.get("user-agent", ""))
    said = "Your password was changed, and you were logged out everywhere else."
    return entered(request, secret, see_other(request, "/account", said))


def _sessions(request: Request) -> Response:
    session = _own(request)
    accounts, by, name = accounts_of(request), actor_of(request), session.user.name
    if said := end_session(request, name):
        return see_other(request, "/account", said)
    with refusing():
        ended = sum(
            accounts.end_session_of(name, one.id, by=by) for one in accounts.sessions_of(name) if one.id != session.id
        )
    return see_other(request, "/account", f"You were logged out everywhere else ({ended}).")


def _own(request: Request) -> Session:
    """Raises HTTPException for a token."""
    session: Session | None = request.state.session
    if session is None:
        raise not_there("An API token has no account.")
    return session


ROUTES = [
    Route("/account", _account),
    Route("/account/password", _password, methods=["POST"]),
    Route("/account/sessions", _sessions, methods=["POST"]),
]
