from __future__ import annotations

import time

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.rest.endpoint import RestEndpoint
from gatepost.manage.use_cases import destinations
from gatepost.manage.use_cases.catalogue import declared_in
from gatepost.policy.decisions.destination_history import DestinationName, SeenSession
from gatepost.policy.decisions.requirement import Achieved, MxLevel, TlsLevel
from gatepost.store.destinations import DESTINATIONS_FILE, DestinationFile

AUTH, CLEAR = Achieved(TlsLevel(2), MxLevel.NONE), Achieved(TlsLevel(0), MxLevel.NONE)


@pytest.fixture
def api(api_of):
    made, now = api_of(*map(RestEndpoint, declared_in(destinations))), time.time()
    steps = [(SeenSession("mx", AUTH, now - 9e5), False), (SeenSession("mx", CLEAR, now - 9e4), False)]
    file = DestinationFile(made.gateway.data / DESTINATIONS_FILE)
    file.write({DestinationName(owner, f"{owner}.test"): steps for owner in ("a", "b", "c")})
    file.close()
    return made


def act(api, **body):
    return api.call("POST", "/destinations/actions", body)


def test_pages_follow_each_other(api):
    found, path = [], "/destinations?limit=1&below=true"
    for _ in range(3):
        page = api.call("GET", path).json
        found += page["items"]
        path = (page["next"] or "").removeprefix("/api/v1")
    assert [one["domain"] for one in found] == ["a.test", "b.test", "c.test"]
    assert path == ""
    assert api.call("GET", "/destinations?organization=b").json["items"] == found[1:2]
    assert api.call("GET", "/destinations?after=x").status == 422


def test_what_was_done_is_told(api):
    planned = api.call("POST", "/destinations/actions?dry_run=true", {"action": "forget", "all": True}).json
    assert (planned["dry_run"], planned["changed"], len(planned["items"])) == (True, 3, 3)
    done = act(api, action="accept", domain="a.test").json
    assert (done["dry_run"], done["changed"], done["retried"]) == (False, 1, 0)
    assert done["items"][0]["hosts"][0]["last"] == "none/none"
    again = act(api, action="accept", domain="a.test")
    assert (again.status, again.json["refusal"]) == (409, "conflict")
    assert act(api, action="forget", all=True).json["changed"] == 3


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"action": "accept"}, 422),
        ({"action": "drop", "all": True}, 422),
        ({"action": "accept", "domain": "no domain"}, 422),
        ({"action": "accept", "domain": "nobody.test"}, 404),
        ({"action": "accept", "everything": True}, 422),
    ],
)
def test_what_is_not_done(api, body, status):
    assert act(api, **body).status == status


def test_who_may(api):
    api.who = Principal("tim", frozenset({Scope.READ, Scope.QUEUE}))
    assert act(api, action="forget", all=True).problem == "forbidden"
    api.who = Principal("tim", frozenset({Scope.READ, Scope.CONNECTORS}), frozenset({"b"}))
    assert [one["organization"] for one in api.call("GET", "/destinations").json["items"]] == ["b"]
    assert act(api, action="forget", domain="a.test").problem == "missing"
