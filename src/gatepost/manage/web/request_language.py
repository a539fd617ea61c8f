"""The language that a request is answered in.

A person's pages are in the language of their account, else in the one that was chosen at the log-in, else in what the
browser prefers (Accept-Language, RFC 9110 section 12.5.4). REST is always in English.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.requests import HTTPConnection

from gatepost.language import ENGLISH, in_language, offered
from gatepost.manage.web.problem import is_call

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send


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
