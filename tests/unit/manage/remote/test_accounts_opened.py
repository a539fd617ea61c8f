from __future__ import annotations

import time

import pytest

from gatepost.manage.access.principal import Principal, Role, Scope
from gatepost.manage.access.records import KEEP, Actor, DeedFilter, Outcome
from gatepost.manage.remote import accounts_opened as remote
from gatepost.manage.use_cases.accounts import deed_record, session_record, token_record, user_record
from gatepost.manage.use_cases.refusal import Kind, Refusal

WORD = "correct horse battery"


@pytest.fixture
def accounts(there):
    """With who asks as an owner."""
    there.api.accounts.add_user("ann", Role.OWNER, WORD, by=Actor("root"))
    return there.api.accounts


def test_users_from_their_making_to_their_end(there, accounts):
    made = remote.new_user(there, "Tom", role=Role.OPERATOR, password=WORD, organizations=["contoso"])
    assert user_record(made) == user_record(accounts.user("tom"))
    assert remote.user_set(there, "tom", role=Role.AUDITOR).organizations == {"contoso"}
    assert remote.user_set(there, "tom", organizations=None).organizations is None
    assert remote.user_set(there, "tom", organizations=KEEP, enabled=False).enabled is False
    remote.user_set(there, "tom", enabled=True, password=f"{WORD} new")
    accounts.log_in("tom", f"{WORD} new", "192.0.2.1", "curl")
    (session,) = remote.sessions(there, "TOM")
    assert session_record(session) == session_record(accounts.sessions_of("tom")[0])
    assert list(map(user_record, remote.every_user(there))) == list(map(user_record, accounts.users()))
    assert remote.end_sessions(there, "tom") == 1
    assert remote.remove_user(there, "tom") == []
    with pytest.raises(Refusal, match="there is no user 'tom'") as refused:
        remote.sessions(there, "tom")
    assert refused.value.kind is Kind.MISSING


def test_a_secret_is_told_once(there, accounts):
    until = time.time() + 3600
    secret = remote.new_token(there, "One", scopes=[Scope.READ], organizations=["contoso"], expires=until)
    assert accounts.token(secret).scopes == {Scope.READ}
    listed = remote.every_token(there)
    assert [token_record(one) for one in listed] == [token_record(one) for one in accounts.tokens()]
    assert listed[0].expires == pytest.approx(until, abs=0.001)
    assert secret not in str(listed)
    remote.remove_token(there, "one")
    assert accounts.token(secret) is None


@pytest.mark.parametrize(
    ("refusing", "paths"),
    [
        (lambda at: remote.new_user(at, "x y", role=Role.OWNER, password="short"), ["name", "password"]),
        (lambda at: remote.new_user(at, "x", role=Role.OWNER, password=WORD, organizations=["no"]), ["organizations"]),
        (lambda at: remote.new_token(at, "x", scopes=[]), ["scopes"]),
    ],
)
def test_what_is_wrong_is_said_by_field(there, accounts, refusing, paths):
    with pytest.raises(Refusal) as refused:
        refusing(there)
    assert [one.path for one in refused.value.errors] == paths


FILTERS = [
    {},
    {"who": "ann"},
    {"action": "user-set"},
    {"organization": ""},
    {"organization": "contoso"},
    {"subject": "tom"},
    {"outcome": Outcome.REFUSED},
    {"since": 1.0, "until": 4e9},
    {"until": 1.0},
]


@pytest.mark.parametrize("wanted", FILTERS)
def test_deeds_are_the_same(there, accounts, wanted):
    remote.new_user(there, "tom", role=Role.AUDITOR, password=WORD)
    remote.user_set(there, "tom", enabled=False)
    with pytest.raises(Refusal):
        remote.remove_user(there, "nobody")
    accounts.record(Actor("bob"), "queue-hold", organization="contoso", subject="x", detail={"deliveries": 1})
    everybody = Principal("", frozenset({Scope.OWNER}))
    chosen = DeedFilter(**wanted)
    for limit, older in ((1000, 0), (1, 0), (2, 4)):
        found = remote.deeds(there, chosen, limit=limit, older=older)
        assert found == accounts.deeds(everybody, chosen, limit=limit, before=older)
        assert all(deed_record(one)["id"] for one in found)


def test_a_tenant_sees_its_own(there, accounts):
    accounts.record(Actor("bob"), "queue-hold", organization="contoso")
    there.api.who = Principal("token t", frozenset({Scope.READ}), frozenset({"contoso"}))
    assert [one.action for one in remote.deeds(there, DeedFilter(), limit=9)] == ["queue-hold"]
