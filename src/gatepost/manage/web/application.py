"""The application that the admin centre's process serves: pages and REST, within what every request must pass.

From the outside: headers of every answer, its language, what goes on record, the name asked for, who may ask at all,
how much is sent, the form, who asks, how much of it at a time.
"""

from __future__ import annotations

import logging
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware

from gatepost.manage.web.forms import FormBody
from gatepost.manage.web.headers import SecurityHeaders
from gatepost.manage.web.identity import IdentityMiddleware
from gatepost.manage.web.problem import refused
from gatepost.manage.web.refusal_audit import RefusalAuditMiddleware
from gatepost.manage.web.request_concurrency import ConcurrencyMiddleware
from gatepost.manage.web.request_language import LanguageMiddleware
from gatepost.manage.web.request_limits import BodyLimit, KnownHosts, LoopbackUntilOwned

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gatepost.manage.access.accounts import Accounts
    from gatepost.manage.use_cases.gateway import Gateway


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
            Middleware(KnownHosts, names=[gateway.settings.server.hostname.lower(), *admin.names]),
            Middleware(LoopbackUntilOwned, owned=accounts.has_owner),
            Middleware(BodyLimit),
            Middleware(FormBody),
            Middleware(IdentityMiddleware, accounts=accounts),
            Middleware(ConcurrencyMiddleware),
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
