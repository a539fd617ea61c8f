from __future__ import annotations

import pytest

from gatepost.store.changes import ConfigStore


@pytest.fixture
def changed(home):
    home.call("organization", "add", "contoso", "display_name=C", "--note", "a new customer")
    home.call("domain", "add", "contoso.example")
    home.call("mailbox", "add", "ann@contoso.example")
    home.call("connector", "add", "outbound", "it's", "recipient_domains=bank.example")
    home.call("connector", "set", "it's", "priority=5", "tls_settings=encryption-only", "--note", "as the bank asks")
    home.call("organization", "add", "fabrikam")
    home.call("organization", "set", "contoso", "display_name=", "cleartext=never")
    home.call("mailbox", "remove", "ann@contoso.example")
    home.call("organization", "remove", "fabrikam")
    return home


def test_the_newest_changes_come_first(changed):
    rows = changed.table("history")
    assert [(row["version"], row["organization"], row["change"], row["note"]) for row in rows] == [
        ("9", "fabrikam", "removed", ""),
        ("8", "contoso", "mailbox 'ann@contoso.example' removed", ""),
        ("7", "contoso", "cleartext changed; display_name changed", ""),
        ("6", "fabrikam", "added", ""),
        ("5", "contoso", 'outbound connector "it\'s" changed', "as the bank asks"),
        ("4", "contoso", 'outbound connector "it\'s" added', ""),
        ("3", "contoso", "mailbox 'ann@contoso.example' added", ""),
        ("2", "contoso", "accepted domain 'contoso.example' added", ""),
        ("1", "contoso", "added", "a new customer"),
    ]
    assert all(row["author"] and row["at"].endswith("Z") for row in rows)


def test_less_of_it(changed):
    assert [row["version"] for row in changed.table("history", "--limit", "2")] == ["9", "8"]
    assert [row["version"] for row in changed.table("history", "--organization", "fabrikam")] == ["9", "6"]
    assert changed.table("history", "--organization", "x") == []
    changed.call("history", "--limit", "0", code=2)


def test_before_the_first_change_there_is_none(home):
    assert home.table("history") == []
    assert home.json("history") == []


def test_one_version(changed):
    shown = changed.call("history", "show", "5")
    assert shown.stdout == (
        '+ organization.contoso.outbound_connector["it\'s"].priority: 5\n'
        '+ organization.contoso.outbound_connector["it\'s"].tls_settings: "encryption-only"\n'
    )
    assert shown.stderr.startswith("version 5, 20")
    assert shown.stderr.endswith(": as the bank asks\n")
    assert changed.call("history", "show", "9").stdout == '- organization.fabrikam: ""\n'
    assert changed.call("history", "show", "10", code=2).stderr == (
        "there is no version 10; `gatepost history` lists those there are\n"
    )
    changed.call("history", "show", "0", code=2)


def test_a_version_may_change_several_organizations(home):
    home.call("apply", "-f", home.write("[organization.a]\n[organization.b]\n"))
    assert home.call("history", "show", "1").stdout.splitlines() == ['+ organization.a: ""', '+ organization.b: ""']
    assert [row["organization"] for row in home.table("history")] == ["b", "a"]


def test_for_machines(changed):
    newest, *_, first = changed.json("history")
    assert list(first) == ["version", "at", "author", "organization", "note", "changes", "summary"]
    assert (first["version"], first["note"], first["changes"]) == (1, "a new customer", 2)
    assert newest["organization"] == "fabrikam"
    shown = changed.json("history", "show", "9")
    assert shown["changes"] == [{"sign": "-", "field": "organization.fabrikam", "before": "", "after": None}]
    assert list(shown) == ["version", "at", "author", "note", "changes"]


def test_notes_cannot_write_to_the_terminal(home):
    store = ConfigStore(home.data / "config.db")
    store.apply({"organization": {"contoso": {}}}, author="me", note="\x1b[31mred")
    store.close()
    assert home.table("history")[0]["note"] == "?[31mred"
    assert home.call("history", "show", "1").stderr.endswith(": ?[31mred\n")


def test_going_back_says_what_it_takes_back_and_of_whom(changed):
    planned = changed.call("history", "revert", "4", "--organization", "contoso", "--dry-run")
    assert planned.stdout.endswith("not applied (--dry-run)\n")
    for version in (5, 7, 8):
        assert f"takes back version {version}, " in planned.stderr
    assert "as the bank asks" in planned.stderr
    assert "version 4," not in planned.stderr
    assert changed.table("history", "--limit", "1")[0]["version"] == "9"
    done = changed.json("history", "revert", "4", "--organization", "contoso", "--note", "back")
    assert (done["version"], [one["version"] for one in done["undone"]]) == (10, [8, 7, 5])
    (newest,) = changed.table("history", "--limit", "1")
    assert (newest["organization"], newest["note"]) == ("contoso", "back")
    assert "ann@contoso.example" in changed.call("mailbox", "list").stdout
    assert "nothing to change" in changed.call("history", "revert", "10").stdout
    assert "there is no version 99 yet" in changed.call("history", "revert", "99", code=2).stderr
