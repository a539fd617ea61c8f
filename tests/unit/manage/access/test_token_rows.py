from __future__ import annotations

import pytest

from gatepost.manage.access import secret, token_rows, user_rows
from gatepost.manage.access.principal import Principal, Role, Scope
from gatepost.manage.access.records import KEEP, AccountError, AccountErrorKind, Actor

NOW = 1000.0
ROOT = Actor("root")
ANN = Actor("ann", "192.0.2.1")


@pytest.fixture
def rows(place):
    place.user("ann")
    place.user("eve")
    with place.accounts._database.changing() as connection:
        yield connection


def add(rows, by=ANN, name="backup", scopes=(Scope.READ,), organizations=None, expires=None):
    return token_rows.insert(rows, token_rows.checked_token(name, scopes, organizations, expires, NOW), by, NOW)[0]


def bearer(rows, given, now=NOW):
    found = token_rows.find(rows, given, now)
    return found and found.principal


def change(rows, **wanted):
    wish = {"role": None, "organizations": KEEP, "enabled": None, "argon2": None, **wanted}
    user_rows.update(rows, user_rows.get(rows, "ann"), user_rows.UserChange(**wish))


def test_everything_wrong_is_told_at_once():
    with pytest.raises(AccountError) as caught:
        token_rows.checked_token("no name", [], [], NOW, NOW)
    assert [one.path for one in caught.value.errors] == ["name", "scopes", "organizations", "expires"]
    with pytest.raises(AccountError, match="owner administers the whole"):
        token_rows.checked_token("t", [Scope.OWNER], ["contoso"], None, NOW)
    with pytest.raises(AccountError, match="in the past"):
        token_rows.checked_token("t", [Scope.READ], None, float("nan"), NOW)


def test_a_token(rows):
    given = add(rows, scopes=[Scope.READ, Scope.QUEUE], organizations=["contoso"])
    assert given.startswith("gp_")
    assert len(given) == 46
    scopes = frozenset({Scope.READ, Scope.QUEUE})
    assert bearer(rows, given) == Principal("token backup", scopes, frozenset({"contoso"}))
    [known] = token_rows.all_tokens(rows)
    assert (known.name, known.made_by, known.maker, known.expires, known.last_used) == (
        "backup",
        "ann",
        "ann",
        None,
        0.0,
    )
    assert given not in repr(rows.rows("SELECT * FROM token"))
    for wrong in ("", "gp_", given[:-1], given[3:], secret.fresh("gp_"), "gp_" + "é" * 43):
        assert bearer(rows, wrong) is None
    with pytest.raises(AccountError, match="already") as caught:
        add(rows)
    assert caught.value.why is AccountErrorKind.CONFLICT


def test_it_runs_out_and_is_worth_nothing_before_it_was_made(rows):
    given = add(rows, expires=NOW + 100)
    assert [bool(bearer(rows, given, at)) for at in (NOW - 61, NOW - 59, NOW, NOW + 99, NOW + 100)] == [
        *(False, True, True, True, False)
    ]


def test_last_used(rows):
    add(rows)
    [known] = token_rows.all_tokens(rows)
    assert token_rows.is_due(known, NOW)
    token_rows.touch(rows, known, NOW)
    [known] = token_rows.all_tokens(rows)
    assert known.last_used == NOW
    assert [token_rows.is_due(known, at) for at in (NOW, NOW + 59, NOW + 60, NOW - 60)] == [False, False, True, True]


def test_it_never_does_more_than_its_maker(rows):
    every, queue, owner = (add(rows, name=name, scopes=list(scopes)) for name, scopes in
                           [("every", Scope), ("queue", [Scope.QUEUE]), ("owner", [Scope.OWNER])])  # fmt: skip
    assert bearer(rows, owner).may(Scope.OWNER)
    change(rows, role=Role.ADMINISTRATOR)
    for one in (every, owner):
        assert bearer(rows, one).scopes == frozenset(Scope) - {Scope.OWNER}
    change(rows, role=Role.AUDITOR)
    assert bearer(rows, every).scopes == {Scope.READ}
    assert bearer(rows, queue) is None
    change(rows, organizations=["contoso"])
    assert bearer(rows, every).organizations == {"contoso"}
    fabrikam = add(rows, name="fabrikam", organizations=["fabrikam"])
    both = add(rows, name="both", organizations=["fabrikam", "contoso"])
    assert bearer(rows, fabrikam) is None
    assert bearer(rows, both).organizations == {"contoso"}


def test_it_sleeps_and_ends_with_its_maker(rows):
    given, other, roots = add(rows), add(rows, name="a"), add(rows, ROOT, name="root")
    change(rows, enabled=False)
    assert (bearer(rows, given), bool(bearer(rows, roots))) == (None, True)
    change(rows, enabled=True)
    assert bearer(rows, given)
    rows.execute("DELETE FROM user WHERE name = 'ann'")
    assert (bearer(rows, given), bearer(rows, other)) == (None, None)
    assert token_rows.end_all(rows, "ann") == ["a", "backup"]
    assert [one.name for one in token_rows.all_tokens(rows)] == ["root"]


def test_who_makes_one(rows):
    add(rows)
    add(rows, ROOT, name="roots")
    add(rows, Actor("token backup", "192.0.2.9"), name="second")
    add(rows, Actor("token roots", "192.0.2.9"), name="third")
    makers = {one.name: (one.made_by, one.maker) for one in token_rows.all_tokens(rows)}
    assert makers == {
        "backup": ("ann", "ann"), "roots": ("root", ""), "second": ("token backup", "ann"), "third": ("token roots", "")
    }  # fmt: skip
    for gone in ("bob", "token none", "root"):
        with pytest.raises(AccountError, match="not there any more"):
            add(rows, Actor(gone, "192.0.2.9"), name="x")


def test_removing(rows):
    given = add(rows)
    assert token_rows.facts(token_rows.delete(rows, "BACKUP")) == {
        "scopes": ["read"], "organizations": None, "expires": None, "made_by": "ann"
    }  # fmt: skip
    assert bearer(rows, given) is None
    with pytest.raises(AccountError) as caught:
        token_rows.delete(rows, "backup")
    assert caught.value.why is AccountErrorKind.MISSING
