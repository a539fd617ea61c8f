from __future__ import annotations

from threading import Event

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.jobs import Jobs
from gatepost.manage.use_cases.partner import CheckTarget

OWNER = Principal("ann", frozenset({Scope.OWNER}))
PATH = "/organizations/contoso/validations"
TENANT = Principal("token contoso", frozenset({Scope.CONNECTORS}), frozenset({"contoso"}))
OTHER = Principal("token fabrikam", frozenset({Scope.CONNECTORS}), frozenset({"fabrikam"}))
READER = Principal("reader", frozenset({Scope.READ}))


def test_a_connector_is_tried_and_the_result_stays(api):
    api.who = TENANT
    begun = api.call("POST", f"{PATH}?wait=25", {"connector": "bank in"})
    assert begun.status == 201
    state = begun.json
    assert (state["done"], state["trouble"], state["connector"]) == (True, "", "inbound connector 'bank in' of contoso")
    assert state["result"]["direction"] == "inbound"
    assert begun.headers["location"] == f"/api/v1{PATH}/{state['id']}"
    assert api.call("GET", f"{PATH}/{state['id']}").json == state
    (event,) = [one for one in api.accounts.audit_events(OWNER) if one.action == "connector-validate"]
    assert (event.who, event.organization) == ("token contoso", "contoso")


def test_a_client_that_would_come(api):
    given = {"ip": "192.0.2.1", "reverse_path": "", "forward_path": "ann@contoso.example"}
    found = api.call("POST", f"{PATH}?wait=25", {"connector": "bank in", "direction": "inbound", **given}).json
    (presented,) = [one for one in found["result"]["tasks"] if one["name"] == "Presented"]
    assert presented["detail"].startswith("<> from 192.0.2.1")


@pytest.mark.parametrize(
    ("body", "status", "paths"),
    [
        ({"connector": "nobody"}, 404, []),
        ({"connector": "bank in", "recipients": ["bob@bank.example"]}, 422, ["recipients"]),
        ({"connector": "bank in", "ip": "192.0.2.1"}, 422, ["ip", "reverse_path"]),
        ({"connector": "bank in", "ip": "nowhere", "reverse_path": ""}, 422, ["ip"]),
        ({"connector": "bank in", "session": "feed"}, 422, ["session"]),
        ({"connector": "bank/out", "recipients": ["bob"]}, 422, ["recipients"]),
        ({"connector": "bank in", "since": "soon"}, 422, ["since"]),
        ({"connector": "bank in", "certificate": "x" * 65_537}, 422, ["certificate"]),
        ({"connector": "bank in", "colour": "blue"}, 422, ["colour"]),
        (
            {"connector": "bank in", "resources": {"organization": {"contoso": {"colour": 1}}}},
            422,
            ["organization.contoso.colour"],
        ),
        ({"connector": "bank in", "resources": {"organization": []}}, 422, []),
    ],
)
def test_what_is_wrong_is_said_by_its_field(api, body, status, paths):
    answer = api.call("POST", f"{PATH}?wait=25", body)
    assert answer.status == status
    assert (answer.paths if paths else []) == paths


@pytest.mark.parametrize(("who", "status"), [(OTHER, 404), (READER, 403)])
def test_who_may_not_tries_nothing(api, who, status):
    identity = api.call("POST", f"{PATH}?wait=25", {"connector": "bank in"}).json["id"]
    api.who = who
    assert api.call("POST", PATH, {"connector": "bank in"}).status == status
    assert api.call("GET", f"{PATH}/{identity}").status == status


def test_a_run_is_found_in_its_organization_alone(api):
    identity = api.call("POST", f"{PATH}?wait=25", {"connector": "bank in"}).json["id"]
    assert api.call("GET", f"/organizations/fabrikam/validations/{identity}").status == 404
    assert api.call("GET", f"/checks/{identity}").status == 404


def test_too_many_are_told_to_come_later(api):
    runs, go = Jobs(), Event()
    api.gateway.instances._made[Jobs] = runs
    held = [runs.start(CheckTarget("b.example"), api.who, lambda _: go.wait(20)) for _ in range(2)]
    answer = api.call("POST", PATH, {"connector": "bank in"})
    assert (answer.status, answer.problem, answer.headers["retry-after"]) == (429, "throttled", "15")
    go.set()
    assert all(one.wait(20) for one in held)


def test_what_is_not_stored_is_tried_of_ones_own_alone(api):
    api.who = TENANT
    fields = {
        "accepted_domain": [{"name": "contoso.example"}],
        "inbound_connector": [{"name": "new", "sender_domains": ["new.example"]}],
    }
    body = {"connector": "new", "resources": {"organization": {"contoso": fields}}}
    state = api.call("POST", f"{PATH}?wait=25", body).json
    assert (state["done"], state["trouble"], state["result"]["connector"]) == (True, "", "new")
    assert api.accounts.audit_events(OWNER)[0].detail["draft"] is True
    assert api.call("POST", PATH, {"connector": "new"}).status == 404, "it was stored nowhere"

    theirs = {"connector": "new", "resources": {"organization": {"fabrikam": fields}}}
    assert api.call("POST", PATH, theirs).status == 404
    assert api.call("POST", "/organizations/fabrikam/validations", theirs).status == 404
    assert [one for one in api.accounts.audit_events(OWNER, limit=9) if one.organization == "fabrikam"] == []
