"""What strangers meet at the door: places to go to, set-up codes, and forms that came too late."""

from __future__ import annotations

import pytest

from gatepost.access.principal import ROLES, Principal, Role
from gatepost.access.records import DeedFilter
from gatepost.admin.entrance import local_target

STRANGER = {"authorization": "", "sec_fetch_site": "same-origin"}
PASSWORD = "correct horse battery"
ANN = Principal("ann", ROLES[Role.OWNER])


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ("/trace?q=a%40b", "/trace?q=a%40b"),
        ("/", "/"),
        *(
            (odd, "/")
            for odd in (
                *("", "trace", "https://evil.example", "//evil.example", "///evil.example", "/\\evil.example"),
                *("\\\\evil.example", "/\t/evil.example", "/\r\nSet-Cookie: a=b", "javascript:alert(1)", "/\u202e"),
            )
        ),
    ],
)
def test_no_link_sends_a_person_elsewhere(given, target):
    assert local_target(given) == target


def test_a_set_up_code_that_does_not_hold_is_on_record(centre):
    accounts = centre.accounts
    form = {"name": "eve", "password": PASSWORD, "again": PASSWORD}
    for code in ("", "x" * 43, accounts.setup_code()[::-1]):
        answer = centre.post("/setup", headers=STRANGER, code=code, **form)
        assert answer.status == 422
        assert "does not hold" in answer.words
    assert accounts.users() == []
    (kept,) = accounts.deeds(ANN, DeedFilter(action="request"))
    assert (kept.subject, kept.detail["why"]) == ("POST /setup", "its set-up code does not hold")
    code = accounts.setup_code()
    assert centre.post("/setup", headers=STRANGER, code=code, **form).status == 303
    assert centre.post("/setup", headers=STRANGER, code=code, **form | {"name": "eva"}).status == 422, "good once"
    assert [one.name for one in accounts.users()] == ["eve"]


def test_a_form_that_comes_after_the_session_is_not_lost_without_a_word(centre):
    centre.accounts.add_user("ann", Role.OWNER, PASSWORD, by=("root", ""))
    late = STRANGER | {"referer": "https://localhost/domains/new?organization=contoso"}
    answer = centre.post("/domains/new", headers=late, name="late.example")
    assert answer.status == 303
    assert answer.headers["location"] == "/login?next=%2Fdomains%2Fnew%3Forganization%3Dcontoso&lost=yes"
    page = centre.get(answer.headers["location"], **STRANGER)
    assert "what you sent was not done" in page.words
    again = centre.post(answer.headers["location"], headers=STRANGER, name="ann", password="wrong wrong wrong")
    assert "what you sent" not in again.words, "then that is what matters"
    back = centre.post(answer.headers["location"], headers=STRANGER, name="ann", password=PASSWORD)
    assert back.headers["location"] == "/domains/new?organization=contoso"


@pytest.mark.parametrize("referer", ["", "https://evil.example/x", "https://[::1", "https://localhost", "//", "x"])
def test_the_way_back_is_a_page_of_ours(centre, referer):
    answer = centre.post("/queue/actions", headers=STRANGER | {"referer": referer}, action="drop")
    assert answer.headers["location"] == "/login?lost=yes"
