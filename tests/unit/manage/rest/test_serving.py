from __future__ import annotations

import logging
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.rest import serving
from gatepost.manage.rest.serving import etag, is_known, may_change, routes
from gatepost.manage.use_cases.declaration import MAX_BODY, Document, Items, UseCaseReply, Visibility
from gatepost.manage.use_cases.paging import After, Limit, page_of
from gatepost.manage.use_cases.refusal import BusyRefusal, Refusal, RefusalKind
from gatepost.policy.connectors.errors import FieldError
from gatepost.policy.connectors.records import Mailbox

from .conftest import example


class Thing(msgspec.Struct):
    name: str
    size: int = 1
    tags: list[str] = []


FIELDS = [("name", str), ("size", Annotated[int, Meta(ge=1)], 1), ("tags", list[str], [])]
PAGES = [("limit", Limit, 100), ("after", After, ""), ("tag", list[str], []), ("since", float, 0.0)]


def thing(context, request):
    return Thing(getattr(request, "name", "a"))


def raising(error):
    def function(context, request):
        raise error

    return function


def changed(context, request):
    """Makes a version, and says how it was asked."""
    if not context.dry_run:
        with context.config() as store:
            store.apply({"organization": {"o": {"display_name": request.name}}}, author=context.principal.name)
    return UseCaseReply({"expected": context.expected, "dry": context.dry_run}, version=7, location="/things/a")


def letters(context, request):
    return page_of(list("abcdefg"), str, request, lambda one: Thing(one, tags=request.tag))


REFUSALS = {kind: Refusal(kind, "why", [FieldError("a.b", "c")]) for kind in RefusalKind}
ENDPOINTS = [
    example("GET /things", thing),
    example("POST /things", changed, *FIELDS, status=201, dry_run=True, guarded=True, max_body=100),
    example(
        "PATCH /things/{name:path}",
        lambda _, request: request.document,
        ("document", dict),
        body=Document(Mailbox, whole=False),
    ),
    example("GET /things/{name:path}", thing),
    example("GET /letters", letters, *PAGES, result=Items[Thing]),
    example("GET /versioned", lambda *_: UseCaseReply(Thing("v"), version=17), versioned=True),
    example("GET /gateway", thing, visibility=Visibility.GATEWAY),
    example("GET /anyone", thing, scope=None),
    example("GET /of/{organization}/it", thing, visibility=Visibility.ORGANIZATION),
    example("POST /queue", thing, scope=Scope.QUEUE),
    example("GET /broken", raising(RuntimeError("the password is swordfish"))),
    example("POST /lost", raising(BusyRefusal("later"))),
    *[example(f"POST /refused/{kind}", raising(refusal), dry_run=True) for kind, refusal in REFUSALS.items()],
]


@pytest.fixture
def api(api_of):
    return api_of(*ENDPOINTS)


def principal(*scopes, organizations=None):
    return Principal("token t", frozenset(scopes), None if organizations is None else frozenset(organizations))


READER = principal(Scope.READ)
WHOLE = principal(Scope.READ)
TENANT = principal(Scope.READ, Scope.CONNECTORS, organizations=["contoso"])

# who asks, method, path -> status, problem
ACCESS = [
    (None, "GET", "/things", 401, "unauthenticated"),
    (None, "DELETE", "/things", 401, "unauthenticated"),
    (None, "GET", "/nowhere", 401, "unauthenticated"),
    (None, "GET", "/anyone", 401, "unauthenticated"),
    (principal(), "GET", "/anyone", 200, None),
    (principal(), "GET", "/things", 403, "forbidden"),
    (READER, "GET", "/things", 200, None),
    (READER, "GET", "/gateway", 200, None),
    (READER, "POST", "/queue", 403, "forbidden"),
    (principal(Scope.OWNER), "POST", "/queue", 200, None),
    (principal(Scope.QUEUE), "POST", "/queue", 200, None),
    (TENANT, "GET", "/gateway", 403, "forbidden"),
    (TENANT, "GET", "/of/contoso/it", 200, None),
    (TENANT, "GET", "/of/fabrikam/it", 404, "missing"),
    (principal(Scope.QUEUE, organizations=["contoso"]), "GET", "/of/contoso/it", 403, "forbidden"),
    (principal(Scope.QUEUE, organizations=["contoso"]), "GET", "/of/fabrikam/it", 404, "missing"),
    (READER, "GET", "/of/whatever/it", 200, None),
    (READER, "GET", "/nowhere", 404, "missing"),
    (READER, "GET", "/things/", 404, None),
    (READER, "DELETE", "/things", 405, "method"),
    (READER, "OPTIONS", "/things", 405, "method"),
]


@pytest.mark.parametrize(("who", "method", "path", "status", "problem"), ACCESS)
def test_who_may_ask_for_what(api, who, method, path, status, problem):
    api.who = who
    answer = api.call(method, path)
    if path == "/things/":  # the name is empty, and the path takes it
        assert answer.status == 200
        return
    assert answer.status == status
    if problem:
        assert answer.problem == problem


def test_statuses_bring_the_fields_that_go_with_them(api):
    api.who = None
    assert api.call("GET", "/things").headers["www-authenticate"] == 'Bearer realm="gatepost"'
    api.who = READER
    assert api.call("DELETE", "/things").headers["allow"] == "GET, HEAD, POST"
    assert api.call("POST", "/lost").headers["retry-after"] == str(BusyRefusal("later").again)


def test_a_name_may_have_slashes(api):
    assert api.call("GET", "/things/a/b").json["name"] == "a/b"


JSON = {"content-type": "application/json"}
NAME = {"name": "a"}

# body, header fields, further arguments -> status, problem
BODIES = [
    (NAME, {}, {}, 201, None),
    (NAME, {"content-type": "application/json; charset=utf-8"}, {}, 201, None),
    (NAME, {"content-type": "text/plain"}, {}, 415, "media-type"),
    (NAME, {"content-type": "application/merge-patch+json"}, {}, 415, "media-type"),
    (NAME, {"content-type": None}, {}, 415, "media-type"),
    (NAME, {"content-encoding": "gzip"}, {}, 415, "media-type"),
    (b"", JSON, {}, 400, "malformed"),
    (b"{", JSON, {}, 400, "malformed"),
    (b"[" * 99, JSON, {}, 400, "malformed"),
    (b"\xff\xfe", JSON, {}, 400, "malformed"),
    (b"[1]", JSON, {}, 400, "malformed"),
    (b"null", JSON, {}, 400, "malformed"),
    ({"name": "a" * 100}, {}, {}, 413, "too-large"),
    (None, {}, {"chunks": [b'{"name": "a', b"a" * 100, b'"}']}, 413, "too-large"),
    (None, {}, {"chunks": [b'{"name": ', b'"a"}']}, 201, None),
    (None, {}, {"chunks": [b'{"name": ', None]}, 400, "malformed"),
]


@pytest.mark.parametrize(("body", "headers", "more", "status", "problem"), BODIES)
def test_bodies(api, body, headers, more, status, problem):
    answer = api.call("POST", "/things", body, headers={"if-match": "*", **headers}, **more)
    assert answer.status == status
    if problem:
        assert answer.problem == problem
        with api.gateway.config() as store:
            assert store.version() == 0


# body, further arguments -> status, paths of what is wrong; the use case has no field that could stand in it
UNDECLARED = [
    (None, {}, 200, None),
    (b"", {"headers": {"content-type": "application/x-www-form-urlencoded"}}, 200, None),
    ({}, {}, 200, None),
    (b"{}", {"headers": {"content-type": "text/plain"}}, 200, None),
    ({"size": 2048}, {}, 422, ["size"]),
    (None, {"chunks": [b'{"size"', b": 2048}"]}, 422, ["size"]),
    (b"size=2048", {"headers": {"content-type": "application/x-www-form-urlencoded"}}, 400, None),
    (b'{"size": "' + b"a" * MAX_BODY + b'"}', {}, 413, None),
]


@pytest.mark.parametrize("call", [("POST", "/queue"), ("GET", "/anyone")])
@pytest.mark.parametrize(("body", "more", "status", "paths"), UNDECLARED)
def test_a_body_that_would_have_no_effect_is_refused(api, call, body, more, status, paths):
    answer = api.call(*call, body, **more)
    assert answer.status == status
    if paths:
        assert answer.paths == paths
        assert "no effect" in answer.json["errors"][0]["message"]


def test_a_body_nested_too_deeply(api_of):
    api = api_of(example("POST /things", thing, *FIELDS))
    assert api.call("POST", "/things", b'{"name":' + b"[" * 100_000).problem == "malformed"


@pytest.mark.parametrize("kind", ["application/json", "application/merge-patch+json"])
def test_a_merge_patch_may_be_called_so(api, kind):
    patch = {"aliases": None}
    assert api.call("PATCH", "/things/a", patch, headers={"content-type": kind}).json == patch


# query, body -> the paths of what is wrong
WRONG = [
    ("", {}, ["name"]),
    ("", {"name": 5, "size": 0, "tags": ["a", 5], "nmae": ""}, ["nmae", "name", "size", "tags[1]"]),
    ("?dry_run=perhaps", {"size": "5"}, ["query.dry_run", "name", "size"]),
    ("?dry_run=true&dry_run=true", NAME, ["query.dry_run"]),
    ("?limit=5", NAME, ["query.limit"]),
]


@pytest.mark.parametrize(("query", "body", "paths"), WRONG)
def test_everything_that_is_wrong_is_said_at_once(api, query, body, paths):
    answer = api.call("POST", f"/things{query}", body, headers={"if-match": "*"})
    assert answer.problem == "invalid"
    assert answer.paths == paths


LISTS = [
    ("?limit=0", ["query.limit"]),
    ("?limit=1001&after=%21&since=x", ["query.limit", "query.since"]),
    ("?limit=1&limit=2", ["query.limit"]),
    ("?lmit=1", ["query.lmit"]),
    ("?dry_run=true", ["query.dry_run"]),
    ("?after=%21", ["query.after"]),
]


@pytest.mark.parametrize(("query", "paths"), LISTS)
def test_parameters_that_are_wrong(api, query, paths):
    answer = api.call("GET", f"/letters{query}")
    assert answer.problem == "invalid"
    assert answer.paths == paths


def test_a_list_comes_page_by_page(api):
    url, names = "/letters?limit=3&tag=x&tag=y", []
    while url:
        answer = api.call("GET", url)
        assert all(one["tags"] == ["x", "y"] for one in answer.json["items"])
        names.append("".join(one["name"] for one in answer.json["items"]))
        behind = answer.json["next"]
        assert answer.headers.get("link") == (f'<{behind}>; rel="next"' if behind else None)
        url = behind.removeprefix("/api/v1") if behind else ""
    assert names == ["abc", "def", "g"]


def test_pages_may_bring_a_version(api_of):
    api = api_of(example("GET /things", lambda *_: Items([Thing("a")], None, 3), result=Items[Thing]))
    assert api.call("GET", "/things").headers["etag"] == '"v3"'


# If-None-Match -> status
KNOWN = [("", 200), ('"v17"', 304), ('W/"v17"', 304), ("*", 304), ('"v1", "v17"', 304), ('"v1"', 200), ("v17", 200)]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("value", "status"), KNOWN)
def test_what_is_known_is_not_sent_again(api, method, value, status):
    answer = api.call(method, "/versioned", headers={"if-none-match": value} if value else {})
    assert answer.status == status
    assert answer.headers["etag"] == '"v17"'
    assert answer.headers["vary"] == "Authorization, Cookie", "who asks next with this browser may see less"
    assert bool(answer.body) == (status == 200 and method == "GET")


def test_head_says_what_get_would(api):
    assert api.call("HEAD", "/things").headers == api.call("GET", "/things").headers


# If-Match, query -> status, the version that must still be in force. One is in force.
GUARDED = [
    (None, "", 428, None),
    ("*", "", 201, None),
    ('"v1"', "", 201, 1),
    ('"v0", "v1"', "", 201, 1),
    ('"v0"', "", 412, None),
    ('W/"v1"', "", 412, None),
    ("v1", "", 412, None),
    (None, "?dry_run=true", 200, None),
    (None, "?dry_run=false", 428, None),
    ('"v0"', "?dry_run=true", 412, None),
    ('"v1"', "?dry_run=1", 200, 1),
]


@pytest.mark.parametrize(("if_match", "query", "status", "expected"), GUARDED)
def test_a_change_says_what_it_was_made_from(api, if_match, query, status, expected):
    with api.gateway.config() as store:
        store.apply({"organization": {"o": {}}}, author="ann")
    answer = api.call("POST", f"/things{query}", NAME, headers={"if-match": if_match})
    assert answer.status == status
    with api.gateway.config() as store:
        assert store.version() == (2 if status == 201 else 1)
    if status == 412:
        assert (answer.problem, answer.headers["etag"]) == ("precondition", '"v1"')
    elif status == 428:
        assert answer.problem == "unguarded"
    else:
        assert answer.json == {"expected": expected, "dry": status == 200}
        assert answer.headers.get("location") == ("/api/v1/things/a" if status == 201 else None)


def test_if_match_that_is_overtaken_while_it_is_done(api_of):
    def overtaken(context, request):
        with context.config() as store:
            store.apply({"organization": {"o": {}}}, author="bob")
        raise Refusal(RefusalKind.CONFLICT, "overtaken")

    api = api_of(example("POST /things", overtaken, dry_run=True, guarded=True))
    assert api.call("POST", "/things", headers={"if-match": '"v0"'}).status == 412
    assert api.call("POST", "/things", headers={"if-match": "*"}).status == 409


def test_a_conflict_that_is_none_of_versions(api_of):
    there = raising(Refusal(RefusalKind.CONFLICT, "there is one already"))
    api = api_of(example("POST /things", there, dry_run=True, guarded=True))
    assert api.call("POST", "/things", headers={"if-match": '"v0"'}).status == 409


@pytest.mark.parametrize(
    ("kind", "status"),
    [(RefusalKind.INPUT, 422), (RefusalKind.MISSING, 404), (RefusalKind.CONFLICT, 409), (RefusalKind.UNREADABLE, 503)],
)
def test_what_administration_refuses(api, kind, status):
    answer = api.call("POST", f"/refused/{kind}")
    assert answer.status == status
    assert answer.problem
    assert answer.json["detail"] == "why"
    assert answer.json["errors"] == [{"path": "a.b", "message": "c"}]


def test_a_store_that_cannot_be_opened(api):
    api.gateway.data.parent.joinpath("data").write_text("no directory")
    assert api.call("POST", "/things", NAME, headers={"if-match": '"v1"'}).status == 503


def test_what_nobody_expected_is_in_the_log_alone(api, caplog):
    with caplog.at_level(logging.ERROR):
        answer = api.call("GET", "/broken")
    assert answer.problem == "internal"
    assert b"swordfish" not in answer.body
    assert answer.json["instance"] in caplog.text
    assert answer.json["instance"] in answer.json["detail"]


def test_a_method_is_declared_once():
    with pytest.raises(ValueError, match="declared twice"):
        routes([example("GET /things"), example("GET /things")])


def test_a_path_of_its_own_comes_before_one_with_names_whatever_the_order():
    given = ("GET /things/{name:path}", "GET /things/{name}/of/it", "GET /things/{name}", "POST /things/actions")
    found = [route.path.removeprefix("/api/v1") for route in routes(example(one) for one in given)]
    assert found[:4] == ["/things/actions", "/things/{name}", "/things/{name}/of/it", "/things/{name:path}"]


# header field -> whether it lets version 17 be changed (strong), whether it knows version 17 (weak)
ENTITY_TAGS = [
    ('"v17"', True, True),
    (" * ", True, True),
    ('"v16", "v17"', True, True),
    ('W/"v17"', False, True),
    ('"v16", W/"v17"', False, True),
    ('"v170"', False, False),
    ("v17", False, False),
    ('""', False, False),
    ("", False, False),
    ('"v17', False, False),
]


@pytest.mark.parametrize(("value", "changes", "known"), ENTITY_TAGS)
def test_entity_tags(value, changes, known):
    assert (may_change(value, 17), is_known(value, 17)) == (changes, known)


def test_the_tag_of_a_version_matches_itself():
    assert etag(17) == '"v17"'
    assert may_change(etag(3), 3)
    assert not may_change(etag(3), 4)


LARGE = 2 << 20
DOCUMENT = example(
    "PATCH /document", lambda *_: Thing("a"), ("document", dict), body=Document(Mailbox, whole=False), max_body=LARGE
)


@pytest.mark.parametrize(
    ("who", "body", "status"),
    [
        (TENANT, b'{"x":[' + b"{}," * 20_000 + b"{}]}", 400),
        (TENANT, b'{"x":[' + b"1," * 20_000 + b"1]}", 400),
        (TENANT, b'{"x":[' + b'"a@b.example",' * 20_000 + b"1]}", 200),
        (TENANT, b'{"x":[' + b"1," * 900 + b"1]}", 200),
        (TENANT, b'{"x":"' + b"a" * (1 << 20) + b'"}', 200),
        (TENANT, b'{"x":"' + b"a" * (1 << 20) + b'a"}' + b" " * (1 << 16), 413),
        (WHOLE, b'{"x":[' + b"{}," * 20_000 + b"{}]}", 200),
        (WHOLE, b'{"x":"' + b"a" * (1 << 20) + b'a"}' + b" " * (1 << 16), 200),
    ],
)
def test_what_the_administrators_of_an_organization_send_is_of_a_size_that_they_can_store(
    api_of, monkeypatch, who, body, status
):
    api = api_of(DOCUMENT)
    monkeypatch.setitem(vars(api.gateway.settings.limits), "organization_bytes", 1 << 20)
    api.who = who
    assert api.call("PATCH", "/document", body).status == status


def test_large_bodies_of_organizations_take_turns(api_of, monkeypatch):
    monkeypatch.setattr(serving, "_PATIENCE", 0.05)
    api = api_of(DOCUMENT)

    def asked(who, octets):
        api.who = who
        return api.call("PATCH", "/document", b'{"x":"' + b"a" * octets + b'"}')

    assert serving._large_bodies.acquire(TENANT.share_key)
    try:
        answer = asked(TENANT, MAX_BODY)
        assert (answer.status, answer.problem, answer.headers["retry-after"]) == (429, "throttled", "10")
        assert asked(principal(Scope.READ, organizations=["fabrikam"]), MAX_BODY).status == 200
        assert asked(WHOLE, MAX_BODY).status == 200
        assert asked(TENANT, 1).status == 200
    finally:
        serving._large_bodies.release(TENANT.share_key)
    assert asked(TENANT, MAX_BODY).status == 200
