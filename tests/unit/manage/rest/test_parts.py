from __future__ import annotations

import pytest
from tests.unit.manage.rest.conftest import RESOURCES

ANY = {"if-match": "*"}
AT = "/organizations/contoso"


@pytest.mark.parametrize(
    ("plural", "name"),
    [
        ("accepted_domains", "contoso.example"),
        ("mailboxes", "ann@contoso.example"),
        ("inbound_connectors", "bank in"),
        ("outbound_connectors", "bank/out"),
        ("mail_flow_rules", "secrets"),
    ],
)
def test_a_part_is_what_a_file_has_of_it(api, plural, name):
    key = {"mailboxes": "mailbox"}.get(plural, plural[:-1])
    expected = RESOURCES["contoso"][key]
    answer = api.call("GET", f"{AT}/{plural}")
    assert (answer.json, answer.headers["etag"]) == ({"items": expected, "next": None}, '"v1"')
    assert api.call("GET", f"{AT}/{plural}/{name}").json == expected[0]
    assert api.call("GET", f"{AT}/{plural}/{name.upper()}").json == expected[0]
    assert set(api.call("GET", f"{AT}/{plural}/{name}?defaults=true").json) > set(expected[0])
    assert api.call("PUT", f"{AT}/{plural}/{name}", expected[0], headers=ANY).json["changes"] == []


@pytest.mark.parametrize("plural", ["oauth_issuers", "content_hooks", "dkim_keys"])
def test_kinds_of_which_there_is_none(api, plural):
    assert api.call("GET", f"{AT}/{plural}").json == {"items": [], "next": None}
    assert api.call("GET", f"{AT}/{plural}/x").problem == "missing"


def test_mailboxes_in_pages(api):
    first = api.call("GET", f"{AT}/mailboxes?limit=2").json
    second = api.call("GET", first["next"].removeprefix("/api/v1")).json
    assert [one["address"][:3] for one in first["items"] + second["items"]] == ["ann", "bob", "eve"]
    assert second["next"] is None


def test_a_connector_comes_changes_and_goes(api):
    body = {"name": "hq/1", "recipient_domains": ["hq.example"], "smart_hosts": ["mx.hq.example"]}
    made = api.call("POST", f"{AT}/outbound_connectors?note=new", body, headers={"if-match": '"v1"'})
    assert (made.status, made.headers["etag"]) == (201, '"v2"')
    assert made.headers["location"] == "/api/v1/organizations/contoso/outbound_connectors/hq%2F1"
    path = f"{AT}/outbound_connectors/hq/1"
    patch = {"tls_settings": "encryption-only", "recipient_domains": ["a.example", "b.example"], "comment": "x"}
    assert api.call("PATCH", path, patch, headers={"if-match": '"v1"'}).problem == "precondition"
    answer = api.call("PATCH", path, patch, headers={"if-match": '"v2"'})
    assert {one["field"].rpartition(".")[2] for one in answer.json["changes"]} == set(patch)
    assert api.call("PATCH", path, {"comment": None}, headers=ANY).status == 200
    assert api.call("GET", path).json == body | patch | {"comment": ""} or "comment" not in api.call("GET", path).json
    renamed = api.call("PUT", path, body | {"name": "hq/2"}, headers=ANY)
    assert renamed.status == 200
    assert api.call("GET", path).problem == "missing"
    assert api.call("DELETE", f"{AT}/outbound_connectors/HQ/2", headers=ANY).status == 200
    assert api.call("DELETE", f"{AT}/outbound_connectors/HQ/2", headers=ANY).problem == "missing"
    rows = api.call("GET", "/history").json["items"]
    assert [(one["author"], one["note"]) for one in rows if one["version"] == 2] == [("ann", "new")]


def test_put_makes_what_is_not_there(api):
    path = f"{AT}/mailboxes/zoe@contoso.example"
    body = {"delivery": "maildir"}
    assert api.call("PUT", f"{path}?dry_run=true", body).status == 200
    assert api.call("GET", path).problem == "missing"
    made = api.call("PUT", path, body, headers=ANY)
    assert (made.status, made.headers["location"]) == (201, f"/api/v1{path.replace('@', '%40')}")
    assert api.call("GET", path).json == {"address": "zoe@contoso.example", **body}


# method, path, body -> paths of what is wrong
WRONG = [
    (
        "POST",
        "outbound_connectors",
        {"name": "x", "tls_setings": "none", "enabled": "yes"},
        {"tls_setings", "enabled", "recipient_domains"},
    ),
    ("POST", "outbound_connectors", {}, {"name"}),
    ("POST", "mailboxes", {"address": 5}, {"address"}),
    ("PATCH", "outbound_connectors/bank/out", {"priority": "1", "mode": "x"}, {"priority", "mode"}),
    ("PATCH", "mailboxes/ann@contoso.example", {"alias": []}, {"alias"}),
    ("PUT", "mail_flow_rules/secrets", {"name": "secrets", "require_tls": True, "recipients": "x"}, {"recipients"}),
]


@pytest.mark.parametrize(("method", "path", "body", "paths"), WRONG)
def test_errors_are_told_by_field(api, method, path, body, paths):
    answer = api.call(method, f"{AT}/{path}", body, headers=ANY)
    assert answer.problem == "invalid"
    assert set(answer.paths) == paths
    assert all(one["message"] for one in answer.json["errors"])
    assert api.call("GET", "/resources").headers["etag"] == '"v1"'


def test_what_is_needed_is_not_removed(api):
    answer = api.call("DELETE", f"{AT}/accepted_domains/contoso.example", headers=ANY)
    assert (answer.status, answer.problem, answer.json["refusal"]) == (409, "conflict", "blocked")
    assert "needed by" in answer.json["detail"]


def test_there_is_one_already(api):
    answer = api.call("POST", f"{AT}/mailboxes", {"address": "ANN@contoso.example"}, headers=ANY)
    assert "already" in answer.json["detail"]
