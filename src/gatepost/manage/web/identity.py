"""Authenticate requests, and reject changes that the person at the browser did not intend (CSRF).

A browser has a session, in a cookie that scripts cannot read and other sites do not make it send; a program has an API
token. A change by session must come from one of our own pages (Sec-Fetch-Site or Origin) and carry that session's
token, in the form's field `csrf` or the field X-CSRF-Token of the request's head. What fails that is refused and put
on record. Sets `request.state.principal` and `request.state.session`, None where nobody is known, and
`request.state.csrf`, the session's token for forms, masked anew for each page. An answer that lasts (a file, a stream
of events) ends when who asked is logged out, or may do something else than when it began.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response

from gatepost.language import use
from gatepost.manage.access.secret import author_tag, masked, same, unmasked
from gatepost.manage.web.problem import is_call, note_refusal, refused, store_away
from gatepost.manage.web.request_limits import UNSAFE, is_event_stream
from gatepost.store.interface import StoreFailure
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gatepost.manage.access.accounts import Accounts
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.access.records import UserSession


COOKIE: Final = "__Host-gatepost"
"""The prefix makes browsers insist on Secure, Path=/ and no Domain, so that no neighbour of this host can set it."""
LOGIN: Final = "/login"
UNSENT: Final = f"{LOGIN}/unsent"
"""The page that shows a form of an earlier session again, with what its author typed."""
LOST: Final = "lost"
"""In the query of the log-in: that something was sent without a session, and not done."""
_OPEN: Final = (LOGIN, f"{LOGIN}/", "/setup", "/static/")
_BEARER: Final = "bearer "
_LONGEST: Final = 200  # of a secret
_PAGE: Final = 2000  # of an address to go back to
_LOOKS: Final = 1.0  # seconds between two looks whether who asked is still known
_UNHEARD: Final = 60.0  # seconds for which an answer goes on while the accounts cannot be read

_log = logging.getLogger(__name__)


def is_open(path: str) -> bool:
    """Whether a page is there for whoever is not known."""
    return any(path == text or (text.endswith("/") and path.startswith(text)) for text in _OPEN)


class IdentityMiddleware:
    """Runs within `FormBody`."""

    def __init__(self, app: ASGIApp, *, accounts: Accounts) -> None:
        self._app = app
        self._accounts = accounts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        state, headers = scope["state"], Headers(scope=scope)
        state["principal"], state["session"], state["csrf"] = None, None, ""
        bearer = headers.get("authorization", "")
        secret = bearer[len(_BEARER) :].strip()[:_LONGEST]
        has_token = bearer.lower().startswith(_BEARER)
        try:
            answer = await (self._by_token(scope, secret) if has_token else self._by_session(scope, headers))
        except StoreFailure as failure:
            answer = None if is_open(scope["path"]) else store_away(scope, failure)
        now = partial(self._accounts.token, secret) if has_token else partial(self._principal, headers)
        send = _WhileKnown(send, state["principal"], now)
        if answer is None and state["principal"] is None and not is_call(scope) and not is_open(scope["path"]):
            if _author(scope, headers):
                scope = _instead(scope, headers, LOGIN)
            else:
                answer = _to_login(scope, headers)
        elif answer is None and "unsent" in state:
            scope = _instead(scope, headers, UNSENT)
        try:
            await (answer or self._app)(scope, receive, send)
        except _NoLongerKnown:
            _log.info(
                "an answer to %s ended early: who asked for it is logged out or may do less, or cannot be looked up",
                scope["path"],
            )

    async def _by_token(self, scope: Scope, secret: str) -> Response | None:
        """Sets who asks; the answer if nobody has the token."""
        scope["state"]["principal"] = await run_in_threadpool(self._accounts.token, secret)
        return None if scope["state"]["principal"] else _unknown_token(scope)

    def _principal(self, headers: Headers) -> Principal | None:
        """Who has the session now. Blocks for microseconds."""
        session = self._accounts.session(_cookie(headers), used=False)
        return session.principal if session is not None else None

    async def _by_session(self, scope: Scope, headers: Headers) -> Response | None:
        """Sets who asks; the answer if that is not to be believed."""
        unsafe = scope["method"] in UNSAFE
        if unsafe and not _is_same_origin(headers):
            return _forged(scope, "it came from another site's page")
        secret = _cookie(headers)
        session = await run_in_threadpool(self._accounts.session, secret) if secret else None
        if session is None:
            return None
        state = scope["state"]
        if unsafe and not is_form_token(state["form"].get("csrf") or headers.get("x-csrf-token", ""), session):
            brings_another = scope["path"] == LOGIN and bool(state["form"].get("unsent"))
            if not brings_another and not same(_author(scope, headers), author_tag(session.user.name)):
                return _forged(scope, _OTHER, _EXPIRED, came_from(headers))
            note_refusal(scope, _OTHER)
            state["unsent"] = ""
        state["session"], state["principal"], state["csrf"] = session, session.principal, form_token(session)
        if not is_call(scope):
            use(session.user.preferences.language)
        return None


class _NoLongerKnown(Exception):  # noqa: N818 - it names who asks
    """Raised where the next part of an answer would be sent."""


class _WhileKnown:
    """Sends an answer. What comes a second after its first part, or later, is sent only if who asked is who they were.

    principal: as whom they asked. now: as whom they would ask now; called on a thread, each second at most.
    """

    def __init__(self, send: Send, principal: Principal | None, now: Callable[[], Principal | None]) -> None:
        self._send = send
        self._principal = principal
        self._now = now
        self._is_stream = False
        self._looked: float | None = None
        self._heard = time.monotonic()

    async def __call__(self, message: Message) -> None:
        """ASGI. Raises _NoLongerKnown; a stream of events has ended in due form then, a file is cut off."""
        if message["type"] == "http.response.start":
            self._is_stream = is_event_stream(message)
        elif self._looked is None:
            self._looked = time.monotonic()
        elif time.monotonic() - self._looked >= _LOOKS:
            if not await run_in_threadpool(self._is_known):
                if self._is_stream:
                    await self._send({"type": "http.response.body", "body": b"", "more_body": False})
                raise _NoLongerKnown
            self._looked = time.monotonic()
        await self._send(message)

    def _is_known(self) -> bool:
        try:
            now = self._now()
        except StoreFailure:  # the database is away for a moment
            return time.monotonic() - self._heard < _UNHEARD
        self._heard = time.monotonic()
        return now == self._principal


def form_token(session: UserSession) -> str:
    """The token for a form: that of the session, masked anew, and for whom the form is."""
    return f"{masked(session.csrf)}.{author_tag(session.user.name)}"


def is_form_token(token: str, session: UserSession) -> bool:
    """Whether `form_token` made it for the session."""
    return same(unmasked(token.partition(".")[0]), session.csrf)


def address_within(scope: Scope) -> str:
    """Path and query of a request, as they were asked for."""
    query = scope.get("query_string", b"").decode("latin-1")
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    return raw.decode("latin-1").partition("?")[0] + (f"?{query}" if query else "")


def _author(scope: Scope, headers: Headers) -> str:
    """For whom a form was made that was sent without a session; "" if it is none of ours, or part of a page."""
    if scope["method"] != "POST" or is_call(scope) or headers.get("hx-request") == "true":
        return ""
    author: str = scope["state"]["form"].get("csrf", "").partition(".")[2]
    return author


def _instead(scope: Scope, headers: Headers, path: str) -> Scope:
    """The request for a page of ours that answers in place of the form's, which is not acted upon."""
    scope["state"]["unsent"] = address_within(scope)
    parameters = urlencode({"next": came_from(headers) or "/", LOST: "yes"}).encode()
    return {**scope, "method": "GET", "path": path, "raw_path": path.encode(), "query_string": parameters}


_OTHER: Final = "its token is missing or belongs to another session"
_EXPIRED: Final = N_(
    "The form is from an earlier session, so nothing was changed. Go back to the page, which then has a new form, and "
    "send it again."
)


def _forged(scope: Scope, why: str, text: str = "", back: str = "") -> Response:
    """Refuse it and put it on record. why: for the audit. text: for the person; back: the page of the form."""
    note_refusal(scope, why)
    text = text or f"The request was refused because {why}. Go back, reload the page and try again."
    return refused(scope, HTTPStatus.FORBIDDEN, text, back=back)


def _is_same_origin(headers: Headers) -> bool:
    """Check the origin that the browser states (Fetch Metadata; Origin in RFC 6454)."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    host = headers.get("origin", "").lower().partition("://")[2]  # any octets: a URL need not be one
    return host == headers.get("host", "").lower() != ""


def _cookie(headers: Headers) -> str:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value[:_LONGEST] if morsel is not None else ""


def _unknown_token(scope: Scope) -> Response:
    note_refusal(scope, "its API token does not exist or has expired")
    text = (
        "This API token does not exist or has expired. Make one with `gatepost token add`, with the "
        "scopes that the calls need."
    )
    return refused(scope, HTTPStatus.UNAUTHORIZED, text, **{"WWW-Authenticate": 'Bearer error="invalid_token"'})


def _to_login(scope: Scope, headers: Headers) -> Response:
    """Back to the page afterwards; of what was to be changed, to the page of its form, which was not acted upon."""
    query = scope.get("query_string", b"").decode("latin-1")
    lost = scope["method"] not in {"GET", "HEAD"}
    wanted = came_from(headers) if lost else scope["path"] + (f"?{query}" if query else "")
    parameters = [f"next={quote(wanted, safe='')}"] * (wanted not in {"", "/"}) + [f"{LOST}=yes"] * lost
    target = LOGIN + (f"?{'&'.join(parameters)}" if parameters else "")
    # a part of a page cannot be swapped for the whole login page
    return RedirectResponse(target, HTTPStatus.SEE_OTHER, {"HX-Redirect": target})


def came_from(headers: Headers) -> str:
    """The page of ours that a form was sent from or a link stood on, "" if it is none or not known."""
    try:
        page = urlsplit(headers.get("referer", "")[:_PAGE])
    except ValueError:
        return ""
    if page.netloc.lower() != headers.get("host", "").lower():
        return ""
    return page.path + (f"?{page.query}" if page.query else "")
