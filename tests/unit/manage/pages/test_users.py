from __future__ import annotations

from http.cookies import SimpleCookie

import pytest

from gatepost.manage.access.principal import ROLES, Principal, Role, Scope
from gatepost.manage.access.records import Actor, AuditFilter, AuditOutcome, Passkey
from gatepost.manage.pages import signed_cookies
from gatepost.manage.pages.users import ROLES as SHOWN

WORD, AGES = "correct horse battery", 1200.0
ROOT = Principal("root", ROLES[Role.OWNER])
NEW = {"name": "tim", "role": "operator", "reach": "some", "organizations": "fabrikam", "password": WORD, "again": WORD}
PATHS = ["/users", "/users/-/add", "/users/ann", "/users/ann/remove"]
FORMS = [
    "/users/-/add",
    "/users/ann",
    "/users/ann/password",
    "/users/ann/sessions",
    "/users/ann/passkeys",
    "/users/ann/remove",
]


@pytest.fixture
def ann(person):
    """An owner; one more is there, so that she may go."""
    person("bob")
    return person("ann")


def audit_events(centre, action):
    return [
        (one.who, one.subject, one.outcome) for one in centre.accounts.audit_events(ROOT, AuditFilter(action=action))
    ]


def test_every_role_can_be_chosen():
    assert [name for name, *_ in SHOWN] == [str(one) for one in Role]


@pytest.mark.parametrize(("who", "status"), [("reader", 403), ("tenant", 404)])
def test_owners_alone_see_users(centre, ann, who, status):
    assert [centre.get(path, who).status for path in PATHS] == [status] * len(PATHS)
    assert [centre.post(path, who, **NEW).status for path in FORMS] == [status] * len(FORMS)
    assert [one.name for one in centre.accounts.users()] == ["ann", "bob"]
    assert ann.is_logged_in


@pytest.mark.parametrize("role", [Role.ADMINISTRATOR, Role.OPERATOR, Role.AUDITOR])
def test_nobody_makes_themselves_an_owner(centre, ann, person, role):
    tim = person("tim", role)
    answer = tim.post("/users/tim", role="owner", reach="all", enabled="on")
    assert answer.status == 403
    assert centre.accounts.user("tim").role is role


@pytest.mark.parametrize("path", FORMS)
def test_a_session_that_was_left_open_changes_nothing(centre, person, path):
    person("bob")
    old = person("ann", ago=AGES)
    answer = old.post(path, **NEW)
    assert (answer.status, answer.headers["location"].partition("?")[0]) == (303, "/confirm")
    assert [one.name for one in centre.accounts.users()] == ["ann", "bob"]
    assert old.is_logged_in
    answer = old.get("/users/ann")
    assert answer.headers["location"] == "/confirm?next=%2Fusers%2Fann"


def test_the_list(centre, ann):
    assert ">ann</a>" in ann.get("/users?q=AN").text
    assert ">bob</a>" not in ann.get("/users?q=an").text
    rows = ann.get("/users?format=json").json
    assert [(row["name"], row["role"]) for row in rows] == [("ann", "owner"), ("bob", "owner")]
    assert "argon2" not in ann.get("/users?format=json").text
    assert ann.get("/users?format=csv").text.startswith(
        "\ufeffname,role,organizations,enabled,created,last_login,issuer"
    )
    assert ann.get("/users?page=99999999999999").status == 200


def test_one_is_added(centre, ann):
    answer = ann.post("/users/-/add", **NEW)
    assert (answer.status, answer.headers["location"]) == (303, "/users/tim")
    user = centre.accounts.user("tim")
    assert (user.role, user.organizations) == (Role.OPERATOR, frozenset({"fabrikam"}))
    assert audit_events(centre, "user-add")[0] == ("ann", "tim", AuditOutcome.DONE)
    centre.accounts.check_password("tim", WORD, "127.0.0.1")


# what is otherwise -> fields that are wrong, as words
WRONG = [
    ({"name": ""}, 1),
    ({"name": "Tim Tom"}, 1),
    ({"name": "t" * 65}, 1),
    ({"name": "../ann"}, 1),
    ({"name": "ann"}, 1),
    ({"role": "god"}, 1),
    ({"role": ""}, 1),
    ({"reach": ""}, 1),
    ({"reach": "some", "organizations": ""}, 1),
    ({"organizations": "nobody"}, 1),
    ({"password": "x", "again": "x"}, 1),
    ({"again": "another"}, 1),
    ({"role": "owner"}, 1),
    ({"name": "", "role": "", "reach": "", "password": "x", "again": "x"}, 4),
]


@pytest.mark.parametrize(("changes", "count"), WRONG)
def test_what_is_wrong_is_said_at_once_and_nobody_is_made(centre, ann, changes, count):
    answer = ann.post("/users/-/add", **NEW | changes)
    assert answer.status == 422
    assert ("There is a problem" if count == 1 else f"There are {count} problems") in answer.words
    assert WORD not in answer.text
    assert [one.name for one in centre.accounts.users()] == ["ann", "bob"]
    assert {outcome for *_, outcome in audit_events(centre, "user-add")[:1]} == {AuditOutcome.REFUSED}


def test_one_is_changed_and_logs_in_anew(centre, ann, person):
    tim = person("tim", Role.AUDITOR)
    answer = ann.post("/users/tim", role="operator", reach="some", organizations="contoso, fabrikam", enabled="on")
    assert answer.headers["location"] == "/users/tim"
    user = centre.accounts.user("tim")
    assert (user.role, user.organizations, user.enabled) == (Role.OPERATOR, {"contoso", "fabrikam"}, True)
    assert not tim.is_logged_in
    ann.post("/users/tim", role="operator", reach="all")
    assert (centre.accounts.user("tim").enabled, centre.accounts.user("tim").organizations) == (False, None)


@pytest.mark.parametrize("form", [{"role": "", "reach": "all"}, {"role": "auditor", "reach": ""}, {}])
def test_what_is_left_out_is_never_everything(centre, ann, person, form):
    person("tim", Role.AUDITOR, ["fabrikam"])
    answer = ann.post("/users/tim", enabled="on", **form)
    assert answer.status == 422
    user = centre.accounts.user("tim")
    assert (user.role, user.organizations) == (Role.AUDITOR, {"fabrikam"})


def test_the_last_owner_stays(centre, person):
    ann = person("ann")
    assert ann.post("/users/ann", role="auditor", reach="all", enabled="on").status == 422
    assert ann.post("/users/ann", role="owner", reach="all").status == 422
    answer = ann.post("/users/ann/remove")
    assert answer.status == 409
    assert centre.accounts.user("ann").role is Role.OWNER
    assert ann.is_logged_in


def test_who_ends_all_of_ones_own_sessions_is_out(ann):
    answer = ann.post("/users/ann/sessions")
    assert (answer.status, ann.is_logged_in) == (303, False)


def test_a_new_password_for_somebody(centre, ann, person):
    tim = person("tim", Role.AUDITOR)
    assert ann.post("/users/tim/password", password="one word more", again="another").status == 422
    assert tim.is_logged_in
    assert ann.post("/users/tim/password", password="short", again="short").status == 422
    answer = ann.post("/users/tim/password", password="one word more", again="one word more")
    assert (answer.status, tim.is_logged_in) == (303, False)
    centre.accounts.check_password("tim", "one word more", "127.0.0.1")


def test_a_new_password_ends_passkeys_and_names_the_tokens_that_stay(centre, ann, person):
    person("tim", Role.OWNER)
    tim = Actor("tim", "192.0.2.1")
    centre.accounts.add_passkey(Passkey(b"1", "tim", "phone", b"cose", 0, 0.0, 0.0), actor=tim)
    centre.accounts.add_token("deploy", [Scope.READ], actor=tim)
    answer = ann.post("/users/tim/password", password="one word more", again="one word more")
    assert centre.accounts.passkeys_of("tim") == []
    text = signed_cookies.read(
        {signed_cookies.COOKIE: SimpleCookie(answer.headers["set-cookie"])[signed_cookies.COOKIE].value}, "ann"
    ).text
    assert "sessions and passkeys ended" in text
    assert "still work; remove those that you do not trust: deploy." in text
    assert 'name="remove_tokens"' in ann.get("/users/tim").text
    ann.post("/users/tim/password", password="another word", again="another word", remove_tokens="on")
    assert [token.name for token in centre.accounts.tokens() if token.maker] == []


@pytest.mark.parametrize("number", ["x", "9" * 5000, "-1", "0"])
def test_a_session_that_is_none_ends_nothing(ann, person, number):
    tim = person("tim", Role.AUDITOR)
    assert ann.post("/users/tim/sessions", session=number).status == 303
    assert tim.is_logged_in


def test_one_session_and_all(ann, person):
    tim, again = person("tim", Role.AUDITOR), person("tim")
    ann.post("/users/tim/sessions", session=str(ann.session.id))
    assert ann.is_logged_in, "a session of another user is not meant"
    ann.post("/users/tim/sessions", session=str(tim.session.id))
    assert (tim.is_logged_in, again.is_logged_in) == (False, True)
    ann.post("/users/tim/sessions")
    assert not again.is_logged_in


@pytest.mark.parametrize("passkey", ["", "zz", "00", "ab" * 2000])
def test_a_passkey_that_is_none(ann, person, passkey):
    person("tim", Role.AUDITOR)
    assert ann.post("/users/tim/passkeys", passkey=passkey).status == 404


def test_one_is_removed_with_what_they_made(centre, ann, person):
    person("tim", Role.OWNER)
    by = Actor("tim", "127.0.0.1")
    centre.accounts.add_token("of-tim", [Scope.READ], actor=by)
    assert "of-tim" in ann.get("/users/tim/remove").words
    assert ann.post("/users/tim/remove").headers["location"] == "/users"
    assert centre.accounts.user("tim") is None
    assert ann.get("/users/tim").status == 404
    assert ann.post("/users/tim/remove").status == 404


@pytest.mark.parametrize("name", ["nobody", "-", "..", "%2e%2e", "ann%00", "%F0%9F%98%80", "a" * 3000])
def test_who_is_not_there(ann, name):
    for path in (f"/users/{name}/remove", f"/users/{name}/password"):
        assert ann.post(path).status in {404, 405}
    assert ann.get(f"/users/{name}/remove").status == 404
