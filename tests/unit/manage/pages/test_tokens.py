from __future__ import annotations

import time

import pytest

from gatepost.manage.access.principal import ROLES, Principal, Role, Scope
from gatepost.manage.access.records import AuditFilter, AuditOutcome
from gatepost.manage.pages.tokens import _SCOPES

ROOT = Principal("root", ROLES[Role.OWNER])
NEW = {"name": "Backup", "scopes": "read", "reach": "some", "organizations": "fabrikam", "expires": "30d"}
DAY = 86400.0


@pytest.fixture
def ann(person):
    return person("ann")


def names(centre):
    return {one.name for one in centre.accounts.tokens()} - {"owner", "reader", "tenant"}


def test_every_scope_can_be_chosen():
    assert {name for name, *_ in _SCOPES} == {str(one) for one in Scope}


@pytest.mark.parametrize(("who", "status"), [("reader", 403), ("tenant", 404)])
def test_owners_alone_see_tokens(centre, who, status):
    for path in ("/tokens", "/tokens?format=json", "/tokens/-/add", "/tokens/owner/remove"):
        assert centre.get(path, who).status == status
    for path in ("/tokens/-/add", "/tokens/owner/remove"):
        assert centre.post(path, who, **NEW).status == status
    assert len(centre.accounts.tokens()) == 3


@pytest.mark.parametrize("path", ["/tokens/-/add", "/tokens/reader/remove"])
def test_a_session_that_was_left_open_makes_and_removes_none(centre, person, path):
    answer = person("ann", ago=1200.0).post(path, **NEW)
    assert (answer.status, answer.headers["location"].partition("?")[0]) == (303, "/confirm")
    assert len(centre.accounts.tokens()) == 3


def test_a_secret_is_shown_once(centre, ann):
    answer = ann.post("/tokens/-/add", **NEW)
    assert answer.status == 201
    (token,) = [one for one in centre.accounts.tokens() if one.name == "backup"]
    secret = next(word for word in answer.words.split() if centre.accounts.token(word) is not None)
    assert centre.accounts.token(secret).organizations == {"fabrikam"}
    assert abs(token.expires - time.time() - 30 * DAY) < 60
    assert answer.headers["cache-control"] == "no-store"
    assert secret not in str(answer.headers)
    for path in ("/tokens", "/tokens?format=json", "/tokens?format=csv", "/tokens/backup/remove"):
        assert secret not in ann.get(path).text
    (event,) = centre.accounts.audit_events(ROOT, AuditFilter(action="token-add", who="ann"))
    assert (event.subject, event.outcome, secret in repr(event)) == ("backup", AuditOutcome.DONE, False)


# what is otherwise -> how many fields are wrong
WRONG = [
    ({"name": ""}, 1),
    ({"name": "a b"}, 1),
    ({"name": "a" * 65}, 1),
    ({"name": "owner"}, 1),
    ({"scopes": "god"}, 1),
    ({"scopes": ""}, 1),
    ({"reach": ""}, 1),
    ({"reach": "some", "organizations": ""}, 1),
    ({"organizations": "nobody"}, 1),
    ({"expires": "soon"}, 1),
    ({"expires": "2020-01-01"}, 1),
    ({"scopes": "owner"}, 1),
    ({"name": "", "scopes": "god", "reach": "", "expires": "soon"}, 4),
]


@pytest.mark.parametrize(("changes", "count"), WRONG)
def test_what_is_wrong_is_said_at_once_and_no_token_is_made(centre, ann, changes, count):
    answer = ann.post("/tokens/-/add", **NEW | changes)
    assert answer.status == 422
    assert ("There is a problem" if count == 1 else f"There are {count} problems") in answer.words
    assert names(centre) == set()


@pytest.mark.parametrize("expires", ["", "1s", "999999999w", "9999-12-31", "365d"])
def test_whenever_it_ends_it_can_be_shown(centre, ann, expires):
    answer = ann.post("/tokens/-/add", **NEW | {"expires": expires})
    assert answer.status in {201, 422}
    for path in ("/tokens", "/tokens?format=json", "/tokens?format=csv"):
        assert ann.get(path).status == 200


def test_what_is_left_out_is_never_everything(centre, ann):
    assert ann.post("/tokens/-/add", name="backup").status == 422
    assert ann.post("/tokens/-/add", name="backup", scopes="read").status == 422
    assert names(centre) == set()


def test_one_is_removed_and_refused_from_then_on(centre, ann):
    assert centre.get("/", "reader").status == 200
    assert "reader" in ann.get("/tokens/READER/remove").words
    assert ann.post("/tokens/reader/remove").headers["location"] == "/tokens"
    assert centre.get("/", "reader").status == 401
    assert ann.post("/tokens/reader/remove").status == 404


@pytest.mark.parametrize("name", ["nobody", "-", "..", "a%00", "a" * 3000])
def test_one_that_is_not_there(ann, name):
    assert ann.get(f"/tokens/{name}/remove").status == 404
