"""Long lists a page at a time: `limit`, and `after`, an opaque cursor that the page before gave. Pure.

A cursor is a position, not a number of items to skip: what is added or removed meanwhile neither repeats nor hides
others. It grants nothing: what may be seen is decided anew for every page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gatepost.manage.rest.problem import Problem
from gatepost.manage.use_cases import cursors
from gatepost.manage.use_cases.cursors import cursor
from gatepost.manage.use_cases.paging import MAX_ITEMS, After, Limit, Paging
from gatepost.manage.web.problem import ProblemType
from gatepost.policy.connectors.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


__all__ = ["MAX_ITEMS", "After", "Limit", "Page", "Paging", "page_of", "position"]  # until all families are declared


class Page(NamedTuple):
    """Some items of a list. after: the cursor of the page behind, None on the last. version: of the resources."""

    items: Sequence[Any]
    after: str | None = None
    version: int | None = None


def position[T](text: str, kind: type[T]) -> T:
    """The position in a cursor. Raises Problem for what no page gave."""
    try:
        return cursors.position(text, kind)
    except ValueError as error:
        wrong = FieldError("query.after", "is no cursor of this list: take it from `next` of the page before")
        raise Problem(ProblemType.INVALID, "The page cannot be found.", [wrong]) from error


def page_of[T](
    items: Sequence[T], name: Callable[[T], str], paging: Paging, shown: Callable[[T], Any], version: int | None = None
) -> Page:
    """A page of a list that is in memory, in its own order. name: what tells its items apart."""
    begin = _begin([name(one) for one in items], paging.after) if paging.after else 0
    end = begin + paging.limit
    after = cursor((end - 1, name(items[end - 1]))) if end < len(items) else None
    return Page([shown(one) for one in items[begin:end]], after, version)


def _begin(names: Sequence[str], after: str) -> int:
    """Behind the item of that name, wherever it is now; where it was, if it is gone."""
    place, name = position(after, tuple[int, str])
    if 0 <= place < len(names) and names[place] == name:
        return place + 1
    return names.index(name) + 1 if name in names else max(place, 0)
