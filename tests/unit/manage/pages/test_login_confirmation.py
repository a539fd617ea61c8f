from __future__ import annotations

import time
from urllib.parse import quote

import pytest

from gatepost.manage.access.principal import Role
from gatepost.manage.access.user_rows import IssuerIdentity

from .conftest import Person

AGES = 1200.0
WORD = "correct horse battery"


@pytest.fixture
def ann(person):
    """Who logged in a while ago, and has not proved since then that it is still she who sits there."""
    return person("ann", ago=AGES)


def test_who_proved_it_lately_is_not_asked(person):
    assert person("ann").get("/users/ann").status == 200


def test_the_password_proves_it_and_leads_back(ann):
    assert ann.get("/users/ann").headers["location"] == "/confirm?next=%2Fusers%2Fann"
    assert ann.get("/confirm?next=%2Fusers%2Fann").status == 200
    answer = ann.post("/confirm?next=%2Fusers%2Fann", password=WORD)
    assert (answer.status, answer.headers["location"]) == (303, "/users/ann")
    assert ann.get("/users/ann").status == 200


@pytest.mark.parametrize("password", ["", "wrong", " " + WORD + "x", "a" * 5000])
def test_another_word_proves_nothing(ann, password):
    answer = ann.post("/confirm?next=%2Fusers", password=password)
    assert (answer.status, "The password is wrong." in answer.words) == (422, True)
    assert ann.get("/users/ann").status == 303


def test_guessing_is_slowed(ann):
    statuses = [ann.post("/confirm", password=f"guess {number}").status for number in range(12)]
    assert (statuses[0], statuses[-1]) == (422, 429)
    assert ann.post("/confirm", password=WORD).status == 429
    assert ann.get("/users/ann").status == 303


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "", "/a\nb", "\t//x"],
)
def test_nobody_is_led_elsewhere(ann, centre, target):
    answer = ann.post(f"/confirm?next={quote(target, safe='')}", password=WORD)
    assert (answer.status, answer.headers["location"]) == (303, "/")
    assert centre.get(f"/confirm?next={quote(target, safe='')}").headers["location"] == "/", "nor is a program"


def test_each_session_proves_itself(person, ann):
    other = person("ann", ago=AGES)
    ann.post("/confirm", password=WORD)
    assert (ann.get("/users/ann").status, other.get("/users/ann").status) == (200, 303)


def test_a_page_of_the_gateway_is_for_owners_however_they_proved_it(person):
    tim = person("tim", Role.ADMINISTRATOR, ago=AGES)
    tim.post("/confirm", password=WORD)
    assert tim.get("/users/tim").status == 403


def test_without_the_token_of_the_form(ann):
    assert ann.post("/confirm", csrf="", password=WORD).status == 403
    assert ann.get("/users/ann").status == 303


def test_who_logs_in_elsewhere_proves_it_there(centre):
    """A person of an issuer has no password here that could be asked for, nor guessed."""
    vouched = IssuerIdentity("https://login.example", "4711", "wendy", Role.OWNER, None)
    long_ago = time.time() - AGES
    wendy = Person(centre, centre.accounts.log_in_by_issuer(vouched, "127.0.0.1", "Firefox", proved=long_ago))
    page = wendy.get("/confirm?next=%2Fusers")
    assert "Log in again at https://login.example" in page.words
    assert 'type="password"' not in page.text
    assert wendy.post("/confirm", password=WORD).status == 200
    assert wendy.get("/users/wendy").status == 303
