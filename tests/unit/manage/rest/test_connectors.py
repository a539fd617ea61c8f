from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope

CONTOSO = Principal("token contoso", frozenset({Scope.READ}), frozenset({"contoso"}))


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["bank in", "bank/out", "secret-partner"]),
        ("?direction=outbound", ["bank/out", "secret-partner"]),
        ("?organization=contoso&q=BANK", ["bank in", "bank/out"]),
        ("?status=disabled", []),
    ],
)
def test_lists(api, query, names):
    answer = api.call("GET", f"/connectors{query}")
    assert [one["name"] for one in answer.json["items"]] == names
    assert answer.headers["etag"] == '"v1"'


def test_a_row(api):
    row = api.call("GET", "/connectors?q=bank/out").json["items"][0]
    assert row == {
        "status": "enabled",
        "direction": "outbound",
        "name": "bank/out",
        "organization": "contoso",
        "mode": "enforce",
        "from": "This gateway",
        "to": "Partner organization",
        "domains": ["bank.example"],
        "requires": ["certificate-validation"],
        "validated": None,
    }


def test_pages(api):
    first = api.call("GET", "/connectors?limit=2").json
    last = api.call("GET", first["next"].removeprefix("/api/v1")).json
    assert [one["name"] for one in last["items"]] == ["secret-partner"]
    assert last["next"] is None


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/connectors?direction=up", 422),
        ("/connectors?organization=nobody", 404),
        ("/rehearsal", 422),
        ("/rehearsal?name=nothing", 404),
        ("/rehearsal?name=secrets&rule=true&replay=true", 422),
        ("/rehearsal?name=secrets&rule=true&since=soon", 422),
    ],
)
def test_what_cannot_be_told(api, path, status):
    assert api.call("GET", path).status == status


def test_a_rehearsal(api):
    found = api.call("GET", "/rehearsal?name=bank%20in&replay=true&since=2026-01-01").json
    assert (found["label"], found["replay"], found["answer"]) == ("inbound connector 'bank in' of contoso", True, None)


def test_a_tenant_finds_its_own(api):
    api.who = CONTOSO
    assert len(api.call("GET", "/connectors").json["items"]) == 2
    assert api.call("GET", "/connectors?organization=fabrikam").status == 404
    missing = api.call("GET", "/rehearsal?name=secret-partner")
    assert missing.status == 404
    assert "fabrikam" not in missing.body.decode()
