from __future__ import annotations

import fnmatch
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.store.text_pattern import TextPattern, fold, matcher, spellings

LETTERS = st.text(alphabet="ab*Ä@", max_size=8)


@given(LETTERS, LETTERS, st.booleans())
def test_a_pattern_matches_what_fnmatch_does(pattern, text, whole):
    plain = re.sub(r"\[", "[[]", fold(pattern))
    expected = fnmatch.fnmatchcase(fold(text), plain if whole else f"*{plain}*")
    assert matcher([TextPattern(("it",), pattern, whole)], ("it",))((text,)) == expected


def test_any_of_the_columns_of_a_pattern_will_do_and_every_pattern_must():
    both = [TextPattern(("a", "b"), "x"), TextPattern(("b",), "y")]
    matches = matcher(both, ("other", "a", "b"))
    assert matches(("", "x", "y"))
    assert matches(("", "", "xy"))
    assert not matches(("x", "y", "y"))
    assert not matches(("", "x", "z"))
    assert matcher([], ("a",))(("anything",))


def test_the_longest_piece_is_what_to_look_for():
    assert TextPattern(("a",), "*Ab*CDE**f").needle == "cde"
    assert TextPattern(("a",), "**").needle == ""
    assert TextPattern(("a",), "*Ab*C").pieces == ["ab", "c"]


def test_letters_are_compared_without_case_and_however_they_are_composed():
    assert fold("A\u0308rende") == fold("ÄRENDE") == "ärende"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Bob", ["bob"]),
        ("öppet", ["öppet", "Öppet".replace("P", "p")]),
        ("ÖPPET", ["Öppet", "öppet"]),
        ("A\u0308", ["Ä", "ä"]),
    ],
)
def test_spellings_that_people_write(text, expected):
    assert spellings(text) == expected


def test_no_pattern_takes_long():
    slow = TextPattern(("a",), "a*" * 100 + "b", whole=True)
    begun = time.process_time()
    assert not matcher([slow], ("a",))(("a" * 100_000,))
    assert time.process_time() - begun < 1
