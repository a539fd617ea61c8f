from __future__ import annotations

from urllib.parse import quote

import pytest

from gatepost.manage.access.principal import ROLES, Principal, Role
from gatepost.manage.access.records import Actor, AuditFilter, AuditOutcome
from gatepost.manage.pages.login import local_target

ROOT = Principal("root", ROLES[Role.OWNER])
WORD = "correct horse battery"
ROOT_HERE = Actor("root")
HERE = {"authorization": "", "sec_fetch_site": "same-origin"}

# where to go after a form -> where somebody is led
TARGETS = [
    ("/", "/"),
    ("/trace?q=a&since=1d", "/trace?q=a&since=1d"),
    ("/rules/view/a/b%2Fc", "/rules/view/a/b%2Fc"),
    ("", "/"),
    ("trace", "/"),
    ("//evil.example", "/"),
    ("///evil.example", "/"),
    ("/\\evil.example", "/"),
    ("\\\\evil.example", "/"),
    ("https://evil.example", "/"),
    ("javascript:alert(1)", "/"),
    ("/a\r\nSet-Cookie: x=y", "/"),
    ("/\t/evil.example", "/"),
    (" //evil.example", "/"),
    ("/\u2028", "/"),
]


@pytest.mark.parametrize(("text", "expected"), TARGETS)
def test_nobody_is_led_elsewhere(text, expected):
    assert local_target(text) == expected


@pytest.fixture
def ann(person):
    return person("ann")


def log_in(centre, name="ann", password=WORD, following="/", **headers):
    return centre.post(f"/login?next={quote(following, safe='')}", headers=HERE | headers, name=name, password=password)


def secret_of(answer):
    return answer.headers["set-cookie"].partition(";")[0].partition("=")[2]


def test_a_log_in_is_a_fresh_session_and_ends_the_one_that_the_browser_had(centre, ann):
    answer = log_in(centre, following="/trace?q=a", cookie=ann.headers["cookie"])
    assert answer.status == 403, "a form of a session has its token"
    answer = log_in(centre, following="/trace?q=a")
    assert (answer.status, answer.headers["location"]) == (303, "/trace?q=a")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-gatepost=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    assert secret_of(answer) != ann.secret
    assert centre.accounts.session(secret_of(answer)).user.name == "ann"


def test_a_session_that_somebody_else_chose_is_not_taken(centre, ann):
    answer = log_in(centre, cookie="__Host-gatepost=chosen-by-somebody-else")
    assert answer.status == 303
    assert secret_of(answer) != "chosen-by-somebody-else"
    assert centre.accounts.session("chosen-by-somebody-else") is None


# name, password
@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ann", "wrong"),
        ("ann", ""),
        ("nobody", WORD),
        ("", ""),
        ("ann", "a" * 5000),
        ("a" * 5000, WORD),
        ("an\x00n", WORD),
    ],
)
def test_nothing_tells_who_there_is(centre, ann, name, password):
    answer = log_in(centre, name, password)
    assert answer.status == 422
    assert "__Host-gatepost=" not in answer.headers.get("set-cookie", "")
    assert answer.words.replace(name or "-", "-") == log_in(centre, "somebody", "else").words.replace("somebody", "-")
    events = centre.accounts.audit_events(ROOT, AuditFilter(action="log-in", outcome=AuditOutcome.REFUSED))
    assert len(events) == 2
    assert not password or password not in repr(events)


def test_guessing_is_slowed_for_the_right_word_too(centre, ann):
    statuses = [log_in(centre, password=f"guess {number}").status for number in range(12)]
    assert (statuses[0], statuses[-1]) == (422, 429)
    assert log_in(centre).status == 429


def test_another_site_cannot_log_anybody_in(centre, ann):
    assert log_in(centre, sec_fetch_site="cross-site").status == 403
    assert log_in(centre, sec_fetch_site="same-site").status == 403


def test_who_is_logged_in_goes_on(ann):
    answer = ann.get("/login?next=//evil.example")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    assert ann.get("/login?next=/trace").headers["location"] == "/trace"


def test_a_log_out_ends_the_session_on_the_server(centre, ann):
    assert ann.get("/logout").status == 405
    assert ann.post("/logout", csrf="").status == 403
    answer = ann.post("/logout")
    assert (answer.status, answer.headers["location"], ann.is_logged_in) == (303, "/login", False)
    assert 'gatepost=""' in answer.headers["set-cookie"]
    assert ann.get("/").headers["location"].startswith("/login")


class TestTheFirstOwner:
    def set_up(self, centre, **form):
        return centre.post("/setup", headers=HERE, **{"name": "olga", "password": WORD, "again": WORD} | form)

    def test_is_made_with_the_code_and_is_in(self, centre):
        code = centre.accounts.setup_code(by=ROOT_HERE)
        page = centre.get(f"/setup?code={code}", authorization="")
        assert (page.status, page.value("code")) == (200, code)
        answer = self.set_up(centre, code=code)
        assert (answer.status, answer.headers["location"]) == (303, "/quickstart")
        assert centre.accounts.session(secret_of(answer)).user.role is Role.OWNER
        again = self.set_up(centre, code=code, name="eve")
        assert again.status == 422
        assert [one.name for one in centre.accounts.users()] == ["olga"]
        assert centre.get(f"/setup?code={code}", authorization="").status == 422

    @pytest.mark.parametrize("code", ["", "wrong", "a" * 5000, "\x00"])
    def test_is_not_made_without_it(self, centre, code):
        centre.accounts.setup_code(by=ROOT_HERE)
        assert centre.get(f"/setup?code={quote(code)}", authorization="").status == 422
        assert self.set_up(centre, code=code).status == 422
        assert centre.accounts.users() == []

    @pytest.mark.parametrize(
        "form", [{"name": ""}, {"name": "a b"}, {"password": "x", "again": "x"}, {"again": "other"}]
    )
    def test_may_try_again_with_the_same_code(self, centre, form):
        code = centre.accounts.setup_code(by=ROOT_HERE)
        answer = self.set_up(centre, code=code, **form)
        assert (answer.status, answer.value("code")) == (422, code)
        assert WORD not in answer.text
        assert self.set_up(centre, code=code).status == 303


def test_a_set_up_code_that_does_not_hold_is_on_record(centre):
    accounts = centre.accounts
    form = {"name": "eve", "password": WORD, "again": WORD}
    for code in ("", "x" * 43, accounts.setup_code(by=ROOT_HERE)[::-1]):
        answer = centre.post("/setup", headers=HERE, code=code, **form)
        assert answer.status == 422
        assert "is not valid" in answer.words
    assert accounts.users() == []
    kept = accounts.audit_events(ROOT, AuditFilter(action="setup"))
    assert [(one.who, one.outcome, "is not valid" in one.detail["why"]) for one in kept] == [
        ("", AuditOutcome.REFUSED, True)
    ] * 3
    code = accounts.setup_code(by=ROOT_HERE)
    assert centre.post("/setup", headers=HERE, code=code, **form).status == 303
    assert centre.post("/setup", headers=HERE, code=code, **form | {"name": "eva"}).status == 422, "good once"
    assert [one.name for one in accounts.users()] == ["eve"]


def test_set_up_codes_are_not_guessed_without_end(centre):
    centre.accounts.setup_code(by=ROOT_HERE)
    form = {"name": "eve", "password": WORD, "again": WORD, "code": "x" * 43}
    statuses = [centre.post("/setup", headers=HERE, **form).status for _ in range(9)]
    assert (statuses[:6], statuses[6:]) == ([422] * 6, [429] * 3)
    assert len(centre.accounts.audit_events(ROOT, AuditFilter(action="setup"))) == 6, "what was tried, and no more"


def test_a_form_that_comes_after_the_session_is_not_lost_without_a_word(centre):
    centre.accounts.add_user("ann", Role.OWNER, WORD, actor=("root", ""))
    late = HERE | {"referer": "https://localhost/domains/new?organization=contoso"}
    answer = centre.post("/domains/new", headers=late, name="late.example")
    assert answer.status == 303
    assert answer.headers["location"] == "/login?next=%2Fdomains%2Fnew%3Forganization%3Dcontoso&lost=yes"
    page = centre.get(answer.headers["location"], **HERE)
    assert "the change was not saved" in page.words
    again = centre.post(answer.headers["location"], headers=HERE, name="ann", password="wrong wrong wrong")
    assert "the change was not saved" not in again.words, "then that is what matters"
    back = centre.post(answer.headers["location"], headers=HERE, name="ann", password=WORD)
    assert back.headers["location"] == "/domains/new?organization=contoso"


@pytest.mark.parametrize("referer", ["", "https://evil.example/x", "https://[::1", "https://localhost", "//", "x"])
def test_the_way_back_is_a_page_of_ours(centre, referer):
    answer = centre.post("/queue/actions", headers=HERE | {"referer": referer}, action="drop")
    assert answer.headers["location"] == "/login?lost=yes"
