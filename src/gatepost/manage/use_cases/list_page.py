"""Some rows of many: what a list is asked for, and what it answers. Values alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

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


@dataclass(frozen=True, slots=True)
class ListSelection:
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
