from __future__ import annotations

import pytest

from gatepost.admin.values import in_words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (5, "5"),
        ("a", "a"),
        (["a", "b"], "a, b"),
        ({"mode": "rehearse", "name": "x"}, "name = x; mode = rehearse"),
        ([{"address": "a@b.example"}], "address = a@b.example"),
    ],
)
def test_a_value_is_written_as_people_do(value, text):
    assert in_words(value) == text
