"""Coming in and going out: the first owner, log-in and log-out.

A session is always a fresh one, whatever cookie the browser brought; the old one is ended. Nothing tells a name that
nobody has from a wrong password.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.responses import RedirectResponse
from starlette.routing import Route

from gatepost.manage.access.records import AccountError, LogInRefused, Why
from gatepost.manage.pages.guard import gateway_of
from gatepost.manage.pages.pages import render
from gatepost.manage.pages.relying_party import rp_id
from gatepost.manage.web.identity import COOKIE, LOGIN, LOST
from gatepost.manage.web.record import address_of, note_refusal, note_throttled

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.manage.access.accounts import Accounts


def local_target(text: str) -> str:
    """Where to go after a form, if that is a place of ours; "/" otherwise, so that no link sends a person elsewhere."""
    fits = text.startswith("/") and not text.startswith("//") and text.isprintable() and "\\" not in text
    return text if fits else "/"


def _log_in(request: Request) -> Response:
    accounts: Accounts = request.app.state.accounts
    target = local_target(request.query_params.get("next", "/"))
    if request.method == "GET":
        if request.state.principal is not None:
            return RedirectResponse(target, HTTPStatus.SEE_OTHER)
        return log_in_page(request, owned=accounts.has_owner())
    form = request.state.form
    name, password = form.get("name", ""), form.get("password", "")
    try:
        secret = accounts.log_in(name, password, address_of(request.scope), request.headers.get("user-agent", ""))
    except LogInRefused as refused:
        return refused_page(request, refused, name=name)
    return entered(request, secret, RedirectResponse(target, HTTPStatus.SEE_OTHER))


def log_in_page(request: Request, status: HTTPStatus = HTTPStatus.OK, **context: Any) -> Response:
    """The page to log in on. error: why it is shown again, a sentence without its end."""
    issuer = gateway_of(request).settings.oidc.issuer
    known: dict[str, Any] = {"owned": True, "name": "", "error": "", "issuer": issuer} | context
    known["passkeys"] = bool(rp_id(request))
    known["lost"] = LOST in request.query_params
    known["next"] = local_target(request.query_params.get("next", "/"))
    return render(request, "entrance/login.html", status, **known)


def refused_page(request: Request, refused: LogInRefused, error: str = "", name: str = "") -> Response:
    """The page again, after who came was not let in. error: what is said, if it is not what the refusal says."""
    if refused.wait:
        note_throttled(request.scope)
        return log_in_page(request, HTTPStatus.TOO_MANY_REQUESTS, name=name, error=str(refused))
    return log_in_page(request, HTTPStatus.UNPROCESSABLE_ENTITY, name=name, error=error or str(refused))


def entered(request: Request, secret: str, answer: Response) -> Response:
    """The answer with a fresh session; the one that the browser had is ended."""
    _end_old_session(request)
    answer.set_cookie(COOKIE, secret, secure=True, httponly=True, samesite="lax", path="/")
    return answer


def _end_old_session(request: Request) -> None:
    if old := request.cookies.get(COOKIE):
        request.app.state.accounts.end_session(old, address=address_of(request.scope))


def _log_out(request: Request) -> Response:
    _end_old_session(request)
    answer = RedirectResponse(LOGIN, HTTPStatus.SEE_OTHER)
    answer.delete_cookie(COOKIE, secure=True, httponly=True, samesite="lax", path="/")
    return answer


def _set_up(request: Request) -> Response:
    accounts: Accounts = request.app.state.accounts
    form = request.state.form
    code = form.get("code") or request.query_params.get("code", "")
    if request.method == "GET":
        return _set_up_page(request, code, usable=accounts.is_setup_code(code), owned=accounts.has_owner())
    name, password = form.get("name", ""), form.get("password", "")
    if password != form.get("again", ""):
        return _set_up_page(request, code, name=name, errors={"again": "the passwords do not match"})
    address = address_of(request.scope)
    try:
        user = accounts.use_setup_code(code, name, password, address=address)
    except AccountError as error:
        if error.why is Why.CONFLICT and not error.errors:
            note_refusal(request.scope, "invalid set-up code")
        errors = {one.path: one.message for one in error.errors}
        return _set_up_page(request, code, name=name, errors=errors, error=error.text, usable=bool(errors))
    secret = accounts.start_session(user, address, request.headers.get("user-agent", ""))
    return entered(request, secret, RedirectResponse("/", HTTPStatus.SEE_OTHER))


def _set_up_page(request: Request, code: str, **context: Any) -> Response:
    known: dict[str, Any] = {"code": code, "name": "", "errors": {}, "error": "", "usable": True, "owned": False}
    known |= context
    fits = known["usable"] and not known["errors"] and not known["owned"]
    status = HTTPStatus.OK if fits else HTTPStatus.UNPROCESSABLE_ENTITY
    return render(request, "entrance/setup.html", status, **known)


ROUTES = [
    Route("/login", _log_in, methods=["GET", "POST"]),
    Route("/logout", _log_out, methods=["POST"]),
    Route("/setup", _set_up, methods=["GET", "POST"]),
]
