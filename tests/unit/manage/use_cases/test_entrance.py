"""Every log-in, and every one that is refused, is on record by whom it was tried, and is rate-limited."""

from __future__ import annotations

import pytest

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import NOBODY, ROLES, Principal, Role
from gatepost.manage.access.records import Actor, AuditOutcome
from gatepost.manage.use_cases.context import Context
from gatepost.manage.use_cases.entrance import (
    LogInDenied,
    confirm_password,
    get_setup_state,
    log_in,
    log_out,
    set_up_owner,
)
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.own_account import set_own_password
from gatepost.manage.use_cases.passkey_login import log_in_with_passkey
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.settings.store_url import SQLITE
from gatepost.store.storage import Storage

WORD = "correct horse battery"
ANN = Principal("ann", ROLES[Role.OWNER])
HERE = Actor("root")


@pytest.fixture
def accounts(gateway):
    found = Accounts(Storage(SQLITE, gateway.data))
    yield found
    found.close()


@pytest.fixture
def run(gateway, accounts):
    def executed(case, principal=NOBODY, **fields):
        context = Context(gateway, principal, lambda: accounts, "192.0.2.7")
        return execute(case, context, case.request(**fields))

    return executed


def events(accounts):
    """The newest first."""
    return [(one.who, one.address, one.action, one.outcome) for one in accounts.audit_events(ANN)]


def test_in_and_out(run, accounts):
    accounts.add_user("ann", Role.OWNER, WORD, actor=HERE)
    begun = run(log_in, name="ann", password=WORD, agent="Firefox")
    session = accounts.session(begun.secret)
    assert (session.user.name, session.agent) == ("ann", "Firefox")
    assert begun.secret not in repr(begun)
    run(confirm_password, ANN, password=WORD, session=session.id)
    run(log_out, secret=begun.secret)
    run(log_out, secret=begun.secret)
    assert accounts.session(begun.secret) is None
    actions = ("log-out", "confirm", "log-in")
    assert events(accounts)[:3] == [("ann", "192.0.2.7", action, AuditOutcome.DONE) for action in actions]


@pytest.mark.parametrize(
    ("case", "principal", "fields", "who"),
    [
        (log_in, NOBODY, {"name": "Ann", "password": "guess"}, "ann"),
        (log_in, NOBODY, {"name": WORD, "password": ""}, ""),
        (confirm_password, ANN, {"password": "guess", "session": 1}, "ann"),
        (set_own_password, ANN, {"old": "guess", "password": "a much better word"}, "ann"),
        (log_in_with_passkey, NOBODY, {"credential": "{}", "challenge": b"x", "party": "h", "origin": "o"}, ""),
        (set_up_owner, NOBODY, {"code": "x" * 43, "name": "eve", "password": WORD}, ""),
    ],
)
def test_what_is_refused_is_on_record_and_slowed(run, accounts, case, principal, fields, who):
    accounts.add_user("ann", Role.OWNER, WORD, actor=HERE)
    waits = []
    for _ in range(9):
        with pytest.raises(Refusal) as refused:
            run(case, principal, **fields)
        waits.append(getattr(refused.value, "wait", 0.0))
    assert [wait > 5 for wait in waits] == [False] * 6 + [True] * 3
    assert refused.value.kind is RefusalKind.FORBIDDEN
    assert events(accounts)[:-1] == [(who, "192.0.2.7", case.action, AuditOutcome.REFUSED)] * 6
    newest = accounts.audit_events(ANN)[0]
    assert newest.detail["why"]
    assert WORD not in repr(newest), "people type passwords where names belong"
    assert "guess" not in repr(newest)


def test_who_comes_in_is_not_counted(run, accounts):
    accounts.add_user("ann", Role.OWNER, WORD, actor=HERE)
    for _ in range(12):
        assert run(log_in, name="ann", password=WORD)


def test_the_person_is_told_less_than_the_audit(run, accounts):
    with pytest.raises(LogInDenied) as denied:
        run(log_in, name="eve", password=WORD)
    assert (denied.value.text, str(denied.value)) == ("incorrect user name or password",) * 2
    assert accounts.audit_events(ANN)[0].detail["why"] == "there is no such user"


def test_the_first_owner(run, accounts):
    code = accounts.setup_code(by=HERE)
    state = run(get_setup_state, code=code)
    assert (state.usable, state.owned) == (True, False)
    for _ in range(12):
        with pytest.raises(Refusal) as refused:
            run(set_up_owner, code=code, name="ann", password="short")
        assert [one.path for one in refused.value.errors] == ["password"], "the code was right: that is no guess"
    begun = run(set_up_owner, code=code, name="ann", password=WORD)
    assert accounts.session(begun.secret).user.role is Role.OWNER
    assert run(get_setup_state, code=code).owned
    assert not run(get_setup_state).usable
    assert [one[2] for one in events(accounts)[:2]] == ["log-in", "setup"]
