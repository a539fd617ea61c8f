"""The pages under /docs: the documents of the package, and a search in them (docs/decisions/0112).

For whoever is logged in, whatever they may do: the documents say nothing of this gateway. The search finds sections
that have all words, the best first. It reads `document_text` alone, a few milliseconds for all documents; no index is
kept beside their texts.
"""

from __future__ import annotations

import re
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

from markupsafe import Markup, escape
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from gatepost.language import _
from gatepost.manage.pages.document_text import INDEX, address, document, pictures, programs, sections, texts
from gatepost.manage.pages.rendering import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request


MOST: Final = 30
"""Sections that are shown."""
LONGEST: Final = 100
"""Characters of a question; what is longer is cut."""

_WORDS: Final = 8
_BEFORE, _SHOWN = 60, 240
_LINK: Final = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_MARKS: Final = re.compile(r"[`*|]|:?-{3,}:?")
_STATUS: Final = re.compile(r"[45](\.\d{1,3}\.\d{1,3})")
_SPACE: Final = re.compile(r"\s+")


class Hit(NamedTuple):
    """A section. page: title of its document. excerpt: a piece of its text, with the words marked."""

    address: str
    page: str
    title: str
    excerpt: Markup


class _Searchable(NamedTuple):
    """A section as it is searched: lower-case texts, and its plain text as it is shown."""

    address: str
    page: str
    title: str
    text: str
    heads: str
    body: str


@cache
def _all() -> Sequence[_Searchable]:
    searchable = []
    for name in texts():
        parts = sections(name)
        page = parts[0].title
        for part in parts:
            text = _SPACE.sub(" ", _MARKS.sub("", _LINK.sub(r"\1", part.text))).strip()
            place = address(name, "" if part.level == 1 else part.anchor)
            heads = f"{page} {part.title}".casefold()
            searchable.append(_Searchable(place, page, part.title, text, heads, text.casefold()))
    return searchable


def search(question: str) -> Sequence[Hit]:
    """The sections that have every word, in a heading or in the text; at most `MOST`, headings first.

    A status code is found by both its classes: a delivery that expires turns 4.7.320 into 5.7.320.
    """
    words = [re.compile(_pattern(word)) for word in question[:LONGEST].casefold().split()[:_WORDS]]
    if not words:
        return []
    ranked = [
        (_rank(section, words), section)
        for section in _all()
        if all(word.search(section.heads + section.body) for word in words)
    ]
    ranked.sort(key=lambda pair: -pair[0])
    return [
        Hit(section.address, section.page, section.title, _excerpt(section.text, words))
        for _rank_of, section in ranked[:MOST]
    ]


def _pattern(word: str) -> str:
    status = _STATUS.fullmatch(word)
    return rf"[45]{re.escape(status[1])}(?!\d)" if status else re.escape(word)


def _rank(section: _Searchable, words: Sequence[re.Pattern[str]]) -> float:
    """Words in headings count most; of two texts with the same words the shorter is more about them."""
    title = section.title.casefold()
    times = sum(min(len(word.findall(section.body)), 5) for word in words)
    return (
        20 * sum(bool(word.search(title)) for word in words)
        + 5 * sum(bool(word.search(section.heads)) for word in words)
        + times / (1 + len(section.body) / 2000)
    )


def _excerpt(text: str, words: Sequence[re.Pattern[str]]) -> Markup:
    """A piece of text around the first word, each word marked."""
    marks = re.compile("|".join(word.pattern for word in words), re.IGNORECASE)
    first = marks.search(text)
    start = max(0, first.start() - _BEFORE) if first else 0
    piece = text[start : start + _SHOWN]
    shown, at = escape("…" if start else ""), 0
    for mark in marks.finditer(piece):
        shown += escape(piece[at : mark.start()]) + Markup("<mark>{}</mark>").format(mark[0])
        at = mark.end()
    return shown + escape(piece[at:]) + ("…" if start + _SHOWN < len(text) else "")


def _index(request: Request) -> Response:
    return render(request, "documents/page.html", document=document(INDEX), is_index=True)


def _page(request: Request) -> Response:
    name = request.path_params["name"]
    if program := programs().get(name):
        attached = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(program, media_type="text/x-python", headers=attached)
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
