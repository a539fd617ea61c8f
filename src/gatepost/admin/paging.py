"""Which page of a long list is asked for, and where the ones beside it are. Used by every list that is paged by place.

Pure but for the request it reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from starlette.requests import Request

    from gatepost.administration.pages import Page

__all__ = ["SIZE", "Foot", "foot", "offset_of", "page_of"]

SIZE: Final = 50
"""Rows of a page."""
_LAST: Final = 1_000_000


class Foot(NamedTuple):
    """What stands below a table. before, after: numbers of the pages beside it, 0 where there is none."""

    shown: str
    before: int
    after: int


def page_of(request: Request) -> int:
    """From 1 on; what is no number is the first page."""
    text = request.query_params.get("page", "")
    return min(max(int(text), 1), _LAST) if text.isascii() and text.isdigit() and len(text) < 8 else 1


def offset_of(request: Request) -> int:
    """Rows before the page that is asked for."""
    return (page_of(request) - 1) * SIZE


def foot[T](page: Page[T], noun: str) -> Foot:
    """noun: what the rows are, in the plural."""
    number = page.offset // SIZE + 1
    more = page.offset + len(page.rows) < page.total
    if not page.rows:
        shown = f"0 of {page.total:,} {noun}"
    else:
        shown = f"{page.offset + 1:,} to {page.offset + len(page.rows):,} of {page.total:,} {noun}"
    return Foot(shown, number - 1, number + 1 if more else 0)
