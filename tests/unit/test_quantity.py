from __future__ import annotations

import pytest

from gatepost.quantity import quantity


@pytest.mark.parametrize(
    ("number", "words", "text"),
    [
        (0, ("message",), "0 messages"),
        (1, ("message",), "1 message"),
        (2, ("message",), "2 messages"),
        (1, ("delivery", "deliveries"), "1 delivery"),
        (3, ("delivery", "deliveries"), "3 deliveries"),
    ],
)
def test_a_number_with_its_noun(number, words, text):
    assert quantity(number, *words) == text
