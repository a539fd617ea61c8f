from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.endpoint import RestEndpoint
from gatepost.manage.use_cases.context import Context
from gatepost.manage.use_cases.declaration import (
    DOCUMENT,
    Document,
    FileResult,
    InQuery,
    Items,
    UseCaseReply,
    Visibility,
    use_case,
)
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.policy.connectors.errors import FieldError
from gatepost.policy.connectors.records import Mailbox


class Thing(msgspec.Struct, kw_only=True, rename={"sender": "from"}):
    """A thing to be."""

    name: Annotated[str, Meta(description="Of the thing.")]
    number: Annotated[int, Meta(ge=1)] = 1
    sender: str = ""
    tags: list[str] = []
    wait: Annotated[float, InQuery()] = 0.0
    document: dict[str, Any] = {}


class Made(msgspec.Struct):
    """What was made."""

    thing: dict[str, Any]


def make(context: Context, request: Thing) -> UseCaseReply[Made]:
    """Make a thing."""
    if request.number == 7:
        raise Refusal(RefusalKind.INPUT, "No.", [FieldError("number", "is 7"), FieldError("wait", "is long")])
    return UseCaseReply(Made(msgspec.to_builtins(request)), 3, f"/things/{request.name}", created=request.number == 2)


def pages(context: Context, request: Thing) -> Items[Made]:
    """All things."""
    return Items([Made({"n": request.name})], "cursor", 5)


def read(context: Context, request: Thing) -> FileResult:
    """A thing."""
    return FileResult("thing.txt", [b"a", b"b"])


def declared(route, function=make, **options):
    return use_case(route, **({"scope": Scope.READ, "visibility": Visibility.SEEN, "tag": "things"} | options))(
        function
    )


def test_fields_come_from_path_query_and_body(api_of):
    api = api_of(RestEndpoint(declared("POST /things/{name:path}", may_create=True, versioned=True)))
    body = {"number": 2, "from": "x", "tags": ["a"]}
    answer = api.call("POST", "/things/a/b?wait=1.5", body)
    assert answer.json["thing"] == body | {"name": "a/b", "wait": 1.5, "document": {}}
    assert (answer.status, answer.headers["etag"], answer.headers["location"]) == (201, '"v3"', "/api/v1/things/a/b")
    assert api.call("POST", "/things/a", {}).status == 200


@pytest.mark.parametrize(
    ("url", "body", "paths"),
    [
        ("/things/a?wait=x&other=1", {"number": 0, "name": "b"}, ["query.other", "query.wait", "name", "number"]),
        ("/things/a", {"number": 7}, ["number", "query.wait"]),
    ],
)
def test_errors_say_where_in_the_call_they_are(api_of, url, body, paths):
    assert api_of(RestEndpoint(declared("POST /things/{name}"))).call("POST", url, body).paths == paths


def test_a_document_is_the_whole_body(api_of):
    case = declared("PUT /things/{name}", body=Document(Mailbox))
    assert case.body_names == ["number", "sender", "tags", DOCUMENT]
    answer = api_of(RestEndpoint(case)).call("PUT", "/things/a", {"any": "thing"})
    assert answer.json["thing"]["document"] == {"any": "thing"}


def test_lists_and_files(api_of):
    api = api_of(
        RestEndpoint(declared("GET /things/{name}", pages, versioned=True)),
        RestEndpoint(declared("GET /things/{name}/text", read, media_type="text/plain")),
    )
    answer = api.call("GET", "/things/a")
    assert (answer.json["items"], answer.headers["etag"]) == ([{"thing": {"n": "a"}}], '"v5"')
    assert answer.json["next"] == "/api/v1/things/a?after=cursor"
    answer = api.call("GET", "/things/a/text")
    assert (answer.body, answer.headers["content-type"]) == (b"ab", "text/plain; charset=utf-8")
    assert answer.headers["content-disposition"] == 'attachment; filename="thing.txt"'


def test_what_follows_from_the_declaration():
    one = RestEndpoint(declared("POST /things/{sender}/of/{name:path}"))
    assert one.template == "/things/{sender}/of/{name}"
    assert one.name == "post_things_sender_of_name"


@pytest.mark.parametrize(
    ("method", "body", "expected"),
    [
        ("PATCH", Document(Mailbox, whole=False), True),
        ("PATCH", Document(Mailbox, named=True), False),
        ("PUT", Document(Mailbox), False),
        ("PATCH", None, False),
    ],
)
def test_which_bodies_are_merge_patches(method, body, expected):
    assert RestEndpoint(declared(f"{method} /things/{{name}}", body=body)).takes_merge_patch is expected


def test_what_the_document_says():
    one = RestEndpoint(declared("POST /things/{name}"))
    assert (one.path_description("name"), one.body.__name__) == ("Of the thing.", "Thing")
    assert one.body.__doc__ == Thing.__doc__
