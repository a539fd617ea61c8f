"""The pages under /docs: the documents of the package, and a search in them (docs/decisions/0112).

For whoever is logged in, whatever they may do: the documents say nothing of this gateway.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from gatepost.language import _
from gatepost.manage.pages.document_search import LONGEST, MOST, search
from gatepost.manage.pages.document_text import INDEX, document, pictures, texts
from gatepost.manage.pages.rendering import render

if TYPE_CHECKING:
    from starlette.requests import Request


def _index(request: Request) -> Response:
    return render(request, "documents/page.html", document=document(INDEX), is_index=True)


def _page(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in texts() or name == INDEX:
        raise HTTPException(HTTPStatus.NOT_FOUND, _("There is no document of this name."))
    return render(request, "documents/page.html", document=document(name), is_index=False)


def _search(request: Request) -> Response:
    question = request.query_params.get("q", "")[:LONGEST]
    return render(request, "documents/search.html", question=question, hits=search(question), most=MOST)


def _picture(request: Request) -> Response:
    content = pictures().get(request.path_params["name"])
    if content is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, _("There is no picture of this name."))
    return Response(content, media_type="image/png")


ROUTES: Final = [
    Route("/docs", _index),
    Route("/docs/search", _search),
    Route("/docs/pictures/{name}", _picture),
    Route("/docs/{name}", _page),
]
