from __future__ import annotations

import pytest

from gatepost.node.table_pages import Page, cached

SINCE = 1_700_000_000  # Tue, 14 Nov 2023 22:13:20 GMT
PAGE = cached("text/html", b"<p>", modified=SINCE + 0.9, seconds=60)
OTHER = cached("text/html", b"<b>", modified=SINCE, seconds=60)
DATE, BEFORE = b"Tue, 14 Nov 2023 22:13:20 GMT", b"Tue, 14 Nov 2023 22:13:19 GMT"
TAG, OLD = PAGE.etag.encode(), OTHER.etag.encode()


@pytest.mark.parametrize(
    ("headers", "has_it"),
    [
        ([], False),
        ([(b"if-none-match", TAG)], True),
        ([(b"if-none-match", b"W/" + TAG)], True),
        ([(b"if-none-match", OLD + b", " + TAG)], True),
        ([(b"if-none-match", OLD), (b"if-none-match", TAG)], True),
        ([(b"if-none-match", b"*")], True),
        ([(b"if-none-match", OLD)], False),
        ([(b"if-none-match", OLD), (b"if-modified-since", DATE)], False),
        ([(b"if-none-match", b"\xff")], False),
        ([(b"if-modified-since", DATE)], True),
        ([(b"if-modified-since", BEFORE)], False),
        ([(b"if-modified-since", b"yesterday")], False),
        ([(b"if-modified-since", b"Tue, 14 Nov 99999 22:13:19 GMT")], False),
        ([(b"if-modified-since", DATE), (b"if-modified-since", DATE)], False),
    ],
)
def test_whether_the_client_has_it(headers, has_it):
    assert PAGE.is_current(headers) is has_it


def test_a_page_without_a_tag_is_always_sent():
    assert Page("text/plain", b"x").is_current([(b"if-none-match", b"*")]) is False


def test_what_goes_with_a_page():
    fields = dict(PAGE.fields)
    assert fields["Last-Modified"] == DATE.decode()
    assert fields["Cache-Control"] == "public, max-age=60"
    assert fields["Content-Security-Policy"].startswith("default-src 'none'; ")
    assert PAGE.etag != OTHER.etag
