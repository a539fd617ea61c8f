"""Coming in and going out: the first owner, log-in and log-out.

A session is always a fresh one, whatever cookie the browser brought; the old one is ended. Nothing tells a name that
nobody has from a wrong password. What is tried, recorded and rate-limited is `manage.use_cases.entrance`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import RedirectResponse
from starlette.routing import Route

from gatepost.language import _, language_choices, offered, use
from gatepost.manage.pages.account_forms import field_errors
from gatepost.manage.pages.guard import context_of, perform
from gatepost.manage.pages.relying_party import rp_id
from gatepost.manage.pages.rendering import render
from gatepost.manage.use_cases import entrance
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.manage.web.identity import COOKIE, LOGIN, LOST
from gatepost.manage.web.refusal_audit import note_throttled
from gatepost.manage.web.request_language import remember
from gatepost.sentences import ours

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


_FIRST_PAGE: Final = "/quickstart"
"""Of a new owner (`manage.pages.quickstart`)."""


def local_target(text: str) -> str:
    """Where to go after a form, if that is a place of ours; "/" otherwise, so that no link sends a person elsewhere."""
    fits = text.startswith("/") and not text.startswith("//") and text.isprintable() and "\\" not in text
    return text if fits else "/"


def _log_in(request: Request) -> Response:
    target = local_target(request.query_params.get("next", "/"))
    if request.method == "GET":
        if request.state.principal is not None:
            return RedirectResponse(target, HTTPStatus.SEE_OTHER)
        return _in_chosen_language(request)
    form = request.state.form
    credentials = entrance.LogIn(name=form.get("name", ""), password=form.get("password", ""), agent=agent_of(request))
    try:
        secret = perform(request, entrance.log_in, credentials).secret
    except entrance.LogInDenied as denied:
        return denied_page(request, denied, name=credentials.name)
    return entered(request, secret, RedirectResponse(target, HTTPStatus.SEE_OTHER))


def _in_chosen_language(request: Request) -> Response:
    """The page to log in on, in the language that its links choose, which the browser is to keep."""
    chosen = request.query_params.get("language", "")
    use(chosen)
    response = log_in_page(request, owned=_state(request).owned)
    if chosen in offered():
        remember(response, chosen, secure=request.url.scheme == "https")
    return response


def agent_of(request: Request) -> str:
    """The browser's User-Agent."""
    return request.headers.get("user-agent", "")


def _state(request: Request, code: str = "") -> entrance.SetupState:
    return perform(request, entrance.get_setup_state, entrance.GetSetupState(code=code))


def log_in_page(request: Request, status: int = 0, **context: Any) -> Response:
    """The page to log in on. error: why it is shown again, a sentence without its end."""
    issuer = context_of(request).settings.oidc.issuer
    known: dict[str, Any] = {"owned": True, "name": "", "error": "", "issuer": issuer} | context
    known["languages"] = language_choices()
    known["passkeys"] = bool(rp_id(request))
    known["lost"] = LOST in request.query_params
    known["next"] = local_target(request.query_params.get("next", "/"))
    return render(request, "entrance/login.html", status, **known)


def denied_page(request: Request, denied: entrance.LogInDenied, error: str = "", name: str = "") -> Response:
    """The page again, after who came was not let in. error: what is said, if it is not what the refusal says."""
    if denied.wait:
        note_throttled(request.scope)
        return log_in_page(request, HTTPStatus.TOO_MANY_REQUESTS, name=name, error=ours(denied.text))
    return log_in_page(request, name=name, error=error or ours(denied.text))


def entered(request: Request, secret: str, answer: Response) -> Response:
    """The answer with a fresh session; the one that the browser had is ended."""
    _end_old_session(request)
    answer.set_cookie(COOKIE, secret, secure=True, httponly=True, samesite="lax", path="/")
    return answer


def _end_old_session(request: Request) -> None:
    if old := request.cookies.get(COOKIE):
        perform(request, entrance.log_out, entrance.LogOut(secret=old))


def _log_out(request: Request) -> Response:
    _end_old_session(request)
    answer = RedirectResponse(LOGIN, HTTPStatus.SEE_OTHER)
    answer.delete_cookie(COOKIE, secure=True, httponly=True, samesite="lax", path="/")
    return answer


def _set_up(request: Request) -> Response:
    form = request.state.form
    code = form.get("code") or request.query_params.get("code", "")
    if request.method == "GET":
        state = _state(request, code)
        return _set_up_page(request, code, usable=state.usable, owned=state.owned)
    name, password = form.get("name", ""), form.get("password", "")
    if password != form.get("again", ""):
        return _set_up_page(request, code, name=name, errors={"again": _("the passwords do not match")})
    owner = entrance.SetUpOwner(code=code, name=name, password=password, agent=agent_of(request))
    try:
        secret = perform(request, entrance.set_up_owner, owner).secret
    except entrance.LogInDenied as denied:
        note_throttled(request.scope)
        error = ours(denied.text)
        return _set_up_page(request, code, HTTPStatus.TOO_MANY_REQUESTS, name=name, error=error, usable=False)
    except Refusal as refusal:
        errors = field_errors(refusal) if refusal.errors else {}
        return _set_up_page(request, code, name=name, errors=errors, error=ours(refusal.text), usable=bool(errors))
    return entered(request, secret, RedirectResponse(_FIRST_PAGE, HTTPStatus.SEE_OTHER))


def _set_up_page(request: Request, code: str, wrong: HTTPStatus | None = None, **context: Any) -> Response:
    known: dict[str, Any] = {"code": code, "name": "", "errors": {}, "error": "", "usable": True, "owned": False}
    known |= context
    fits = known["usable"] and not known["errors"] and not known["owned"]
    status = HTTPStatus.OK if fits else wrong or HTTPStatus.UNPROCESSABLE_ENTITY
    return render(request, "entrance/setup.html", status, **known)


ROUTES = [
    Route("/login", _log_in, methods=["GET", "POST"]),
    Route("/logout", _log_out, methods=["POST"]),
    Route("/setup", _set_up, methods=["GET", "POST"]),
]
