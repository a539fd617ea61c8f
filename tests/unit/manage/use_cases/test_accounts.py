from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Role, Scope
from gatepost.manage.access.records import Actor
from gatepost.manage.use_cases.accounts import (
    add_token,
    add_user,
    deed_record,
    open_accounts,
    refusing,
    session_record,
    set_user,
    token_record,
    user_record,
)
from gatepost.manage.use_cases.gateway import Gateway
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.settings.loader import load
from gatepost.store.changes import ConfigStore
from gatepost.store.interface import StoreFailure

WORD = "correct horse battery"
ROOT = Actor("root")


@pytest.fixture
def gateway(tmp_path):
    file = tmp_path / "gatepost.toml"
    file.write_text(f'[server]\nhostname = "mx.gate.example"\ndata_dir = "{tmp_path}/data"\n')
    found = Gateway(load(str(file), {}))
    store = ConfigStore(found.data / "config.db")
    store.apply({"organization": {"contoso": {}, "fabrikam": {}}}, author="test")
    store.close()
    return found


@pytest.fixture
def accounts(gateway):
    with open_accounts(gateway) as found:
        add_user(gateway, found, "ann", role=Role.OWNER, password=WORD, by=ROOT)
        yield found


def test_users(gateway, accounts):
    bob = add_user(gateway, accounts, "bob", role=Role.AUDITOR, password=WORD, organizations=["contoso"], by=ROOT)
    assert user_record(bob) == {
        "name": "bob",
        "role": "auditor",
        "organizations": ["contoso"],
        "enabled": True,
        "created": bob.created,
        "last_login": None,
        "issuer": None,
    }
    both = set_user(gateway, accounts, "bob", organizations=["fabrikam", "contoso"], by=ROOT)
    assert user_record(both)["organizations"] == ["contoso", "fabrikam"]
    assert set_user(gateway, accounts, "bob", enabled=False, by=ROOT).organizations == both.organizations
    assert set_user(gateway, accounts, "bob", organizations=None, by=ROOT).organizations is None


def test_sessions_and_deeds(accounts):
    secret = accounts.log_in("ann", WORD, "192.0.2.1", "Firefox")
    session = accounts.session(secret)
    record = session_record(session)
    assert (record["user"], record["address"], record["agent"]) == ("ann", "192.0.2.1", "Firefox")
    assert secret not in repr(record)
    assert session.csrf not in repr(record)
    newest = accounts.deeds(session.principal)[0]
    assert deed_record(newest) == {
        "id": newest.id, "at": newest.at, "who": "ann", "address": "192.0.2.1", "action": "log-in", "organization": "",
        "subject": "", "outcome": "done", "detail": {},
    }  # fmt: skip


def test_tokens(gateway, accounts):
    secret = add_token(gateway, accounts, "t", scopes=[Scope.READ], organizations=["contoso"], by=Actor("ann", "::1"))
    [token] = accounts.tokens()
    assert token_record(token) == {
        "name": "t", "scopes": ["read"], "organizations": ["contoso"], "created": token.created, "expires": None,
        "made_by": "ann", "made_by_user": "ann", "last_used": None,
    }  # fmt: skip
    assert accounts.token(secret).organizations == {"contoso"}


def test_organizations_must_be_there(gateway, accounts):
    acts = (
        lambda: add_user(gateway, accounts, "b", role=Role.AUDITOR, password=WORD, organizations=["x", "y"], by=ROOT),
        lambda: set_user(gateway, accounts, "ann", organizations=["x", "contoso", "y"], by=ROOT),
        lambda: add_token(gateway, accounts, "t", scopes=[Scope.READ], organizations=["x", "y"], by=ROOT),
    )
    for act in acts:
        with pytest.raises(Refusal) as caught:
            act()
        assert caught.value.kind is Kind.INPUT
        assert [one.message for one in caught.value.errors] == [
            f"there is no organization {name!r}; there are: contoso, fabrikam" for name in ("x", "y")
        ]
    assert len(accounts.users()) == 1
    assert accounts.tokens() == []


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (lambda accounts: accounts.remove_user("eve", by=ROOT), Kind.MISSING),
        (lambda accounts: accounts.remove_user("ann", by=ROOT), Kind.CONFLICT),
        (lambda accounts: accounts.set_user("ann", password="short", by=ROOT), Kind.INPUT),
    ],
)
def test_errors_become_refusals(accounts, act, kind):
    with pytest.raises(Refusal) as caught, refusing():
        act(accounts)
    assert caught.value.kind is kind
    assert caught.value.text


def test_what_cannot_be_read_is_a_refusal(gateway):
    (gateway.data / "access.db").write_bytes(b"no database" * 1000)
    with pytest.raises(Refusal) as caught, open_accounts(gateway):
        pytest.fail("it opened")
    assert caught.value.kind is Kind.UNREADABLE
    assert isinstance(caught.value.__cause__, StoreFailure)
