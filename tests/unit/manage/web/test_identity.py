from __future__ import annotations

import json

import pytest

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import Role, Scope
from gatepost.manage.access.records import Actor, AuditFilter, AuditOutcome
from gatepost.manage.web import identity
from gatepost.manage.web.identity import COOKIE, IdentityMiddleware, form_token, is_form_token, is_open
from gatepost.manage.web.problem import RefusalAuditMiddleware
from gatepost.manage.web.request_limits import FormBody
from gatepost.settings.store_url import SQLITE
from gatepost.store.interface import StoreBusy
from gatepost.store.storage import Storage

PASSWORD = "a long enough passphrase"
HERE = {"sec-fetch-site": "same-origin"}
FORM = HERE | {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
def accounts(tmp_path):
    accounts = Accounts(Storage(SQLITE, tmp_path))
    accounts.add_user("ann", Role.OWNER, PASSWORD, actor=Actor("root"))
    yield accounts
    accounts.close()


@pytest.fixture
def secret(accounts):
    return accounts.log_in("ann", PASSWORD, "127.0.0.1", "test")


@pytest.fixture
def app(accounts, echo):
    return RefusalAuditMiddleware(FormBody(IdentityMiddleware(echo, accounts=accounts)), accounts=accounts)


def cookie(secret):
    return {"cookie": f"other=1; {COOKIE}={secret}"}


def name(answer):
    found = answer.state["principal"]
    return found.name if found else None


def test_a_session_is_known_by_its_cookie(ask, app, secret):
    assert name(ask(app, headers=cookie(secret), state={})) == "ann"


@pytest.mark.parametrize("headers", [{}, cookie("wrong"), {"cookie": "\x00;;=="}, {"cookie": f"{COOKIE}="}])
def test_a_stranger_is_sent_to_the_log_in(ask, app, headers):
    answer = ask(app, "/trace?sender=a%40b&x=%2F%2F", headers=headers, state={})
    assert answer.status == 303
    assert answer.headers["location"] == "/login?next=%2Ftrace%3Fsender%3Da%2540b%26x%3D%252F%252F"
    assert answer.headers["hx-redirect"] == answer.headers["location"]


def test_a_stranger_s_form_is_not_repeated_after_the_log_in(ask, app):
    assert ask(app, "/x", "POST", headers=FORM, state={}).headers["location"] == "/login?lost=yes"
    assert ask(app, "/", headers={}, state={}).headers["location"] == "/login"


@pytest.mark.parametrize(
    ("path", "is_so"),
    [
        ("/login", True),
        ("/setup", True),
        ("/static/x.css", True),
        ("/static", False),
        ("/login/issuer", True),
        ("/login/issuer/answer", True),
        ("/login/passkey", True),
        ("/loginx", False),
        ("/setup/x", False),
        ("/account/passkeys", False),
        ("/", False),
    ],
)
def test_what_is_there_for_strangers(ask, app, path, is_so):
    assert is_open(path) is is_so
    assert (ask(app, path, state={}).status == 200) is is_so


def test_a_stranger_s_call_is_answered_by_the_call(ask, app):
    answer = ask(app, "/api/v1/status", state={})
    assert (answer.status, answer.state["principal"]) == (200, None)


@pytest.mark.parametrize(
    ("headers", "taken"),
    [
        (HERE, True),
        ({"origin": "https://localhost:8443"}, True),
        ({"origin": "https://LOCALHOST:8443"}, True),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "https://localhost:8443"}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://["}, False),
        ({}, False),
    ],
)
def test_a_change_comes_from_a_page_of_ours(ask, app, accounts, secret, headers, taken):
    token = {"x-csrf-token": accounts.session(secret).csrf}
    paths = ["/queue/actions", "/login", "/api/v1/x"]
    statuses = [ask(app, path, "POST", headers=headers | token | cookie(secret), state={}).status for path in paths]
    assert statuses == [200 if taken else 403] * 3
    events = accounts.audit_events(accounts.user("ann").principal, AuditFilter(action="request"))
    refused = [] if taken else [(f"POST {path}", AuditOutcome.REFUSED) for path in reversed(paths)]
    assert [(event.subject, event.outcome) for event in events] == refused


def test_the_token_of_a_form_is_that_of_its_session(accounts, secret):
    session = accounts.session(secret)
    other = accounts.session(accounts.log_in("ann", PASSWORD, "127.0.0.1", "test"))
    assert is_form_token(form_token(session), session)
    assert not any(is_form_token(token, session) for token in (form_token(other), "", "."))


@pytest.mark.parametrize("field", [True, False])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_change_carries_the_token_of_its_session(ask, app, accounts, secret, method, field):
    def tried(token):
        body = f"csrf={token}".encode() if field else b""
        headers = FORM | cookie(secret) | ({} if field else {"x-csrf-token": token})
        return ask(app, "/x", method, body=body, headers=headers, state={}).status

    other = accounts.session(accounts.log_in("ann", PASSWORD, "127.0.0.1", "test")).csrf
    assert tried(accounts.session(secret).csrf) == 200
    assert [tried(wrong) for wrong in (other, "", "é", other + "x")] == [403] * 4


def test_a_program_is_known_by_its_token(ask, app, accounts):
    token = accounts.add_token("backup", [Scope.READ], actor=Actor("root"))
    for method in ("GET", "POST"):
        answer = ask(app, "/api/v1/x", method, headers={"authorization": f"bearer {token}"}, state={})
        assert (answer.status, answer.state["principal"].scopes) == (200, {Scope.READ})


@pytest.mark.parametrize("given", ["gp_wrong", "", "x" * 5000])
def test_a_token_that_is_none_is_told_so(ask, app, given, secret):
    headers = {"authorization": f"Bearer {given}"} | cookie(secret)
    answer = ask(app, "/api/v1/x", headers=headers, state={})
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert json.loads(answer.body)["status"] == 401


def test_a_session_that_ended_is_none(ask, app, accounts, secret):
    accounts.end_session(secret)
    assert ask(app, headers=cookie(secret), state={}).status == 303


ENDS = {
    "removed": lambda accounts: accounts.remove_user("bob", actor=Actor("root")),
    "disabled": lambda accounts: accounts.set_user("bob", enabled=False, actor=Actor("root")),
    "another password": lambda accounts: accounts.set_user("bob", password="another passphrase", actor=Actor("root")),
    "another role": lambda accounts: accounts.set_user("bob", role=Role.AUDITOR, actor=Actor("root")),
    "log-out": lambda accounts: accounts.end_sessions_of("bob", actor=Actor("root")),
    "token removed": lambda accounts: accounts.remove_token("robot", actor=Actor("root")),
}


def lasting(media_type, meanwhile):
    """An answer of three parts. meanwhile: called before the third."""

    async def answer(_scope, _receive, send):
        fields = [(b"content-type", media_type)]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        await send({"type": "http.response.body", "body": b"two ", "more_body": True})
        meanwhile()
        await send({"type": "http.response.body", "body": b"three", "more_body": False})

    return answer


@pytest.mark.parametrize("media_type", [b"text/event-stream", b"text/csv"])
@pytest.mark.parametrize("end", ENDS)
def test_an_answer_that_lasts_ends_with_what_its_asker_may(ask, accounts, monkeypatch, end, media_type):
    monkeypatch.setattr(identity, "_LOOKS", 0.0)
    accounts.add_user("bob", Role.OPERATOR, PASSWORD, actor=Actor("root"))
    token = accounts.add_token("robot", [Scope.READ], actor=Actor("bob", "127.0.0.1"))
    headers = cookie(accounts.log_in("bob", PASSWORD, "127.0.0.1", "test"))
    if end == "token removed":
        headers = {"authorization": f"Bearer {token}"}
    app = FormBody(IdentityMiddleware(lasting(media_type, lambda: ENDS[end](accounts)), accounts=accounts))
    assert ask(app, headers=headers, state={}).body == b"one two "
    headers = cookie(accounts.log_in("ann", PASSWORD, "127.0.0.1", "test"))
    app = FormBody(IdentityMiddleware(lasting(media_type, lambda: None), accounts=accounts))
    assert ask(app, headers=headers, state={}).body == b"one two three"


@pytest.mark.parametrize("is_call", [True, False])
def test_who_cannot_be_looked_up_is_told_to_come_again(ask, app, accounts, monkeypatch, caplog, is_call):
    """In a site the accounts are in PostgreSQL: nobody is logged out, and nothing is a fault of ours."""

    def away(*_, **__):
        raise StoreBusy("PostgreSQL at db1 cannot be reached")

    monkeypatch.setattr(accounts, "token" if is_call else "session", away)
    headers = {"authorization": "Bearer gp_some"} if is_call else cookie("some")
    answer = ask(app, "/api/v1/status" if is_call else "/queue", headers=headers, state={})
    assert answer.status == 503
    assert b"What is stored cannot be read or changed now; try again later." in answer.body
    assert b"db1" not in answer.body
    assert "PostgreSQL at db1 cannot be reached" in caplog.text
    assert ask(app, "/static/x.css", headers=headers, state={}).status == 200
    if not is_call:
        sent = ask(app, "/queue", "POST", headers=FORM | headers, body=b"csrf=x", state={})
        assert (sent.status, b"The form was not saved." in sent.body) == (503, True)


@pytest.mark.parametrize(("unheard", "body"), [(60.0, b"one two three"), (0.0, b"one two ")])
def test_an_answer_that_lasts_goes_on_while_the_accounts_cannot_be_read(ask, accounts, monkeypatch, unheard, body):
    """In a site they are in PostgreSQL, which is away for some seconds while another server takes over."""
    monkeypatch.setattr(identity, "_LOOKS", 0.0)
    monkeypatch.setattr(identity, "_UNHEARD", unheard)
    headers = cookie(accounts.log_in("ann", PASSWORD, "127.0.0.1", "test"))

    def away(*_, **__):
        raise StoreBusy("PostgreSQL: nothing was heard of the server lately")

    answer = lasting(b"text/csv", lambda: monkeypatch.setattr(accounts, "session", away))
    assert ask(FormBody(IdentityMiddleware(answer, accounts=accounts)), headers=headers, state={}).body == body


def test_an_answer_that_lasts_is_no_use_of_its_session(ask, accounts, monkeypatch):
    monkeypatch.setattr(identity, "_LOOKS", 0.0)
    secret = accounts.log_in("ann", PASSWORD, "127.0.0.1", "test")
    begun = accounts.session(secret, used=False).last_seen

    def later():
        monkeypatch.setattr(accounts, "_clock", lambda: begun + 600)

    app = FormBody(IdentityMiddleware(lasting(b"text/event-stream", later), accounts=accounts))
    assert ask(app, headers=cookie(secret), state={}).body == b"one two three"
    assert accounts.session(secret, used=False).last_seen == begun
