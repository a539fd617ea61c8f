from __future__ import annotations

from types import SimpleNamespace

import pytest

from gatepost.manage.pages.paging import SIZE, fitting, foot, offset_of, order_of, page_of, paged
from gatepost.manage.use_cases.paging import ListPage, sorted_by


def asked(page):
    return SimpleNamespace(query_params={"page": page} if page is not None else {})


@pytest.mark.parametrize(
    ("text", "number"),
    [(None, 1), ("", 1), ("0", 1), ("3", 3), ("-3", 1), ("x", 1), ("²", 1), ("9" * 30, 1), ("9999999", 1_000_000)],
)
def test_a_page_is_a_number_from_one_on(text, number):
    assert page_of(asked(text)) == number
    assert offset_of(asked(text)) == (number - 1) * SIZE


@pytest.mark.parametrize(
    ("total", "offset", "rows", "said"),
    [
        (0, 0, 0, ("0 of 0 things", 0, 0)),
        (1, 0, 1, ("1 thing", 0, 0)),
        (3, 0, 3, ("1 to 3 of 3 things", 0, 0)),
        (10_000, 0, SIZE, ("1 to 50 of 10,000 things", 0, 2)),
        (10_000, SIZE, SIZE, ("51 to 100 of 10,000 things", 1, 3)),
        (60, SIZE, 10, ("51 to 60 of 60 things", 1, 0)),
        (0, 5 * SIZE, 0, ("0 of 0 things", 5, 0)),
    ],
)
def test_the_foot_says_what_is_shown(total, offset, rows, said):
    assert tuple(foot(ListPage(1, total, offset, [None] * rows), ("%(num)s thing", "%(num)s things"))) == said


def test_a_page_of_rows_at_hand():
    rows = list(range(120))
    assert paged(asked(None), rows, 7) == ListPage(7, 120, 0, rows[:SIZE])
    assert paged(asked("3"), rows).rows == rows[100:]
    assert paged(asked("4"), rows) == paged(asked("3"), rows), "the last one, where it lies behind it"
    assert paged(asked("4"), []) == ListPage(0, 0, 0, [])


COLUMNS = {"name": lambda row: row[0], "last": lambda row: row[1]}


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("", "bACd"),
        ("name", "AbCd"),
        ("-name", "dCbA"),
        ("last", "CbdA"),  # what was never is the last either way
        ("-last", "bdCA"),
        ("-", "bACd"),
        ("strange", "bACd"),
    ],
)
def test_rows_come_in_the_order_that_is_asked_for(sort, names):
    order = order_of(SimpleNamespace(query_params={"sort": sort}), COLUMNS)
    found = sorted_by([("b", 2), ("A", None), ("C", 1), ("d", 2)], order, COLUMNS)
    assert "".join(name for name, _last in found) == names


@pytest.mark.parametrize(
    ("texts", "most", "shown"),
    [
        (["a"] * 10, 100, 10),
        (["a"] * 1000, 20, 20),
        (["a"] * 1000, 1000, 231),  # what a row takes besides its texts counts
        (["<" * 1000] * 100, 100, 17),  # as it is written in a page
        (["\N{EURO SIGN}" * 1000] * 100, 100, 22),
        (["a" * 200_000, "b"], 100, 1),  # one at least
        ([None, "", None], 100, 3),
    ],
)
def test_rows_end_where_a_page_has_no_more_room(texts, most, shown):
    assert len(fitting([("key", text) for text in texts], most)) == shown
