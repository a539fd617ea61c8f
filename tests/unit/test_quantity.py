from __future__ import annotations

import re
from pathlib import Path

import pytest

from gatepost import quantity as module
from gatepost.quantity import quantity

SOURCE = Path(module.__file__).parent


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


def test_no_command_prints_a_plural_in_brackets():
    texts = {path.name: path.read_text() for path in (SOURCE / "manage" / "cli").glob("*.py")}
    assert {name for name, text in texts.items() if re.search(r"[a-z]\(s\)", text)} == set()
