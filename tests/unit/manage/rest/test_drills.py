from __future__ import annotations

from threading import Event

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.jobs import Jobs
from gatepost.manage.use_cases.partner import CheckTarget

from .conftest import OWNER

PATH = "/organizations/contoso/drills"
LAST = "/organizations/contoso/last_drill/bank/out"
TENANT = Principal("token contoso", frozenset({Scope.CONNECTORS, Scope.READ}), frozenset({"contoso"}))
OTHER = Principal("token fabrikam", frozenset({Scope.CONNECTORS, Scope.READ}), frozenset({"fabrikam"}))
READER = Principal("reader", frozenset({Scope.READ}))


def test_a_drill_is_held_stays_and_is_kept(api):
    api.who = TENANT
    assert api.call("GET", LAST).json == {"drill": None}
    begun = api.call("POST", f"{PATH}?wait=25", {"connector": "bank/out"})
    assert begun.status == 201
    state = begun.json
    assert (state["done"], state["trouble"]) == (True, "")
    assert state["connector"] == "outbound connector 'bank/out' of contoso"
    assert (state["result"]["passed"], state["result"]["record"]["passed"]) == (True, True)
    assert "/" not in state["result"]["evidence"], "no path of the machine"
    assert begun.headers["location"] == f"/api/v1{PATH}/{state['id']}"
    assert api.call("GET", f"{PATH}/{state['id']}").json == state
    last = api.call("GET", LAST).json["drill"]
    assert last == state["result"] | {"recorded": True}
    (event,) = [one for one in api.accounts.audit_events(OWNER) if one.action == "connector-drill"]
    assert (event.who, event.organization) == ("token contoso", "contoso")

    api.who = READER
    assert api.call("GET", LAST).json["drill"]["sha256"] == last["sha256"]
    assert api.call("GET", f"{PATH}/{state['id']}").status == 403
    assert api.call("POST", PATH, {"connector": "bank/out"}).status == 403
    api.who = OTHER
    for method, path, body in (("GET", LAST, None), ("GET", f"{PATH}/{state['id']}", None), ("POST", PATH, {})):
        assert api.call(method, path, body).status == 404
    other = f"/organizations/fabrikam/drills/{state['id']}"
    assert api.call("GET", other).status == 404
    api.who = OWNER
    assert api.call("GET", other).status == 404, "it is not of that organization"
    assert api.call("GET", f"/organizations/contoso/validations/{state['id']}").status == 404


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"connector": "nobody"}, 404, "there is no connector 'nobody'"),
        ({"connector": "bank in"}, 422, "drills are for outbound connectors"),
        ({"connector": "secret-partner"}, 404, "there is no connector"),
        ({"connector": "bank/out", "colour": "blue"}, 422, "error"),
        ({}, 422, "error"),
    ],
)
def test_what_is_not_drilled(api, body, status, said):
    answer = api.call("POST", PATH, body)
    assert (answer.status, said in answer.json["detail"]) == (status, True)


def test_too_many_are_told_to_come_later(api):
    runs, go = Jobs(), Event()
    api.gateway.instances._made[Jobs] = runs
    held = [runs.start(CheckTarget("b.example"), api.who, lambda _: go.wait(20)) for _ in range(2)]
    answer = api.call("POST", PATH, {"connector": "bank/out"})
    assert (answer.status, answer.problem, answer.headers["retry-after"]) == (429, "throttled", "15")
    go.set()
    assert all(one.wait(20) for one in held)
