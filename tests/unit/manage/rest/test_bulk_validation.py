from __future__ import annotations

from gatepost.manage.access.principal import Principal, Scope

PATH = "/connectors/validations"
BANK = {"organization": "contoso", "direction": "inbound", "name": "bank in"}
TENANT = Principal("token contoso", frozenset({Scope.CONNECTORS}), frozenset({"contoso"}))
OTHER = Principal("token fabrikam", frozenset({Scope.CONNECTORS}), frozenset({"fabrikam"}))


def test_many_are_tried_and_the_result_stays_for_those_who_see_them(api):
    api.who = TENANT
    begun = api.call("POST", f"{PATH}?wait=25", {"connectors": [BANK]})
    assert begun.status == 201
    identity = begun.json["counts"]["id"]
    assert begun.headers["location"] == f"/api/v1{PATH}/{identity}"
    assert [row["state"] for row in begun.json["connectors"]] == ["done"]
    assert api.call("GET", f"{PATH}/{identity}").json == begun.json
    assert api.call("GET", PATH).json["items"] == [begun.json["counts"]]
    api.who = OTHER
    assert api.call("GET", f"{PATH}/{identity}").status == 404
    assert api.call("DELETE", f"{PATH}/{identity}").status == 404
    assert api.call("GET", PATH).json["items"] == []
    assert api.call("POST", PATH, {"connectors": [BANK]}).status == 404


def test_what_is_wrong_is_said_by_its_field(api):
    assert api.call("POST", PATH, {"connectors": []}).paths == ["connectors"]
    answer = api.call("POST", PATH, {"connectors": [BANK | {"direction": "up"}]})
    assert (answer.status, len(answer.paths)) == (422, 1)
    assert answer.paths[0].startswith("connectors")
