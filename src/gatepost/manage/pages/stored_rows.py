"""Rows of a list that lies in a store: page after page as the store has them, or in the order of a column.

A store has an index by time alone. For another order the newest rows that match are read, at most `HELD`, and sorted;
the foot of the table says so where there are more. Used by the pages of such lists.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from gatepost.language import _, ngettext
from gatepost.manage.pages.guard import every, perform
from gatepost.manage.pages.paging import Foot, foot, order_of, paged
from gatepost.manage.use_cases.paging import sorted_by

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from gatepost.manage.use_cases.declaration import Items, UseCase
    from gatepost.manage.use_cases.paging import Columns


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
