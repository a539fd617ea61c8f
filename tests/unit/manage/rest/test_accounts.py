from __future__ import annotations

import time

import pytest

from gatepost.manage.access.principal import Principal, Role, Scope
from gatepost.manage.access.records import Actor, AuditFilter, AuditOutcome
from gatepost.manage.rest.endpoint import RestEndpoint
from gatepost.manage.use_cases import audit, tokens, users
from gatepost.manage.use_cases.catalogue import declared_in

ENDPOINTS = [RestEndpoint(one) for one in declared_in(users, tokens, audit) if one.path]
WORD = "correct horse battery"
ANN = {"name": "Ann", "role": "owner", "password": WORD}


@pytest.fixture
def api(api_of, gateway):
    with gateway.config() as store:
        made = {name: {"display_name": name} for name in ("contoso", "fabrikam")}
        store.apply({"organization": made}, author="root")
    return api_of(*ENDPOINTS)


def refused(api):
    return api.accounts.audit_events(api.who, AuditFilter(outcome=AuditOutcome.REFUSED))


def test_a_user_from_its_making_to_its_end(api):
    made = api.call("POST", "/users", ANN)
    assert (made.status, made.headers["location"]) == (201, "/api/v1/users/ann")
    assert (made.json["name"], made.json["role"], made.json["organizations"]) == ("ann", "owner", None)
    assert "password" not in made.json
    assert api.call("GET", "/users/ANN").json == made.json
    tom = {"name": "tom", "role": "operator", "password": WORD, "organizations": ["contoso"]}
    assert api.call("POST", "/users", tom).json["organizations"] == ["contoso"]
    changed = api.call("PATCH", "/users/tom", {"role": "auditor"}).json
    assert (changed["role"], changed["organizations"], changed["enabled"]) == ("auditor", ["contoso"], True)
    assert api.call("PATCH", "/users/tom", {"organizations": None, "enabled": False}).json["organizations"] is None
    assert api.call("PATCH", "/users/tom", {"enabled": True, "password": f"{WORD} new"}).status == 200
    api.accounts.log_in("tom", f"{WORD} new", "192.0.2.1", "curl")
    (session,) = api.call("GET", "/users/tom/sessions").json["items"]
    assert (session["user"], session["agent"]) == ("tom", "curl")
    assert api.call("DELETE", "/users/tom/sessions").json == {"ended": 1}
    assert [one["name"] for one in api.call("GET", "/users?limit=1").json["items"]] == ["ann"]
    assert api.call("DELETE", "/users/tom").json == {"name": "tom", "tokens": []}
    assert api.call("GET", "/users/tom").problem == "missing"


@pytest.mark.parametrize(
    ("method", "path", "body", "problem", "paths"),
    [
        ("POST", "/users", ANN | {"name": "Ann Lee", "password": "short"}, "invalid", ["name", "password"]),
        ("POST", "/users", ANN | {"organizations": ["none"]}, "invalid", ["organizations"]),
        ("POST", "/users", ANN | {"role": "king"}, "invalid", ["role"]),
        ("POST", "/users", ANN, "conflict", ["name"]),
        ("PATCH", "/users/ann", {"role": "auditor"}, "conflict", []),
        ("PATCH", "/users/tom", {"enabled": True}, "missing", []),
        ("DELETE", "/users/ann", None, "conflict", []),
        ("DELETE", "/users/tom", None, "missing", []),
        ("GET", "/users/tom/sessions", None, "missing", []),
        ("DELETE", "/users/tom/sessions", None, "missing", []),
        ("POST", "/tokens", {"name": "one", "scopes": []}, "invalid", ["scopes"]),
        ("POST", "/tokens", {"name": "one", "scopes": ["read"], "expires": "soon"}, "invalid", ["expires"]),
        ("DELETE", "/tokens/one", None, "missing", []),
        ("GET", "/audit/events?since=yesterday", None, "invalid", ["query.since"]),
        ("GET", "/audit/events?after=W10", None, "invalid", ["query.after"]),
    ],
)
def test_what_is_refused(api, method, path, body, problem, paths):
    api.call("POST", "/users", ANN)
    answer = api.call(method, path, body)
    assert (answer.problem, answer.paths) == (problem, paths)


@pytest.mark.parametrize(
    ("method", "path", "body", "action"),
    [
        ("POST", "/users", ANN | {"password": "short"}, "user-add"),
        ("DELETE", "/users/nobody", None, "user-remove"),
        ("PATCH", "/users/nobody", {"enabled": True}, "user-set"),
        ("POST", "/tokens", {"name": "one", "scopes": []}, "token-add"),
        ("DELETE", "/tokens/one", None, "token-remove"),
    ],
)
def test_what_is_refused_is_on_record(api, method, path, body, action):
    api.call(method, path, body)
    (event,) = refused(api)
    assert (event.who, event.address, event.action) == ("ann", "127.0.0.1", action)
    assert "short" not in str(event.detail)


def test_a_token_and_its_secret(api):
    api.accounts.add_user("ann", Role.OWNER, WORD, actor=Actor("root"))
    made = api.call("POST", "/tokens", {"name": "One", "scopes": ["read"], "expires": "90d"})
    assert made.status == 201
    assert made.json["name"] == "one"
    assert api.accounts.token(made.json["token"]).scopes == {Scope.READ}
    listed = api.call("GET", "/tokens")
    assert made.json["token"] not in listed.body.decode()
    assert [(one["name"], one["made_by"], one["made_by_user"]) for one in listed.json["items"]] == [
        ("one", "ann", "ann")
    ]
    assert api.call("DELETE", "/tokens/ONE").json == {"name": "one"}
    assert api.accounts.token(made.json["token"]) is None


def test_a_token_makes_none_that_outlives_it(api):
    api.accounts.add_token("short", [Scope.OWNER], actor=Actor("root"), expires=time.time() + 3600)
    api.who = Principal("token short", frozenset(Scope))
    answer = api.call("POST", "/tokens", {"name": "long", "scopes": ["owner"]})
    assert (answer.problem, answer.paths) == ("invalid", ["expires"])
    assert api.call("POST", "/tokens", {"name": "long", "scopes": ["owner"], "expires": "30m"}).status == 201


def test_who_may_not(api):
    for scopes in ([Scope.READ], [Scope.CONNECTORS, Scope.QUEUE, Scope.CERTIFICATES, Scope.READ]):
        api.who = Principal("bob", frozenset(scopes))
        for endpoint in ENDPOINTS:
            if endpoint.case.path == "/audit/events":
                continue
            path = endpoint.case.path.replace("{name}", "ann")
            assert api.call(endpoint.case.method, path, {} if endpoint.body else None).problem == "forbidden"


def test_the_audit_a_page_at_a_time(api):
    api.call("POST", "/users", ANN)
    api.call("DELETE", "/users/nobody")
    whole = api.call("GET", "/audit/events").json["items"]
    assert [(one["action"], one["outcome"], bool(one["event"])) for one in whole] == [
        ("user-remove", "refused", True),
        ("user-add", "done", True),
        ("change", "done", False),
    ]
    assert whole[2]["organizations"] == 2
    pages, url = [], "/audit/events?limit=1"
    while url:
        page = api.call("GET", url).json
        pages += page["items"]
        url = (page["next"] or "").removeprefix("/api/v1")
    assert pages == whole
    assert [one["action"] for one in api.call("GET", "/audit/events?action=change").json["items"]] == ["change"]
    assert [one["action"] for one in api.call("GET", "/audit/events?outcome=refused").json["items"]] == ["user-remove"]
    api.who = Principal("tina", frozenset({Scope.READ}), frozenset({"contoso"}))
    (seen,) = api.call("GET", "/audit/events?since=1h&until=2100-01-01").json["items"]
    assert (seen["organization"], seen["organizations"]) == ("contoso", 1)
    assert api.call("GET", "/audit/events?organization=fabrikam").json["items"] == []
