"""What scripts show is in the page, in its language: they have no words of their own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gatepost.language import in_language
from gatepost.manage.pages import rendering
from gatepost.manage.pages.rendering import Frame, environment

SCRIPTS = sorted((Path(rendering.__file__).parent / "static").glob("*.js"))
PART = re.compile(
    r"""/\*.*?\*/|//[^\n]*|(?P<literal>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`(?:\\.|[^`\\])*`)""", re.DOTALL
)
WORDS = re.compile(r"[A-Z][a-z]+|[a-z]{2,} +[a-z]{2,}")
# Names that programs read: of events, keys, fields and classes, and selectors.
NAMES = {
    "use strict", "DOMContentLoaded", "Escape", "Enter", "Ctrl K", "Esc", "ArrowDown", "ArrowUp", "X-CSRF-Token",
    "fold columns", "nav.side a, details[data-menu] a[href]", "main table tbody tr", "th a[href], td a[href]",
    ".table-wrap.stacked > table[data-columns]", "[data-chart-table] table",
    "commandForElement",
    "InvalidStateError",
    '.tick input[type="checkbox"]',
    "; path=/; max-age=31536000; samesite=strict",
}  # fmt: skip


def literals(source: str) -> list[str]:
    """Every literal of a script; of a template literal the text around its values."""
    result = []
    for match in PART.finditer(source):
        result += re.split(r"\$\{[^}]*\}", match["literal"][1:-1]) if match["literal"] else []
    return result


def texts() -> dict[str, str | list[str]]:
    values = {"frame": Frame("/"), "now": 0.0}
    shown = str(environment().get_template("macros.html").make_module(values).script_texts())
    return json.loads(shown.partition(">")[2].partition("</script>")[0])


def test_there_are_scripts():
    assert {path.name for path in SCRIPTS} >= {"gatepost.js", "keys.js", "passkeys.js"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_has_no_words_of_its_own(path):
    assert [text for text in literals(path.read_text()) if WORDS.search(text) and text not in NAMES] == []


@pytest.mark.parametrize(
    "source",
    ['say("Copied");', "x.title = `Theme: ${name}`;", "label.append('no rows');", 'make("button", {}, "Close")'],
)
def test_words_of_a_script_are_found(source):
    assert [text for text in literals(source) if WORDS.search(text)]


def test_every_text_that_a_script_shows_is_in_the_page_and_none_besides():
    script = "".join(path.read_text() for path in SCRIPTS)
    there = texts()
    named = set(re.findall(r'\btext\("([\w-]+)"', script))
    assert named <= set(there)
    assert [name for name in there if f'"{name}"' not in script] == []


@pytest.mark.parametrize("language", ["sv", "de"])
def test_texts_are_those_of_the_language(language):
    english = texts()
    with in_language(language):
        translated = texts()
    assert translated.keys() == english.keys()
    assert [name for name, text in translated.items() if text == english[name]] == []
    for name, text in translated.items():
        assert re.findall(r"%\(\w+\)s", str(text)) == re.findall(r"%\(\w+\)s", str(english[name]))
    assert not set(translated["keys"]) & set(english["keys"])
