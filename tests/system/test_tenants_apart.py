"""Proves that a token of one organization reaches nothing of another, by whatever call: each with a whole, valid body.

The calls are those of the program, and their bodies and parameters are made of what each declares, so that a new one is
tried from its first day. Every name in them is the other organization's: in the path, in the query, in the body. What
REST does not have, and commands from afar, are tried in `test_tenants_beside_rest.py`, and pages, with forms of this
kind, in `test_admin_hostile.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
from support.two_tenants import (
    BOB,
    CANARIES,
    CONNECTOR,
    MINE,
    NOBODY,
    PART_NAMES,
    THEIRS,
    TwoTenants,
    filled,
    two_tenants,
)

from gatepost.manage.rest.endpoint import RestEndpoint
from gatepost.manage.rest.routes import ENDPOINTS
from gatepost.manage.use_cases.declaration import Document, Visibility

KINDS_BY_PATH = {
    "accepted_domains": "accepted_domain", "mailboxes": "mailbox", "mail_flow_rules": "mail_flow_rule",
    "inbound_connectors": "inbound_connector", "outbound_connectors": "outbound_connector",
}  # fmt: skip


def _path(scene: TwoTenants, endpoint: RestEndpoint, organization: str) -> str:
    """Filled with what is there of the other's."""
    plural = re.search(r"\}/([a-z_]+)/", endpoint.case.path)
    of_kind = PART_NAMES.get(KINDS_BY_PATH.get(plural[1], ""), CONNECTOR) if plural else CONNECTOR
    known = scene.names(organization) | {"name": of_kind}
    path = re.sub(r"\{(\w+)(?::\w+)?\}", lambda one: quote(str(known.get(one[1], "1")), safe=""), endpoint.case.path)
    return f"/api/v1{path}"


def _body(scene: TwoTenants, endpoint: RestEndpoint, organization: str, *, whole: bool) -> Any:
    """One that the endpoint takes, with the other's names in it; None where it takes none."""
    if endpoint.body is None:
        return None
    if isinstance(endpoint.body, Document):
        return _document(scene, endpoint, endpoint.body)
    schema = msgspec.json.schema(endpoint.body)
    return filled(schema, schema.get("$defs", {}), scene.names(organization), "", whole=whole)


def _document(scene: TwoTenants, endpoint: RestEndpoint, document: Document) -> dict[str, Any]:
    """What the other has of this kind, changed: so it would be taken, could it be reached."""
    if document.named:
        return {"organization": {THEIRS: {"display_name": "taken"}}}
    status, _, there = scene.centre.call(_path(scene, endpoint, THEIRS), scene.owner)
    table = there if status == 200 and "items" not in there else {"name": "kanarie-taken"}
    if document.nameless:
        table = {key: value for key, value in table.items() if key != "name"}
    return table | {"comment": "taken"} if "comment" in document.model.model_fields else table


def _of_others(told: Any) -> Any:
    """What was told, without the audit's events of this very token: what it tried, with the names that it gave."""
    if not isinstance(told, dict) or not isinstance(told.get("items"), list):
        return told
    return told | {"items": [one for one in told["items"] if one.get("who") != "token tenant"]}


def _queries(endpoint: RestEndpoint, names: dict[str, Any]) -> list[dict[str, Any]]:
    """No parameters; and each that names something of the other's by itself."""
    fields = [one.name for one in msgspec.structs.fields(endpoint.query)]
    telling = {
        "organization",
        "message",
        "session",
        "connector",
        "domain",
        "address",
        "sender",
        "recipient",
        "q",
        "name",
    }
    return [{}, *({one: names.get(one, "kanarie")} for one in fields if one in telling)]


def _organizations(endpoint: RestEndpoint) -> tuple[str, ...]:
    """Whose the path says it is: the other's; and one's own, with names of the other's behind it.

    Not where that merely makes a resource of one's own, which may be called as another's is. Domains may not.
    """
    if "organization" not in endpoint.case.path_names:
        return (THEIRS,)
    makes = isinstance(endpoint.body, Document) and not re.search("/(accepted_domains|mailboxes)", endpoint.case.path)
    return (THEIRS,) if makes else (THEIRS, MINE)


@pytest.fixture(scope="module")
def scene() -> Iterator[TwoTenants]:
    with two_tenants() as found:
        yield found


def _ids(endpoint: RestEndpoint) -> str:
    return f"{endpoint.case.method} {endpoint.case.path}"


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=_ids)
def test_no_call_reaches_what_another_has(scene: TwoTenants, endpoint: RestEndpoint) -> None:
    before = scene.theirs()
    for organization in _organizations(endpoint):
        for whole in (True, False) if endpoint.body is not None else (True,):
            for query in _queries(endpoint, scene.names(THEIRS)):
                target = f"{_path(scene, endpoint, organization)}{'?' if query else ''}{urlencode(query)}"
                body = _body(scene, endpoint, THEIRS, whole=whole)
                status, headers, told = scene.centre.call(
                    target, scene.token, endpoint.case.method, body, {"If-Match": "*"}
                )
                answer, sent = (
                    f"{json.dumps(_of_others(told))} {headers}",
                    f"{target} {json.dumps(body)} {endpoint.case.path}",
                )
                assert status < 500, (target, body, answer)
                assert [one for one in CANARIES if one in answer and one not in sent] == [], (target, body, answer)
                if organization == THEIRS and endpoint.case.visibility is not Visibility.SEEN:
                    assert status in {403, 404, 422}, (target, body, answer)
    assert scene.theirs() == before, "what the other has is as it was, octet by octet"


@pytest.mark.parametrize(
    "endpoint", [one for one in ENDPOINTS if one.case.visibility is Visibility.ORGANIZATION], ids=_ids
)
def test_what_another_has_is_answered_as_what_is_not_there(scene: TwoTenants, endpoint: RestEndpoint) -> None:
    answers = []
    for organization in (THEIRS, NOBODY):
        body = _body(scene, endpoint, THEIRS, whole=True)
        path = _path(scene, endpoint, organization)
        status, _, told = scene.centre.call(path, scene.token, endpoint.case.method, body, {"If-Match": "*"})
        text = json.dumps(told).replace(organization, "@")
        answers.append((status, re.sub(r"urn:uuid:[-0-9a-f]+", "", text)))
    assert answers[0] == answers[1]
    assert answers[0][0] == 404


def test_the_owner_reaches_it(scene: TwoTenants) -> None:
    """Otherwise the tests before could not fail: the same calls, by who may."""
    seen = ""
    for endpoint in ENDPOINTS:
        if endpoint.case.method == "GET" and endpoint.case.visibility is Visibility.ORGANIZATION:
            seen += json.dumps(scene.centre.call(_path(scene, endpoint, THEIRS), scene.owner)[2])
    assert [one for one in CANARIES if one not in seen] == []
    before = scene.theirs()
    assert any(scene.message in row or BOB in row for row in before)
    changing = [
        one for one in ENDPOINTS if one.case.method == "PATCH" and one.case.visibility is Visibility.ORGANIZATION
    ]
    path = _path(scene, next(one for one in changing if "/outbound_connectors/" in one.case.path), THEIRS)
    status, _, told = scene.centre.call(path, scene.owner, "PATCH", {"comment": "by its owner"}, {"If-Match": "*"})
    assert status == 200, told
    assert scene.theirs() != before
