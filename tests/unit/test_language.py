from __future__ import annotations

from gettext import NullTranslations

import pytest
from markupsafe import Markup

from gatepost import language
from gatepost.language import (
    ENGLISH,
    NAMES,
    _,
    catalogue,
    grouped,
    in_language,
    in_sentence,
    language_choices,
    ngettext,
    offered,
    pgettext,
    point,
    translated,
    translated_choices,
    use,
)
from gatepost.texts import N_, NN_, NP_

HOSTILE = "<script>alert(1)</script>%(name)s"


class Words(NullTranslations):
    def gettext(self, message):
        return {"Queue": "Kö", "Remove %(name)s?": "Ta bort %(name)s?"}.get(message, message)

    def pgettext(self, context, message):
        return {("page", "Next"): "Nästa sida"}.get((context, message), message)

    def ngettext(self, msgid1, msgid2, n):
        return "%(num)s meddelande" if n == 1 else "%(num)s meddelanden"


@pytest.fixture
def swedish(monkeypatch):
    monkeypatch.setattr(language, "offered", lambda: ("en", "sv"))
    monkeypatch.setattr(language, "catalogue", lambda name: Words() if name == "sv" else NullTranslations())
    with in_language("sv"):
        yield


def test_it_is_english_unless_something_else_is_said():
    assert language.language() == ENGLISH
    assert (_("Queue"), _(""), ngettext("%(num)s message", "%(num)s messages", 2)) == ("Queue", "", "2 messages")
    assert _("100 %") == "100 %", "without values there are no placeholders"


@pytest.mark.usefixtures("swedish")
def test_texts_numbers_and_labels_in_another_language():
    assert language.language() == "sv"
    assert _("Queue") == "Kö"
    assert ngettext("%(num)s message", "%(num)s messages", 1) == "1 meddelande"
    assert ngettext(*NN_("%(num)s message", "%(num)s messages"), 1204331) == "1\u00a0204\u00a0331 meddelanden"
    assert (pgettext("page", "Next"), pgettext("key", "Next")) == ("Nästa sida", "Next")
    assert pgettext(*NP_("page", "Next")) == "Nästa sida"
    assert translated({"queue": N_("Queue")}) == {"queue": "Kö"}
    assert translated_choices([("queue", "Queue", "Queue")]) == [("queue", "Kö", "Kö")]
    assert (grouped(1234.5), point()) == ("1\u00a0234,5", ",")
    assert _("Nobody translated this") == "Nobody translated this"


@pytest.mark.usefixtures("swedish")
def test_a_value_is_never_markup_unless_it_is_marked():
    text = _("Remove %(name)s?", name=HOSTILE)
    assert text == f"Ta bort {HOSTILE}?"
    assert not isinstance(text, Markup), "so the page escapes all of it"
    mixed = _("%(name)s at %(time)s", name=HOSTILE, time=Markup("<time>now</time>"))
    assert mixed == Markup("&lt;script&gt;alert(1)&lt;/script&gt;%(name)s at <time>now</time>")
    assert _("a <b> of %(time)s", time=Markup("<i>1</i>")) == Markup("a &lt;b&gt; of <i>1</i>"), "the text, too"


def test_a_language_lasts_as_long_as_its_block(monkeypatch):
    monkeypatch.setattr(language, "offered", lambda: ("en", "sv", "de"))
    with in_language("sv"):
        use("de")
        assert language.language() == "de"
        use("xx")
        assert language.language() == "de", "what is not offered changes nothing"
    assert language.language() == ENGLISH
    with in_language("../../etc"):
        assert language.language() == ENGLISH


def test_english_is_always_offered():
    assert offered()[0] == ENGLISH
    assert language_choices() == [(name, NAMES[name]) for name in offered()]
    assert type(catalogue(ENGLISH)) is NullTranslations


def test_a_label_within_a_sentence_has_no_capital_but_in_german():
    assert in_sentence("Last hour") == "last hour"
    with in_language("de"):
        assert in_sentence("Letzte Stunde") == "Letzte Stunde"
