from __future__ import annotations

import pytest

from gatepost.manage.pages.editor import merge


@pytest.mark.parametrize(
    ("seen", "stored", "given", "text", "conflict", "kept"),
    [
        ("a", "a", "a", "a", False, False),
        ("a", "a", "b", "b", False, False),
        ("a", "c", "a", "c", False, True),
        ("a", "c", "c", "c", False, False),
        ("a", "c", "b", "b", True, False),
        ("a", "", "a", "", False, True),
        ("a", "c", "", "", True, False),
        ("a\nb", "c", " a\r\nb ", "c", False, True),
        ("a", "c", None, "c", False, True),
        ("a", "a", None, "a", False, False),
        (None, "c", "c", "c", False, False),
        (None, "c", "b", "b", True, False),
        (None, "c", None, "c", False, False),
    ],
)
def test_a_field(seen, stored, given, text, conflict, kept):
    before = None if seen is None else {"key": seen}
    found = merge(["key"], before, {"key": stored}, {} if given is None else {"key": given})
    assert found.texts["key"] == text
    assert (found.conflicts, found.kept) == (("key",) if conflict else (), ("key",) if kept else ())


def test_what_is_no_field_stays():
    assert merge([], {}, {}, {"note": "why"}).texts == {"note": "why"}
