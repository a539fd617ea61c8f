from __future__ import annotations

import pytest

from gatepost.admin.values import cut, fitting, in_words


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


def test_a_page_of_changes_takes_as_many_rows_as_it_has_room_for():
    rows = [(f"mailbox[{number}].address", None, "<" * 400) for number in range(500)]
    found = fitting(rows)
    assert found == rows[: len(found)]
    assert 10 < len(found) < 100, "a sign that is escaped takes the room of four"
    assert fitting(rows[:3]) == rows[:3]
    assert fitting([("key", "x" * 501, None)]) == [("key", "x" * 500 + "…", None)]
    assert cut("x" * 500) == "x" * 500
