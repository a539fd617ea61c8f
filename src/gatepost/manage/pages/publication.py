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
from gatepost.manage.pages.guard import context_of, needs_scope
from gatepost.manage.pages.pages import is_partial, link, render
from gatepost.manage.use_cases.dns_checks import sight_record
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.publication import (
    FindPublications,
    GetPublication,
    ViewPublication,
    find_publications,
    publication_record,
    see_publication,
    view_publication,
)
from gatepost.manage.use_cases.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starlette.requests import Request

    from gatepost.manage.use_cases.dns_checks import Sight
    from gatepost.manage.use_cases.publication import Publication, PublicationView


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
    needs_scope(request, Scope.READ)
    query = request.query_params
    number = max(1, int(text)) if (text := query.get("page", ""))[:6].isdecimal() and len(text) < 7 else 1
    selection = FindPublications(
        organization=query.get("organization", ""),
        q=query.get("q", "")[:253],
        limit=_ROWS,
        offset=(number - 1) * _ROWS,
    )
    page = execute(find_publications, context_of(request), selection)
    behind = selection.offset > page.offset  # who takes page after page as files reads on until one is empty
    wanted = () if behind and wants_file(request) else page.rows
    found = [one.publication for one in wanted]
    rows = [(*one, _path(one.publication)) for one in wanted]
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
    view = _found(request)
    found, looks = view.publication, request.query_params.get("look") == "now"
    sight = _look(request, view) if looks else view.sight
    if request.query_params.get("format") == "json":
        return _json(_record(found, sight))
    if file := exported(request, f"publication-{found.domain}", _COLUMNS, lambda: _lines([found])):
        return file
    return _page(request, found, sight)


def _sight(request: Request) -> Response:
    """The part of a page that takes long."""
    view = _found(request)
    found, sight = view.publication, _look(request, view)
    if not is_partial(request):
        return _page(request, found, sight)
    name = "domains/light.html" if request.query_params.get("part") == "light" else "domains/sections.html"
    return render(request, name, block="part", **_context(found, sight))


def _page(request: Request, found: Publication, sight: Sight | str | None) -> Response:
    return render(request, "domains/publish.html", HTTPStatus.OK, **_context(found, sight))


def _context(found: Publication, sight: Sight | str | None) -> dict[str, Any]:
    trouble = sight if isinstance(sight, str) else ""
    known = None if isinstance(sight, str) else sight
    return {"found": found, "sight": known, "trouble": trouble, "path": _path(found), "lights": _LIGHTS}


def _found(request: Request) -> PublicationView:
    needs_scope(request, Scope.READ)
    asked = ViewPublication(
        domain=request.path_params["name"], organization=request.query_params.get("organization", "")
    )
    return execute(view_publication, context_of(request), asked)


def _look(request: Request, view: PublicationView) -> Sight | str | None:
    """What is there now, or why that cannot be told."""
    found = view.publication
    if view.sight is None or request.query_params.get("look") == "now":
        asked = GetPublication(organization=found.organization, domain=found.domain)
        try:
            execute(see_publication, context_of(request), asked)
        except Refusal as refusal:
            return refusal.text
        return _found(request).sight
    return view.sight


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
