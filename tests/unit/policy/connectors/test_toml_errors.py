from __future__ import annotations

import tomllib

import pytest

from gatepost.language import in_language
from gatepost.policy.connectors.toml_errors import toml_problem
from gatepost.sentences import ours

WRONG = {
    '[server]\nname = "x\n': (2, "at column 10: a text is not closed; write quotes at its end"),
    "name = 'x": (1, "at its end: a text is not closed; write quotes at its end"),
    'name = """x': (1, "at its end: a text is not closed; write quotes at its end"),
    "name = mx.example": (1, "at column 8: this is not a value; text stands in quotes"),
    "name = ": (1, "at its end: this is not a value; text stands in quotes"),
    "= 1": (1, "at column 1: this is neither a key nor a table; write KEY = VALUE or [TABLE]"),
    "name 1": (1, "at column 6: a key needs a value; write KEY = VALUE"),
    "a = 1 b = 2": (1, "at column 7: the line goes on after a value; write one key in a line"),
    "[]": (1, "at column 2: a name is missing, or begins with a sign that names do not have"),
    "a = 1\na = 2\nb = 3": (2, "at column 6: this key is written twice; remove one of the two"),
    "a = [1\nb": (2, "at column 1: a list is not closed; write ] at its end"),
    "a = {b = 1": (1, "at its end: a table is not closed; write } at its end"),
    "[server\n": (1, "at column 8: the name of a table is not closed; write ] behind it"),
    "[[listener]": (1, "at column 11: the name of a table is not closed; write ]] behind it"),
    'a = "\\q"': (1, "at column 8: a backslash in a text is written twice, or the text in single quotes"),
    "a = 2026-02-30": (1, "at column 5: there is no such day or time; correct it"),
    '[a]\n[a."b c"]\n[a."b c"]\n': (3, "at column 9: the table a.b c is there twice; put their keys into one"),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.items())
def test_what_is_wrong_is_said_with_its_place_and_in_every_language(text: str, expected: tuple[int, str]) -> None:
    with pytest.raises(tomllib.TOMLDecodeError) as refused:
        tomllib.loads(text)
    line, said = toml_problem(refused.value, text)
    assert (line, said) == (expected[0], f"not TOML, {expected[1]}")
    for language in ("sv", "de"):
        with in_language(language):
            assert expected[1].partition(": ")[2] not in ours(said)


def test_what_the_parser_says_besides_is_repeated() -> None:
    with pytest.raises(tomllib.TOMLDecodeError) as refused:
        tomllib.loads('a = "\x01"')
    assert toml_problem(refused.value, "")[1].startswith("not TOML, at column 6: Illegal character ")
