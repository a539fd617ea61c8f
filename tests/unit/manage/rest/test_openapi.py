from __future__ import annotations

import json
from typing import Annotated, Any

import jsonschema_rs
import msgspec
import pytest
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.openapi import document, statuses
from gatepost.manage.use_cases.declaration import Document, Items, Visibility
from gatepost.manage.use_cases.paging import After, Limit
from gatepost.policy.connectors.records import Mailbox, Organization, OutboundConnector

from .conftest import example


class Inner(msgspec.Struct):
    name: str


class Thing(msgspec.Struct):
    inner: Inner


DOCUMENT = ("document", dict[str, Any])
CHANGE = {"dry_run": True, "guarded": True, "versioned": True, "scope": Scope.CONNECTORS}
ADDRESS = [("name", Annotated[str, Meta(description="An address.")])]
WANTED = [
    ("limit", Limit, 100),
    ("after", After, ""),
    ("wanted", Annotated[str, Meta(description="Which.")]),
    ("tag", list[str], []),
]
ENDPOINTS = [
    example("GET /things", "", *WANTED, result=Items[Thing], doc="Things.\n\nAbout."),
    example("GET /mail/{name:path}", "", *ADDRESS, result_document=Document(Mailbox), versioned=True),
    example("POST /mail", "", DOCUMENT, result=Thing, body=Document(Mailbox), status=201, **CHANGE),
    example("PATCH /mail/{name:path}", "", DOCUMENT, result=Thing, body=Document(Mailbox, whole=False), **CHANGE),
    example(
        "PUT /all",
        "",
        DOCUMENT,
        result=Thing,
        body=Document(Organization, named=True),
        visibility=Visibility.GATEWAY,
        **CHANGE,
    ),
    example(
        "PUT /one", "", DOCUMENT, result=Thing, body=Document(Organization, nameless=True), may_create=True, **CHANGE
    ),
    example("POST /actions", "", ("name", str), result=dict[str, int]),
]


@pytest.fixture(scope="module")
def made():
    return document(ENDPOINTS)


def references(value):
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for one in value.values():
            yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def test_it_is_json_whose_references_lead_somewhere(made):
    assert json.loads(json.dumps(made)) == made
    names = {f"#/components/schemas/{name}" for name in made["components"]["schemas"]}
    assert set(references(made)) <= names


def test_every_schema_is_one(made):
    for name, schema in made["components"]["schemas"].items():
        jsonschema_rs.meta.validate(schema | {"$schema": "https://json-schema.org/draft/2020-12/schema"})
        assert name


def parameters(made, method, path):
    return {one["name"]: one for one in made["paths"][path][method]["parameters"]}


def test_parameters(made):
    found = parameters(made, "get", "/things")
    assert list(found) == ["limit", "after", "wanted", "tag"]
    assert found["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}
    assert found["wanted"] == {
        "name": "wanted",
        "in": "query",
        "required": True,
        "schema": {"type": "string"},
        "description": "Which.",
    }
    assert list(parameters(made, "get", "/mail/{name}")) == ["name", "If-None-Match"]
    assert parameters(made, "get", "/mail/{name}")["name"]["description"] == "An address."
    assert list(parameters(made, "post", "/mail")) == ["dry_run", "If-Match"]


RESPONSES = [
    ("get", "/things", {"200", "400", "401", "403", "404", "413", "421", "422", "429", "500", "503"}),
    ("get", "/mail/{name}", {"200", "304", "400", "401", "403", "404", "413", "421", "422", "429", "500", "503"}),
    (
        "post",
        "/mail",
        {
            "200",
            "201",
            "400",
            "401",
            "403",
            "404",
            "409",
            "412",
            "413",
            "415",
            "421",
            "422",
            "428",
            "429",
            "500",
            "503",
        },
    ),
    ("post", "/actions", {"200", "400", "401", "403", "404", "413", "415", "421", "422", "429", "500", "503"}),
]


@pytest.mark.parametrize(("method", "path", "expected"), RESPONSES)
def test_every_status_is_declared(made, method, path, expected):
    found = made["paths"][path][method]["responses"]
    assert set(found) == expected
    for status in expected - {"200", "201", "304"}:
        assert list(found[status]["content"]) == ["application/problem+json"]


@pytest.mark.parametrize("status", [401, 403, 413, 421])
def test_what_is_refused_before_a_call_is_heard_is_declared_for_all(status):
    assert status in statuses(example("GET /things", scope=None))


def test_headers_of_answers(made):
    assert set(made["paths"]["/mail"]["post"]["responses"]["201"]["headers"]) == {"ETag", "Location"}
    assert set(made["paths"]["/things"]["get"]["responses"]["200"]["headers"]) == {"Link"}


def test_bodies(made):
    content = made["paths"]["/mail/{name}"]["patch"]["requestBody"]["content"]
    assert set(content) == {"application/json", "application/merge-patch+json"}
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/MailboxPatch"}
    assert "403" in made["paths"]["/all"]["put"]["responses"]
    assert made["paths"]["/all"]["put"]["description"] == (
        "Needs the scope `connectors`. Not for tokens of some organizations."
    )
    assert made["paths"]["/things"]["get"]["description"] == "About. Needs the scope `read`."


def schema_of(made, name):
    return jsonschema_rs.validator_for({"$ref": f"#/components/schemas/{name}", "components": made["components"]})


# schema, value -> whether it is one
VALUES = [
    ("Mailbox", {"address": "ann@contoso.example"}, True),
    ("Mailbox", {}, False),
    ("Mailbox", {"address": "ann@contoso.example", "alias": []}, False),
    ("MailboxPatch", {}, True),
    ("MailboxPatch", {"aliases": None}, True),
    ("MailboxPatch", {"aliases": "ann"}, False),
    ("Organization", {"name": "a", "message_expiration": "24h"}, True),
    ("Organization", {"name": "a", "message_expiration": 900}, True),
    ("OrganizationTable", {"message_expiration": 900}, True),
    ("OrganizationTable", {"name": "a"}, False),
    ("Organization", {"name": "a", "outbound_connector": [{"name": "a", "smart_hosts": ["mx.b.example:25"]}]}, True),
    ("Organization", {"name": "a", "outbound_connector": [{"name": "a", "smart_hosts": [{"host": "b"}]}]}, False),
]


@pytest.mark.parametrize(("name", "value", "expected"), VALUES)
def test_resources_are_described_as_they_are_written(made, name, value, expected):
    assert schema_of(made, name).is_valid(value) is expected


def test_two_schemas_of_one_name():
    class Mailbox(msgspec.Struct):
        other: str

    with pytest.raises(ValueError, match="name Mailbox"):
        document([*ENDPOINTS, example("GET /other", result=Mailbox)])


def test_patches_stand_beside_what_they_change():
    found = document([example("PATCH /things", "", DOCUMENT, body=Document(OutboundConnector, whole=False))])[
        "components"
    ]["schemas"]
    whole, patch = found["OutboundConnector"], found["OutboundConnectorPatch"]
    assert whole["properties"].keys() == patch["properties"].keys()
    assert whole["required"] == ["name"]
    assert "required" not in patch
