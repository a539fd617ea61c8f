"""All pages of the admin centre, and what is shown where one cannot be: the list that the web application takes."""

from __future__ import annotations

from http import HTTPStatus
from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException

from gatepost.language import _
from gatepost.manage.pages.guard import for_readers
from gatepost.manage.pages.login import local_target
from gatepost.manage.pages.rendering import render
from gatepost.manage.pages.text_filters import sentence
from gatepost.manage.use_cases.refusal import BusyRefusal, Refusal, RefusalKind
from gatepost.manage.web.identity import came_from
from gatepost.manage.web.problem import is_call, refused
from gatepost.sentences import ours
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

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

_STATUSES: Final = {
    RefusalKind.INPUT: HTTPStatus.UNPROCESSABLE_ENTITY,
    RefusalKind.FORBIDDEN: HTTPStatus.FORBIDDEN,
    RefusalKind.MISSING: HTTPStatus.NOT_FOUND,
    RefusalKind.BLOCKED: HTTPStatus.CONFLICT,
    RefusalKind.CONFLICT: HTTPStatus.CONFLICT,
    RefusalKind.UNREADABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}
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
        response = _page(request, HTTPStatus.TOO_MANY_REQUESTS, sentence(_(error.text)))
        response.headers["retry-after"] = str(error.again)
        return response
    return _page(request, _STATUSES[error.kind], ours(error.text), errors=error.errors)


def _not_shown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these
    status = HTTPStatus(error.status_code)
    if is_call(request.scope):
        return refused(request.scope, status, "No such path; /api/v1/openapi.json lists all paths.")
    text = error.detail if error.detail != status.phrase else _("This page does not exist.")
    response = _page(request, status, _(text))
    response.headers.update(error.headers or {})
    return response


def _page(request: Request, status: HTTPStatus, text: str, errors: object = ()) -> Response:
    heading = _(_HEADINGS.get(status, status.phrase))
    return render(
        request, "error.html", status, heading=heading, text=text, advice="", errors=errors, back=_back(request)
    )


def _back(request: Request) -> str:
    """The page before, where what was filled in can be put right; "" if that is not known."""
    target = local_target(came_from(request.headers))
    here = request.url.path
    if target.partition("?")[0] == here and request.method == "GET":  # it would be refused again
        return here if request.url.query else ""
    return "" if target == "/" else target


HANDLERS: Final[dict[type[Exception] | int, Handler]] = {Refusal: _refused, HTTPException: _not_shown}
