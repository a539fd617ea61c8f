from __future__ import annotations

import pytest

from gatepost.manage.use_cases.cursors import cursor, position
from gatepost.store.trace import TracePlace

PLACE = TracePlace(5.0, "2026-11-24", {"0": (1, 7)})


def test_a_place_comes_back():
    text = cursor(PLACE)
    assert position(text, TracePlace) == PLACE
    assert text.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize("text", ["", "rubbish", "é", "e30", cursor(["no place"]), cursor([1, 2, 3])])
def test_what_is_none_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - the caller says what it is a cursor of
        position(text, TracePlace)
