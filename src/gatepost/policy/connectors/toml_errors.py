"""Say what is wrong with a TOML file in words for its author, where the parser of the standard library says it tersely.

Used for the settings file and for files of resources. What the parser says besides is repeated as it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gatepost.texts import own

if TYPE_CHECKING:
    from tomllib import TOMLDecodeError


_PLACE: Final = re.compile(r"(.*) \(at line (\d+), column (\d+)\)", re.DOTALL)
_AT_END: Final = " (at end of document)"
_UNCLOSED: Final = (
    "Unterminated string",
    "Expected '\"'",
    'Expected "\'"',
    r"Illegal character '\n'",
    r"Illegal character '\r'",
)
_NO_QUOTES: Final = "a text is not closed; write quotes at its end"
_WORDS: Final = {
    "Invalid value": "this is not a value; text stands in quotes",
    "Invalid statement": "this is neither a key nor a table; write KEY = VALUE or [TABLE]",
    "Expected '=' after a key in a key/value pair": "a key needs a value; write KEY = VALUE",
    "Expected newline or end of document after a statement": "the line goes on after a value; write one key in a line",
    "Invalid initial character for a key part": "a name is missing, or begins with a sign that names do not have",
    "Cannot overwrite a value": "this key is written twice; remove one of the two",
    "Unclosed array": "a list is not closed; write ] at its end",
    "Unclosed inline table": "a table is not closed; write } at its end",
    **dict.fromkeys(_UNCLOSED, _NO_QUOTES),
    "Expected ']' at the end of a table declaration": "the name of a table is not closed; write ] behind it",
    "Expected ']]' at the end of an array declaration": "the name of a table is not closed; write ]] behind it",
    "Unescaped '\\' in a string": "a backslash in a text is written twice, or the text in single quotes",
    "Invalid date or datetime": "there is no such day or time; correct it",
}
_TWICE: Final = re.compile(r"Cannot declare \((.*)\) twice")
_NAME: Final = re.compile(r"'((?:[^'\\]|\\.)*)'")


def toml_problem(error: TOMLDecodeError, text: str) -> tuple[int, str]:
    """The line, from 1, of what the parser refused, and what is wrong with it. text: the file."""
    message = str(error)
    if place := _PLACE.fullmatch(message):
        return int(place[2]), f"not TOML, at column {place[3]}: {own(_in_words(place[1]))}"
    return len(text.splitlines()), f"not TOML, at its end: {own(_in_words(message.removesuffix(_AT_END)))}"


def _in_words(message: str) -> str:
    if twice := _TWICE.fullmatch(message):
        return f"the table {'.'.join(_NAME.findall(twice[1]))} is there twice; put their keys into one"
    return _WORDS.get(message, message)
