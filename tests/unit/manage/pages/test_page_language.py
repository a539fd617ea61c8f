"""Pages in another language: who chooses it, what stays as it is, and that no value becomes markup on the way."""

from __future__ import annotations

from gettext import NullTranslations
from types import SimpleNamespace

import pytest

from gatepost import language
from gatepost.manage.access.principal import ROLES, Principal, Role
from gatepost.manage.access.records import AuditFilter, Preferences
from gatepost.manage.pages import account, login
from gatepost.manage.pages.rendering import environment
from gatepost.manage.pages.time_zones import SERVER_ZONE
from gatepost.manage.web import application

HOSTILE = '"><script>alert(1)</script>%(x)s{{ x }}'
ROOT = Principal("root", ROLES[Role.OWNER])


class Marked(NullTranslations):
    def gettext(self, message):
        return f"[sv] {message}"

    def ngettext(self, msgid1, msgid2, n):
        return f"[sv] {msgid1 if n == 1 else msgid2}"


@pytest.fixture(autouse=True)
def _languages(monkeypatch):
    for module in (language, application, account, login):
        monkeypatch.setattr(module, "offered", lambda: ("en", "sv"))
    monkeypatch.setattr(language, "catalogue", lambda name: NullTranslations() if name == "en" else Marked())


@pytest.fixture
def ann(person):
    return person("ann", Role.AUDITOR, ["fabrikam"])


def test_a_page_is_in_the_language_that_the_browser_prefers(ann):
    assert '<html lang="en">' in ann.get("/queue").text
    page = ann.get("/queue", accept_language="sv-SE,sv;q=0.9")
    assert '<html lang="sv">' in page.text
    assert "[sv] Mail flow rules" in page.words
    assert "Accept-Language" in page.headers["vary"]


def test_the_account_says_more_than_the_browser(ann):
    assert ann.post("/account/preferences", language="sv").status == 303
    assert ann.is_logged_in
    assert '<html lang="sv">' in ann.get("/queue", accept_language="en").text
    assert '<option value="sv" selected>' in ann.get("/account").text
    assert ann.post("/account/preferences", language="").status == 303
    assert '<html lang="en">' in ann.get("/queue").text


def test_a_choice_that_is_left_out_stays_and_the_audit_has_both(centre, ann):
    assert ann.post("/account/preferences", language="sv", time_zone="Europe/Stockholm").status == 303
    assert ann.post("/account/preferences", time_zone="").status == 303
    assert centre.accounts.user("ann").preferences == Preferences(language="sv")
    event = centre.accounts.audit_events(ROOT, AuditFilter(action="user-set", who="ann"))[0]
    assert event.detail == {
        "before": {"language": "sv", "time_zone": "Europe/Stockholm"},
        "after": {"language": "sv", "time_zone": ""},
    }


def test_the_form_asks_for_a_language_only_if_there_is_a_choice(ann, monkeypatch):
    assert 'name="language"' in ann.get("/account").text
    monkeypatch.setattr(language, "offered", lambda: ("en",))
    page = ann.get("/account")
    assert 'name="language"' not in page.text
    assert 'name="time_zone"' in page.text


@pytest.mark.parametrize("wrong", ["xx", "../..", "svenska", "SV"])
def test_only_a_language_that_is_offered_is_kept(centre, ann, wrong):
    assert ann.post("/account/preferences", language=wrong).status == 404
    assert centre.accounts.user("ann").preferences.language == ""


def test_a_program_has_no_preferences(centre):
    assert centre.post("/account/preferences", language="sv").status == 404
    assert '<html lang="en">' in centre.get("/queue").text


def test_before_the_log_in_a_link_chooses_and_the_browser_keeps_it(centre, person):
    person("ann")  # there is an owner
    page = centre.ask("GET", "/login", "owner", b"", {"authorization": ""})
    assert 'href="/login?language=sv" lang="sv"' in page.text
    chosen = centre.ask("GET", "/login?language=sv", "owner", b"", {"authorization": ""})
    assert '<html lang="sv">' in chosen.text
    assert chosen.headers["set-cookie"].startswith("gatepost_language=sv;")
    wrong = centre.ask("GET", "/login?language=xx%0d%0aX:y", "owner", b"", {"authorization": ""})
    assert "set-cookie" not in wrong.headers


@pytest.mark.parametrize(
    "source",
    [
        '<p title="{{ _("Of %(x)s", x=x) }}">{{ _("Of %(x)s", x=x) }}</p>',
        "<p>{{ ngettext('%(num)s of %(x)s', '%(num)s of %(x)s', 2, x=x) }}</p>",
        '<p>{% trans %}See <a href="{{ x }}">{{ x }}</a>{% endtrans %}</p>',
        "<p>{% trans a=now|moment %}{{ x }} at {{ a }}{% endtrans %}</p>",
        '<p>{{ _("%(x)s at %(a)s", x=x, a=now|moment) }}</p>',
        '{% set many %}<b>{{ _("Of %(x)s", x=x) }}</b>{% endset %}<p>{{ _("%(many)s: %(x)s", many=many, x=x) }}</p>',
        "<p>{{ _(x) }}</p>",
        "<p>{{ x|label }}</p>",
    ],
)
def test_a_hostile_value_stays_text_in_every_kind_of_placeholder(source):
    with language.in_language("sv"):
        text = environment().from_string(source).render(x=HOSTILE, now=1e9, frame=SimpleNamespace(zone=SERVER_ZONE))
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;%(x)s{{ x }}" in text, "and nothing in it is filled in"
    assert text.count('"') % 2 == 0, "no attribute ends early"


def test_what_programs_read_is_english(centre, ann):
    assert ann.post("/account/preferences", language="sv").status == 303
    assert "[sv]" not in ann.get("/connectors?format=csv").text
    assert "[sv]" not in ann.get("/connectors?format=json").text
    ann.post("/account/password", old="wrong", password="a longer word for it", again="another")
    details = [event.detail for event in centre.accounts.audit_events(ROOT, AuditFilter(who="ann"))]
    assert details
    assert "[sv]" not in repr(details)
