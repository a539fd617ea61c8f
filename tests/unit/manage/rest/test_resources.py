from __future__ import annotations

import pytest
from tests.unit.manage.rest.conftest import RESOURCES

from gatepost.manage.access.principal import Principal, Scope

ANY = {"if-match": "*"}
CONTOSO = Principal("token contoso", frozenset({Scope.READ, Scope.CONNECTORS}), frozenset({"contoso"}))


def names(answer):
    return [one["name"] for one in answer.json["items"]]


def test_all_resources_are_a_resource_file(api):
    answer = api.call("GET", "/resources")
    assert answer.headers["etag"] == '"v1"'
    assert answer.json == {"organization": RESOURCES}
    assert api.call("PUT", "/resources", answer.json, headers=ANY).json["changes"] == []


def test_nothing_applied_yet(api_of):
    from gatepost.manage.rest.routes import ENDPOINTS  # noqa: PLC0415 - for this test alone

    answer = api_of(*ENDPOINTS).call("GET", "/resources")
    assert (answer.json, answer.headers["etag"]) == ({"organization": {}}, '"v0"')


def test_apply_leaves_others_as_they_are_and_put_removes_them(api):
    document = {"organization": {"contoso": {"display_name": "New"}}}
    answer = api.call("PATCH", "/resources?note=why", document, headers={"if-match": '"v1"'})
    assert (answer.status, answer.headers["etag"], answer.json["version"]) == (200, '"v2"', 2)
    assert list(api.call("GET", "/resources").json["organization"]) == ["contoso", "fabrikam"]
    assert api.call("PUT", "/resources", document, headers={"if-match": '"v1"'}).problem == "precondition"
    assert api.call("PUT", "/resources", document, headers={"if-match": '"v2"'}).status == 200
    assert api.call("GET", "/resources").json == document


def test_a_dry_run_says_what_would_change_and_what_it_touches(api):
    document = {"organization": {"contoso": RESOURCES["contoso"] | {"outbound_connector": []}}}
    answer = api.call("PATCH", "/resources?dry_run=true&since=400d", document)
    assert answer.json["version"] == 1
    assert [(one["sign"], one["field"]) for one in answer.json["changes"]] == [
        ("-", "organization.contoso.outbound_connector['bank/out']")
    ]
    assert answer.json["blast_radius"]["recipients"] == ["bank.example"]
    assert api.call("GET", "/resources").headers["etag"] == '"v1"'
    assert api.call("PATCH", "/resources?dry_run=true&since=x", document).paths == ["query.since"]


def test_errors_are_those_of_a_resource_file(api):
    document = {"organization": {"contoso": {"cleartxt": "x", "mailbox": [{"address": "no address"}]}}, "other": 1}
    answer = api.call("PATCH", "/resources", document, headers=ANY)
    assert answer.problem == "invalid"
    assert set(answer.paths) >= {"other", "organization.contoso.cleartxt"}
    assert any("mailbox[0]" in path for path in answer.paths)


@pytest.mark.parametrize(
    "document", [{"organization": 5}, {"organization": {"contoso": 5}}, {"organization": {"a b": {}}}]
)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_documents_that_are_none(api, method, document):
    assert api.call(method, "/resources", document, headers=ANY).problem == "invalid"


def test_a_tenant_applies_what_is_its_own(api):
    api.who = CONTOSO
    assert list(api.call("GET", "/resources").json["organization"]) == ["contoso"]
    document = {"organization": {"contoso": RESOURCES["contoso"] | {"display_name": "New"}}}
    assert api.call("PATCH", "/resources", document, headers=ANY).status == 200
    assert api.call("PATCH", "/resources", {"organization": {"fabrikam": {}}}, headers=ANY).problem == "missing"


def test_organizations(api):
    answer = api.call("GET", "/organizations")
    assert answer.json["items"][0] == {"name": "contoso", "display_name": "Contoso"}
    assert api.call("GET", "/organizations?defaults=true").json["items"][0]["reject_direct_send"] is False
    one = api.call("GET", "/organizations/fabrikam").json
    assert one == {"name": "fabrikam", **RESOURCES["fabrikam"]}
    api.who = CONTOSO
    assert names(api.call("GET", "/organizations")) == ["contoso"]


def test_organizations_come_change_and_go(api):
    answer = api.call("POST", "/organizations", {"name": "tailspin", "display_name": "T"}, headers=ANY)
    assert (answer.status, answer.headers["location"]) == (201, "/api/v1/organizations/tailspin")
    path = "/organizations/tailspin"
    assert api.call("POST", "/organizations", {"name": "tailspin"}, headers=ANY).problem == "conflict"
    assert api.call("PATCH", path, {"display_name": None}, headers={"if-match": answer.headers["etag"]}).status == 200
    assert api.call("GET", path).json == {"name": "tailspin"}
    table = {"name": "tailspin", "accepted_domain": [{"name": "tailspin.example"}]}
    assert api.call("PUT", path, table, headers=ANY).status == 200
    assert api.call("GET", path).json == table
    assert api.call("DELETE", path, headers=ANY).status == 200
    assert api.call("GET", path).problem == "missing"
    assert api.call("DELETE", path, headers=ANY).problem == "missing"
    assert api.call("PUT", f"{path}?dry_run=true", {}, headers=ANY).paths == ["organization.tailspin.name"]
    assert api.call("PUT", f"{path}-2?dry_run=true", {}, headers=ANY).status == 200
    made = api.call("PUT", f"{path}-2", {}, headers=ANY)
    assert (made.status, made.headers["location"]) == (201, "/api/v1/organizations/tailspin-2")


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": 5}, {"name": None}])
def test_a_name_must_be_given(api, body):
    assert api.call("POST", "/organizations", body, headers=ANY).paths == ["name"]


def test_a_name_is_not_changed(api):
    assert api.call("PUT", "/organizations/contoso", {"name": "other"}, headers=ANY).paths == ["name"]
    assert api.call("PATCH", "/organizations/contoso", {"name": "other"}, headers=ANY).paths == ["name"]


def test_the_history_in_pages(api):
    for number in range(3):
        document = {"organization": {name: {"display_name": str(number)} for name in ("contoso", "fabrikam")}}
        api.call("PATCH", f"/resources?note={number}", document, headers=ANY)
    rows, url = [], "/history?limit=3"
    while url:
        answer = api.call("GET", url)
        rows += [(one["version"], one["organization"]) for one in answer.json["items"]]
        url = (answer.json["next"] or "").removeprefix("/api/v1")
    assert rows == [(number, name) for number in (4, 3, 2, 1) for name in ("fabrikam", "contoso")]
    assert api.call("GET", "/history?organization=contoso&limit=1").json["items"][0]["note"] == "2"
    one = api.call("GET", "/history/4").json
    assert {change["field"] for change in one["changes"]} == {
        f"organization.{name}.display_name" for name in ("contoso", "fabrikam")
    }


def test_the_history_of_what_is_seen(api):
    api.who = CONTOSO
    assert {one["organization"] for one in api.call("GET", "/history").json["items"]} == {"contoso"}
    assert b"abrikam" not in api.call("GET", "/history/1").body
    assert api.call("GET", "/history?organization=fabrikam").json["items"] == []


@pytest.mark.parametrize("version", ["2", "0", "-1", "x", "9" * 30, "\u0661"])
def test_versions_that_are_not_there(api, version):
    assert api.call("GET", f"/history/{version}").problem == "missing"


@pytest.mark.parametrize("after", ["x", "WzAsMF0", "WzEsLTFd"])
def test_places_in_the_history_that_no_page_gave(api, after):
    assert api.call("GET", f"/history?after={after}").paths == ["query.after"]
