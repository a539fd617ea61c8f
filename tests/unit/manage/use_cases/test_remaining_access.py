from __future__ import annotations

from contextlib import closing

import pytest

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import Principal, Role, Scope
from gatepost.manage.access.records import Actor
from gatepost.manage.use_cases.context import Context
from gatepost.manage.use_cases.differences import FieldChange
from gatepost.manage.use_cases.remaining_access import remaining_access
from gatepost.settings.store_url import SQLITE
from gatepost.store.interface import StoreFailure
from gatepost.store.storage import Storage

OWNER = Principal("root", frozenset(Scope))
GONE = [
    FieldChange("-", "organization.contoso", "", None),
    FieldChange("-", "organization.contoso.mailbox['ann']", {}, None),
    FieldChange("+", "organization.new", None, ""),
    FieldChange("-", "organization.fabrikam.cleartext", "never", None),
]


@pytest.fixture
def accounts(tmp_path):
    with closing(Accounts(Storage(SQLITE, tmp_path))) as opened:
        yield opened


def of(accounts, who=OWNER, changes=GONE):
    return remaining_access(Context(None, who, lambda: accounts), changes)


def test_users_and_tokens_of_a_removed_organization_are_named(accounts):
    assert of(accounts) == []
    for name, organizations in (("bob", ["contoso"]), ("eve", ["contoso", "fabrikam"]), ("liz", ["fabrikam"])):
        accounts.add_user(
            name, Role.OPERATOR, "correct horse battery", actor=Actor("root"), organizations=organizations
        )
    accounts.add_token("deploy", [Scope.READ], actor=Actor("root"), organizations=["contoso"])
    accounts.add_token("whole", [Scope.READ], actor=Actor("root"))
    users, tokens = of(accounts)
    assert "of contoso: bob, eve; remove or disable them" in users
    assert "of contoso: deploy; remove them" in tokens
    assert of(accounts, Principal("bob", frozenset(Scope), frozenset({"contoso"}))) == []
    assert of(accounts, changes=GONE[2:]) == []


def test_of_many_the_first_are_named(accounts):
    for number in range(12):
        accounts.add_token(f"t{number:02}", [Scope.READ], actor=Actor("root"), organizations=["contoso"])
    (tokens,) = of(accounts)
    assert "t09, ...; remove" in tokens


def test_accounts_that_cannot_be_read_make_no_failure_of_the_change():
    class Closed:
        def users(self):
            raise StoreFailure("disk full")

    assert of(Closed()) == ["whether users or API tokens still see what is kept of contoso is not known"]
