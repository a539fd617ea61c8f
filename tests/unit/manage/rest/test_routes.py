"""Every endpoint there is: who finds it, and whether it answers as the OpenAPI document says."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from functools import cache
from urllib.parse import quote

import jsonschema_rs
import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.rest.routes import ENDPOINTS, ROUTES
from gatepost.manage.use_cases.declaration import Document, Visibility
from gatepost.manage.web.request_limits import MOST_OF_CALLS
from gatepost.net.identity import ServerIdentity
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.entry import State
from gatepost.pki.certificates.inventory import Inventory, entry_from
from gatepost.store.changes import ConfigStore
from gatepost.values import replace

# What stands in the braces, of the organization that is not the asker's: it exists, wherever its kind does.
THEIRS = {
    "organization": "fabrikam",
    "mailboxes": "liz@fabrikam.example",
    "accepted_domains": "fabrikam.example",
    "domains": "fabrikam.example",
    "outbound_connectors": "secret-partner",
    "last_drill": "secret-partner",
}
OURS = {
    "organization": "contoso",
    "accepted_domains": "contoso.example",
    "domains": "contoso.example",
    "mailboxes": "ann@contoso.example",
    "inbound_connectors": "bank in",
    "outbound_connectors": "bank/out",
    "mail_flow_rules": "secrets",
    "last_drill": "bank/out",
}
SECRETS = [b"fabrikam", b"Fabrikam", b"liz", b"secret-partner", b"hidden.example"]
IDENTITIES = {"mailboxes": "address"}
IDENTITY = ServerIdentity(*Authority("Routes Root").issue(["mx.gate.example"]))
CERTIFICATE = replace(entry_from(IDENTITY, now=1.0), state=State.CURRENT)
CONTOSO = Principal("token contoso", frozenset(Scope) - {Scope.OWNER}, frozenset({"contoso"}))
NO_SCOPE = Principal("token none", frozenset())
# What is there only where something else was done before: see tests of their own.
ELSEWHERE = {
    "/checks/{id}",
    "/connectors/validations/{id}",
    "/drills/{name}",
    "/users/{name}",  # no such user is in this gateway
    "/users/{name}/sessions",
    "/certificate_requests/{request}",
    "/acme",  # it is off
    "/acme/renewals/{id}",
    "/quarantine/{message}",  # nothing is held
    "/quarantine/{message}/content",
}
ALL = {f"{one.case.method} {one.template}": one for one in ENDPOINTS}


@pytest.fixture(scope="module")
def world(world, tmp_path_factory):
    """With a certificate, whose key is nowhere: recorded once, and copied for each test."""
    data, ids = world
    copy = tmp_path_factory.mktemp("certified") / "data"
    shutil.copytree(data, copy)
    with closing(ConfigStore(copy / "config.db")) as store:
        Inventory(store, None).record(CERTIFICATE, IDENTITY.chain_pem, note="of a test")
    return copy, ids


def url(one, values, ids):
    """The path with its braces filled in."""
    plural = one.case.path.split("/")[3] if one.case.path.startswith("/organizations/{organization}/") else ""
    filled = {
        "organization": values["organization"],
        "name": values.get(plural, "nothing"),
        "message": ids,
        "id": ids,
        "version": "1",
        "kind": "missing",
        "certificate": CERTIFICATE.id,
        "request": "0123456789abcdef",
        "directory": "/nowhere",
        "domain": values["domains"],
        "connector": values["outbound_connectors"],
        "address": values["mailboxes"],
        "selector": "s1",
    }
    path = one.template
    for name in one.case.path_names:
        path = path.replace(f"{{{name}}}", filled[name])
    return path


def body_of(one):
    if one.body is None:
        return None
    if not isinstance(one.body, Document):
        return {"action": "drop", "all": True}
    if one.body.named:
        return {"organization": {"fabrikam": {"display_name": "taken"}}}
    if not one.body.whole:
        return {"comment": "taken"}
    plural = one.case.path.split("/")[3] if one.case.path.count("/") > 2 else ""
    return {} if one.body.nameless else {IDENTITIES.get(plural, "name"): THEIRS.get(plural, "taken")}


def state(gateway):
    with gateway.config() as store:
        return store.load()


@pytest.mark.parametrize("name", [name for name, one in ALL.items() if one.case.visibility is Visibility.ORGANIZATION])
def test_another_organization_is_not_there(api, name):
    """Nor does it differ from one that was never there."""
    one, api.who = ALL[name], CONTOSO
    before = state(api.gateway)
    answers = []
    for organization in ("fabrikam", "nowhere"):
        path = url(one, THEIRS | {"organization": organization}, api.ids[2])
        for headers in ({"if-match": "*"}, {"if-match": '"v0"'}, {}):
            for query in ("", "?dry_run=true", "?wrong=1"):
                answer = api.call(one.case.method, path + query, body_of(one), headers=headers)
                assert answer.problem == "missing"
                answers.append(answer.json["detail"].replace(organization, "X"))
    assert len(set(answers)) == 1
    assert state(api.gateway) == before


@pytest.mark.parametrize("name", [name for name, one in ALL.items() if one.case.visibility is Visibility.GATEWAY])
def test_what_is_the_gateways_is_not_for_some_organizations(api, name):
    one, api.who = ALL[name], CONTOSO
    before = state(api.gateway)
    answer = api.call(one.case.method, url(one, THEIRS, api.ids[2]), body_of(one), headers={"if-match": "*"})
    assert answer.problem == "forbidden"
    assert state(api.gateway) == before


@pytest.mark.parametrize("name", [name for name, one in ALL.items() if one.case.visibility is Visibility.SEEN])
def test_nothing_of_another_organization_is_shown_or_changed(api, name):
    one, api.who = ALL[name], CONTOSO
    before = state(api.gateway)
    asked = url(one, THEIRS, api.ids[2])
    for query in ("", "?organization=fabrikam", "?domain=hidden.example"):
        answer = api.call(one.case.method, asked + query, body_of(one), headers={"if-match": "*"})
        assert answer.status < 500
        if name != "GET /openapi.json":  # it has examples of its own
            shown = answer.body.replace(query.encode(), b"")
            if name == "GET /evidence/export":  # it repeats what was asked, as a part of the proof
                shown = json.dumps({key: value for key, value in answer.json.items() if key != "selection"}).encode()
            named = [one for one in SECRETS if one in shown]
            said_again = (
                name in {"PATCH /resources", "GET /connectors", "GET /dkim_keys", "GET /drills"}
                and answer.status == 404
            )
            assert not named or (said_again and named == [b"fabrikam"])
    assert state(api.gateway)[1]["organization"]["fabrikam"] == before[1]["organization"]["fabrikam"]
    api.who = Principal("fab", frozenset(Scope), frozenset({"fabrikam"}))
    assert len(api.call("GET", "/queue").json["items"]) == 1


@pytest.mark.parametrize("name", ALL)
def test_nobody_and_who_has_no_scope(api, name):
    one, before = ALL[name], state(api.gateway)
    path = url(one, OURS, api.ids[0])
    for who, expected in ((None, "unauthenticated"), (NO_SCOPE, "forbidden")):
        api.who = who
        answer = api.call(one.case.method, path, body_of(one), headers={"if-match": "*"})
        if who is not None and one.case.scope is None:
            assert answer.status == 200
        else:
            assert answer.problem == expected
    assert state(api.gateway) == before


CHANGING = [name for name, one in ALL.items() if one.case.scope in {Scope.CONNECTORS, Scope.CERTIFICATES}]


@pytest.mark.parametrize("name", CHANGING)
def test_who_only_reads_changes_nothing(api, name):
    one, api.who = ALL[name], Principal("auditor", frozenset({Scope.READ}))
    answer = api.call(one.case.method, url(one, OURS, api.ids[0]), body_of(one), headers={"if-match": "*"})
    assert answer.problem == "forbidden"


@pytest.fixture(scope="module")
def document():
    from gatepost.manage.rest.openapi import document  # noqa: PLC0415 - the name is the fixture's

    return document(ENDPOINTS)


@pytest.fixture(scope="module")
def check(document):
    """Holds an answer against what the document says of it."""

    @cache  # to compile a schema takes longer than many requests, and problems have one for all
    def validator(schema):
        return jsonschema_rs.validator_for(json.loads(schema) | {"components": document["components"]})

    def hold(one, answer):
        said = document["paths"][one.template][one.case.method.lower()]["responses"][str(answer.status)]
        if answer.status == 304:
            return
        kind = answer.headers["content-type"]
        schema = said["content"][kind]["schema"]
        if one.is_file and answer.status == 200:
            assert (schema, kind) == ({}, one.case.media_type)
            return
        validator(json.dumps(schema)).validate(answer.json)

    return hold


NEEDED = {"GET /rehearsal": "?name=secrets&rule=true"}


@pytest.mark.parametrize("name", ALL)
def test_answers_are_as_the_document_says(api, check, name):
    one = ALL[name]
    path = url(one, OURS, api.ids[0])
    found = set()
    for query in ("?dry_run=true", "?limit=2", "?wrong=1", NEEDED.get(name, "")):
        for headers in ({"if-match": "*"}, {"if-match": '"v0"'}, {"if-none-match": '"v1"'}, {}):
            answer = api.call(one.case.method, path + query, body_of(one), headers=headers)
            check(one, answer)
            found.add(answer.status)
    if one.case.method == "GET" and one.case.path not in ELSEWHERE:
        plural = one.case.path.split("/")[3] if one.case.path.count("/") > 3 else ""
        assert (200 in found) is (not plural or plural in OURS)
    assert 422 in found


def test_the_document_is_served(api, document):
    answer = api.call("GET", "/openapi.json")
    assert answer.json == json.loads(json.dumps(document))
    assert len(answer.body) < 750_000


def test_problem_types_lead_to_what_they_mean(api):
    found = api.call("GET", "/nowhere").json["type"]
    assert found == "/api/v1/problems/missing"
    assert api.call("GET", found.removeprefix("/api/v1")).json["status"] == 404
    assert api.call("GET", "/problems/other").problem == "missing"


def test_the_largest_body_that_an_endpoint_takes_comes_through():
    assert max(one.case.max_body for one in ENDPOINTS) == MOST_OF_CALLS


def test_every_endpoint_has_a_name_of_its_own():
    assert len({one.name for one in ENDPOINTS}) == len(ENDPOINTS)
    assert len(ROUTES) == len({one.case.path for one in ENDPOINTS}) + 1


@pytest.mark.parametrize("text", ["%2e%2e", "a%00b", "é", "a" * 3000, "%2F%2F", "' OR 1=1", "<script>", "\u2028"])
def test_names_that_nobody_would_give(api, check, text):
    for name in (
        "GET /queue/{message}",
        "GET /trace/{id}",
        "GET /history/{version}",
        "GET /organizations/{organization}",
    ):
        one = ALL[name]
        answer = api.call("GET", one.template.replace(f"{{{one.case.path_names[0]}}}", text or quote(text)))
        assert answer.status in {404, 422}
        check(one, answer)
