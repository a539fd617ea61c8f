"""The DNS records of each accepted domain: those to copy, and the result of the DNS checks when it is asked for.

The look takes seconds, so that a page comes without it and asks for it afterwards; without a script a link does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gatepost.language import translated
from gatepost.manage.access.principal import Scope
from gatepost.manage.pages.exports import exported, wants_file
from gatepost.manage.pages.guard import needs_scope, perform
from gatepost.manage.pages.paging import order_of, page_of
from gatepost.manage.pages.rendering import is_partial, link, render
from gatepost.manage.use_cases import publication as publication_cases
from gatepost.manage.use_cases.dns_checks import DnsCheck, DnsPublication, check_record
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.sentences import ours
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starlette.requests import Request


_INDEX: Final = "/domains/publish"
_ROWS: Final = 25
_COLUMNS: Final = ("organization", "domain", "section", "line", "note")
_LIGHTS: Final = {
    "pass": "OK",
    "info": N_("Can be improved"),
    "unknown": N_("Not available"),
    "warn": N_("Needs attention"),
    "fail": N_("Wrong"),
}


def _index(request: Request) -> Response:
    needs_scope(request, Scope.READ)
    query = request.query_params
    selection = publication_cases.FindPublications(
        organization=query.get("organization", ""),
        q=query.get("q", "")[:253],
        limit=_ROWS,
        offset=(page_of(request) - 1) * _ROWS,
        sort=order_of(request, publication_cases.DOMAIN_SORTS),
    )
    page = perform(request, publication_cases.find_publications, selection)
    behind = selection.offset > page.offset  # who takes page after page as files reads on until one is empty
    wanted = () if behind and wants_file(request) else page.rows
    publications = [view.publication for view in wanted]
    rows = [(*view, _path(view.publication)) for view in wanted]
    if query.get("format") == "json":
        return _json([_record(row, dns_check) for row, dns_check, _page in rows])
    if file := exported(request, "publication", _COLUMNS, lambda: _lines(publications)):
        return file
    return render(
        request,
        "domains/index.html",
        rows=rows,
        sort=selection.sort,
        lights=translated(_LIGHTS),
        page=page,
        number=page.offset // _ROWS + 1,
        is_last=page.offset + len(page.rows) >= page.total,
    )


def _domain(request: Request) -> Response:
    view = _found(request)
    publication, looks = view.publication, request.query_params.get("look") == "now"
    dns_check = _run_check(request, view) if looks else view.dns_check
    if request.query_params.get("format") == "json":
        return _json(_record(publication, dns_check))
    if file := exported(request, f"publication-{publication.domain}", _COLUMNS, lambda: _lines([publication])):
        return file
    return _page(request, publication, dns_check)


def _check(request: Request) -> Response:
    """The part of a page that takes long."""
    view = _found(request)
    publication, dns_check = view.publication, _run_check(request, view)
    if not is_partial(request):
        return _page(request, publication, dns_check)
    name = "domains/light.html" if request.query_params.get("part") == "light" else "domains/sections.html"
    return render(request, name, block="part", **_context(publication, dns_check))


def _page(request: Request, publication: DnsPublication, dns_check: DnsCheck | str | None) -> Response:
    return render(request, "domains/publish.html", **_context(publication, dns_check))


def _context(publication: DnsPublication, dns_check: DnsCheck | str | None) -> dict[str, Any]:
    trouble = dns_check if isinstance(dns_check, str) else ""
    known = None if isinstance(dns_check, str) else dns_check
    return {
        "found": publication,
        "dns_check": known,
        "trouble": trouble,
        "path": _path(publication),
        "lights": translated(_LIGHTS),
    }


def _found(request: Request) -> publication_cases.PublicationView:
    needs_scope(request, Scope.READ)
    publication = publication_cases.ViewPublication(
        domain=request.path_params["name"], organization=request.query_params.get("organization", "")
    )
    return perform(request, publication_cases.view_publication, publication)


def _run_check(request: Request, view: publication_cases.PublicationView) -> DnsCheck | str | None:
    """What is there now, or why that cannot be told."""
    publication = view.publication
    if view.dns_check is None or request.query_params.get("look") == "now":
        publication_request = publication_cases.GetPublication(
            organization=publication.organization, domain=publication.domain
        )
        try:
            perform(request, publication_cases.see_publication, publication_request)
        except Refusal as refusal:
            return ours(refusal.text)
        return _found(request).dns_check
    return view.dns_check


def _path(publication: DnsPublication) -> str:
    return f"/domains/{publication.domain}/publish"


def _record(publication: DnsPublication, dns_check: DnsCheck | str | None) -> dict[str, Any]:
    seen = check_record(dns_check) if dns_check is not None and not isinstance(dns_check, str) else None
    record: dict[str, Any] = msgspec.to_builtins(publication_cases.publication_record(publication))
    return record | {"seen": seen, "page": link(_path(publication), organization=publication.organization)}


def _lines(publications: Sequence[DnsPublication]) -> Iterator[dict[str, str]]:
    """Each line of the zones."""
    for publication in publications:
        for section in publication.sections:
            for record in section.records:
                yield {
                    "organization": publication.organization,
                    "domain": publication.domain,
                    "section": str(section.key),
                    "line": record.line,
                    "note": record.note,
                }


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json", headers={"cache-control": "no-store"})


ROUTES = [
    Route(_INDEX, _index),
    Route("/domains/{name}/publish", _domain),
    Route("/domains/{name}/publish/sight", _check),
]
"""To stand before routes of the form /domains/{name}."""
