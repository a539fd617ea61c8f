from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Role, Scope
from gatepost.manage.access.records import DeedFilter
from gatepost.manage.use_cases import accounts_opened as opened
from gatepost.manage.use_cases.accounts import open_accounts
from gatepost.manage.use_cases.refusal import Kind, Refusal

ROOT = Principal("root", frozenset({Scope.OWNER}))
WORD = "correct horse battery"


def test_users_and_their_sessions(sealed):
    made = opened.new_user(sealed, ROOT, "Ann", role=Role.OWNER, password=WORD)
    opened.new_user(sealed, ROOT, "tom", role=Role.AUDITOR, password=WORD, organizations=["contoso"])
    assert opened.user_set(sealed, ROOT, "tom", role=Role.OPERATOR).organizations == {"contoso"}
    with open_accounts(sealed) as accounts:
        accounts.log_in("tom", WORD, "192.0.2.1", "curl")
    assert [one.agent for one in opened.sessions(sealed, ROOT, "TOM")] == ["curl"]
    assert opened.end_sessions(sealed, ROOT, "tom") == 1
    assert [one.name for one in opened.every_user(sealed, ROOT)] == [made.name, "tom"]
    assert opened.remove_user(sealed, ROOT, "tom") == []
    for refusing in (opened.sessions, opened.end_sessions):
        with pytest.raises(Refusal, match="user list") as refused:
            refusing(sealed, ROOT, "tom")
        assert refused.value.kind is Kind.MISSING


def test_tokens(sealed):
    secret = opened.new_token(sealed, ROOT, "one", scopes=[Scope.READ], organizations=["contoso"])
    assert secret.startswith("gp_")
    assert [one.made_by for one in opened.every_token(sealed, ROOT)] == ["root"]
    opened.remove_token(sealed, ROOT, "one")
    assert opened.every_token(sealed, ROOT) == []


def test_deeds_are_those_of_who_gives_the_command(sealed):
    opened.new_user(sealed, ROOT, "ann", role=Role.OWNER, password=WORD)
    opened.new_token(sealed, ROOT, "one", scopes=[Scope.READ])
    newest, oldest = opened.deeds(sealed, ROOT, DeedFilter(), limit=9)
    assert (newest.who, newest.address, newest.action, oldest.action) == ("root", "", "token-add", "user-add")
    assert opened.deeds(sealed, ROOT, DeedFilter(), limit=9, older=newest.id) == [oldest]
    tenant = Principal("tina", frozenset({Scope.READ}), frozenset({"contoso"}))
    assert opened.deeds(sealed, tenant, DeedFilter(), limit=9) == []
