from __future__ import annotations

import pytest

from gatepost.quantity import in_number, quantity


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


@pytest.mark.parametrize(("number", "text"), [(1, "in 1 day"), (2, "in 2 days"), (1204, "in 1,204 days")])
def test_a_text_in_the_form_for_a_number(number, text):
    assert in_number(number, "in %(num)s day", "in %(num)s days") == text
