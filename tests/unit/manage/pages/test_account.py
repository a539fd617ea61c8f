from __future__ import annotations

import re

import pytest

from gatepost.manage.access.principal import ROLES, Principal, Role
from gatepost.manage.access.records import AuditFilter, AuditOutcome

OLD, NEW = "correct horse battery", "a longer word for it"
ROOT = Principal("root", ROLES[Role.OWNER])


@pytest.fixture
def ann(person):
    return person("ann", Role.AUDITOR, ["fabrikam"])


def audit_events(centre, action):
    return [
        (one.who, one.subject, one.outcome) for one in centre.accounts.audit_events(ROOT, AuditFilter(action=action))
    ]


def sessions(centre, name="ann"):
    return centre.accounts.sessions_of(name)


@pytest.mark.parametrize("who", ["owner", "reader", "tenant"])
def test_a_program_has_no_account(centre, who):
    assert centre.get("/account", who).status == 404
    assert centre.post("/account/password", who, old=OLD, password=NEW, again=NEW).status == 404
    assert centre.post("/account/sessions", who).status == 404


def test_who_one_is(ann):
    page = ann.get("/account")
    assert page.status == 200
    assert "Firefox" in page.words
    assert ann.secret not in page.text


def test_a_new_password_ends_every_session_and_begins_one(centre, person, ann):
    other = person("ann")
    answer = ann.post("/account/password", old=OLD, password=NEW, again=NEW)
    assert (answer.status, answer.headers["location"]) == (303, "/account")
    assert (ann.is_logged_in, other.is_logged_in) == (False, False)
    assert "__Host-gatepost=" in answer.headers["set-cookie"]
    assert len(sessions(centre)) == 1
    centre.accounts.check_password("ann", NEW, "127.0.0.1")
    assert audit_events(centre, "user-set") == [("ann", "ann", AuditOutcome.DONE)]


def test_times_are_in_the_zone_that_one_chose(ann):
    """A choice of the account, else the browser's zone, else that of the settings."""
    assert "Times are shown in UTC , the zone of the gateway" in ann.get("/account").words
    browser = {"cookie": f"{ann.headers['cookie']}; gatepost_zone=Asia/Kolkata"}
    assert re.search(r"Logged in .*\+05:30", page := ann.get("/account", **browser).words), page
    assert ann.post("/account/preferences", time_zone="Europe/Stockholm").status == 303
    page = ann.get("/account", **browser)
    assert "Times are shown in Europe/Stockholm , as you chose" in page.words
    assert re.search(
        r'<time datetime="[^"]*Z" title="[^"]*Z, [^"]*">20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\+0[12]</time>', page.text
    )
    assert ann.is_logged_in
    assert ann.post("/account/preferences", time_zone="").status == 303
    assert "Asia/Kolkata , as your browser says" in ann.get("/account", **browser).words


@pytest.mark.parametrize("name", ["<b>x", "../etc/passwd", "Europe/Atlantis", "x" * 999])
def test_what_is_no_time_zone_changes_nothing(ann, name):
    answer = ann.post("/account/preferences", time_zone=name)
    assert answer.status == 422
    assert "<b>x" not in answer.text
    cookie = f"{ann.headers['cookie']}; gatepost_zone={name[:99]}"
    assert "UTC , the zone of the gateway" in ann.get("/account", cookie=cookie).words


# old, new, again -> the field that is wrong
WRONG = [
    ("no word of mine", NEW, NEW, "old"),
    ("", NEW, NEW, "old"),
    (OLD, NEW, "another", "again"),
    (OLD, "short", "short", "password"),
    (OLD, "", "", "password"),
    (OLD, "a" * 5000, "a" * 5000, "password"),
]


@pytest.mark.parametrize(("old", "password", "again", "field"), WRONG)
def test_what_is_wrong_is_said_and_nothing_changes(centre, ann, old, password, again, field):
    answer = ann.post("/account/password", old=old, password=password, again=again)
    assert answer.status == 422
    said = {"old": "wrong password", "again": "the passwords do not match", "password": "characters"}[field]
    assert said in answer.words
    assert NEW not in answer.text
    assert ann.is_logged_in
    centre.accounts.check_password("ann", OLD, "127.0.0.1")
    assert {outcome for *_, outcome in audit_events(centre, "user-set")} <= {AuditOutcome.REFUSED}


def test_guessing_from_an_open_session_is_slowed(ann):
    statuses = [ann.post("/account/password", old=f"guess {n}", password=NEW, again=NEW).status for n in range(12)]
    assert statuses[0] == 422
    assert statuses[-1] == 429
    assert ann.post("/account/password", old=OLD, password=NEW, again=NEW).status == 429


def test_one_session_or_all_others_are_ended(centre, person, ann):
    second, third = person("ann"), person("ann")
    answer = ann.post("/account/sessions", session=str(second.session.id))
    assert answer.status == 303
    assert [one.is_logged_in for one in (ann, second, third)] == [True, False, True]
    ann.post("/account/sessions")
    assert [one.is_logged_in for one in (ann, third)] == [True, False]
    assert audit_events(centre, "session-end") == [("ann", "ann", AuditOutcome.DONE)] * 2


@pytest.mark.parametrize("number", ["0", "-1", "x", "²", "٣", "1 ", "9" * 19, "9" * 30, "9" * 5000])
def test_a_session_that_is_none_of_ones_own(person, ann, number):
    """What is not a session of one's own ends nothing, and nobody else's."""
    other, stranger = person("ann"), person("bob")
    answer = ann.post("/account/sessions", session=number)
    assert answer.status == 303
    assert [one.is_logged_in for one in (ann, other, stranger)] == [True, True, True]
    answer = ann.post("/account/sessions", session=str(stranger.session.id))
    assert stranger.is_logged_in


def test_without_the_token_of_its_form_nothing_is_done(ann):
    assert ann.post("/account/sessions", csrf="").status == 403
    assert ann.post("/account/password", csrf="x", old=OLD, password=NEW, again=NEW).status == 403
    assert ann.is_logged_in
