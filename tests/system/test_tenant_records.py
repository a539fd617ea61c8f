"""Proves that a tenant cannot fill the gateway's disk by what is kept of its changes and calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.admin import AdminCentre, running

MINE = "/api/v1/organizations/fabrikam"
CONNECTOR = "/api/v1/organizations/contoso/inbound_connectors/large"
NOTHING = {"action": "retry", "messages": ["0caf000000000000"], "reason": "none of them"}


@pytest.fixture(scope="module")
def centre() -> Iterator[AdminCentre]:
    """With three organizations, each of which may be of 64 KB, and add 400 KB a day."""
    domains = {name: f"{name}.example" for name in ("contoso", "fabrikam", "northwind")}
    organizations = {name: {"accepted_domain": [{"name": domain}]} for name, domain in domains.items()}
    limits = {"limits": {"organization_bytes": "64KB", "tenant_records_per_day": "400KB"}}
    with running({"organization": organizations}, settings=limits) as centre:
        yield centre


def _token(centre: AdminCentre, organization: str, number: int) -> str:
    return centre.token("read", "connectors", "queue", name=f"{organization}-{number}", organizations=(organization,))


def _fields(count: int) -> dict[str, Any]:
    """Of a connector, of about so many octets."""
    return {"sender_domains": [f"d{number:05}.example" for number in range(count // 17)]}


def test_a_tenant_stores_no_organization_that_is_larger_than_the_owner_lets_it(centre: AdminCentre) -> None:
    token, owner, anything = _token(centre, "contoso", 1), centre.token(name="large"), {"If-Match": "*"}
    for path in (CONNECTOR, f"{CONNECTOR}?dry_run=true"):
        status, _, problem = centre.call(path, token, "PUT", _fields(70_000), anything)
        assert (status, "organization_bytes" in problem["detail"]) == (422, True), problem
    assert centre.call(CONNECTOR, owner, "PUT", _fields(70_000), anything)[0] == 201
    assert centre.call(CONNECTOR, token, "PATCH", {"enabled": False}, anything)[0] == 200, (
        "a little more than there was"
    )
    assert centre.call(f"{CONNECTOR}2", token, "PUT", {}, anything)[0] == 422, "another connector"
    assert centre.call(CONNECTOR, token, "PUT", _fields(66_000), anything)[0] == 200, "less than there was"
    assert centre.call(CONNECTOR, owner, "PUT", _fields(100), anything)[0] == 200


def test_changes_and_calls_of_a_tenant_come_to_an_end_and_those_of_others_go_on(centre: AdminCentre) -> None:
    tokens, anything = [_token(centre, "fabrikam", number) for number in (2, 3)], {"If-Match": "*"}
    statuses = []
    for number in range(60):
        fields = {"display_name": f"number {number}"}
        statuses.append(centre.call(MINE, tokens[number % 2], "PATCH", fields, anything)[0])
        statuses.append(centre.call("/api/v1/queue/actions", tokens[number % 2], "POST", NOTHING)[0])
    assert set(statuses) == {200, 429}
    assert statuses == sorted(statuses), "once refused, always refused"
    status, headers, problem = centre.call("/api/v1/queue/actions", tokens[0], "POST", NOTHING)
    assert (status, "tenant_records_per_day" in problem["detail"]) == (429, True)
    assert int(headers["retry-after"]) > 0
    assert centre.call(MINE, tokens[0])[0] == 200, "it reads on"
    assert centre.call("/api/v1/queue/actions?dry_run=true", tokens[0], "POST", NOTHING)[0] == 200
    other, owner = _token(centre, "northwind", 2), centre.token(name="owner")
    for token in (other, owner):
        assert centre.call("/api/v1/queue/actions", token, "POST", NOTHING)[0] == 200
    assert centre.call(MINE, owner, "PATCH", {"display_name": "mine"}, anything)[0] == 200


def test_tens_of_thousands_of_errors_are_counted_and_not_listed(centre: AdminCentre, tmp_path: Path) -> None:
    wrong = ["?"] * 48_000
    domain = {"name": "contoso.example", "type": "internal-relay", "recipient_validation": "list", "recipients": wrong}
    changes = {key: value for key, value in domain.items() if key != "name"}
    path, token = "/api/v1/organizations/contoso/accepted_domains/contoso.example", centre.token(name="errors")
    status, _, problem = centre.call(path, token, "PATCH", changes, {"If-Match": "*"})
    resources = tmp_path / "resources.json"
    resources.write_text(json.dumps({"organization": {"contoso": {"accepted_domain": [domain]}}}))
    command = centre.gateway.cli("apply", "-f", str(resources), expect=2)
    assert status == 422
    for text in (json.dumps(problem), command.stderr):
        assert "48,000 errors; nothing was changed" in text
        assert "has more errors, which are not listed here: 47,981" in text
        assert len(text) < 10_000
