"""No text of a page is outside the catalogues: every page in a language that puts each message into brackets."""

from __future__ import annotations

import asyncio
import re
import sys
from gettext import NullTranslations
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gatepost import language
from gatepost.sentences import (
    compiled_texts,  # it takes `catalogue` as it is now, without brackets, for the other tests
)

BENCH = Path(__file__).parents[2] / "bench"
VOID = {"br", "hr", "img", "input", "link", "meta", "path", "rect", "use", "wbr"}
# Code, data, and what a browser writes in the user's own way.
DATA = {"code", "pre", "kbd", "textarea", "time", "svg", "script", "style", "title", "td", "dd", "option", "ins", "del"}
SPOKEN = ("aria-label", "data-label", "data-confirm", "data-yes", "alt")
WORD = re.compile(r"[A-Za-z]{3}")
NAMES = re.compile(r"^(Gatepost|owner|contoso|fresh|TLS.*|SHA-256|DANE|MTA-STS|[\w*.@-]+\.example|(in|out|rule)-\d+)$")
# Scopes and keys of audit events, which API tokens, commands and REST name the same.
CODES = {"connectors", "certificates", "queue", "tls", "certificate", "password"}
# Sentences of ours are known by their templates, which the brackets do not reach (docs/admin-centre.md, "Language").
SENTENCES = re.compile(
    r"no on-premises connector knows|connector '|no connector is for the domain|Inconclusive: no"
    r"|revocation, TLSA records|An administrator of this gateway must|Nobody has to act|→ , contoso"
    r"|Would be (sent|held back)$"
)


# Words that hold English sentences together, and that are no words of the other language.
ENGLISH = {
    "sv": re.compile(r"\b(the|is|are|was|which|and|with|not|that|this|from|of|cannot|there|been)\b"),
    "de": re.compile(r"\b(the|is|are|which|and|with|that|this|from|of|cannot|there|been)\b"),
}
# Names and sample data of the world that the pages show, codes and what administrators and peers wrote.
SAMPLES = re.compile(
    r"no connector is for the domain, so mail goes to its MX hosts|not-published|only-if-not-offered"
    r"|accepted-domains-and-null|comment\W+With \d+|^With \d+$"
    r"|(minutes|meeting|order) (of|on|for) .*|of last week|\bFrom\b|MAIL FROM"
)


class Brackets(NullTranslations):
    """Every message that the catalogue has in brackets."""

    known = frozenset(text for text, _plural in compiled_texts(language.catalogue_file("sv").read_bytes()))

    def gettext(self, message):
        """The one letter before | stands by itself in a cell."""
        sign, bar, rest = message.rpartition("|")
        return f"{sign}{bar}«{rest}»" if message in self.known else message

    def pgettext(self, context, message):
        return f"«{message}»" if f"{context}\4{message}" in self.known else message

    def ngettext(self, msgid1, msgid2, n):
        return self.gettext(msgid1 if n == 1 else msgid2)


class Outside(HTMLParser):
    """Collect the texts of a page that stand outside of brackets."""

    data = DATA

    def __init__(self):
        super().__init__()
        self.found = []
        self._open, self.depth = [], 0

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        row = tag == "th" and values.get("scope") == "row"
        if tag not in VOID:
            self._open.append("td" if row else "pre" if values.get("lang") == "en" else tag)
        if not self.data & set(self._open):
            self.found += [text for name in SPOKEN if (text := self._outside(values.get(name) or "", 0)[0])]

    def handle_endtag(self, tag):
        if self._open and tag not in VOID:
            self._open.pop()

    def handle_data(self, data):
        text, self.depth = self._outside(data, self.depth)
        if text and not self.data & set(self._open):
            self.found.append(text)

    @staticmethod
    def _outside(text, depth):
        kept = ""
        for letter in text:
            depth += (letter == "«") - (letter == "»")
            kept += letter if depth == 0 and letter != "»" else ""
        return (kept.strip() if WORD.search(kept) else ""), depth


class Shown(Outside):
    """Collect all texts of a page but code and what is marked as English."""

    data = DATA - {"title", "td", "dd", "option", "time", "ins", "del"}

    @staticmethod
    def _outside(text, depth):
        return " ".join(text.split()), depth


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    sys.path.insert(0, str(BENCH))
    try:
        from admin_world import Sizes, world  # noqa: PLC0415 - it is no package

        few = dict.fromkeys(("connectors", "rows", "deliveries", "events", "versions", "users"), 120)
        yield world(
            tmp_path_factory.mktemp("language") / "gateway",
            Sizes(late=10, certificates=12, reports=5, days=2, more="", **few),
            say=lambda _: None,
        )
    finally:
        sys.path.remove(str(BENCH))


def asked(scene, spoken=""):
    """The answer of every page, by its path, to a browser that prefers this language."""
    from admin_pages import Centre, cases  # noqa: PLC0415 - it is no package

    class Speaking(Centre):
        def _scope(self, path, body, *, is_form):
            scope = super()._scope(path, body, is_form=is_form)
            return scope | {"headers": [*scope["headers"], (b"accept-language", spoken.encode())]}

    async def everything():
        centre = Speaking(scene)
        return [(case.path, await centre.ask(case)) for case in (*cases("pages"), *cases("forms"))]

    return asyncio.run(everything())


@pytest.fixture(scope="module")
def pages(scene):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(language, "catalogue", lambda _language: Brackets())
        return asked(scene)


def outside(answer):
    page = Outside()
    page.feed(answer.text.decode())
    assert page.depth == 0, "a bracket is open, and hides what follows"
    return page.found


def is_known(text):
    return NAMES.match(text) or text in CODES or SENTENCES.match(text)


def test_every_page_is_there(pages):
    assert len(pages) > 100
    assert [(path, answer.status) for path, answer in pages if answer.status >= 500] == []


def test_no_text_is_outside_of_the_catalogues(pages):
    assert {
        text: path
        for path, answer in pages
        if answer.text[:1] == b"<"
        for text in outside(answer)
        if not is_known(text)
    } == {}


@pytest.mark.parametrize("spoken", ["sv", pytest.param("de", marks=pytest.mark.long)])
def test_no_page_has_an_english_sentence(scene, spoken):
    found = {}
    for path, answer in asked(scene, spoken):
        if answer.text[:1] == b"<" and not path.startswith("/docs"):
            assert f'<html lang="{spoken}"'.encode() in answer.text or b"<html" not in answer.text
            found |= dict.fromkeys(english(answer.text.decode(), spoken), path)
    assert found == {}


def english(text, spoken):
    page = Shown()
    page.feed(text)
    return [each for each in page.found if ENGLISH[spoken].search(SAMPLES.sub("", each).lower())]


def test_an_english_sentence_is_found():
    assert english("<p>Ta bort <b>the connector</b></p><p>Detta är klart</p><pre>the end</pre>", "sv") == [
        "the connector"
    ]
    assert english('<button aria-label="Name of it">Gut</button>', "de") == ["Name of it"]


def test_a_text_outside_is_found():
    page = Outside()
    page.feed('<p>«Held <b>mail</b>» waits</p><p aria-label="Menu">«Go»</p><td>data</td><p lang="en">Docs</p>')
    assert page.found == ["waits", "Menu"]
