from __future__ import annotations

import pytest

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import Principal, Scope
from gatepost.settings.store_url import SQLITE
from gatepost.store.storage import Storage


def test_tokens(home):
    home.call("organization", "add", "contoso")
    result = home.call("token", "add", "Backup", "--scope", "read", "--scope", "queue", "--organization", "contoso")
    secret = result.stdout.strip()
    assert secret.startswith("gp_")
    assert secret not in result.stderr
    accounts = Accounts(Storage(SQLITE, home.data))
    found = Principal("token backup", frozenset({Scope.READ, Scope.QUEUE}), frozenset({"contoso"}))
    assert accounts.token(secret) == found
    other = home.json("token", "add", "short", "--scope", "owner", "--expires", "90d")["token"]
    assert accounts.token(other).may(Scope.OWNER)
    assert [(one["name"], one["scopes"], one["made_by_user"]) for one in home.json("token", "list")] == [
        ("backup", ["queue", "read"], None),
        ("short", ["owner"], None),
    ]
    rows = home.table("token", "list")
    assert [(one["name"], one["organizations"], one["expires"] == "never") for one in rows] == [
        ("backup", "contoso", True),
        ("short", "(all)", False),
    ]
    assert home.call("token", "remove", "backup").stderr == "backup: removed\n"
    assert accounts.token(secret) is None
    assert secret not in home.call("token", "list").stdout + home.call("audit").stdout
    accounts.close()


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("add", "no name", "--scope", "owner", "--expires", "2020-01-01"), 2, ("NAME: ", "--expires: is in the past")),
        (("add", "t"), 2, ("--scope",)),
        (("add", "t", "--scope", "all"), 2, ("all",)),
        (("add", "t", "--scope", "read", "--organization", "x"), 2, ("no organization 'x'",)),
        (("add", "there", "--scope", "read"), 1, ("NAME: is already in use",)),
        (("remove", "t"), 2, ("there is no token 't'",)),
    ],
)
def test_what_is_refused(home, words, code, why):
    home.call("token", "add", "there", "--scope", "read")
    stderr = home.call("token", *words, code=code).stderr
    assert all(one in stderr for one in why)
    assert len(home.json("token", "list")) == 1
