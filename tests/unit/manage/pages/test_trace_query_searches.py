from __future__ import annotations

import pytest
from starlette.responses import Response

from gatepost.manage.pages import trace_query
from gatepost.manage.pages.trace_query import COOKIE, Searches


def kept(found):
    """As the browser gives them back."""
    response = Response()
    trace_query.remember_searches(response, found)
    header = response.headers["set-cookie"]
    assert all(word in header for word in ("HttpOnly", "Secure", "SameSite=strict", "Path=/"))
    value = header.partition("=")[2].partition(";")[0].strip('"')
    assert len(value) < 3700
    return trace_query.read_searches({COOKIE: value}, "ann")


def test_the_last_ones_and_the_named_ones_are_kept():
    found = Searches("ann").used("q=a").used("q=b").used("q=a").keeping("mine", "q=c")
    assert kept(found) == Searches("ann", ("q=a", "q=b"), {"mine": "q=c"})
    assert kept(found.without("mine")).saved == {}


def test_they_are_nobody_elses():
    found = kept(Searches("bob").used("q=a"))
    assert found == Searches("ann")


def test_they_are_bounded():
    found = Searches("ann")
    for number in range(40):
        found = found.used(f"q={number}{'x' * 900}").keeping(f"{number}{'n' * 100}", f"q={'y' * 600}{number}")
    read = kept(found)
    assert read.saved
    assert max(map(len, read.saved)) <= 60
    assert list(read.saved)[-1].startswith("39")


@pytest.mark.parametrize("value", ["", "rubbish", "AAAA", "bnVsbA==", "WyJhbm4iLCAxLCAyXQ=="])
def test_what_is_no_cookie_of_ours_is_nothing(value):
    assert trace_query.read_searches({COOKIE: value}, "ann") == Searches("ann")


def test_only_fields_of_a_search_come_back():
    assert (
        trace_query.kept_query({"q": "a b", "after": "x", "live": "1", "csrf": "y", "since": "1h"}) == "q=a+b&since=1h"
    )
    assert kept(Searches("ann", ("//evil.example", "javascript:1", "q=a&page=2"))).recent == ("q=a",)
