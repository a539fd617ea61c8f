"""Who asks, and whether a change that a browser sends was meant by the person before it.

A browser has a session, in a cookie that scripts cannot read and other sites do not make it send; a program has an API
token. A change by session must come from one of our own pages (Sec-Fetch-Site or Origin) and carry that session's
token, in the form's field `csrf` or the field X-CSRF-Token of the request's head. What fails that is refused and put
on record. Sets `request.state.principal` and `request.state.session`, None where nobody is known, and
`request.state.csrf`, the session's token for forms.
"""

from __future__ import annotations

import hmac
from functools import partial
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse

from gatepost.access.records import Actor, Outcome
from gatepost.web.forms import UNSAFE
from gatepost.web.refused import is_call, refused

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from gatepost.access.accounts import Accounts

__all__ = ["COOKIE", "LOGIN", "Identity", "address_of", "is_open"]

COOKIE: Final = "__Host-gatepost"
"""The prefix makes browsers insist on Secure, Path=/ and no Domain, so that no neighbour of this host can set it."""
LOGIN: Final = "/login"
_OPEN: Final = (LOGIN, f"{LOGIN}/", "/setup", "/static/")
_BEARER: Final = "bearer "
_LONGEST: Final = 200  # of a secret


def is_open(path: str) -> bool:
    """Whether a page is there for whoever is not known."""
    return any(path == one or (one.endswith("/") and path.startswith(one)) for one in _OPEN)


def address_of(scope: Scope) -> str:
    """Of the other side, as records of deeds keep it."""
    client: tuple[str, int] | None = scope.get("client")
    return client[0] if client else ""


class Identity:
    """Runs within `FormBody`."""

    def __init__(self, app: ASGIApp, *, accounts: Accounts) -> None:
        self._app = app
        self._accounts = accounts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        state, headers = scope["state"], Headers(scope=scope)
        state["principal"], state["session"], state["csrf"] = None, None, ""
        bearer = headers.get("authorization", "")
        if bearer.lower().startswith(_BEARER):
            secret = bearer[len(_BEARER) :].strip()[:_LONGEST]
            state["principal"] = await run_in_threadpool(self._accounts.token, secret)
            answer = None if state["principal"] else _unknown_token(scope)
        else:
            answer = await self._by_session(scope, headers)
        if answer is None and state["principal"] is None and not is_call(scope) and not is_open(scope["path"]):
            answer = _to_login(scope)
        await (answer or self._app)(scope, receive, send)

    async def _by_session(self, scope: Scope, headers: Headers) -> Response | None:
        """Sets who asks; the answer if that is not to be believed."""
        unsafe = scope["method"] in UNSAFE
        if unsafe and not _is_same_origin(headers):
            return await self._forged(scope, "it came from another site's page")
        secret = _cookie(headers)
        session = await run_in_threadpool(self._accounts.session, secret) if secret else None
        if session is None:
            return None
        if unsafe:
            given = scope["state"]["form"].get("csrf") or headers.get("x-csrf-token", "")
            if not hmac.compare_digest(given.encode(), session.csrf.encode()):
                return await self._forged(scope, "its token is missing or is that of another session")
        state = scope["state"]
        state["session"], state["principal"], state["csrf"] = session, session.principal, session.csrf
        return None

    async def _forged(self, scope: Scope, why: str) -> Response:
        record = partial(
            self._accounts.record,
            Actor("", address_of(scope)),
            "request",
            outcome=Outcome.REFUSED,
            subject=f"{scope['method']} {scope['path']}"[:_LONGEST],
            detail={"why": why},
        )
        await run_in_threadpool(record)
        text = f"The request was refused, since {why}. Go back, load the page again and repeat what you did."
        return refused(scope, HTTPStatus.FORBIDDEN, text)


def _is_same_origin(headers: Headers) -> bool:
    """What browsers say of where a request was made (Fetch Metadata; Origin in RFC 6454)."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value[:_LONGEST] if found is not None else ""


def _unknown_token(scope: Scope) -> Response:
    text = "There is no such API token, or it has expired. Make one with: gatepost token add NAME"
    return refused(scope, HTTPStatus.UNAUTHORIZED, text, **{"WWW-Authenticate": 'Bearer error="invalid_token"'})


def _to_login(scope: Scope) -> Response:
    """Back to the page afterwards, if looking at it changes nothing."""
    query = scope.get("query_string", b"").decode("latin-1")
    wanted = scope["path"] + (f"?{query}" if query else "")
    known = scope["method"] in {"GET", "HEAD"} and wanted != "/"
    target = LOGIN + (f"?next={quote(wanted, safe='')}" if known else "")
    headers = {"HX-Redirect": target}  # a part of a page cannot be swapped for the whole login page
    return RedirectResponse(target, HTTPStatus.SEE_OTHER, headers)
