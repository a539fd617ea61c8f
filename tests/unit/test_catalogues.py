"""The catalogues hold the texts that there are, and a language is offered only if nothing is missing in it."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from support import source_trees

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import catalogues  # noqa: E402 - it is no package

from gatepost.language import ENGLISH, NAMES, PAGES, SENTENCES, catalogue, catalogue_file, offered  # noqa: E402 - as above
from gatepost.manage.cli.output import LETTERS  # noqa: E402 - as above

OTHERS = [language for language in NAMES if language != ENGLISH]


template, read = cache(catalogues.template), cache(catalogues.read)


@pytest.fixture(scope="module")
def texts():
    return template(catalogues.PAGES_DOMAIN)


@pytest.mark.parametrize("domain", catalogues.DOMAINS, ids=lambda domain: domain.title)
def test_catalogues_are_current(domain):
    texts = template(domain)
    for language in OTHERS:
        there = domain.file(language, "po").read_bytes()
        assert catalogues.po_octets(catalogues.renewed(language, texts, domain)) == there, "run make catalogues"


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("domain", catalogues.DOMAINS, ids=lambda domain: domain.title)
def test_a_catalogue_is_compiled_only_if_nothing_is_missing(domain, language):
    catalogue = read(domain.file(language, "po"))
    compiled = domain.file(language, "mo")
    is_complete = not catalogues.problems(catalogue)
    assert compiled.exists() is is_complete
    if is_complete:
        assert compiled.read_bytes() == catalogues.mo_octets(catalogue), "run make catalogues"


def test_a_language_is_offered_if_its_catalogue_is_compiled():
    complete = {
        language
        for language in OTHERS
        if all(catalogue_file(language, domain=domain).exists() for domain in (PAGES, SENTENCES))
    }
    assert {*offered()} == {ENGLISH, *complete}
    assert {*LETTERS} == {*OTHERS}, "commands speak the languages of pages"


@pytest.mark.parametrize(
    ("text", "translation", "problem"),
    [
        ("Save", "", "missing"),
        ("Save", "Spara", None),
        ("No such command {name!r}.", "Kommandot {name} finns inte.", "placeholders in braces differ"),
        ("Remove %(name)s?", "Ta bort %(name)s?", None),
        ("Remove %(name)s?", "Ta bort %(namn)s?", "placeholders differ (name, namn)"),
        ("Remove %(name)s?", "Ta bort?", "placeholders differ (name)"),
        ("%(share)s of it", "%(share)s % av det", "a % that is not a placeholder (write %%)"),
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


# English term: what a translation of a text with it has, in any form of the word (docs/translating.md, "Terms").
TERMS = {
    "passkey": {"sv": "passnyck", "de": "passkey"},
    "message trace": {"sv": "spårning", "de": "ablaufverfolgung"},
    "accepted domain": {"sv": "accepterad", "de": "akzeptiert"},
    "mail flow rule": {"sv": "e-postflödesreg", "de": "nachrichtenflussreg"},
    "smart host": {"sv": "smart", "de": "smarthost"},
    "trust anchor": {"sv": "förtroendeankar", "de": "vertrauensanker"},
    "private key": {"sv": "privat", "de": "privat"},
    "evidence log": {"sv": "bevislogg", "de": "nachweisprotokoll"},
    "audit log": {"sv": "granskningslogg", "de": "überwachungsprotokoll"},
    "downgrade guard": {"sv": "nedgraderingsskydd", "de": "herabstufungsschutz"},
    "in rehearsal": {"sv": "provkör", "de": "probelauf"},
    "passphrase|pass phrase": {"sv": "lösenfras", "de": "passphrase"},
}
# Other words for the same things.
REPLACED = {
    "sv": r"främling|häft(?:a|ning|ad|at)|\breläar?\b|\b(?:är|är inte) satt\b|konnektor|\bmejl|skrivare\b"
    r"|lösenord satt|denna dators (?:arkiv|lagring)",
    "de": r"\bMaschinen?\b|[Kk]onnektor|Passw[oö]rt|vor(?:ge)?(?:wies|weis|zeig)|vorzu(?:weis|zeig)|Zertifikatskette"
    r"|Nachrichtenverfolgung|Message Trace|Smart Host|Schreibers?\b|\bFremden?\b",
}


def translations(language):
    for domain in catalogues.DOMAINS:
        for message in read(domain.file(language, "po")):
            if message.id:
                forms = [message.string] if isinstance(message.string, str) else message.string
                yield from ((message.id if isinstance(message.id, str) else message.id[0], form) for form in forms)


@pytest.mark.parametrize("language", OTHERS)
def test_one_term_is_for_one_thing(language):
    found = [
        (term, english, text)
        for english, text in translations(language)
        for term, words in TERMS.items()
        if re.search(rf"\b(?:{term})s?\b", english.lower())
        and words[language] not in text.lower().replace("\u00ad", "")
    ]
    assert found == []


@pytest.mark.parametrize("language", OTHERS)
def test_words_that_a_term_replaced_do_not_come_back(language):
    wrong = re.compile(REPLACED[language])
    assert [text for _english, text in translations(language) if wrong.search(text)] == []


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
        for message in read(catalogue_file(language, "po"))
        if message.context
    }
    assert there
    assert {key: catalogue(language).pgettext(*key) for key in there} == there


def test_texts_of_every_kind_of_command_are_found():
    found = {message.id for message in template(catalogues.COMMANDS_DOMAIN)}
    assert "Show and manage mail that waits or is held." in found, "a line in the help of a group"
    assert "Exit codes: 0 found, 2 no such name, 3 the data cannot be read." in found, "a paragraph of many commands"
    assert "Only mail for recipients in this domain." in found, "an option that a use case declares"
    assert 'Only sessions with this version of TLS: "TLSv1.2" or "TLSv1.3".' in found, "one with quotation marks"
    assert "next attempt" in found, "a heading, and the name of a fact"
    assert ("%(num)s delivery", "%(num)s deliveries") in found, "what quantity counts"
    assert "No such command {name!r}." in found, "click's"
    assert not {text for text in found if isinstance(text, str) and "\b" in text}, "lines that are commands"


def test_templates_count_by_the_function_alone():
    """`{% pluralize %}` would call the function whose result is text, and show tags as they are written."""
    assert [path.name for path in catalogues.TEMPLATES.rglob("*.html") if "pluralize" in path.read_text()] == []


def test_no_module_that_translates_uses_the_name_for_something_else():
    wrong = []
    for path in catalogues.SOURCE.rglob("*.py"):
        source = path.read_text()
        if "gatepost.language import" not in source and "cli.language import" not in source:
            continue
        for node in source_trees.nodes(path):
            stored = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == "_"
            if stored or (isinstance(node, ast.arg) and node.arg == "_"):
                wrong.append(f"{path.name}:{node.lineno}")
    assert wrong == []


@pytest.mark.parametrize("language", ["sv", "de"])
@pytest.mark.parametrize("domain", catalogues.DOMAINS, ids=lambda domain: domain.title)
def test_languages_that_are_offered_stay_so(domain, language):
    """One text without a translation takes the language away: without this nobody would see it here."""
    assert domain.file(language, "mo").exists(), "make catalogues says which translations are missing"
