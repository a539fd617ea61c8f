"""Without an authority: nobody listens at its address. With one it is in tests/system/test_acme.py."""

from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.acme_renewal import RenewalLimit, RenewalSubject
from gatepost.manage.use_cases.jobs import Jobs
from gatepost.pki.acme.issuer import alone

from .conftest import NAME as HOST
from .conftest import OWNER, sealed_in

NOWHERE = "https://127.0.0.1:1/directory"
CERT = Principal("token cert", frozenset({Scope.CERTIFICATES, Scope.READ}))
READER = Principal("reader", frozenset({Scope.READ}))
TENANT = Principal("tenant", frozenset({Scope.CERTIFICATES, Scope.READ}), frozenset({"contoso"}))
RUNS = "/acme/renewals"


@pytest.fixture
def gateway(tmp_path):
    """With an authority, too."""
    acme, dns = {"directory_url": NOWHERE, "agree_tos": True}, {"nameservers": ["127.0.0.1:1"], "timeout": 0.05}
    return sealed_in(tmp_path, acme=acme, dns=dns | {"attempts": 1})


def test_what_is_due_is_asked_for_and_stays_to_be_asked_about(api):
    api.who = CERT
    begun = api.call("POST", f"{RUNS}?wait=25", {})
    assert begun.status == 201
    state = begun.json
    assert (state["done"], state["names"], state["trouble"]) == (True, [HOST], "")
    (result,) = state["results"]
    assert (result["names"], result["ok"]) == ([HOST], False)
    assert result["text"].startswith(f"{NOWHERE} cannot be reached")
    assert begun.headers["location"] == f"/api/v1{RUNS}/{state['id']}"
    api.who = READER
    assert api.call("GET", f"{RUNS}/{state['id']}").json == state
    api.who = CERT
    again = api.call("POST", f"{RUNS}?wait=25", {}).json
    assert (again["done"], again["names"], again["results"]) == (True, [], [])
    assert len(api.call("POST", f"{RUNS}?wait=25", {"name": HOST, "at_once": True}).json["results"]) == 1
    assert api.call("GET", f"{RUNS}/nothing").status == 404


@pytest.mark.parametrize(("who", "status"), [(READER, 403), (TENANT, 403), (None, 401)])
def test_who_may_not_asks_nobody(api, who, status):
    api.who = who
    assert api.call("POST", RUNS, {}).status == status
    assert api.call("DELETE", "/acme/account").status == status
    assert api.gateway.kept(Jobs).recent(OWNER, RenewalSubject) == []


@pytest.mark.parametrize(
    ("who", "body", "status", "said"),
    [
        (OWNER, {"name": "b.example"}, 422, "'b.example' is not a name of any configured certificate"),
        (OWNER, {"staging": "http://x"}, 422, "is not an https address"),
        (CERT, {"staging": "https://127.0.0.1:2/x"}, 403, "only an owner may use"),
        (OWNER, {"colour": "blue"}, 422, "unknown"),
    ],
)
def test_what_is_not_asked_for(api, who, body, status, said):
    api.who = who
    answer = api.call("POST", RUNS, body)
    assert answer.status == status
    assert said in answer.body.decode()


def test_one_at_a_time(api):
    with api.gateway.kept(RenewalLimit).slot("ann"):
        answer = api.call("POST", RUNS, {"at_once": True})
    assert (answer.status, answer.problem, answer.headers["retry-after"]) == (429, "throttled", "15")
    assert answer.json["refusal"] == "unreadable", "commands end as they do beside the gateway"


def test_another_process_that_asks_is_told(api):
    with alone(api.gateway.data):
        state = api.call("POST", f"{RUNS}?wait=25", {}).json
        assert "requesting certificates now" in state["trouble"]
        assert api.call("DELETE", "/acme/account").status == 503


def test_the_account_is_forgotten(api):
    api.call("POST", f"{RUNS}?wait=25", {})
    assert api.call("GET", "/acme").json["certificates"][0]["failures"] == 1
    assert api.call("DELETE", "/acme/account").json == {"directory": NOWHERE}
    assert api.call("GET", "/acme").json["certificates"][0]["failures"] == 0
    event = api.accounts.audit_events(OWNER)[0]
    assert (event.action, event.subject) == ("certificate-acme-forget", NOWHERE)
