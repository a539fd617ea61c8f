"""Tests of gatepost.quantity."""

from __future__ import annotations

import pytest

from gatepost.quantity import quantity


@pytest.mark.parametrize(
    ("number", "nouns", "text"),
    [
        (0, ("message",), "0 messages"),
        (1, ("message",), "1 message"),
        (1204, ("message",), "1,204 messages"),
        (1, ("delivery", "deliveries"), "1 delivery"),
        (2, ("delivery", "deliveries"), "2 deliveries"),
        (1, ("delivery waits", "deliveries wait"), "1 delivery waits"),
    ],
)
def test_quantity(number, nouns, text):
    assert quantity(number, *nouns) == text
