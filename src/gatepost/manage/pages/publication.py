"""The DNS records of each accepted domain: those to copy, and the result of the DNS checks when it is asked for.

The look takes seconds, so that a page comes without it and asks for it afterwards; without a script a link does.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gatepost.manage.access.principal import Scope
from gatepost.manage.pages.exports import exported, wants_file
from gatepost.manage.pages.guard import context_of, gateway_of, needs_scope
from gatepost.manage.pages.pages import is_partial, link, render
from gatepost.manage.use_cases.choice import visible
from gatepost.manage.use_cases.dns_checks import Sights, sight_record
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.listings import domain_rows
from gatepost.manage.use_cases.pages import Selection
from gatepost.manage.use_cases.publication import (
    GetPublication,
    publication_of,
    publication_record,
    see_publication,
    shown_certificates,
)
from gatepost.manage.use_cases.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starlette.requests import Request

    from gatepost.manage.use_cases.dns_checks import Sight
    from gatepost.manage.use_cases.publication import Publication


_INDEX: Final = "/domains/publish"
_ROWS: Final = 25
_COLUMNS: Final = ("organization", "domain", "section", "line", "note")
_LIGHTS: Final = {
    "pass": "OK",
    "info": "Can be improved",
    "unknown": "Not available",
    "warn": "Needs attention",
    "fail": "Wrong",
}


def _index(request: Request) -> Response:
    principal = needs_scope(request, Scope.READ)
    gateway, query = gateway_of(request), request.query_params
    number = max(1, int(text)) if (text := query.get("page", ""))[:6].isdecimal() and len(text) < 7 else 1
    selection = Selection(query.get("organization", ""), query.get("q", "")[:253], _ROWS, (number - 1) * _ROWS)
    page = domain_rows(visible(gateway.directory().resources, principal), selection)
    servers = shown_certificates(gateway) if principal.is_of_gateway else ()
    behind = selection.offset > page.offset  # who takes page after page as files reads on until one is empty
    wanted = () if behind and wants_file(request) else page.rows
    found = [publication_of(gateway, principal, row.name, row.organization, servers) for row in wanted]
    rows = [(one, gateway.kept(Sights).known(one), _path(one)) for one in found]
    if query.get("format") == "json":
        return _json([_record(one, sight) for one, sight, _ in rows])
    if file := exported(request, "publication", _COLUMNS, lambda: _lines(found)):
        return file
    return render(
        request,
        "domains/index.html",
        rows=rows,
        lights=_LIGHTS,
        page=page,
        number=page.offset // _ROWS + 1,
        is_last=page.offset + len(page.rows) >= page.total,
    )


def _domain(request: Request) -> Response:
    found = _found(request)
    looks = request.query_params.get("look") == "now"
    sight = _look(request, found) if looks else gateway_of(request).kept(Sights).known(found)
    if request.query_params.get("format") == "json":
        return _json(_record(found, sight))
    if file := exported(request, f"publication-{found.domain}", _COLUMNS, lambda: _lines([found])):
        return file
    return _page(request, found, sight)


def _sight(request: Request) -> Response:
    """The part of a page that takes long."""
    found = _found(request)
    if not is_partial(request):
        return _page(request, found, _look(request, found))
    sight = _look(request, found)
    name = "domains/light.html" if request.query_params.get("part") == "light" else "domains/sections.html"
    return render(request, name, block="part", **_context(found, sight))


def _page(request: Request, found: Publication, sight: Sight | str | None) -> Response:
    return render(request, "domains/publish.html", HTTPStatus.OK, **_context(found, sight))


def _context(found: Publication, sight: Sight | str | None) -> dict[str, Any]:
    trouble = sight if isinstance(sight, str) else ""
    known = None if isinstance(sight, str) else sight
    return {"found": found, "sight": known, "trouble": trouble, "path": _path(found), "lights": _LIGHTS}


def _found(request: Request) -> Publication:
    principal = needs_scope(request, Scope.READ)
    organization = request.query_params.get("organization", "")
    return publication_of(gateway_of(request), principal, request.path_params["name"], organization)


def _look(request: Request, found: Publication) -> Sight | str | None:
    """What is there now, or why that cannot be told."""
    sights = gateway_of(request).kept(Sights)
    if sights.known(found) is None or request.query_params.get("look") == "now":
        asked = GetPublication(organization=found.organization, domain=found.domain)
        try:
            execute(see_publication, context_of(request), asked)
        except Refusal as refusal:
            return refusal.text
    return sights.known(found)


def _path(found: Publication) -> str:
    return f"/domains/{found.domain}/publish"


def _record(found: Publication, sight: Sight | str | None) -> dict[str, Any]:
    seen = sight_record(sight) if sight is not None and not isinstance(sight, str) else None
    record: dict[str, Any] = msgspec.to_builtins(publication_record(found))
    return record | {"seen": seen, "page": link(_path(found), organization=found.organization)}


def _lines(found: Sequence[Publication]) -> Iterator[dict[str, str]]:
    """Each line of the zones."""
    for one in found:
        for section in one.sections:
            for record in section.records:
                yield {
                    "organization": one.organization,
                    "domain": one.domain,
                    "section": str(section.key),
                    "line": record.line,
                    "note": record.note,
                }


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json", headers={"cache-control": "no-store"})


ROUTES = [
    Route(_INDEX, _index),
    Route("/domains/{name}/publish", _domain),
    Route("/domains/{name}/publish/sight", _sight),
]
"""To stand before routes of the form /domains/{name}."""
