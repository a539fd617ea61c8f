"""Coming in by OpenID Connect: to the issuer, and back from it. What is checked is in `manage.use_cases.issuer_login`.

The person is told no more than that it did not work; the audit says why.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.responses import RedirectResponse
from starlette.routing import Route

from gatepost.language import _
from gatepost.manage.pages import signed_cookies
from gatepost.manage.pages.guard import context_of, not_there, perform
from gatepost.manage.pages.login import agent_of, denied_page, entered, local_target, log_in_page
from gatepost.manage.use_cases.entrance import LogInDenied
from gatepost.manage.use_cases.issuer_login import (
    BeginIssuerLogIn,
    EndIssuerLogIn,
    Ticket,
    begin_issuer_log_in,
    end_issuer_log_in,
)
from gatepost.manage.use_cases.refusal import BusyRefusal
from gatepost.sentences import ours
from gatepost.texts import N_

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


_COOKIE: Final = "__Host-gatepost-issuer"
_BACK: Final = "/login/issuer/answer"
_FAILED: Final = N_(
    "the log-in with your organization failed; try again, or ask an owner to look up the cause in the audit log"
)


def _begin(request: Request) -> Response:
    _demand_issuer(request)
    begun = BeginIssuerLogIn(
        redirect=f"https://{request.headers.get('host', '')}{_BACK}",  # known: `web.request_limits.KnownHosts`
        target=local_target(request.query_params.get("next", "/")),
        again="again" in request.query_params,
    )
    try:
        sent = perform(request, begin_issuer_log_in, begun)
    except (LogInDenied, BusyRefusal) as refused:
        return _failed(request, refused)
    answer = RedirectResponse(sent.url, HTTPStatus.SEE_OTHER)
    signed_cookies.give(answer, _COOKIE, sent.ticket)
    return answer


def _end(request: Request) -> Response:
    _demand_issuer(request)
    ticket = signed_cookies.shown(request, _COOKIE, Ticket)
    came = EndIssuerLogIn(answer=dict(request.query_params), ticket=ticket, agent=agent_of(request))
    try:
        secret = perform(request, end_issuer_log_in, came).secret
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


def _failed(request: Request, refused: LogInDenied | BusyRefusal) -> Response:
    if isinstance(refused, BusyRefusal):
        return log_in_page(request, HTTPStatus.TOO_MANY_REQUESTS, error=ours(refused.text))
    return denied_page(request, refused, _(_FAILED))


ROUTES = [Route("/login/issuer", _begin), Route(_BACK, _end)]
