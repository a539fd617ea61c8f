from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from gatepost.language import in_language, language
from gatepost.manage.access.principal import ROLES, Principal, Role, Scope
from gatepost.manage.pages.guard import (
    accounts_of,
    begin_session,
    every,
    for_readers,
    gateway_of,
    needs,
    needs_scope,
    not_there,
    or_not_there,
    own_organizations,
    perform,
    principal_of,
)
from gatepost.manage.use_cases.declaration import Items
from gatepost.manage.use_cases.doctor import ExamineGateway, examine_gateway
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resource_views import ListOwnOrganizations, list_own_organizations
from gatepost.manage.use_cases.users import ListUsers

HERE = frozenset({"contoso"})
OWNER = Principal("owner", ROLES[Role.OWNER])
AUDITOR = Principal("auditor", ROLES[Role.AUDITOR])
ADMINISTRATOR = Principal("administrator", ROLES[Role.ADMINISTRATOR])
TENANT = Principal("tenant", ROLES[Role.ADMINISTRATOR], HERE)
READER = Principal("reader", ROLES[Role.AUDITOR], HERE)
NOBODY = Principal("nobody", frozenset(Scope), frozenset())


def request(principal):
    app = SimpleNamespace(state=SimpleNamespace(accounts="accounts", gateway="gateway"))
    scope = {"type": "http", "client": ("192.0.2.7", 5), "headers": [], "state": {}}
    return SimpleNamespace(state=SimpleNamespace(principal=principal), app=app, scope=scope)


def status(check, *given):
    try:
        check(*given)
    except HTTPException as refused:
        return refused.status_code
    return 200


# who, what they want to do, where -> the answer
WANTED = [
    (OWNER, Scope.CONNECTORS, "contoso", 200),
    (OWNER, Scope.OWNER, None, 200),
    (ADMINISTRATOR, Scope.CERTIFICATES, None, 200),
    (ADMINISTRATOR, Scope.OWNER, None, 403),
    (AUDITOR, Scope.READ, "contoso", 200),
    (AUDITOR, Scope.CONNECTORS, "contoso", 403),
    (AUDITOR, Scope.CONNECTORS, None, 403),
    (TENANT, Scope.CONNECTORS, "contoso", 200),
    (TENANT, Scope.CONNECTORS, "fabrikam", 404),
    (TENANT, Scope.CONNECTORS, "", 404),
    (TENANT, Scope.CERTIFICATES, None, 404),
    (TENANT, Scope.READ, None, 404),
    (READER, Scope.CONNECTORS, "contoso", 403),
    (READER, Scope.CONNECTORS, "fabrikam", 404),
    (NOBODY, Scope.READ, "contoso", 404),
    (NOBODY, Scope.READ, None, 404),
]


@pytest.mark.parametrize(("principal", "scope", "organization", "expected"), WANTED)
def test_what_is_not_seen_is_not_there_and_what_is_seen_may_be_forbidden(principal, scope, organization, expected):
    given = request(principal)
    assert status(needs, given, scope, organization) == expected
    if expected == 200:
        assert needs(given, scope, organization) is principal


def test_who_asks_for_what_is_not_seen_is_noted_for_the_record():
    """The answer tells a tenant nothing; what the owner reads says why."""
    given = request(TENANT)
    status(needs, given, Scope.CONNECTORS, "fabrikam")
    assert "organization that the user cannot see" in repr(given.scope["state"])
    text = str(not_there().detail)
    assert "fabrikam" not in text


# who, what they want to do somewhere -> the answer
SOMEWHERE = [
    (OWNER, Scope.QUEUE, 200),
    (AUDITOR, Scope.QUEUE, 403),
    (TENANT, Scope.QUEUE, 200),
    (READER, Scope.QUEUE, 403),
    (Principal("operator", ROLES[Role.OPERATOR], HERE), Scope.QUEUE, 200),
    (Principal("none", frozenset()), Scope.READ, 403),
]


@pytest.mark.parametrize(("principal", "scope", "expected"), SOMEWHERE)
def test_who_may_do_it_anywhere(principal, scope, expected):
    assert status(needs_scope, request(principal), scope) == expected


def test_what_a_refusal_says_is_what_to_do():
    for check in (needs, needs_scope):
        with pytest.raises(HTTPException, match=r"it needs the permission “queue”\. An owner can change your role"):
            check(request(AUDITOR), Scope.QUEUE)


def test_what_is_the_gateways_is_not_there_for_a_tenant_whatever_page_asks(monkeypatch):
    monkeypatch.setattr("gatepost.manage.pages.guard.execute", lambda *_: None)
    for principal, expected in ((OWNER, 200), (ADMINISTRATOR, 200), (TENANT, 404), (READER, 404), (NOBODY, 404)):
        given = request(principal)
        given.state.session = None
        assert status(perform, given, examine_gateway, ExamineGateway(offline=True)) == expected


def test_a_session_that_has_just_begun_is_that_of_the_request():
    user = SimpleNamespace(name="owner", preferences=SimpleNamespace(language="sv"))
    begun = SimpleNamespace(user=user, principal=OWNER, csrf="00" * 32)
    asked = request(READER)
    asked.app.state.accounts = SimpleNamespace(session={"secret": begun}.get)
    assert begin_session(asked, "over") is None
    assert asked.state.principal == READER
    with in_language("en"):
        assert begin_session(asked, "secret") is begun
        assert language() == "sv"
    assert (asked.state.session, asked.state.principal) == (begun, OWNER)


def test_who_and_where():
    given = request(TENANT)
    assert principal_of(given) is TENANT
    assert (accounts_of(given), gateway_of(given)) == ("accounts", "gateway")


@pytest.mark.parametrize("kind", list(RefusalKind))
def test_what_is_missing_is_a_page_that_is_not_there(kind):
    expected = HTTPException if kind is RefusalKind.MISSING else Refusal
    with pytest.raises(expected) as raised, or_not_there("There is no such thing."):
        raise Refusal(kind, "'gatepost history' lists those there are")
    assert kind is not RefusalKind.MISSING or (raised.value.status_code, raised.value.detail) == (
        404,
        "There is no such thing.",
    )
    with or_not_there(""):
        pass


@pytest.mark.parametrize(
    ("method", "scopes", "expected"),
    [
        ("GET", {Scope.READ}, 200),
        ("GET", {Scope.OWNER}, 200),
        ("GET", {Scope.QUEUE, Scope.CONNECTORS}, 403),
        ("HEAD", {Scope.QUEUE}, 403),
        ("POST", {Scope.QUEUE}, 200),
        ("GET", set(), 403),
    ],
)
def test_a_page_is_for_readers_and_a_form_asks_for_its_own_right(method, scopes, expected):
    def shown(request):
        assert request.path_params == {"name": "x"}
        return Response("it")

    page = for_readers(Route("/page/{name}", shown, methods=["GET", "POST"], name="outbound"))
    assert (page.path, page.name, page.methods) == ("/page/{name}", "outbound", {"GET", "HEAD", "POST"})
    state = {"principal": Principal("p", frozenset(scopes))}
    app = Starlette(routes=[page])
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": "/page/x", "headers": [], "query_string": b"", "state": state}
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == expected


def test_a_use_case_is_executed_with_what_the_request_is(monkeypatch):
    monkeypatch.setattr("gatepost.manage.pages.guard.execute", lambda case, context, request: (case, context, request))
    state = SimpleNamespace(gateway=object(), accounts=object())
    scope = {"client": ("192.0.2.7", 4711), "state": {}}
    request = SimpleNamespace(
        app=SimpleNamespace(state=state), scope=scope, state=SimpleNamespace(principal=OWNER, session=None)
    )
    case, context, asked = perform(request, list_own_organizations, "asked")
    assert (case, asked, context.gateway) == (list_own_organizations, "asked", state.gateway)
    assert context.principal == OWNER
    assert (context.address, context.dry_run, context.expected) == ("192.0.2.7", False, None)
    assert context.accounts is state.accounts


def test_a_list_is_read_page_by_page(monkeypatch):
    pages = {"": Items(["a", "b"], after="b"), "b": Items(["c"], after=None)}
    monkeypatch.setattr("gatepost.manage.pages.guard.perform", lambda _request, _case, wanted: pages[wanted.after])
    assert list(every(SimpleNamespace(), "case", ListUsers())) == ["a", "b", "c"]


def test_own_organizations_are_those_of_the_use_case(monkeypatch):
    monkeypatch.setattr("gatepost.manage.pages.guard.perform", lambda _, case, wanted: Items([(case, wanted)]))
    assert own_organizations(SimpleNamespace()) == [(list_own_organizations, ListOwnOrganizations())]
