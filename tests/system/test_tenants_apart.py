"""Proves that a token of one organization reaches nothing of another, by whatever call: each with a whole, valid body.

The calls are those of the program, and their bodies and parameters are made of what each declares, so that a new one is
tried from its first day. Every name in them is the other organization's: in the path, in the query, in the body. What
the other has is compared octet by octet, as it lies in the databases and mailboxes. Pages, with forms of this kind, are
tried in `test_admin_hostile.py`.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
from support.admin import AdminCentre, served
from support.gateway import Gateway
from support.scenes import connector, send
from support.sink import Behaviour, Sink

from gatepost.manage.rest.routes import ENDPOINTS
from gatepost.manage.use_cases.declaration import Document, Visibility

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.manage.rest.endpoint import RestEndpoint

MINE, THEIRS, NOBODY = "fabrikam", "contoso", "nosuchorg"
BOX, BOB = "kanarie-box@contoso.example", "bob@kanarie-partner.example"
# Words of the other's that no answer may have, unless they were sent.
CANARIES = ("kanarie-org", "kanarie-connector", "kanarie-comment", "kanarie-box", "kanarie-rule", "kanarie-partner")
_NOT_THEIRS = {
    "audit_event",
    "session",
    "token",
    "setup",
    "sqlite_sequence",
    "sqlite_stat1",
}  # what asking itself changes


class Scene:
    """centre: with both organizations. message: of the other's that waits. token: with all that a tenant may have."""

    def __init__(self, centre: AdminCentre) -> None:
        self.centre = centre
        self.data = centre.gateway.data_dir
        for recipient in (BOB, BOX):
            send(centre.gateway.port, recipient, sender=BOX)
        centre.gateway.wait_trace(recipient=BOX, event="DELIVER")
        (row,) = centre.gateway.wait_trace(recipient=BOB, event="DEFER")
        self.message = str(row["message"])
        scopes = ("read", "connectors", "certificates", "queue")
        self.token = centre.token(*scopes, name="tenant", organizations=(MINE,))
        self.owner = centre.token(name="owner")

    def names(self, organization: str) -> dict[str, Any]:
        """What a parameter or field of this name is filled with."""
        return {
            "organization": organization, "organizations": [organization], "message": self.message,
            "messages": [self.message], "id": self.message, "identity": self.message, "session": self.message,
            "connector": "kanarie-connector", "domain": "contoso.example", "address": BOX, "sender": BOX,
            "recipient": BOB, "direction": "outbound", "selector": "kanarie", "host": "kanarie-partner.example",
            "partner": "kanarie-partner.example", "destination": "kanarie-partner.example", "since": "", "until": "",
            "after": "", "before": 0, "limit": 5, "wait": 0, "version": "1", "number": "1", "kind": "missing",
        }  # fmt: skip

    def path(self, endpoint: RestEndpoint, organization: str) -> str:
        """Filled with what is there of the other's."""
        plural = re.search(r"\}/([a-z_]+)/", endpoint.case.path)
        of_kind = {
            "mailboxes": BOX, "accepted_domains": "contoso.example", "mail_flow_rules": "kanarie-rule",
            "inbound_connectors": "own", "outbound_connectors": "kanarie-connector",
        }  # fmt: skip
        known = self.names(organization) | {"name": of_kind.get(plural[1] if plural else "", "kanarie-connector")}
        filled = re.sub(
            r"\{(\w+)(?::\w+)?\}", lambda one: quote(str(known.get(one[1], "1")), safe=""), endpoint.case.path
        )
        return f"/api/v1{filled}"

    def body(self, endpoint: RestEndpoint, organization: str, *, whole: bool) -> Any:
        """One that the endpoint takes, with the other's names in it; None where it takes none."""
        if endpoint.body is None:
            return None
        if isinstance(endpoint.body, Document):
            return self._document(endpoint, endpoint.body)
        schema = msgspec.json.schema(endpoint.body)
        return _filled(schema, schema.get("$defs", {}), self.names(organization), "", whole=whole)

    def _document(self, endpoint: RestEndpoint, document: Document) -> dict[str, Any]:
        """What the other has of this kind, changed: so it would be taken, could it be reached."""
        if document.named:
            return {"organization": {THEIRS: {"display_name": "taken"}}}
        status, _, there = self.centre.call(self.path(endpoint, THEIRS), self.owner)
        table = there if status == 200 and "items" not in there else {"name": "kanarie-taken"}
        if document.nameless:
            table = {key: value for key, value in table.items() if key != "name"}
        return table | {"comment": "taken"} if "comment" in document.model.model_fields else table

    def theirs(self) -> list[str]:
        """All that is the other's, as it is stored."""
        found = [
            f"{file.relative_to(self.data)} {hashlib.sha256(file.read_bytes()).hexdigest()}"
            for file in sorted((self.data / "maildir").rglob("*"))
            if file.is_file()
        ]
        for file in sorted(self.data.rglob("*.db")):
            if "trace" not in file.parts and "sessions" not in file.parts:
                found += _rows(file)
        return found


def _rows(file: Any) -> list[str]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [
            f"{file.name} {table} {row!r}"
            for table in sorted(set(tables) - _NOT_THEIRS)
            for row in database.execute(f"SELECT * FROM {table}")  # noqa: S608 - names of our own tables
            if table != "content" or THEIRS in str(row[0])
        ]
    return sorted(row for row in rows if (THEIRS in row or "kanarie" in row) and f"'{MINE}'" not in row)


def _filled(  # noqa: PLR0911 - a value for each kind of schema
    schema: dict[str, Any], known: dict[str, Any], names: dict[str, Any], name: str, *, whole: bool
) -> Any:
    """A value that fits a JSON Schema. whole: with fields that may be left out, too."""
    if "$ref" in schema:
        return _filled(known[schema["$ref"].rpartition("/")[2]], known, names, name, whole=whole)
    if "anyOf" in schema:
        some = next(one for one in schema["anyOf"] if one.get("type") != "null")
        return _filled(some, known, names, name, whole=whole)
    if "enum" in schema:
        return next((one for one in schema["enum"] if one), schema["enum"][0])
    match schema.get("type"):
        case "object":
            fields = schema.get("properties", {})
            wanted = fields if whole else schema.get("required", ())
            return {one: _filled(fields[one], known, names, one, whole=whole) for one in wanted}
        case "array":
            given = names.get(name)
            return (
                given
                if isinstance(given, list)
                else [_filled(schema.get("items", {}), known, names, name.rstrip("s"), whole=whole)]
            )
        case "boolean":
            return name != "dry_run"
        case "integer" | "number":
            return schema.get("minimum", 1)
        case _:
            given = names.get(name, "kanarie-connector")
            return given if isinstance(given, str) else str(given)


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
def scene() -> Iterator[Scene]:
    servers = {"connector_type": "on-premises", "sender_ip_addresses": ["127.0.0.1/32"]}
    started: list[Gateway] = []

    def make(resources: Any, **options: Any) -> Gateway:
        started.append(Gateway(resources, **options))
        return started[-1].__enter__()

    with Sink(behaviour=Behaviour(replies={"RCPT": "450 4.2.1 later"})) as partner:
        theirs = {
            "display_name": "kanarie-org",
            "accepted_domain": [{"name": "contoso.example"}],
            "mailbox": [{"address": BOX}],
            "inbound_connector": [{"name": "own", **servers}],
            "outbound_connector": [
                connector("kanarie-partner.example", partner.address)
                | {"name": "kanarie-connector", "comment": "kanarie-comment"}
            ],
            "mail_flow_rule": [
                {"name": "kanarie-rule", "recipients": [BOB], "route_via_connector": "kanarie-connector"}
            ],
        }
        mine = {"accepted_domain": [{"name": "fabrikam.example"}], "mailbox": [{"address": "fay@fabrikam.example"}]}
        try:
            yield Scene(
                served(make, {"organization": {THEIRS: theirs, MINE: mine}}, settings={"queue": {"retry": ["1h"]}})
            )
        finally:
            for one in started:
                one.__exit__(None)


def _ids(endpoint: RestEndpoint) -> str:
    return f"{endpoint.case.method} {endpoint.case.path}"


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=_ids)
def test_no_call_reaches_what_another_has(scene: Scene, endpoint: RestEndpoint) -> None:
    before = scene.theirs()
    for organization in _organizations(endpoint):
        for whole in (True, False) if endpoint.body is not None else (True,):
            for query in _queries(endpoint, scene.names(THEIRS)):
                target = f"{scene.path(endpoint, organization)}{'?' if query else ''}{urlencode(query)}"
                body = scene.body(endpoint, THEIRS, whole=whole)
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
def test_what_another_has_is_answered_as_what_is_not_there(scene: Scene, endpoint: RestEndpoint) -> None:
    answers = []
    for organization in (THEIRS, NOBODY):
        body = scene.body(endpoint, THEIRS, whole=True)
        path = scene.path(endpoint, organization)
        status, _, told = scene.centre.call(path, scene.token, endpoint.case.method, body, {"If-Match": "*"})
        text = json.dumps(told).replace(organization, "@")
        answers.append((status, re.sub(r"urn:uuid:[-0-9a-f]+", "", text)))
    assert answers[0] == answers[1]
    assert answers[0][0] == 404


def test_the_owner_reaches_it(scene: Scene) -> None:
    """Otherwise the tests before could not fail: the same calls, by who may."""
    seen = ""
    for endpoint in ENDPOINTS:
        if endpoint.case.method == "GET" and endpoint.case.visibility is Visibility.ORGANIZATION:
            seen += json.dumps(scene.centre.call(scene.path(endpoint, THEIRS), scene.owner)[2])
    assert [one for one in CANARIES if one not in seen] == []
    before = scene.theirs()
    assert any(scene.message in row or BOB in row for row in before)
    changing = [
        one for one in ENDPOINTS if one.case.method == "PATCH" and one.case.visibility is Visibility.ORGANIZATION
    ]
    path = scene.path(next(one for one in changing if "/outbound_connectors/" in one.case.path), THEIRS)
    status, _, told = scene.centre.call(path, scene.owner, "PATCH", {"comment": "by its owner"}, {"If-Match": "*"})
    assert status == 200, told
    assert scene.theirs() != before
