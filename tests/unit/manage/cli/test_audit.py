from __future__ import annotations

import pytest

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.actions import LABELS
from gatepost.manage.access.records import Actor, AuditOutcome
from gatepost.settings.store_url import SQLITE
from gatepost.store.storage import Storage


@pytest.fixture
def audited(home):
    accounts = Accounts(Storage(SQLITE, home.data))
    ann = Actor("ann", "192.0.2.1")
    accounts.record(ann, "log-in")
    accounts.record(ann, "queue-drop", organization="contoso", subject="7Q\x1b[31m", outcome=AuditOutcome.REFUSED)
    accounts.record(Actor("token backup", "192.0.2.9"), "queue-retry", organization="contoso", detail={"count": 3})
    accounts.close()
    home.call("token", "add", "t", "--scope", "read")
    return home


@pytest.mark.parametrize(
    ("words", "actions"),
    [
        ((), ["token-add", "queue-retry", "queue-drop", "log-in"]),
        (("--who", "ann"), ["queue-drop", "log-in"]),
        (("--who", "token backup"), ["queue-retry"]),
        (("--action", "log-in"), ["log-in"]),
        (("--action", "drop mail"), ["queue-drop"]),
        (("--organization", ""), ["token-add", "log-in"]),
        (("--organization", "contoso", "--outcome", "done"), ["queue-retry"]),
        (("--subject", "t"), ["token-add"]),
        (("--since", "1h", "--until", "2020-01-01"), []),
        (("--since", "1h", "--limit", "2"), ["token-add", "queue-retry"]),
        (("--before", "3"), ["queue-drop", "log-in"]),
    ],
)
def test_events(audited, words, actions):
    assert [one["action"] for one in audited.json("audit", *words)] == actions
    assert [one["action"] for one in audited.table("audit", *words)] == [LABELS[action] for action in actions]


def test_changes_are_listed_where_they_are_asked_for(audited):
    """As the page and REST list them: without them "Change resources" seems never to have happened."""
    audited.call("organization", "add", "fabrikam", "--note", "new customer")
    (change,) = audited.json("audit", "--action", "change")
    assert audited.json("audit", "--action", "Change resources") == [change]
    assert [one["action"] for one in audited.json("audit", "--changes", "--limit", "2")] == ["change", "token-add"]
    (row,) = audited.table("audit", "--action", "change")
    assert (row["id"], row["from"], row["subject"]) == ("", "", f"revision {change['version']}")
    assert row["detail"] == '{"note": "new customer"}'


def test_an_action_that_there_is_not_is_no_empty_list(audited):
    assert audited.json("audit", "--action", "certificate-switch") == []
    said = audited.call("audit", "--action", "switch", code=2).stderr
    assert said.startswith("there is no action 'switch'; the nearest of ")
    assert "'certificate-switch'" in said


def test_a_table_is_harmless_for_a_terminal(audited):
    rows = {one["action"]: one for one in audited.table("audit")}
    assert rows["Drop mail"]["subject"] == "7Q?[31m"
    assert rows["Drop mail"]["outcome"] == "refused"
    assert rows["Retry mail"]["detail"] == '{"count": 3}'
    assert rows["Add API token"]["from"] == "command line"


@pytest.mark.parametrize("words", [("--limit", "0"), ("--limit", "1001"), ("--outcome", "x"), ("--since", "x")])
def test_wrong_use(audited, words):
    audited.call("audit", *words, code=2)
