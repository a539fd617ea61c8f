"""All pages of the admin centre, and what is shown where one cannot be: the list that the web application takes."""

from __future__ import annotations

from http import HTTPStatus
from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match, Route

from gatepost.language import _
from gatepost.manage.pages.guard import for_readers
from gatepost.manage.pages.login import local_target
from gatepost.manage.pages.rendering import render
from gatepost.manage.pages.text_filters import sentence
from gatepost.manage.pages.unsent_forms import form_of
from gatepost.manage.use_cases.declaration import SAFE
from gatepost.manage.use_cases.refusal import BusyRefusal, Refusal, RefusalKind
from gatepost.manage.web.identity import address_within, came_from
from gatepost.manage.web.problem import is_call, refused
from gatepost.sentences import ours
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from starlette.requests import Request

    from gatepost.manage.access.records import UserSession
    from gatepost.manage.pages.unsent_forms import UnsentForm
    from gatepost.manage.web.application import Handler


# Modules of this package, and those for whoever comes in and of what is somebody's own.
_PAGES: Final = (
    "overview", "quickstart", "explain", "partner", "publication", "dkim", "connectors", "issuer_trust", "wizard",
    "validation", "resources", "connector", "sending_limits", "quarantine", "queue", "trace", "changeover",
    "certificate_forms", "certificates", "organizations", "changes", "audit", "tokens", "users", "reports",
    "tls_reports", "evidence", "documents", "drills", "quick_find",
)  # fmt: skip
_OWN: Final = ("login", "passkeys", "account", "static_files")


def _routes(names: Iterable[str]) -> Iterator[Route]:
    """What each of these modules says, in the order in which it stands there."""
    return chain.from_iterable(import_module(f"{__package__}.{name}").ROUTES for name in names)


ROUTES: Final = [*map(for_readers, _routes(_PAGES)), *_routes(_OWN)]

_GET: Final = "GET"
_LEVELS: Final = 10  # from the address of a form to the page above; each is compared with all pages
_STATUSES: Final = {
    RefusalKind.INPUT: HTTPStatus.UNPROCESSABLE_ENTITY,
    RefusalKind.FORBIDDEN: HTTPStatus.FORBIDDEN,
    RefusalKind.MISSING: HTTPStatus.NOT_FOUND,
    RefusalKind.BLOCKED: HTTPStatus.CONFLICT,
    RefusalKind.CONFLICT: HTTPStatus.CONFLICT,
    RefusalKind.UNREADABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}
_PASSING: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""The same form may succeed later."""
_FOR_NOW: Final = _PASSING | {HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}
_HEADINGS: Final = {
    HTTPStatus.FORBIDDEN: N_("Not allowed"),
    HTTPStatus.NOT_FOUND: N_("Page not found"),
    HTTPStatus.METHOD_NOT_ALLOWED: N_("Method not allowed"),
    HTTPStatus.CONFLICT: N_("Conflict"),
    HTTPStatus.UNPROCESSABLE_ENTITY: N_("Invalid request"),
    HTTPStatus.TOO_MANY_REQUESTS: N_("Too many requests"),
    HTTPStatus.SERVICE_UNAVAILABLE: N_("Temporarily unavailable"),
}


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101 - it is registered for these
    if isinstance(error, BusyRefusal):
        response = _page(request, HTTPStatus.TOO_MANY_REQUESTS, sentence(ours(error.text)))
        response.headers["retry-after"] = str(error.again)
        return response
    return _page(request, _STATUSES[error.kind], ours(error.text), errors=error.errors)


def _not_shown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these
    status = HTTPStatus(error.status_code)
    if is_call(request.scope):
        return refused(request.scope, status, "No such path; /api/v1/openapi.json lists all paths.")
    if request.method == "GET" and _is_of_form(request.url.path) and (page := _page_above(request)):
        return RedirectResponse(page, HTTPStatus.SEE_OTHER)
    text = error.detail if error.detail != status.phrase else _("This page does not exist.")
    response = _page(request, status, _(text))
    response.headers.update(error.headers or {})
    return response


def _is_of_form(path: str) -> bool:
    """Whether forms alone are sent there.

    A form that was refused is shown at that address: a reload, a bookmark or the log-in leads to it again.
    """
    pages = {route.path for route in ROUTES if _GET in (route.methods or ())}
    return any(_matches(route, path) is Match.PARTIAL for route in ROUTES if route.path not in pages)


def _page_above(request: Request) -> str:
    """The nearest page above, "" if there is none but the first page, or it is not near."""
    raw: bytes = request.scope.get("raw_path") or b""
    path = raw.decode("ascii", "replace").partition("?")[0]
    for _level in range(_LEVELS):
        path = path.rpartition("/")[0]
        shown = unquote(path)
        if not path or any(_matches(route, shown) is Match.FULL for route in ROUTES):
            return path
    return ""


def _matches(route: Route, path: str) -> Match:
    return route.matches({"type": "http", "method": _GET, "path": path})[0]


def _page(request: Request, status: HTTPStatus, text: str, errors: object = ()) -> Response:
    heading = _(_HEADINGS.get(status, status.phrase))
    shown: dict[str, Any] = {"heading": heading, "text": text, "advice": "", "errors": errors, "back": _back(request)}
    shown["passes"] = status in _PASSING
    return render(
        request, "error.html", status, is_of_form=request.method not in SAFE, unsent=_unsent(request, status), **shown
    )


def _unsent(request: Request, status: HTTPStatus) -> UnsentForm | None:
    """What was typed, where it was refused for now: it may be copied, or sent again as it is where that helps."""
    session: UserSession | None = getattr(request.state, "session", None)
    if session is None or request.method in SAFE or status not in _FOR_NOW:
        return None
    return form_of(request, address_within(request.scope), session.user.name)


def _back(request: Request) -> str:
    """The page before, where what was filled in can be put right; "" if that is not known."""
    target = local_target(came_from(request.headers))
    here = request.url.path
    if target.partition("?")[0] == here and request.method == "GET":  # it would be refused again
        return here if request.url.query else ""
    return "" if target == "/" else target


HANDLERS: Final[dict[type[Exception] | int, Handler]] = {Refusal: _refused, HTTPException: _not_shown}
