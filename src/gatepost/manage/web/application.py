"""The application that the admin centre's process serves: pages and REST, within what every request must pass.

From the outside: headers of every answer, its language, what goes on record, the name asked for, who may ask at all,
how much is sent, the form, who asks, how much of it at a time. Pages are in the language of the account, else in the
one chosen at the log-in, else in what the browser prefers.
"""

from __future__ import annotations

import logging
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import HTTPConnection, Request

from gatepost.language import ENGLISH, in_language, offered
from gatepost.manage.web import request_limits
from gatepost.manage.web.identity import IdentityMiddleware
from gatepost.manage.web.problem import RefusalAuditMiddleware, is_call, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.responses import Response
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gatepost.manage.access.accounts import Accounts
    from gatepost.manage.use_cases.context import Gateway


COOKIE: Final = "gatepost_language"
_YEAR: Final = 365 * 86400
_LONGEST: Final = 500  # of what a browser prefers


def remember(response: Response, chosen: str, *, secure: bool) -> None:
    """Have the browser keep what was chosen before the log-in. secure: whether we are asked over HTTPS."""
    response.set_cookie(COOKIE, chosen, max_age=_YEAR, path="/", secure=secure, httponly=True, samesite="lax")


def preferred(header: str) -> str:
    """The language offered that a browser prefers, "" for none. header: its Accept-Language."""
    ranges = []
    for position, entry in enumerate(header[:_LONGEST].split(",")):
        tag, _semicolon, weight = entry.partition(";")
        primary = tag.strip().lower().partition("-")[0]
        if primary in offered() and (quality := _quality(weight)) > 0:
            ranges.append((-quality, position, primary))
    return min(ranges)[2] if ranges else ""


def _quality(weight: str) -> float:
    name, _equals, value = weight.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        quality = float(value)
    except ValueError:
        return 0.0
    return quality if 0 < quality <= 1 else 0.0


class LanguageMiddleware:
    """Runs around `IdentityMiddleware`, which goes on in the language of a person's account."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        with in_language(ENGLISH if is_call(scope) else _chosen(HTTPConnection(scope))):
            await self._app(scope, receive, send)


def _chosen(connection: HTTPConnection) -> str:
    chosen = connection.cookies.get(COOKIE, "")
    return chosen if chosen in offered() else preferred(connection.headers.get("accept-language", ""))


_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_ALWAYS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Cache-Control": "no-store",
}
_A_YEAR: Final = "max-age=31536000"


class SecurityHeaders:
    """strict: whether browsers are told to insist on HTTPS (RFC 6797), which needs a certificate that they know."""

    def __init__(self, app: ASGIApp, *, strict: bool) -> None:
        self._app = app
        self._headers = _ALWAYS | ({"Strict-Transport-Security": _A_YEAR} if strict else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, dressed)


type Handler = Callable[[Request, Exception], Response]
"""Answers for an exception."""

_log = logging.getLogger(__name__)


_WORTH_COMPRESSING: Final = 1400  # octets: what is smaller is one packet anyway
_COMPRESSION: Final = 4  # a page of 60 KB becomes 9 KB in 1 ms; level 9 takes three times as long for 3 % less


def application(
    gateway: Gateway,
    accounts: Accounts,
    routes: Sequence[BaseRoute],
    handlers: Mapping[type[Exception] | int, Handler],
) -> Starlette:
    """Everything below the sockets. handlers: what is answered where a page or a call raised one of these."""
    admin = gateway.settings.admin
    app = Starlette(
        routes=list(routes),
        middleware=[
            Middleware(_Requests),
            Middleware(GZipMiddleware, minimum_size=_WORTH_COMPRESSING, compresslevel=_COMPRESSION),
            Middleware(SecurityHeaders, strict=bool(admin.chain)),
            Middleware(LanguageMiddleware),
            Middleware(_Failures),
            Middleware(RefusalAuditMiddleware, accounts=accounts),
            Middleware(request_limits.KnownHosts, names=[gateway.settings.server.hostname.lower(), *admin.names]),
            Middleware(request_limits.LoopbackUntilOwned, owned=accounts.has_owner),
            Middleware(request_limits.BodyLimit),
            Middleware(request_limits.FormBody),
            Middleware(IdentityMiddleware, accounts=accounts),
            Middleware(request_limits.ConcurrencyMiddleware),
        ],
        exception_handlers={HTTPException: _refused, **handlers},
    )
    app.state.gateway, app.state.accounts = gateway, accounts
    return app


class _Requests:
    """Gives every request a number, by which the answer and the log are found together; answers nothing but HTTP."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            scope.setdefault("state", {})["id"] = str(uuid.uuid4())
            await self._app(scope, receive, send)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these
    return refused(request.scope, HTTPStatus(error.status_code), error.detail, **(error.headers or {}))


class _Failures:
    """Hide unexpected errors from the response; the log has them, under the request's number."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            number = scope["state"]["id"]
            _log.exception("request %s %s %s failed", number, scope["method"], scope["path"])
            if started:
                raise
            text = f"An internal error occurred. The gateway's log has the details under the number {number}."
            await refused(scope, HTTPStatus.INTERNAL_SERVER_ERROR, text)(scope, receive, send)
