from __future__ import annotations

from contextlib import closing

import pytest

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import Principal, Role, Scope
from gatepost.manage.access.records import Actor, AuditOutcome, Passkey
from gatepost.manage.use_cases.client import LocalClient
from gatepost.manage.use_cases.context import Context
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.own_account import (
    EndOwnSessions,
    ListOwnPasskeys,
    ListOwnSessions,
    RemoveOwnPasskey,
    SetOwnPassword,
    end_own_sessions,
    list_own_passkeys,
    list_own_sessions,
    remove_own_passkey,
    set_own_password,
)
from gatepost.manage.use_cases.passkey_login import AddOwnPasskey, add_own_passkey
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.tokens import ListTokens, NewApiToken, add_token, list_tokens
from gatepost.manage.use_cases.users import (
    AccountChange,
    EndUserSession,
    ListPasskeys,
    ListSessions,
    MakeSetupCode,
    NewAccount,
    RemovePasskey,
    RemoveUser,
    add_user,
    end_user_session,
    list_passkeys,
    list_sessions,
    make_setup_code,
    remove_passkey,
    remove_user,
    set_user,
)
from gatepost.store.interface import StoreFailure
from gatepost.values import replace

WORD = "correct horse battery"
ROOT = Principal("root", frozenset({Scope.OWNER}))
ANN = Principal("ann", frozenset({Scope.READ}))
OWNER = Principal("ann", frozenset({Scope.OWNER}))
PHONE = Passkey(b"1", "ann", "phone", b"k", 0, 0.0, 0.0)
SIGNED_BY_NOBODY = AddOwnPasskey(
    credential="{}",
    challenge=b"x" * 32,
    party="mx.gate.example",
    origin="https://mx.gate.example",
    name="phone",
    generation=1,
)
BOB = NewAccount(name="bob", role=Role.AUDITOR, password=WORD, organizations=["contoso"])


@pytest.fixture
def accounts(gateway):
    with gateway.config() as store:
        store.apply({"organization": {"contoso": {}, "fabrikam": {}}}, author="test")
    with closing(Accounts(gateway.storage)) as found:
        yield found


@pytest.fixture
def run(gateway, accounts):
    """Execute a use case, as root if nobody else is named."""

    def executed(case, request, principal=ROOT, **more):
        return execute(case, Context(gateway, principal, lambda: accounts, "192.0.2.7", **more), request)

    executed(add_user, NewAccount(name="ann", role=Role.OWNER, password=WORD))
    return executed


def test_users(run):
    made = run(add_user, BOB)
    assert made.location == "/users/bob"
    assert (made.value.organizations, made.value.last_login, made.value.issuer) == (["contoso"], None, None)
    both = run(set_user, AccountChange(name="bob", organizations=["fabrikam", "contoso"]))
    assert both.organizations == ["contoso", "fabrikam"]
    assert run(set_user, AccountChange(name="bob", enabled=False)).organizations == both.organizations
    assert run(set_user, AccountChange(name="bob", organizations=None)).organizations is None


def test_sessions(run, accounts):
    secret = accounts.log_in("ann", WORD, "192.0.2.1", "Firefox")
    (session,) = run(list_sessions, ListSessions(name="Ann")).items
    assert (session.user, session.address, session.agent) == ("ann", "192.0.2.1", "Firefox")
    assert secret not in repr(session)
    ended = [run(end_user_session, EndUserSession(name="ann", session=session.id)).ended for _ in range(2)]
    assert ended == [1, 0]


def test_tokens(run, accounts):
    secret = run(add_token, NewApiToken(name="T", scopes=[Scope.READ], organizations=["contoso"]), OWNER).value.token
    (token,) = run(list_tokens, ListTokens()).items
    assert (token.name, token.scopes, token.organizations) == ("t", [Scope.READ], ["contoso"])
    assert (token.expires, token.last_used) == (None, None)
    assert accounts.token(secret).organizations == {"contoso"}


@pytest.mark.parametrize(
    ("case", "request_"),
    [
        (add_user, NewAccount(name="b", role=Role.AUDITOR, password=WORD, organizations=["x", "y"])),
        (set_user, AccountChange(name="ann", organizations=["x", "contoso", "y"])),
        (add_token, NewApiToken(name="t", scopes=[Scope.READ], organizations=["x", "y"])),
    ],
)
def test_organizations_must_be_there(run, accounts, case, request_):
    with pytest.raises(Refusal) as caught:
        run(case, request_)
    assert caught.value.kind is RefusalKind.INPUT
    assert [one.message for one in caught.value.errors] == [
        f"there is no organization {name!r}; there are: contoso, fabrikam" for name in ("x", "y")
    ]
    newest = accounts.audit_events(ROOT)[0]
    assert (newest.action, newest.subject, newest.outcome) == (case.action, request_.name, AuditOutcome.REFUSED)
    assert set(newest.detail) == {"why"}
    assert (len(accounts.users()), accounts.tokens()) == (1, [])


def test_ones_own_account_is_for_whoever_is_logged_in(run, accounts):
    first, second = (accounts.log_in("ann", WORD, "192.0.2.1", "Firefox") for _ in range(2))
    ids = [one.id for one in run(list_own_sessions, ListOwnSessions(), ANN).items]
    assert run(end_own_sessions, EndOwnSessions(sessions=[*ids[:1], 4711]), ANN).ended == 1
    assert [accounts.session(one) is None for one in (first, second)] == [False, True]
    accounts.add_passkey(replace(PHONE, id=b"9", name="kept"), actor=Actor("ann"))
    started = run(set_own_password, SetOwnPassword(old=WORD, password=f"{WORD} new", agent="Firefox"), ANN)
    assert accounts.session(first) is None
    assert accounts.remove_passkey("ann", b"9", actor=Actor("ann")).name == "kept"
    assert accounts.session(started.secret).user.name == "ann"
    assert started.secret not in repr(started)
    accounts.add_passkey(PHONE, actor=Actor("ann"))
    assert [one.name for one in run(list_own_passkeys, ListOwnPasskeys(), ANN).items] == ["phone"]
    assert run(remove_own_passkey, RemoveOwnPasskey(passkey=b"1"), ANN).name == "phone"


@pytest.mark.parametrize(
    ("case", "request_"),
    [
        (set_own_password, SetOwnPassword(old=WORD, password="short")),
        (set_own_password, SetOwnPassword(old="another", password=f"{WORD} new")),
        (remove_own_passkey, RemoveOwnPasskey(passkey=b"2")),
        (add_own_passkey, SIGNED_BY_NOBODY),
    ],
)
def test_what_is_refused_of_ones_own_is_recorded_by_ones_name(run, accounts, case, request_):
    with pytest.raises(Refusal):
        run(case, request_, ANN)
    newest = accounts.audit_events(ROOT)[0]
    assert (newest.who, newest.action, newest.subject, newest.outcome) == (
        "ann",
        case.action,
        "ann",
        AuditOutcome.REFUSED,
    )


@pytest.mark.parametrize(
    ("case", "request_"),
    [
        (add_own_passkey, SIGNED_BY_NOBODY),
        (remove_own_passkey, RemoveOwnPasskey(passkey=b"1")),
        (remove_passkey, RemovePasskey(name="ann", passkey=b"1")),
        (add_user, BOB),
        (set_user, AccountChange(name="ann", enabled=False)),
    ],
)
def test_a_session_must_be_confirmed(run, case, request_):
    with pytest.raises(Refusal) as caught:
        run(case, request_, is_confirmed=False)
    assert caught.value.kind is RefusalKind.FORBIDDEN


def test_an_owner_removes_the_passkey_of_another(run, accounts):
    accounts.add_passkey(PHONE, actor=Actor("ann"))
    assert [one.name for one in run(list_passkeys, ListPasskeys(name="ann")).items] == ["phone"]
    assert run(remove_passkey, RemovePasskey(name="ann", passkey=b"1")).name == "phone"


def test_a_setup_code_is_for_a_gateway_without_an_owner(run):
    with pytest.raises(Refusal) as caught:
        run(make_setup_code, MakeSetupCode())
    assert caught.value.kind is RefusalKind.CONFLICT


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (lambda run: run(remove_user, RemoveUser(name="eve")), RefusalKind.MISSING),
        (lambda run: run(set_user, AccountChange(name="eve", enabled=False)), RefusalKind.MISSING),
        (lambda run: run(add_user, NewAccount(name="eve/", role=Role.OWNER, password=WORD)), RefusalKind.INPUT),
    ],
)
def test_errors_become_refusals(run, act, kind):
    with pytest.raises(Refusal) as caught:
        act(run)
    assert caught.value.kind is kind
    assert caught.value.text


def test_what_cannot_be_read_is_a_refusal(gateway):
    gateway.data.mkdir()
    (gateway.data / "access.db").write_bytes(b"no database" * 1000)
    client = LocalClient(gateway, ROOT)
    with closing(client), pytest.raises(Refusal) as caught:
        client.call(list_tokens, ListTokens())
    assert caught.value.kind is RefusalKind.UNREADABLE
    assert isinstance(caught.value.__cause__, StoreFailure)
