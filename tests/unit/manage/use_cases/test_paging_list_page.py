from __future__ import annotations

import pytest

from gatepost.manage.use_cases.paging import ListPage, ListSelection, sorted_by

PAGES = [
    (ListSelection(), [0, 1, 2, 3, 4]),
    (ListSelection(limit=2), [0, 1]),
    (ListSelection(limit=2, offset=4), [4]),
    (ListSelection(limit=0), []),
    (ListSelection(limit=0, offset=9), []),
    (ListSelection(limit=9, offset=0), [0, 1, 2, 3, 4]),
    (ListSelection(offset=9), []),
]


@pytest.mark.parametrize(("selection", "rows"), PAGES)
def test_a_page_is_a_part_of_the_rows(selection, rows):
    assert selection.page(7, list(range(5))) == ListPage(7, 5, selection.offset, rows)


@pytest.mark.parametrize(("rows", "offset", "first"), [(5, 6, 4), (5, 10**9, 4), (4, 4, 2), (1, 2, 0), (0, 2, 0)])
def test_a_page_behind_the_last_is_the_last(rows, offset, first):
    """Whoever removed its only row comes back to it."""
    found = ListSelection(limit=2, offset=offset).page(7, list(range(rows)))
    assert (found.total, found.offset) == (rows, first)
    assert bool(found.rows) is bool(rows)


def test_other_rows_in_place_of_those_it_has():
    assert ListPage(7, 5, 2, [1, 2]).holding(["a", "b"]) == ListPage(7, 5, 2, ["a", "b"])


@pytest.mark.parametrize(("q", "wanted"), [("", True), ("BANK", True), ("nk-o", True), ("lab", False)])
def test_names_that_hold_a_text(q, wanted):
    assert ListSelection(q=q).names("Bank-out") is wanted


ROWS = [("b", 2), ("A", None), ("c", 1), ("B", 2)]
COLUMNS = {"name": lambda row: row[0], "size": lambda row: row[1]}


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("name", ["A", "b", "B", "c"]),
        ("-name", ["c", "b", "B", "A"]),
        ("size", ["c", "b", "B", "A"]),
        ("-size", ["b", "B", "c", "A"]),
        ("", ["b", "A", "c", "B"]),
        ("other", ["b", "A", "c", "B"]),
    ],
)
def test_rows_are_in_the_order_of_a_column(sort, names):
    """Capital letters make no difference, what has no value is last, equal rows stay as they are."""
    assert [name for name, _size in sorted_by(ROWS, sort, COLUMNS)] == names
