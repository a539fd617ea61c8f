from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.access.records import Actor, AuditFilter, AuditOutcome, Passkey
from gatepost.manage.cli import main
from gatepost.manage.cli.options import author
from gatepost.settings.store_url import SQLITE
from gatepost.store.storage import Storage

WORD = "correct horse battery"


def call(home, *words, given=WORD, code=0):
    result = CliRunner().invoke(main, ["--config", str(home.file), "user", *words], input=f"{given}\n")
    assert result.exit_code == code, result.output
    assert WORD not in result.output
    return result


def add(home, name, role="owner", *words, **rest):
    return call(home, "add", name, "--role", role, "--password-stdin", *words, **rest)


@pytest.fixture
def accounts(home):
    found = Accounts(Storage(SQLITE, home.data))
    yield found
    found.close()


def test_adding_and_listing(home, accounts):
    home.call("organization", "add", "contoso")
    assert home.json("user", "list") == []
    assert add(home, "Ann").stderr == "ann: added, owner of the whole gateway\n"
    assert add(home, "bob", "auditor", "--organization", "contoso").stderr == "bob: added, auditor of contoso\n"
    assert [(one["name"], one["role"], one["organizations"]) for one in home.json("user", "list")] == [
        ("ann", "owner", None),
        ("bob", "auditor", ["contoso"]),
    ]
    rows = home.table("user", "list")
    assert [(one["name"], one["organizations"], one["enabled"], one["last login"]) for one in rows] == [
        ("ann", "(all)", "yes", "never"),
        ("bob", "contoso", "yes", "never"),
    ]
    assert accounts.log_in("ann", WORD, "192.0.2.1", "Firefox")
    assert home.table("user", "list")[0]["last login"] != "never"


@pytest.mark.parametrize(
    ("words", "given", "code", "why"),
    [
        (("add", "no name", "--role", "owner", "--password-stdin"), "short", 2, ("NAME: ", "password: ")),
        (("add", "b", "--role", "owner", "--password-stdin", "--organization", "x"), WORD, 2, ("no organization 'x'",)),
        (("add", "b", "--role", "king", "--password-stdin"), WORD, 2, ("king",)),
        (("add", "b", "--role", "owner"), WORD, 2, ("no terminal", "--password-stdin")),
        (("add", "ann", "--role", "owner", "--password-stdin"), WORD, 1, ("NAME: is already in use",)),
        (("set", "ann"), WORD, 2, ("nothing to change",)),
        (("set", "ann", "--organization", "x", "--all-organizations"), WORD, 2, ("only one of the two",)),
        (("set", "eve", "--disable"), WORD, 2, ("there is no user 'eve'",)),
        (("set", "ann", "--disable"), WORD, 1, ("last owner",)),
        (("set", "ann", "--role", "auditor"), WORD, 1, ("last owner",)),
        (("set", "ann", "--password-stdin"), "short", 2, ("at least 12",)),
        (("remove", "ann"), WORD, 1, ("last owner",)),
        (("remove", "eve"), WORD, 2, ("there is no user 'eve'",)),
        (("sessions", "eve"), WORD, 2, ("there is no user 'eve'",)),
        (("setup",), WORD, 1, ("an owner already",)),
    ],
)
def test_what_is_refused(home, words, given, code, why):
    add(home, "ann")
    before = home.json("user", "list")
    stderr = call(home, *words, given=given, code=code).stderr
    assert all(one in stderr for one in why)
    assert home.json("user", "list") == before


def test_changing(home, accounts):
    home.call("organization", "add", "contoso")
    add(home, "ann")
    add(home, "bob", "auditor")
    secret = accounts.log_in("bob", WORD, "192.0.2.1", "Firefox")
    said = call(home, "set", "bob", "--role", "operator", "--organization", "contoso", "--disable").stderr
    assert said == "bob: operator of contoso, disabled\n"
    assert accounts.session(secret) is None
    said = call(home, "set", "bob", "--all-organizations", "--enable", "--password-stdin", given="another word, long")
    assert said.stderr == "bob: operator of the whole gateway, enabled, password set\n"
    assert accounts.log_in("bob", "another word, long", "192.0.2.1", "Firefox")


def test_what_ends_with_the_old_password_and_what_does_not(home, accounts):
    add(home, "ann")
    ann = Actor("ann", "192.0.2.1")
    accounts.add_passkey(Passkey(b"1", "ann", "phone\x1b[31m", b"cose", 0, 0.0, 0.0), actor=ann)
    accounts.add_token("deploy", [Scope.READ], actor=ann)
    said = call(home, "set", "ann", "--password-stdin", given="another word, long").stderr
    assert said == (
        "ann: owner of the whole gateway, enabled, password set\n"
        "passkeys removed: phone?[31m\n"
        "its API tokens still work: deploy (gatepost token remove NAME removes one)\n"
    )
    assert accounts.passkeys_of("ann") == []
    assert call(home, "set", "ann", "--enable").stderr == "ann: owner of the whole gateway, enabled\n"
    said = call(home, "set", "ann", "--remove-tokens").stderr
    assert said == "ann: owner of the whole gateway, enabled\nAPI tokens removed: deploy\n"
    assert accounts.tokens() == []


def test_changes_for_programs(home, accounts):
    made = json.loads(add(home, "Ann", "owner", "--json").stdout)
    assert made == home.json("user", "list")[0]
    accounts.add_passkey(Passkey(b"1", "ann", "phone", b"cose", 0, 0.0, 0.0), actor=Actor("ann", "192.0.2.1"))
    done = call(home, "set", "ann", "--password-stdin", "--json", given="another word, long")
    assert (json.loads(done.stdout), done.stderr) == (
        made | {"passkeys_removed": ["phone"], "tokens": [], "tokens_removed": []},
        "",
    )
    add(home, "bob")
    accounts.add_token("deploy", [Scope.READ], actor=Actor("bob", "192.0.2.1"))
    assert home.json("user", "remove", "bob") == {"name": "bob", "tokens": ["deploy"]}


def test_sessions(home, accounts):
    add(home, "ann")
    secret = accounts.log_in("ann", WORD, "192.0.2.1", "Fire\x1b[31mfox")
    assert home.table("user", "sessions", "ann")[0]["browser"] == "Fire?[31mfox"
    assert home.json("user", "sessions", "Ann")[0]["address"] == "192.0.2.1"
    assert call(home, "sessions", "ann", "--end").stderr == "ann: 1 session ended\n"
    assert accounts.session(secret) is None
    assert home.json("user", "sessions", "ann") == []


def test_the_first_owner(home, accounts):
    first = home.json("user", "setup")["code"]
    result = call(home, "setup")
    url = result.stdout.strip()
    assert url.startswith("https://127.0.0.1:8443/setup?code=")
    code = url.partition("=")[2]
    assert [accounts.is_setup_code(one) for one in (first, code)] == [False, True]
    accounts.use_setup_code(code, "ann", WORD)
    call(home, "setup", code=1)
    events = accounts.audit_events(Principal("ann", frozenset()), AuditFilter(action="setup-code"))
    assert [(one.who, one.outcome) for one in events] == [(author(), AuditOutcome.REFUSED)] + [
        (author(), AuditOutcome.DONE)
    ] * 2


def test_removing(home, accounts):
    add(home, "ann")
    add(home, "bob", "owner")
    accounts.add_token("bobs", [Scope.READ], actor=Actor("bob", "192.0.2.1"))
    assert call(home, "remove", "bob").stderr == "bob: removed, and its API tokens: bobs\n"
    assert [one["name"] for one in home.json("user", "list")] == ["ann"]


def test_what_cannot_be_read(home):
    home.data.mkdir()
    (home.data / "access.db").write_bytes(b"no database" * 1000)
    assert "access.db" in home.call("user", "list", code=3).stderr
