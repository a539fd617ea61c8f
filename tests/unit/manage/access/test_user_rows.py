from __future__ import annotations

import pytest

from gatepost.manage.access import user_rows
from gatepost.manage.access.principal import Role
from gatepost.manage.access.records import KEEP, AccountError, AccountErrorKind

WORD = "correct horse battery"
STAY = user_rows.UserChange(None, KEEP, None, None)


def add(rows, name, role=Role.OWNER, organizations=None):
    return user_rows.insert(rows, user_rows.checked_user(name, role, WORD, organizations), "$argon2", 5.0)


def test_everything_wrong_is_told_at_once():
    with pytest.raises(AccountError) as caught:
        user_rows.checked_user("no name", Role.OWNER, "short", ["contoso"])
    assert [one.path for one in caught.value.errors] == ["name", "password", "organizations"]
    assert caught.value.why is AccountErrorKind.INPUT
    assert "short" not in caught.value.text.replace("password", "")


def test_the_name_is_no_password():
    with pytest.raises(AccountError, match="user's name"):
        user_rows.checked_user("ann@contoso.example", Role.OWNER, "Ann@Contoso.example", None)
    with pytest.raises(AccountError, match="user's name"):
        user_rows.checked_password("ANN@contoso.example", "Ann@contoso.example")
    assert WORD not in repr(user_rows.checked_user("ann", Role.OWNER, WORD, None))


def test_users(rows):
    ann = add(rows, "Ann")
    bob = add(rows, "bob", Role.AUDITOR, ["fabrikam", "contoso"])
    assert user_rows.all_users(rows) == [ann, bob]
    assert user_rows.find(rows, "ann") == user_rows.get(rows, " ANN ") == ann
    assert user_rows.find(rows, "eve") is None
    assert user_rows.credential(rows, "bob") == (bob, "$argon2", "")
    assert user_rows.credential(rows, "") is None
    assert user_rows.facts(bob) == {"role": "auditor", "organizations": ["contoso", "fabrikam"], "enabled": True}
    with pytest.raises(AccountError, match="already") as caught:
        add(rows, "ANN")
    assert caught.value.why is AccountErrorKind.CONFLICT
    with pytest.raises(AccountError) as caught:
        user_rows.get(rows, "eve")
    assert caught.value.why is AccountErrorKind.MISSING


@pytest.mark.parametrize(
    "change",
    [
        STAY._replace(role=Role.ADMINISTRATOR),
        STAY._replace(enabled=False),
        STAY._replace(role=Role.AUDITOR, organizations=["contoso"]),
    ],
)
def test_the_last_owner_stays(rows, change):
    ann = add(rows, "ann")
    add(rows, "adm", Role.ADMINISTRATOR)
    disabled = add(rows, "off")
    user_rows.update(rows, disabled, STAY._replace(enabled=False))
    for act in (lambda: user_rows.update(rows, ann, change), lambda: user_rows.delete(rows, ann)):
        with pytest.raises(AccountError, match="last owner") as caught:
            act()
        assert caught.value.why is AccountErrorKind.CONFLICT
    user_rows.delete(rows, user_rows.get(rows, "off"))
    add(rows, "cat")
    user_rows.update(rows, ann, change)
    user_rows.delete(rows, user_rows.get(rows, "ann"))
    assert user_rows.has_owner(rows)


def test_changes(rows):
    add(rows, "ann")
    bob = add(rows, "bob", Role.AUDITOR, ["contoso"])
    assert user_rows.update(rows, bob, STAY) == bob
    assert user_rows.update(rows, bob, STAY._replace(role=Role.AUDITOR, organizations=("contoso",))) == bob
    other = user_rows.update(rows, bob, STAY._replace(role=Role.OPERATOR, enabled=False))
    assert (other.role, other.organizations, other.enabled) == (Role.OPERATOR, frozenset({"contoso"}), False)
    assert other.generation != bob.generation
    anew = user_rows.update(rows, other, STAY._replace(argon2="$new"))
    assert anew.generation != other.generation
    assert user_rows.credential(rows, "bob").argon2 == "$new"
    assert user_rows.update(rows, anew, STAY._replace(organizations=None)).organizations is None
    with pytest.raises(AccountError, match="an owner administers the whole gateway"):
        user_rows.update(rows, bob, STAY._replace(role=Role.OWNER))
    with pytest.raises(AccountError, match="at least one"):
        user_rows.update(rows, bob, STAY._replace(organizations=[]))


def test_logging_in_is_for_the_user_as_it_was_seen(rows):
    add(rows, "ann")
    bob = add(rows, "bob", Role.AUDITOR)
    user_rows.logged_in(rows, bob, 9.0, "192.0.2.1")
    assert user_rows.credential(rows, "bob")[0].last_login == 9.0
    assert user_rows.credential(rows, "bob").last_address == "192.0.2.1"
    later = user_rows.update(rows, bob, STAY._replace(role=Role.OPERATOR))
    off = user_rows.update(rows, later, STAY._replace(enabled=False))
    for one in (bob, later, off):
        with pytest.raises(AccountError, match="meanwhile"):
            user_rows.logged_in(rows, one, 10.0, "192.0.2.1")
    user_rows.delete(rows, off)
    add(rows, "bob", Role.AUDITOR)
    with pytest.raises(AccountError, match="meanwhile"):
        user_rows.logged_in(rows, bob, 10.0, "192.0.2.1")
