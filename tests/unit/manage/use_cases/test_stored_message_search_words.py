from __future__ import annotations

import pytest

from gatepost.manage.use_cases.refusal import Refusal
from gatepost.manage.use_cases.stored_message import words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  bob   invoice ", ["bob", "invoice"]),
        ('"new invoice" bob', ["new invoice", "bob"]),
        ('half"', ["half"]),
        ("a*b", ["a*b"]),
    ],
)
def test_words(text, words):
    assert words_of(text) == words


def test_ten_words_are_the_most():
    assert len(words_of("a " * 10)) == 10
    with pytest.raises(Refusal) as refused:
        words_of("a " * 11)
    assert refused.value.errors[0].path == "words"
