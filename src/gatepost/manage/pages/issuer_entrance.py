"""Coming in by OpenID Connect: to the issuer, and back from it. What is checked is in `manage.use_cases.issuer_login`.

The person is told no more than that it did not work; the audit says why.
"""

from __future__ import annotations

import logging
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.responses import RedirectResponse
from starlette.routing import Route

from gatepost.manage.access.records import Actor, LogInRefused, Outcome
from gatepost.manage.pages import tickets
from gatepost.manage.pages.entrance import entered, local_target, log_in_page, refused_page
from gatepost.manage.pages.guard import accounts_of, gateway_of, not_there
from gatepost.manage.use_cases.issuer_login import IssuerLogInFailed, Ticket, begin, end
from gatepost.manage.web.record import address_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


_COOKIE: Final = "__Host-gatepost-issuer"
_BACK: Final = "/login/issuer/answer"
_FAILED: Final = (
    "the log-in with your organization failed; try again, or ask an owner to look up the cause in the audit log"
)

_log = logging.getLogger(__name__)


def _begin(request: Request) -> Response:
    gateway = gateway_of(request)
    if not gateway.settings.oidc.issuer:
        raise not_there()
    redirect = f"https://{request.headers.get('host', '')}{_BACK}"  # a name of ours: `manage.web.bounds.KnownHosts`
    target, again = local_target(request.query_params.get("next", "/")), "again" in request.query_params
    try:
        url, ticket = begin(gateway, redirect, target, time.time(), again=again)
    except IssuerLogInFailed as failed:
        return _failed(request, failed)
    answer = RedirectResponse(url, HTTPStatus.SEE_OTHER)
    tickets.give(answer, _COOKIE, ticket)
    return answer


def _end(request: Request) -> Response:
    gateway, accounts = gateway_of(request), accounts_of(request)
    if not gateway.settings.oidc.issuer:
        raise not_there()
    ticket = tickets.shown(request, _COOKIE, Ticket)
    try:
        attempt = accounts.admit(address_of(request.scope))
        if ticket is None:
            raise IssuerLogInFailed("it was not started in this browser, or too long ago")  # noqa: TRY301 - one way out
        found = end(gateway, ticket, request.query_params, time.time())
        agent = request.headers.get("user-agent", "")
        secret = accounts.log_in_by_issuer(found.person, address_of(request.scope), agent, proved=found.proved)
        accounts.forgive(attempt)
    except IssuerLogInFailed as failed:
        if failed.busy:
            accounts.forgive(attempt)
        answer = _failed(request, failed)
    except LogInRefused as refused:
        answer = refused_page(request, refused, _FAILED)
    else:
        answer = entered(request, secret, RedirectResponse(ticket.target, HTTPStatus.SEE_OTHER))
    tickets.forget(answer, _COOKIE)
    return answer


def _failed(request: Request, failed: IssuerLogInFailed) -> Response:
    if failed.busy:
        return log_in_page(request, HTTPStatus.TOO_MANY_REQUESTS, error=str(failed))
    issuer = gateway_of(request).settings.oidc.issuer
    _log.warning("log-in at %s failed: %s", issuer, failed)
    by = Actor("", address_of(request.scope))
    detail = {"why": str(failed), "issuer": issuer}
    accounts_of(request).record(by, "log-in", outcome=Outcome.REFUSED, detail=detail)
    return log_in_page(request, HTTPStatus.UNPROCESSABLE_ENTITY, error=_FAILED)


ROUTES = [Route("/login/issuer", _begin), Route(_BACK, _end)]
