"""The history of destinations in a table, on SQLite; in PostgreSQL see tests/system/test_store_destinations.py."""

from __future__ import annotations

import time

import pytest

from gatepost.policy.decisions.destination_history import DestinationHistory, DestinationName, SeenSession, accept, seen
from gatepost.policy.decisions.requirement import Achieved, MxLevel, TlsLevel
from gatepost.settings.store_url import SQLITE
from gatepost.store import shared_destinations as module
from gatepost.store.destinations import with_sessions
from gatepost.store.interface import StoreBusy, StoreFailure
from gatepost.store.shared_destinations import HISTORY, SharedDestinations, SharedTable
from gatepost.store.storage import Storage

AUTH = Achieved(TlsLevel.AUTHENTICATED, MxLevel.DNSSEC)
PARTNER, OTHER = DestinationName("contoso", "partner.example"), DestinationName("contoso", "", "Bank")
THIRD = DestinationName("fabrikam", "partner.example", "bank")
NOW = 1_700_000_000.0


def session(at=NOW, host="mx1"):
    return SeenSession(host, AUTH, at, "TLSv1.3")


@pytest.fixture
def opened(tmp_path):
    storage = Storage(SQLITE, tmp_path)
    return lambda: storage.database(HISTORY)


@pytest.fixture
def table(opened):
    made = SharedTable(opened)
    yield made
    made.close()


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_begins_empty_and_what_was_written_reads_back(table):
    assert table.find(PARTNER) == DestinationHistory()
    assert table.listed() == []
    table.write({PARTNER: [(session(), False), (session(NOW + 86400, "mx2"), True)], OTHER: []})
    wanted = with_sessions(DestinationHistory(), [(session(), False), (session(NOW + 86400, "mx2"), True)])
    assert table.find(PARTNER) == wanted
    accepted = table.change(PARTNER, lambda before: accept(before, at=NOW, by="ann"))
    assert table.find(PARTNER) == accepted
    assert table.change(PARTNER, lambda before: before) == accepted
    table.forget(PARTNER)
    assert table.find(PARTNER) == DestinationHistory()
    assert table.listed() == []


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [OTHER, PARTNER, THIRD]),
        ({"organization": "contoso"}, [OTHER, PARTNER]),
        ({"domain": "partner.example"}, [PARTNER, THIRD]),
        ({"connector": "bank"}, [OTHER, THIRD]),
        ({"limit": 1}, [OTHER]),
        ({"after": OTHER}, [PARTNER, THIRD]),
    ],
)
def test_the_list(table, wanted, found):
    table.write({name: [(session(), False)] for name in (PARTNER, OTHER, THIRD)})
    assert [name for name, _ in table.listed(**wanted)] == found


def test_who_makes_us_send_to_ever_new_domains_takes_nothing_from_other_organizations(opened):
    table = SharedTable(opened, most=6)
    old = [DestinationName("contoso", f"d{number}.example") for number in range(3)]
    table.write({name: [(session(NOW - 86400 + number), False)] for number, name in enumerate(old)})
    for number in range(20):
        table.write({DestinationName("fabrikam", f"d{number}.example"): [(session(NOW + number), False)]})
    kept = [DestinationName("fabrikam", f"d{number}.example") for number in (17, 18, 19)]
    assert [name for name, _ in table.listed()] == old + kept


def test_changes_are_read_by_revision_in_parts_and_never_missed(table, monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    table.write({PARTNER: [(session(), False)], OTHER: [(session(), False)], THIRD: [(session(), False)]})
    rows = table.since(0)
    assert {name for name, _, _ in rows} == {PARTNER, OTHER, THIRD}
    last = rows[-1][1]
    assert table.since(last) == []
    table.forget(THIRD)
    ((name, revision, document),) = table.since(last)
    assert (name, document) == (THIRD, "")
    assert revision > last


def test_what_was_forgotten_long_ago_is_removed(opened, monkeypatch):
    monkeypatch.setattr(module, "_KEPT_FORGOTTEN", -5.0)
    small = SharedTable(opened, most=3)
    small.forget(PARTNER)
    small.write({OTHER: [(session(), False)]})
    assert [name for name, _, _ in small.since(0)] == [OTHER]


def test_a_change_is_given_the_time_in_which_workers_read_it(opened):
    waited = []
    SharedTable(opened, sleep=waited.append).settle()
    assert module._POLL + module._INTERVAL < sum(waited) < 5


def test_a_worker_has_its_own_sessions_at_once_and_those_of_others_soon(opened, table):
    first = SharedDestinations(SharedTable(opened), interval=0.02, poll=0.05)
    second = SharedDestinations(SharedTable(opened), interval=0.02, poll=0.05)
    until(lambda: first._revision >= 0 and second._revision >= 0)
    first.note(PARTNER, session())
    assert first.find(PARTNER) == seen(DestinationHistory(), session())
    until(lambda: second.find(PARTNER).hosts)
    assert second.find(PARTNER) == table.find(PARTNER)
    table.forget(PARTNER)
    until(lambda: not second.find(PARTNER).hosts)
    first.note(OTHER, session(), logged=True)
    first.close()
    second.close()
    assert table.find(OTHER).hosts


def test_while_nothing_was_read_nothing_is_known_and_it_is_told_once(opened, caplog):
    away = [True]

    def database():
        if away[0]:
            raise StoreBusy("the server is away")
        return opened()

    worker = SharedDestinations(SharedTable(database), interval=0.01, poll=0.01)
    with pytest.raises(StoreFailure, match="was not read yet"):
        worker.find(PARTNER)
    worker.note(PARTNER, session())
    until(lambda: "server is away" in caplog.text)
    time.sleep(0.1)
    away[0] = False
    until(lambda: worker._revision >= 0 and not worker._noted)
    assert worker.find(PARTNER).hosts
    assert caplog.text.count("the server is away") == 1
    worker.close()


def test_sessions_that_cannot_be_written_at_the_end_are_lost(caplog):
    def away():
        raise StoreBusy("the server is away")

    worker = SharedDestinations(SharedTable(away), interval=60, poll=60)
    until(lambda: "away" in caplog.text)
    worker.note(PARTNER, session())
    worker.close()
    assert "sessions were lost" in caplog.text


def test_a_copy_that_grew_too_large_is_read_anew(opened, table, monkeypatch):
    table.write({PARTNER: [(session(), False)]})
    worker = SharedDestinations(SharedTable(opened), interval=0.01, poll=0.01)
    until(lambda: worker._revision >= 0)
    monkeypatch.setattr(module, "MOST", 0)
    with table._database.changing() as change:
        change.execute("DELETE FROM destination_history")  # as too many go
    until(lambda: not worker.find(PARTNER).hosts)
    worker.close()


def test_a_document_of_another_version_is_a_failure(table):
    table.write({PARTNER: [(session(), False)]})
    with table._database.changing() as change:
        change.execute("UPDATE destination_history SET document = '[]'")
    with pytest.raises(StoreFailure, match="cannot be read"):
        table.find(PARTNER)
