"""Without a scanner and an issuer; with them in the tests of `manage.use_cases.trials`."""

from __future__ import annotations

import base64
import threading
import time

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.access.records import AuditOutcome
from gatepost.manage.use_cases import jobs, trials
from gatepost.manage.use_cases.jobs import Jobs
from gatepost.manage.use_cases.partner import CheckTarget

from .conftest import OWNER

HOOKS = "/organizations/contoso/hook_trials"
ISSUERS = "/organizations/contoso/issuer_trials"
TENANT = Principal("token contoso", frozenset({Scope.CONNECTORS}), frozenset({"contoso"}))
OTHER = Principal("token fabrikam", frozenset({Scope.CONNECTORS}), frozenset({"fabrikam"}))
READER = Principal("reader", frozenset({Scope.READ}))
SECRET = "eyJhbGciOiJub25lIn0.e30."


@pytest.fixture
def api(api):
    """With a hook whose scanner, and an issuer that, cannot be asked."""
    with api.gateway.config() as store:
        _, stored = store.load("organization")
        contoso = stored["organization"]["contoso"]
        contoso["content_hook"] = [{"name": "av", "type": "clamav", "address": "127.0.0.1:1", "timeout": "1s"}]
        contoso["oauth_issuer"] = [{"name": "idp", "issuer": "https://127.0.0.1:1", "audiences": ["a"]}]
        store.apply({"organization": {"contoso": contoso}}, author="root")
    return api


def test_a_hook(api):
    api.who = TENANT
    answer = api.call("POST", HOOKS, {"hook": "AV"})
    assert answer.status == 200
    assert [(one["message"], one["answered"]) for one in answer.json["trials"]] == [
        ("harmless", False),
        ("EICAR", False),
    ]
    given = api.call("POST", HOOKS, {"hook": "av", "message": base64.b64encode(b"Subject: private\r\n\r\n").decode()})
    assert [one["message"] for one in given.json["trials"]] == ["message"]
    events = api.accounts.audit_events(OWNER)
    assert [(one.action, one.who, one.organization, one.subject) for one in events] == [
        ("hook-check", "token contoso", "contoso", "av"),
        ("hook-check", "token contoso", "contoso", "AV"),
    ]
    assert "private" not in str([one.detail for one in events])


def test_an_issuer(api):
    api.who = TENANT
    found = api.call("POST", ISSUERS, {"issuer": "idp", "token": SECRET}).json
    assert (found["keys"], found["token"]) == ([], None)
    assert "private_issuers" in found["failure"]
    (event,) = api.accounts.audit_events(OWNER)
    assert (event.action, event.subject) == ("issuer-check", "idp")
    assert SECRET not in str(event.detail)


@pytest.mark.parametrize(("who", "status"), [(OTHER, 404), (READER, 403), (None, 401)])
def test_who_may_not_asks_nobody(api, who, status):
    api.who = who
    assert api.call("POST", HOOKS, {"hook": "av"}).status == status
    assert api.call("POST", ISSUERS, {"issuer": "idp"}).status == status


@pytest.mark.parametrize(
    ("path", "body", "status", "paths"),
    [
        (HOOKS, {"hook": "nobody"}, 404, []),
        (HOOKS, {"hook": "av", "message": "§"}, 422, ["message"]),
        (HOOKS, {"hook": "av", "message": "abc"}, 422, ["message"]),
        (HOOKS, {}, 422, ["hook"]),
        (ISSUERS, {"issuer": "nobody"}, 404, []),
        (ISSUERS, {"issuer": "idp", "token": "x" * 100_000}, 422, ["token"]),
    ],
)
def test_what_is_not_asked(api, path, body, status, paths):
    answer = api.call("POST", path, body)
    assert (answer.status, answer.paths) == (status, paths)
    assert api.accounts.audit_events(OWNER)[0].outcome is AuditOutcome.REFUSED


def test_trials_are_among_the_runs(api, monkeypatch):
    runs, go = Jobs(), threading.Event()
    api.gateway.instances._made[Jobs] = runs
    held = [runs.start(CheckTarget("b.example"), api.who, lambda _: go.wait(20)) for _ in range(2)]
    answer = api.call("POST", HOOKS, {"hook": "av"})
    assert (answer.status, answer.problem, answer.headers["retry-after"]) == (429, "throttled", "15")
    go.set()
    assert all(one.wait(20) for one in held)
    monkeypatch.setattr(jobs, "_PATIENCE", 0.0)
    monkeypatch.setattr(trials, "_hook_tried", lambda *_: time.sleep(0.3))
    answer = api.call("POST", HOOKS, {"hook": "av"})
    assert (answer.status, "has not ended" in answer.json["detail"]) == (503, True)
