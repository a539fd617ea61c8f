"""Certificates over REST, on a store with a master key; nothing answers where the DNS server should be."""

from __future__ import annotations

import pytest

from gatepost.manage.rest.endpoint import RestEndpoint
from gatepost.manage.use_cases import certificate_import, certificates, changeover, changeover_steps
from gatepost.manage.use_cases.catalogue import declared_in
from gatepost.manage.use_cases.changeover import GatesLimit

from .conftest import NAME, ROOT

MODULES = (certificates, certificate_import, changeover, changeover_steps)
ENDPOINTS = [RestEndpoint(one) for one in declared_in(*MODULES) if one.path]


@pytest.fixture
def gateway(sealed):
    return sealed


@pytest.fixture
def rest(api_of):
    return api_of(*ENDPOINTS)


def add(rest, query="", **more):
    chain, key = (one.decode() for one in ROOT.issue([NAME]))
    return rest.call("POST", f"/certificates{query}", {"chain": chain, "key": key, **more})


def test_one_comes_in_and_its_key_never_out(rest):
    chain, key = (one.decode() for one in ROOT.issue([NAME]))
    answer = rest.call("POST", "/certificates", {"chain": chain, "key": key, "note": "by REST"})
    assert answer.status == 201
    number = answer.json["certificate"]["id"]
    assert answer.headers["location"] == f"/api/v1/certificates/{number}"
    assert answer.json["certificate"]["state"] == "current"
    shown = rest.call("GET", f"/certificates/{number}")
    assert shown.json["key_is"] == "encrypted in the store"
    assert shown.json["tlsa"] == f"3 1 1 {shown.json['spki_sha256']}"
    lines = [line for line in key.splitlines() if len(line) > 40 and "-----" not in line]
    assert lines
    for answered in (answer, shown, rest.call("GET", "/certificates")):
        assert not [line for line in lines if line.encode() in answered.body]
    assert rest.call("POST", "/certificates", {"chain": chain, "key": key}).problem == "conflict"
    assert rest.call("GET", "/certificates/0123456789").problem == "missing"


def test_an_organization_that_there_is_not(rest):
    assert add(rest, client=True, organization="nobody", label="x").problem == "missing"
    assert rest.call("GET", "/certificates").json["items"] == []


def test_pages(rest):
    numbers = {add(rest).json["certificate"]["id"] for _ in range(3)}
    found, url = set(), "/certificates?limit=2"
    while url:
        answer = rest.call("GET", url)
        found |= {one["id"] for one in answer.json["items"]}
        url = (answer.json["next"] or "").removeprefix("/api/v1")
    assert found == numbers


WRONG = [
    ({"chain": "x"}, ["chain"]),
    ({"key": "x"}, ["key"]),
    ({"client": True}, ["organization", "label"]),
    ({"organization": "contoso"}, ["organization"]),
    ({"kei": "x"}, ["kei"]),
    ({"key": 7}, ["key"]),
]


@pytest.mark.parametrize(("more", "paths"), WRONG)
def test_what_is_wrong_is_said_by_field(rest, more, paths):
    answer = add(rest, **more)
    assert (answer.problem, answer.paths) == ("invalid", paths)
    assert rest.call("GET", "/certificates").json["items"] == []


def test_a_dry_run_adds_nothing(rest):
    assert add(rest, "?dry_run=true").status == 200
    assert rest.call("GET", "/certificates").json["items"] == []


def test_a_changeover(rest):
    old, new = (add(rest).json["certificate"]["id"] for _ in range(2))
    at = f"/certificates/{new}"
    assert rest.call("POST", f"{at}/gates").json["light"] != "green"
    assert rest.call("POST", f"{at}/stage", {}).json["replaces"] == [old]
    refused = rest.call("POST", f"{at}/switch", {})
    assert refused.problem == "conflict"
    assert any(path.startswith("gates.") for path in refused.paths)
    assert refused.json["options"] == ["force"]
    assert rest.call("POST", f"{at}/switch", {"at": "soon"}).paths == ["at"]
    assert rest.call("POST", f"{at}/switch", {"at": "2020-01-01"}).paths == ["at"]
    planned = rest.call("POST", f"{at}/switch", {"at": "2h"}).json
    assert (planned["switched"], planned["planned"] > 0) == (False, True)
    assert rest.call("POST", f"{at}/cancel").json["state"] == "next"
    assert rest.call("POST", f"{at}/cancel").problem == "conflict"
    done = rest.call("POST", f"{at}/switch", {"force": "a drill"}).json
    assert (done["switched"], done["replaced"]) == (True, [old])
    assert rest.call("POST", f"/certificates/{old}/withdraw", {}).problem == "conflict"
    assert rest.call("POST", f"{at}/roll-back?dry_run=true", {}).json["current"] == [old]
    assert rest.call("POST", f"{at}/roll-back", {"note": "x"}).json["current"] == [old]
    assert rest.call("POST", f"{at}/switch", {"force": "a drill"}).json["switched"]
    assert rest.call("POST", f"/certificates/{old}/withdraw", {"force": "stolen"}).json["state"] == "retired"


def test_few_look_at_gates_at_a_time(api_of, monkeypatch):
    """Pages and calls, of one asker and of all; a switch looks, too, and first waits a while."""
    rest = api_of(*ENDPOINTS)
    add(rest)
    number = add(rest).json["certificate"]["id"]
    monkeypatch.setattr("gatepost.manage.use_cases.changeover_steps._PATIENCE", 0.01)
    calls = (
        (f"/certificates/{number}/gates", None),
        ("/certificate_changeovers/look", {"certificate": number}),
        (f"/certificates/{number}/switch?dry_run=true", {"force": "now"}),
    )
    limit = rest.gateway.kept(GatesLimit)
    with limit.slot(rest.who.name), limit.slot(rest.who.name):
        for path, body in calls:
            answer = rest.call("POST", path, body)
            assert (answer.status, answer.problem, answer.headers["retry-after"]) == (429, "throttled", "15")
            assert "other checks are running" in answer.json["detail"]
    assert [rest.call("POST", *one).status for one in calls] == [200, 200, 200]
