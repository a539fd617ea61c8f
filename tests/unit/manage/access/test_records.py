from __future__ import annotations

import pytest

from gatepost.manage.access.principal import ROLES, Principal, Role
from gatepost.manage.access.records import (
    FRESH,
    AccountError,
    AccountErrorKind,
    Actor,
    AuditEvent,
    AuditFilter,
    AuditOutcome,
    LogInRefused,
    User,
    UserSession,
    is_confirmed,
)
from gatepost.policy.connectors.errors import FieldError

ANN = User("ann", Role.OPERATOR, frozenset({"contoso"}), True, 1.0, 0.0, 7)


def test_users_and_sessions_ask_as_themselves():
    expected = Principal("ann", ROLES[Role.OPERATOR], frozenset({"contoso"}))
    session = UserSession(1, ANN, 1.0, 2.0, "192.0.2.1", "Firefox", csrf="c5f7")
    assert ANN.principal == session.principal == expected
    assert "c5f7" not in repr(session)


def test_errors():
    found = AccountError(AccountErrorKind.INPUT, "no", [FieldError("name", "is taken")])
    assert (found.why, found.text, str(found), found.errors) == ("input", "no", "no", (FieldError("name", "is taken"),))
    assert (LogInRefused().wait, str(LogInRefused())) == (0.0, "incorrect user name or password")
    assert (LogInRefused(20.0).wait, str(LogInRefused(20.0))) == (20.0, "too many failed attempts; wait 20 s")


def test_what_is_usual():
    assert Actor("root") == ("root", "")
    assert AuditEvent(0, 1.0, "ann", "", "log-in").outcome is AuditOutcome.DONE
    assert AuditFilter().organization is None


@pytest.mark.parametrize(("age", "fresh"), [(0, True), (FRESH - 1, True), (FRESH, False), (-30, True), (-90, False)])
def test_a_session_is_fresh_for_a_quarter_of_an_hour(age, fresh):
    session = UserSession(1, ANN, 0.0, 0.0, "", "", confirmed=10_000.0)
    assert is_confirmed(session, 10_000.0 + age) is fresh


def test_a_token_proves_itself():
    assert is_confirmed(None, 0.0)
