from __future__ import annotations

import pytest

from gatepost.quantity import quantity


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (quantity(0, "message"), "0 messages"),
        (quantity(1, "message"), "1 message"),
        (quantity(2, "message"), "2 messages"),
        (quantity(1, "entry", "entries"), "1 entry"),
        (quantity(12, "entry", "entries"), "12 entries"),
    ],
)
def test_the_noun_agrees_with_the_number(written, text):
    assert written == text
