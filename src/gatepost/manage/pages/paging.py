"""Pages of a long list: which one is shown, in which order, and links to those before and after it.

A list that lies in a store has an index by time alone: for another order its newest rows are read (`stored_rows`).
"""

from __future__ import annotations

from html import escape
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from gatepost.language import _, grouped, ngettext
from gatepost.manage.pages.guard import every, perform
from gatepost.manage.use_cases.paging import Columns, ListPage, ListSelection, sorted_by

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from starlette.requests import Request

    from gatepost.manage.use_cases.declaration import Items, UseCase


SIZE: Final = 50
"""Rows of a page."""
_LAST: Final = 1_000_000
_ROOM: Final = 75_000  # bytes of a page for the rows of a table: with its frame it has less than 100 KB
_ROW: Final = 320  # bytes of a row without its texts


class Foot(NamedTuple):
    """The foot of a table. before, after: numbers of the pages beside it, 0 where there is none."""

    shown: str
    before: int
    after: int


def page_of(request: Request) -> int:
    """From 1 on; what is not a number is the first page."""
    text = request.query_params.get("page", "")
    return min(max(int(text), 1), _LAST) if text.isascii() and text.isdigit() and len(text) < 8 else 1


def offset_of(request: Request) -> int:
    """Rows before the page that is asked for."""
    return (page_of(request) - 1) * SIZE


def paged[T](request: Request, rows: Sequence[T], version: int = 0) -> ListPage[T]:
    """The page that is asked for of rows that are all at hand."""
    return ListSelection(limit=SIZE, offset=offset_of(request)).page(version, rows)


def by_fields(*names: str, **paths: str) -> dict[str, Callable[[Any], Any]]:
    """Columns that sort by a field of a row. names: of a column and its field. paths: of fields, by other columns."""
    return {name: attrgetter(path) for name, path in ({name: name for name in names} | paths).items()}


def order_of(request: Request, columns: Collection[str]) -> str:
    """The column that rows are asked for in the order of, "-" before it for descending; "" for the order they have."""
    sort = request.query_params.get("sort", "")
    return sort if sort.removeprefix("-") in columns else ""


def foot[T](page: ListPage[T], counted: tuple[str, str]) -> Foot:
    """counted: a number of rows, in the singular and the plural, as `NN_` marks them."""
    rows = ngettext(*counted, page.total)
    number = page.offset // SIZE + 1
    more = page.offset + len(page.rows) < page.total
    if not page.rows:
        shown = _("0 of %(rows)s", rows=rows)
    elif page.total == 1:
        shown = rows
    else:
        first, last = grouped(page.offset + 1), grouped(page.offset + len(page.rows))
        shown = _("%(first)s to %(last)s of %(rows)s", first=first, last=last, rows=rows)
    return Foot(shown, number - 1, number + 1 if more else 0)


class SortedPage[T](NamedTuple):
    """The page of rows that is asked for, in the order that is asked for. sort: as of `order_of`."""

    rows: Sequence[T]
    sort: str
    foot: Foot


def sorted_page[T](request: Request, rows: Iterable[T], columns: Columns[T], counted: tuple[str, str]) -> SortedPage[T]:
    """The page that is asked for of rows that are all at hand. columns: by which they can be sorted.

    counted: as of `foot`.
    """
    sort = order_of(request, columns)
    page = paged(request, sorted_by(rows, sort, columns))
    return SortedPage(page.rows, sort, foot(page, counted))


def fitting[Row: tuple[str | None, ...]](rows: Iterable[Row], most: int, *, taken: int = 0) -> list[Row]:
    """The first rows, as many as a page has room for. rows: what of each is shown. most: of them, however short.

    taken: bytes that other rows of the page have.
    """
    result: list[Row] = []
    room = _ROOM - taken
    for row in rows:
        room -= _ROW + sum(len(escape(text).encode("utf-8", "replace")) for text in row if text)
        if len(result) == most or (result and room < 0):
            break
        result.append(row)
    return result


HELD: Final = 1000
"""Rows that are sorted: the newest that match the filter."""
_AS_STORED: Final = frozenset({"", "-time"})


class StoredRows[T](NamedTuple):
    """A page of rows. sort: the column they are in the order of, "" for the newest first.

    after: the cursor of the next page, "" if there is none or the rows are sorted. foot: None unless they are.
    """

    rows: Sequence[T]
    sort: str
    after: str
    foot: Foot | None


def stored_rows[R: msgspec.Struct, T](
    request: Request, case: UseCase[R, Items[T]], wanted: R, columns: Columns[T], counted: tuple[str, str]
) -> StoredRows[T]:
    """The page that is asked for. wanted: with its limit and cursor. Raises Refusal.

    columns: by which rows can be sorted; "time" is that of the store. counted: as of `paging.foot`.
    """
    sort = order_of(request, columns)
    if sort in _AS_STORED:
        items = perform(request, case, wanted)
        return StoredRows(items.items, "", items.after or "", None)
    newest = list(islice(every(request, case, wanted, HELD + 1), HELD + 1))
    page = paged(request, sorted_by(newest[:HELD], sort, columns))
    shown = foot(page, counted)
    if len(newest) > HELD:
        text = _("Sorted: the newest %(rows)s that match. Filter to sort others.", rows=ngettext(*counted, HELD))
        shown = shown._replace(shown=f"{shown.shown}. {text}")
    return StoredRows(page.rows, sort, "", shown)
