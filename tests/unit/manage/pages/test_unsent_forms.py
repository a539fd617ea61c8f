"""Without scripts: what was typed comes back to its author, after whatever stood between, and to nobody else."""

from __future__ import annotations

import html
import re
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest
from starlette.datastructures import ImmutableMultiDict

from gatepost.manage.access.secret import author_tag
from gatepost.manage.pages import unsent_forms
from gatepost.manage.use_cases.refusal import BusyRefusal, Refusal, RefusalKind
from gatepost.manage.web.identity import form_token

WORD = "correct horse battery"
AGES = 3600.0
PAGE = "/organizations/new?x=%2F"
TYPED = {"name": "lab", "display_name": "The <laboratory>", "password": "hush", "key": "pin 4711", "note": ""}
FIELDS = {"name": "lab", "display_name": "The <laboratory>", "note": ""}
BROWSER = {"sec_fetch_site": "same-origin", "referer": "https://localhost/organizations/new", "authorization": ""}


def send(centre, path, fields, cookie="", **headers):
    body = urlencode(fields).encode()
    return centre.ask("POST", path, "owner", body, BROWSER | {"cookie": cookie} | headers)


def form_with(page, field):
    """The form of a page that has a field: its address and all its hidden fields."""
    for action, content in re.findall(r'<form action="([^"]*)" method="post"[^>]*>(.*?)</form>', page.text, re.DOTALL):
        hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', content)
        fields = {name: html.unescape(value) for name, value in hidden}
        if field in fields:
            return html.unescape(action), fields
    return None


def again(page):
    """What the page would send again, without its token."""
    action, fields = form_with(page, "display_name")
    return action, {name: value for name, value in fields.items() if name != "csrf"}


@pytest.fixture
def ann(person):
    return person("ann")


def lost(centre, ann, **more):
    """The answer to a form of ann's whose session has ended."""
    ann.centre.accounts.end_session(ann.secret)
    return send(centre, PAGE, TYPED | {"csrf": form_token(ann.session)} | more)


def test_what_was_typed_is_there_after_the_log_in(centre, ann):
    page = lost(centre, ann)
    assert (page.status, "Your session expired; the change was not saved" in page.words) == (200, True)
    assert "laboratory" not in page.text, "nobody is known yet"
    action, fields = form_with(page, "unsent")
    wrong = send(centre, action, fields | {"name": "ann", "password": "not this one"})
    assert form_with(wrong, "unsent") == (action, fields), "a wrong password loses nothing"
    entered = send(centre, action, fields | {"name": "ann", "password": WORD})
    assert entered.status == 200
    assert again(entered) == (PAGE, FIELDS)
    assert "hush" not in entered.text
    assert "4711" not in entered.text
    assert "/organizations/new" in re.findall(r'href="([^"]*)">Back to the page', entered.text)
    cookie = entered.headers["set-cookie"].partition(";")[0]
    sent = send(centre, PAGE, FIELDS | {"csrf": form_with(entered, "display_name")[1]["csrf"]}, cookie)
    assert (sent.status, "/login" in sent.headers.get("location", "")) != (403, True)
    assert centre.gateway.directory().resources.organization("lab") is not None


def test_nobody_sees_what_another_typed(centre, ann, person):
    person("bob")
    action, fields = form_with(lost(centre, ann), "unsent")
    entered = send(centre, action, fields | {"name": "bob", "password": WORD})
    assert (entered.status, entered.headers["location"]) == (303, "/organizations/new")
    assert "laboratory" not in entered.text


@pytest.mark.parametrize("csrf", ["", "x", "x.", "x.y"])
def test_a_form_that_we_made_for_nobody_is_not_shown_again(centre, ann, csrf):
    page = send(centre, PAGE, TYPED | {"csrf": csrf})
    unsent = form_with(page, "unsent")
    if unsent is None:
        assert page.headers["location"].startswith("/login?")
        return
    assert send(centre, unsent[0], unsent[1] | {"name": ann.session.user.name, "password": WORD}).status == 303


@pytest.mark.parametrize("text", ["", "x", "AAAA", "é", "0" * 5000])
def test_what_we_did_not_seal_is_nothing(centre, ann, text):
    answer = send(centre, "/login?next=%2Fqueue", {"name": "ann", "password": WORD, "unsent": text})
    assert (answer.status, answer.headers["location"]) == (303, "/queue")


def test_a_page_of_another_site_makes_none(centre, ann):
    fields = TYPED | {"csrf": form_token(ann.session)}
    assert send(centre, PAGE, fields, sec_fetch_site="cross-site").status == 403
    part = send(centre, PAGE, fields, hx_request="true")
    assert part.status == 303, "a part of a page has no place for it"


def test_a_form_of_an_earlier_session_is_shown_again_and_is_on_record(centre, ann, person):
    later = person("ann")
    cookie = f"__Host-gatepost={later.secret}"
    page = send(centre, PAGE, TYPED | {"csrf": form_token(ann.session)}, cookie)
    assert page.status == 403
    assert again(page) == (PAGE, FIELDS)
    assert "hush" not in page.text
    event = centre.accounts.audit_events(later.session.principal)[0]
    assert (event.action, event.detail["why"]) == ("request", "its token is missing or belongs to another session")
    bob = person("bob")
    other = send(centre, PAGE, TYPED | {"csrf": form_token(bob.session)}, cookie)
    assert other.status == 403
    assert "laboratory" not in other.text
    assert ann.get("/login/unsent").status == 404


def test_what_was_typed_is_there_after_the_password_was_confirmed(centre, person):
    ann = person("ann", ago=AGES)
    cookie = f"__Host-gatepost={ann.secret}"
    fields = {"name": "tom", "role": "auditor", "password": "hush", "csrf": form_token(ann.session)}
    page = send(centre, "/users/-/add", fields, cookie)
    assert "Confirm your password, then send the form again" in page.words
    action, hidden = form_with(page, "unsent")
    wrong = send(centre, action, hidden | {"password": "not this one"}, cookie)
    assert form_with(wrong, "unsent")[1]["unsent"] == hidden["unsent"]
    shown = send(centre, action, hidden | {"password": WORD}, cookie)
    action, kept = form_with(shown, "role")
    kept.pop("csrf")
    assert (action, kept) == ("/users/-/add", {"name": "tom", "role": "auditor"})


def send_refused(centre, fields, cookie, monkeypatch, refusal):
    def refuse(*_given, **_more):
        raise refusal

    monkeypatch.setattr("gatepost.manage.pages.queue._action_request", refuse)
    return send(centre, "/queue/confirm", fields, cookie)


def test_what_was_typed_is_there_where_a_form_is_refused_for_now(centre, ann, monkeypatch):
    """The button that sends it again as it is stands only where that may succeed: in a 409 it led to the same 409."""
    cookie = f"__Host-gatepost={ann.secret}"
    fields = {"action": "hold", "sender": "@b.example", "again": "hush", "csrf": form_token(ann.session)}
    page = send(centre, "/queue/confirm", fields, cookie)
    assert (page.status, "No message is selected" in page.words) == (422, True)
    for refusal in (Refusal(RefusalKind.CONFLICT, "in use"), Refusal(RefusalKind.INPUT, "wrong")):
        page = send_refused(centre, fields, cookie, monkeypatch, refusal)
        assert ("What you typed" in page.words, "@b.example" in page.words) == (True, True)
        assert form_with(page, "sender") is None
    page = send_refused(centre, fields, cookie, monkeypatch, BusyRefusal("others are at it"))
    assert page.status == 429
    action, kept = form_with(page, "sender")
    kept.pop("csrf")
    assert (action, kept) == ("/queue/confirm", {"action": "hold", "sender": "@b.example"})
    assert form_with(send(centre, "/nothing", fields, cookie), "sender") is None


def test_a_form_that_is_too_large_is_not_kept(centre, ann):
    page = lost(centre, ann, display_name="x" * 300_000)
    assert form_with(page, "unsent") is None
    assert "Log in and try again" in page.words


def test_every_field_for_a_secret_is_left_out():
    pages = Path(unsent_forms.__file__).parent / "templates"
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages.rglob("*.html"))
    secret = re.findall(r'ui\.field\("(\w+)"[^\n]*?(?:type="password"|, "password",)', text)
    keys = re.findall(r'ui\.textarea\("(\w+)"[^\n]*PRIVATE KEY', text)
    assert len(secret) > 8
    assert len(keys) == 3
    assert {*secret, *keys} <= unsent_forms.SECRETS


def test_a_key_is_left_out_wherever_it_was_typed():
    fields = [("csrf", f"x.{author_tag('ann')}"), ("name", "-----BEGIN PRIVATE KEY-----"), ("note", "why")]
    request = SimpleNamespace(state=SimpleNamespace(form=ImmutableMultiDict(fields)))
    assert unsent_forms.form_of(request, "/x", "ann").fields == (("note", "why"),)
    assert unsent_forms.form_of(request, "/x", "bob") is None


def test_an_address_that_a_browser_takes_for_another_host_is_not_sent_to(centre, ann):
    ann.centre.accounts.end_session(ann.secret)
    page = send(centre, "//b.example/organizations/new", TYPED | {"csrf": form_token(ann.session)})
    assert form_with(page, "unsent") is None
    assert "b.example" not in page.text


def test_what_was_typed_is_there_for_who_logged_in_meanwhile_in_another_tab(centre, ann, person):
    action, fields = form_with(lost(centre, ann), "unsent")
    later = person("ann")
    cookie = f"__Host-gatepost={later.secret}"
    page = send(centre, action, fields | {"name": "ann", "password": WORD}, cookie)
    assert page.status == 403
    assert again(page) == (PAGE, FIELDS)
    bob = person("bob")
    other = send(centre, action, fields | {"name": "ann", "password": WORD}, f"__Host-gatepost={bob.secret}")
    assert other.status in {403, 404}
    assert "laboratory" not in other.text
    forged = send(centre, action, {"unsent": "AAAA"}, cookie)
    assert forged.status in {403, 404}
    stale = send(centre, "/confirm?next=%2F", {"csrf": form_token(ann.session), "unsent": fields["unsent"]}, cookie)
    assert again(stale) == (PAGE, FIELDS), "nor does a question for the password of an earlier session lose it"
