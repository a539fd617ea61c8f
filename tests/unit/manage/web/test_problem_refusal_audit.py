from __future__ import annotations

import pytest

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import Principal, Role, Scope
from gatepost.manage.access.records import Actor, AuditOutcome
from gatepost.manage.web import problem
from gatepost.manage.web.problem import RefusalAuditMiddleware, address_of, note_refusal
from gatepost.settings.store_url import SQLITE
from gatepost.store.interface import StoreFailure
from gatepost.store.storage import Storage


@pytest.fixture
def accounts(tmp_path):
    accounts = Accounts(Storage(SQLITE, tmp_path))
    accounts.add_user("ann", Role.OWNER, "a long enough passphrase", actor=Actor("root"))
    yield accounts
    accounts.close()


@pytest.fixture
def tried(accounts):
    """What is on record after an answer; a list of (who, subject, outcome, why)."""

    def tried(ask, status, *, why="", who="", client="192.0.2.1", app=None):
        async def answer(scope, receive, send):
            if why:
                note_refusal(scope, why)
            scope["state"]["principal"] = Principal(who, frozenset({Scope.READ})) if who else None
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        recording = app or RefusalAuditMiddleware(answer, accounts=accounts)
        assert ask(recording, "/x", "POST", client=client, state={}).status == status
        events = accounts.audit_events(accounts.user("ann").principal)
        found = [one for one in events if one.action == "request"]
        return [(one.who, one.address, one.subject, one.outcome, one.detail["why"]) for one in found]

    return tried


@pytest.mark.parametrize("status", [200, 303, 404, 409, 422, 500])
def test_what_was_not_refused_is_not_on_record(ask, tried, status):
    assert tried(ask, status) == []


@pytest.mark.parametrize(("status", "why"), [(403, "token or role"), (413, "too large"), (421, "host name")])
def test_what_was_refused_is_on_record(ask, tried, status, why):
    ((who, address, subject, outcome, said),) = tried(ask, status, who="joe")
    assert (who, address, subject, outcome) == ("joe", "192.0.2.1", "POST /x", AuditOutcome.REFUSED)
    assert why in said


def test_a_request_is_refused_though_the_audit_cannot_be_written(ask, accounts, monkeypatch, caplog):
    async def answer(scope, receive, send):
        await send({"type": "http.response.start", "status": 403, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def record(*_, **__):
        raise StoreFailure("access.db: database or disk is full")

    monkeypatch.setattr(accounts, "record", record)
    recording = RefusalAuditMiddleware(answer, accounts=accounts)
    assert ask(recording, "/x", client="192.0.2.1", state={}).status == 403
    (line,) = caplog.records
    assert line.getMessage() == (
        "the audit does not have a refused request from 192.0.2.1: access.db: database or disk is full"
    )
    assert line.exc_info is None


def test_why_is_said_by_who_knows_it(ask, tried):
    assert tried(ask, 404, why="of another") == [("", "192.0.2.1", "POST /x", AuditOutcome.REFUSED, "of another")]


@pytest.mark.parametrize(
    ("status", "organizations", "kept"),
    [(404, {"fabrikam"}, True), (404, {"contoso"}, False), (404, None, False), (200, {"fabrikam"}, False)],
)
def test_a_path_into_an_organization_that_is_not_seen_is_on_record(ask, accounts, status, organizations, kept):
    async def answer(scope, receive, send):
        scope["path_params"] = {"organization": "contoso"}
        seen = None if organizations is None else frozenset(organizations)
        scope["state"]["principal"] = Principal("tina", frozenset({Scope.READ}), seen)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    ask(RefusalAuditMiddleware(answer, accounts=accounts), "/connectors/contoso", state={})
    events = [one for one in accounts.audit_events(accounts.user("ann").principal) if one.action == "request"]
    assert [(one.who, one.organization) for one in events] == ([("tina", "")] if kept else [])


def test_unknown_tokens_are_kept_once_a_minute_for_each_address(ask, tried, accounts, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(problem.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(problem, "_REMEMBERED", 2)

    async def answer(scope, receive, send):
        note_refusal(scope, "no token")
        await send({"type": "http.response.start", "status": 401, "headers": []})

    app = RefusalAuditMiddleware(answer, accounts=accounts)
    counts = []
    for client, later in (("a", 0), ("a", 59), ("a", 1), ("b", 0), ("b", 1), ("c", 1), ("a", 1)):
        now[0] += later
        counts.append(len(tried(ask, 401, client=client, app=app)))
    assert counts == [1, 1, 2, 3, 3, 4, 5], "the one who came longest ago is forgotten"


def test_the_same_refusal_is_kept_once_a_minute_and_others_at_once(ask, accounts, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(problem.time, "monotonic", lambda: now[0])

    async def answer(scope, receive, send):
        note_refusal(scope, scope["query_string"].decode())
        await send({"type": "http.response.start", "status": 403, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    app = RefusalAuditMiddleware(answer, accounts=accounts)
    asked = [("/a?why", 0), ("/a?why", 59), ("/b?why", 0), ("/a?other", 0), ("/a?why", 1), ("/a?why", 1)]
    for path, later in asked:
        now[0] += later
        assert ask(app, path, "POST", client="192.0.2.1", state={}).status == 403
    kept = [(one.subject, one.detail["why"]) for one in accounts.audit_events(accounts.user("ann").principal)[:-1]]
    assert kept == [("POST /a", "why"), ("POST /a", "other"), ("POST /b", "why"), ("POST /a", "why")]


def test_the_address_of_the_other_side():
    assert [address_of({"client": ("::1", 5)}), address_of({"client": None}), address_of({})] == ["::1", "", ""]
