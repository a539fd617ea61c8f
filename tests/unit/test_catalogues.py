"""The catalogues hold the texts that there are, and a language is offered only if nothing is missing in it."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import catalogues  # noqa: E402 - it is no package

from gatepost.language import ENGLISH, NAMES, catalogue, catalogue_file, offered  # noqa: E402 - as above

OTHERS = [language for language in NAMES if language != ENGLISH]


@pytest.fixture(scope="module")
def texts():
    return catalogues.template()


@pytest.mark.parametrize("language", OTHERS)
def test_a_catalogue_is_current(texts, language):
    there = catalogue_file(language, "po").read_bytes()
    assert catalogues.po_octets(catalogues.renewed(language, texts)) == there, "run make catalogues"


@pytest.mark.parametrize("language", OTHERS)
def test_a_language_is_offered_only_if_nothing_is_missing(language):
    there = catalogues.read(catalogue_file(language, "po"))
    is_complete = not catalogues.problems(there)
    assert (language in offered()) is catalogue_file(language).exists() is is_complete
    if is_complete:
        assert catalogue_file(language).read_bytes() == catalogues.mo_octets(there), "run make catalogues"


@pytest.mark.parametrize(
    ("text", "translation", "problem"),
    [
        ("Save", "", "missing"),
        ("Save", "Spara", None),
        ("Remove %(name)s?", "Ta bort %(name)s?", None),
        ("Remove %(name)s?", "Ta bort %(namn)s?", "placeholders differ (name, namn)"),
        ("Remove %(name)s?", "Ta bort?", "placeholders differ (name)"),
        ("%(share)s of it", "%(share)s % av det", "a % that is no placeholder (write %%)"),
        ("100 % of it", "100 % av det", None),
        ('See <a href="%(href)s">all</a>', 'Visa <a href="%(href)s">alla</a>', None),
        ('See <a href="%(href)s">all</a>', "Visa alla", "placeholders differ (href)"),
        ("See <b>all</b>", "Visa <i>alla</i>", "tags differ"),
        ("See all", 'Visa <img src="x" onerror="alert(1)">', "tags differ"),
        ("See all", "Visa < alla", "a < or > that is no tag"),
        (" and more", "och fler", "spaces at the ends differ"),
        ("V|erified", "Verifierad", "the | is missing or too many"),
        (("%(num)s day", "%(num)s days"), ("en dag", "%(num)s dagar"), None),
        (("%(num)s day", "%(num)s days"), ("%(num)s dag",), "has 1 plural forms instead of 2"),
        (
            ("%(num)s of %(name)s", "%(num)s of %(name)s"),
            ("%(num)s", "%(num)s av %(name)s"),
            "placeholders differ (name)",
        ),
    ],
)
def test_what_is_wrong_with_a_translation_is_found(text, translation, problem):
    catalogue = Catalog(locale="sv")
    catalogue.add(text, translation)
    found = catalogues.problems(catalogue)
    assert [line.partition(": ")[0] for line in found[:1]] == ([problem] if problem else [])


def test_texts_of_every_kind_of_source_are_found(texts):
    found = {message.id for message in texts}
    assert "Skip to main content" in found, "a template's"
    assert "Mail flow rules" in found, "a constant's"
    assert ("%(num)s delivery held.", "%(num)s deliveries held.") in found, "with its plural"
    assert "TLS sender certificate name" in found, "the label of a field, made of its key"
    assert any(isinstance(text, str) and "<code>" in text for text in found), "a sentence with markup"
    assert not {text for text in found if isinstance(text, str) and text.startswith("</")}


def test_a_text_with_a_context_is_a_text_of_its_own(texts):
    found = {(message.context, message.id) for message in texts}
    assert found > {(None, "Next"), ("pages", "Next"), ("certificate", "Next"), ("node", "Active")}
    assert not [message.id for message in texts if "\4" in str(message.id)]


@pytest.mark.parametrize("language", OTHERS)
def test_a_context_is_kept_and_compiled(language):
    there = {
        (message.context, message.id): message.string
        for message in catalogues.read(catalogue_file(language, "po"))
        if message.context
    }
    assert there
    assert {key: catalogue(language).pgettext(*key) for key in there} == there


def test_templates_count_by_the_function_alone():
    """`{% pluralize %}` would call the function whose result is text, and show tags as they are written."""
    assert [path.name for path in catalogues.TEMPLATES.rglob("*.html") if "pluralize" in path.read_text()] == []


def test_no_module_that_translates_uses_the_name_for_something_else():
    wrong = []
    for path in catalogues.SOURCE.rglob("*.py"):
        source = path.read_text()
        if "gatepost.language import" not in source:
            continue
        for node in ast.walk(ast.parse(source)):
            stored = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == "_"
            if stored or (isinstance(node, ast.arg) and node.arg == "_"):
                wrong.append(f"{path.name}:{node.lineno}")
    assert wrong == []
