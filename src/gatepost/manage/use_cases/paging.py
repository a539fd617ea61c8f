"""Long lists a page at a time. Pure.

Pages of the admin centre ask for some rows of many (`ListSelection`). Others ask for `limit`, and `after`, an opaque
cursor that the page before gave. A cursor is a position, not a number of items to skip: what is added or removed
meanwhile neither repeats nor hides others. It grants nothing: what may be seen is decided anew for every page.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gatepost.decoding import from_json
from gatepost.manage.use_cases.declaration import Items
from gatepost.manage.use_cases.refusal import wrong_field

MAX_ITEMS = 1000

type Limit = Annotated[int, Meta(ge=1, le=MAX_ITEMS, description="At most so many items.")]
type After = Annotated[str, Meta(max_length=4096, description="Cursor: `next` of the page before has it.")]


class Paging(msgspec.Struct, kw_only=True):
    """Fields of every request for a list."""

    limit: Limit = 100
    after: After = ""


def cursor(place: object) -> str:
    """A position as text for a URL."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def position[T](text: str, kind: type[T]) -> T:
    """The position in a cursor. Raises Refusal (INPUT) for what no page gave."""
    try:
        return from_json(base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)), kind)
    except ValueError as error:  # also of base64, of msgspec, and UnicodeError
        raise wrong_field(
            "after", "is not a cursor of this list: take it from `next` of the page before", "The page cannot be found."
        ) from error


def cut[T](items: Sequence[T], limit: int, place: Callable[[T], object]) -> tuple[Sequence[T], str | None]:
    """The first `limit` of items, of which one more was looked for; and the cursor of the rest, None if there is none.

    place: where an item stands, for `position`.
    """
    return items[:limit], cursor(place(items[limit - 1])) if len(items) > limit else None


def page_of[T, U](
    items: Sequence[T], name: Callable[[T], str], paging: Paging, shown: Callable[[T], U], version: int | None = None
) -> Items[U]:
    """A page of a list that is in memory, in its own order. name: what tells its items apart. Raises as `position`."""
    begin = _begin([name(item) for item in items], paging.after) if paging.after else 0
    end = begin + paging.limit
    after = cursor((end - 1, name(items[end - 1]))) if end < len(items) else None
    return Items([shown(item) for item in items[begin:end]], after, version)


def _begin(names: Sequence[Any], after: str) -> int:
    """Behind the item of that name, wherever it is now; where it was, if it is gone."""
    place, name = position(after, tuple[int, str])
    if 0 <= place < len(names) and names[place] == name:
        return place + 1
    return names.index(name) + 1 if name in names else max(place, 0)


type Columns[T] = Mapping[str, Callable[[T], Any]]
"""Columns by which rows of a list can be sorted: what each of them sorts by."""


@dataclass(frozen=True, slots=True)
class ListPage[T]:
    """version: of the resources. total: rows there are in all; these are those from offset on."""

    version: int
    total: int
    offset: int
    rows: Sequence[T]

    def holding[U](self, rows: Sequence[U]) -> ListPage[U]:
        """The same page of what was made of its rows."""
        return ListPage(self.version, self.total, self.offset, rows)


class ListSelection(msgspec.Struct, frozen=True):
    """Selection of rows.

    organization: only of this one, "" for all. q: what the name holds, whatever the case. limit: at most so many, None
    for all of them.
    """

    organization: str = ""
    q: str = ""
    limit: int | None = None
    offset: int = 0

    def names(self, name: str) -> bool:
        """Whether a row of that name is wanted."""
        return self.q.lower() in name.lower()

    def page[T](self, version: int, rows: Sequence[T]) -> ListPage[T]:
        """The page of all rows that are wanted; the last one where the offset lies behind it.

        Who removes the only row of the last page, and comes back to it, must not read that there is nothing.
        """
        if not self.limit:
            return ListPage(version, len(rows), self.offset, rows[self.offset :] if self.limit is None else rows[:0])
        offset = min(self.offset, max(0, len(rows) - 1) // self.limit * self.limit)
        return ListPage(version, len(rows), offset, rows[offset : offset + self.limit])


def sorted_by[T](rows: Iterable[T], sort: str, columns: Columns[T]) -> list[T]:
    """Rows in the order of a column, "-" before it for descending; as they are for what is no column.

    Capital letters make no difference, None comes last, and equal rows stay as they are.
    """
    value_of, down = columns.get(sort.removeprefix("-")), sort.startswith("-")
    if value_of is None:
        return list(rows)

    def key(row: T) -> tuple[bool, Any]:
        value = value_of(row)
        return (value is None) is not down, value.casefold() if isinstance(value, str) else value

    return sorted(rows, key=key, reverse=down)
