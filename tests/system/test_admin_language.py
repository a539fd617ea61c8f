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


class Brackets(NullTranslations):
    """Every message in brackets."""

    def gettext(self, message):
        return f"«{message}»"

    def pgettext(self, context, message):
        return self.gettext(message)

    def ngettext(self, msgid1, msgid2, n):
        return self.gettext(msgid1 if n == 1 else msgid2)


class Outside(HTMLParser):
    """Collect the texts of a page that stand outside of brackets."""

    def __init__(self):
        super().__init__()
        self.found = []
        self._open, self._depth = [], 0

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        row = tag == "th" and values.get("scope") == "row"
        if tag not in VOID:
            self._open.append("td" if row else "pre" if values.get("lang") == "en" else tag)
        if not DATA & set(self._open):
            self.found += [text for name in SPOKEN if (text := self._outside(values.get(name) or "", 0)[0])]

    def handle_endtag(self, tag):
        if self._open and tag not in VOID:
            self._open.pop()

    def handle_data(self, data):
        text, self._depth = self._outside(data, self._depth)
        if text and not DATA & set(self._open):
            self.found.append(text)

    @staticmethod
    def _outside(text, depth):
        kept = ""
        for letter in text:
            depth += (letter == "«") - (letter == "»")
            kept += letter if depth == 0 and letter != "»" else ""
        return (kept.strip() if WORD.search(kept) else ""), depth


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    sys.path.insert(0, str(BENCH))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(language, "catalogue", lambda _language: Brackets())
            from admin_pages import Centre, cases  # noqa: PLC0415 - it is no package
            from admin_world import Sizes, world  # noqa: PLC0415 - as above

            few = dict.fromkeys(("connectors", "rows", "deliveries", "events", "versions", "users"), 120)
            scene = world(
                tmp_path_factory.mktemp("language") / "gateway",
                Sizes(late=10, certificates=12, reports=5, days=2, more="", **few),
                say=lambda _: None,
            )

            async def everything():
                centre = Centre(scene)
                return [(case.path, await centre.ask(case)) for case in (*cases("pages"), *cases("forms"))]

            yield asyncio.run(everything())
    finally:
        sys.path.remove(str(BENCH))


def outside(answer):
    page = Outside()
    page.feed(answer.text.decode())
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


def test_a_text_outside_is_found():
    page = Outside()
    page.feed('<p>«Held <b>mail</b>» waits</p><p aria-label="Menu">«Go»</p><td>data</td><p lang="en">Docs</p>')
    assert page.found == ["waits", "Menu"]
