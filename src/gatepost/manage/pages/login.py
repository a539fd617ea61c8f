"""Log-in, also by OpenID Connect, log-out, the first owner, and the password again before a sensitive action.

A session is always a fresh one, whatever cookie the browser brought; the old one is ended. Nothing tells a name that
nobody has from a wrong password. What is tried, recorded and rate-limited is `manage.use_cases.entrance`, and for an
issuer `issuer_login`: the person is told no more than that it did not work; the audit says why.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gatepost.language import _, language_choices, offered, use
from gatepost.manage.access.principal import Scope
from gatepost.manage.access.records import UserSession, is_confirmed
from gatepost.manage.pages import signed_cookies
from gatepost.manage.pages.account_forms import field_errors
from gatepost.manage.pages.guard import begin_session, context_of, needs, not_there, perform
from gatepost.manage.pages.rendering import link, render, see_other
from gatepost.manage.pages.unsent_forms import form_of, given, given_back, sealed, unsent_page
from gatepost.manage.use_cases import entrance, issuer_login
from gatepost.manage.use_cases.entrance import ConfirmPassword, LogInDenied, confirm_password
from gatepost.manage.use_cases.refusal import BusyRefusal, Refusal
from gatepost.manage.web.application import remember
from gatepost.manage.web.identity import COOKIE, LOGIN, LOST, UNSENT, address_within
from gatepost.manage.web.problem import note_throttled
from gatepost.manage.web.request_limits import UNSAFE
from gatepost.protocols.tls.names import is_ip_address
from gatepost.sentences import ours
from gatepost.texts import N_

if TYPE_CHECKING:
    from starlette.requests import Request


def rp_id(request: Request) -> str:
    """The host that the browser asked for, "" if there can be no passkey: without the extra `sso`, or at an IP address.

    An IP address is not a relying party (WebAuthn section 5.1.2). `manage.web.request_limits.KnownHosts` lets no name
    but ours come here.
    """
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    return host if not is_ip_address(host) and find_spec("webauthn") else ""


def origin(request: Request) -> str:
    """The origin that the browser must have signed."""
    return f"https://{request.headers['host'].lower()}"


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
    return entered(request, secret, _with_unsent(request, secret, target) or RedirectResponse(target, 303))


def _with_unsent(request: Request, secret: str, target: str) -> Response | None:
    """The page with what was typed before the log-in, if the form to log in brought it; None if there is nothing.

    secret: of the session that has just begun. target: the page of the form.
    """
    if not given(request) or (session := begin_session(request, secret)) is None:
        return None
    unsent = given_back(request, session.user.name)
    return unsent_page(request, unsent, _(_AGAIN), back=target) if unsent else None


_AGAIN: Final = N_("You are logged in. Check what you typed, and send the form again. Passwords and keys are not kept.")
_CONFIRMED: Final = N_("Check what you typed, and send the form again. Passwords and keys are not kept.")
_EARLIER: Final = N_(
    "The form is from an earlier session, so nothing was changed. Check what you typed, and send it again. Passwords "
    "and keys are not kept."
)


def _unsent(request: Request) -> Response:
    """A form of an earlier session of the same user (`manage.web.identity`), or one that it brought along.

    Who logs in on a page with such a form may have begun another session meanwhile. Nothing to see for who asks for it.
    """
    session, action = request.state.session, getattr(request.state, "unsent", "")
    unsent = None
    if session and action:
        unsent = given_back(request, session.user.name) or form_of(request, action, session.user.name)
    if unsent is None:
        raise not_there()
    back = local_target(request.query_params.get("next", "/"))
    return unsent_page(request, unsent, _(_EARLIER), HTTPStatus.FORBIDDEN, back)


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
    known["unsent"] = sealed(request, action) if (action := getattr(request.state, "unsent", "")) else given(request)
    return render(request, "entrance/login.html", status, **known)


def as_sentence(text: str) -> str:
    """The text of a refusal as a sentence of its own, in the language of the page."""
    text = ours(text)
    return f"{text[:1].upper()}{text[1:]}."


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


_COOKIE: Final = "__Host-gatepost-issuer"
_BACK: Final = "/login/issuer/answer"
_FAILED: Final = N_(
    "the log-in with your organization failed; try again, or ask an owner to look up the cause in the audit log"
)

_AWAY: Final = N_(
    "the log-in service of your organization cannot be used now; log in with a local account, or let somebody who may "
    "run commands on the gateway add one (gatepost user add); its log has the cause"
)


def _begin(request: Request) -> Response:
    _demand_issuer(request)
    begun = issuer_login.BeginIssuerLogIn(
        redirect=f"https://{request.headers.get('host', '')}{_BACK}",  # known: `web.request_limits.KnownHosts`
        target=local_target(request.query_params.get("next", "/")),
        again="again" in request.query_params,
    )
    try:
        sent = perform(request, issuer_login.begin_issuer_log_in, begun)
    except (LogInDenied, BusyRefusal) as refused:
        return _failed(request, refused, _AWAY)  # nobody has proved anything yet
    answer = RedirectResponse(sent.url, HTTPStatus.SEE_OTHER)
    signed_cookies.give(answer, _COOKIE, sent.ticket)
    return answer


def _end(request: Request) -> Response:
    _demand_issuer(request)
    ticket = signed_cookies.shown(request, _COOKIE, issuer_login.Ticket)
    came = issuer_login.EndIssuerLogIn(answer=dict(request.query_params), ticket=ticket, agent=agent_of(request))
    try:
        secret = perform(request, issuer_login.end_issuer_log_in, came).secret
    except (LogInDenied, BusyRefusal) as refused:
        answer = _failed(request, refused)
    else:
        target = ticket.target if ticket else "/"
        answer = entered(request, secret, RedirectResponse(target, HTTPStatus.SEE_OTHER))
    signed_cookies.forget(answer, _COOKIE)
    return answer


def _demand_issuer(request: Request) -> None:
    """Raise HTTPException where nobody logs in so."""
    if not context_of(request).settings.oidc.issuer:
        raise not_there()


def _failed(request: Request, refused: LogInDenied | BusyRefusal, error: str = _FAILED) -> Response:
    if isinstance(refused, BusyRefusal):
        return log_in_page(request, HTTPStatus.TOO_MANY_REQUESTS, error=ours(refused.text))
    return denied_page(request, refused, _(error))


_LOST: Final = N_("The change was not saved. Confirm your password, then send the form again.")
_LOST_AT_ISSUER: Final = N_("The change was not saved. Log in again, then send the form again.")


def demand_owner(request: Request) -> None:
    """Raise HTTPException unless an owner asks; `manage.web.problem` keeps who tried."""
    needs(request, Scope.OWNER)


def ask_again(request: Request, back: str) -> Response | None:
    """Where the person proves who they are; None if they did lately. back: the page to go to afterwards."""
    session: UserSession | None = request.state.session
    if session is None or is_confirmed(session, time.time()):
        return None
    if (
        request.method in UNSAFE
        and not session.user.issuer
        and (unsent := sealed(request, address_within(request.scope)))
    ):
        return _page(request, session, back, unsent=unsent)
    path = link("/confirm", next=back)
    if request.method not in UNSAFE:
        return see_other(request, path)
    return see_other(request, path, _(_LOST_AT_ISSUER if session.user.issuer else _LOST), "warn")


def _confirm(request: Request) -> Response:
    session: UserSession | None = request.state.session
    target = local_target(request.query_params.get("next", "/"))
    if session is None:
        return RedirectResponse(target, HTTPStatus.SEE_OTHER)
    if request.method == "GET" or session.user.issuer:
        return _page(request, session, target)
    unsent = given_back(request, session.user.name)
    password = ConfirmPassword(password=request.state.form.get("password", ""), session=session.id)
    try:
        perform(request, confirm_password, password)
    except LogInDenied as denied:
        if denied.wait:
            note_throttled(request.scope)
        status = HTTPStatus.TOO_MANY_REQUESTS if denied.wait else 0
        text = as_sentence(denied.text) if denied.wait else _("The password is wrong.")
        return _page(request, session, target, text, status, unsent=given(request))
    return unsent_page(request, unsent, _(_CONFIRMED), back=target) if unsent else see_other(request, target)


def _page(
    request: Request, session: UserSession, target: str, error: str = "", status: int = 0, unsent: str = ""
) -> Response:
    shown = {"issuer": session.user.issuer, "target": target, "error": error, "unsent": unsent}
    return render(request, "accounts/confirm.html", status, **shown)


ROUTES: Final = [
    Route("/login", _log_in, methods=["GET", "POST"]),
    Route("/logout", _log_out, methods=["POST"]),
    Route("/setup", _set_up, methods=["GET", "POST"]),
    Route("/login/issuer", _begin),
    Route(_BACK, _end),
    Route("/confirm", _confirm, methods=["GET", "POST"]),
    Route(UNSENT, _unsent),
]
