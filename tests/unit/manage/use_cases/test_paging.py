from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.manage.use_cases.declaration import Items
from gatepost.manage.use_cases.paging import Paging, cursor, cut, page_of, position
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.store.trace import TracePlace

NAMES = st.lists(st.text(min_size=1), unique=True)


def pages(names, limit, between=lambda names: names):
    """All pages; between: what becomes of the list after a page."""
    after, found = "", []
    while after is not None:
        page = page_of(names, str, Paging(limit=limit, after=after), str)
        assert len(page.items) <= limit
        found.append(page.items)
        after, names = page.after, between(names)
    return found


@given(NAMES, st.integers(1, 5))
def test_pages_make_the_list(names, limit):
    found = pages(names, limit)
    assert [one for page in found for one in page] == names
    assert all(len(page) == limit for page in found[:-1])


# the list after the page "abc" -> the next page
LATER = [
    ("abcdef", "def"),
    ("xabcdef", "def"),
    ("bcdef", "def"),
    ("abdefg", "def"),  # the cursor's own is gone: the next one stands where it was
    ("ab", ""),
    ("", ""),
]


@pytest.mark.parametrize(("later", "expected"), LATER)
def test_a_list_that_changes_between_pages(later, expected):
    first = page_of("abcdef", str, Paging(limit=3), str)
    assert "".join(page_of(later, str, Paging(limit=3, after=first.after), str).items) == expected


def test_items_are_shown_and_the_version_goes_with_them():
    page = page_of(["a"], str, Paging(), str.upper, 17)
    assert page == Items(["A"], None, 17)


WRONG = [
    "",
    "rubbish",
    "e30",
    "!",
    "e",
    "é",
    cursor("text"),
    cursor([1]),
    cursor([1, 2]),
    base64.urlsafe_b64encode(b"[1,").decode(),
]


@pytest.mark.parametrize("text", WRONG)
def test_what_no_page_gave_is_no_cursor(text):
    with pytest.raises(Refusal) as caught:
        position(text, tuple[int, str])
    assert caught.value.kind is RefusalKind.INPUT
    assert [error.path for error in caught.value.errors] == ["after"]


@given(st.integers(0, 2**40), st.text())
def test_a_cursor_is_read_back(place, name):
    assert position(cursor((place, name)), tuple[int, str]) == (place, name)


@pytest.mark.parametrize(("items", "expected"), [("abc", ("ab", "b")), ("ab", ("ab", None)), ("", ("", None))])
def test_one_more_than_is_shown_says_that_there_is_a_rest(items, expected):
    shown, after = cut(items, 2, str)
    assert (shown, after and position(after, str)) == expected


def test_a_cursor_is_a_word_of_a_url():
    place = TracePlace(5.0, "2026-11-24", {"0": (1, 7)})
    text = cursor(place)
    assert position(text, TracePlace) == place
    assert text.replace("-", "").replace("_", "").isalnum()
