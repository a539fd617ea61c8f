from __future__ import annotations

from contextlib import closing

import pytest

from gatepost.analysis.alarms.senders import NotableSender
from gatepost.analysis.reports.notable_senders import NotableSenders
from gatepost.settings.store_url import SQLITE
from gatepost.store.interface import StoreFailure
from gatepost.store.sending_usage import SenderUsage
from gatepost.store.storage import Storage
from gatepost.times import day_text

NOW = 1_800_000_000.0


@pytest.fixture
def table(tmp_path):
    with closing(Storage(SQLITE, tmp_path).sending_usage()) as made:
        yield made


def sent(subject, recipients, days_ago=0, organization="o", **fields):
    return SenderUsage(day_text(NOW - days_ago * 86400), organization, subject, 1, recipients, **fields)


def test_nobody_in_a_new_gateway(table):
    assert NotableSenders(table, 500).find(NOW) == ()


def test_who_sent_much_with_what_it_sent_before(table):
    table.add([sent("user a", 500), sent("user b", 499), sent("server s", 900)])
    table.add([sent("user a", 40, 9), sent("user a", 70, 3), sent("user a", 5000, 36), sent("server s", 1, 2)])
    table.add([sent("user c", 1, 35), sent("user a", 9000, 1, organization="other")])
    table.note_day(day_text(NOW - 36 * 86400))
    table.note_day(day_text(NOW - 35 * 86400))
    found = {one.subject: one for one in NotableSenders(table, 500).find(NOW)}
    assert found == {
        "user a": NotableSender("o", "user a", "", 500, 70, 35),  # others of its organization were counted before
        "server s": NotableSender("o", "server s", "", 900, 1, 2),
    }


@pytest.mark.parametrize(("ago", "days"), [(None, 0), (0, 0), (1, 1), (6, 6), (20, 9)])
def test_what_a_user_sent_before_is_known_since_those_without_a_limit_are_counted(table, ago, days):
    """An earlier version counted only those that had a limit: who had none did not send nothing."""
    table.add([sent("user a", 5000), sent("user b", 3, 9)])
    if ago is not None:
        table.note_day(day_text(NOW - ago * 86400))
    assert NotableSenders(table, 500).find(NOW) == (NotableSender("o", "user a", "", 5000, 0, days),)


def test_an_organization_with_many_users_is_looked_at_once(table, monkeypatch):
    """A look that read the days of all its users for each of them would take seconds, once a minute."""
    table.add([sent(f"user {number}", 600) for number in range(50)] + [sent("user old", 1, 35)])
    table.note_day(day_text(NOW - 35 * 86400))
    asked, ask = [], table.first_day
    monkeypatch.setattr(table, "first_day", lambda days, name: asked.append(name) or ask(days, name))
    assert {one.days for one in NotableSenders(table, 500).find(NOW)} == {35}
    assert sorted(asked) == ["", "o"]


def test_who_reached_a_limit_is_named_however_little_it_sent(table):
    table.add([sent("user a", 2, breached=NOW, breach="450 no more"), sent("user b", 2, breached=NOW, lifted=1)])
    table.add([sent("user c", 9000, lifted=2)])
    for much in (0, 500):
        (one,) = NotableSenders(table, much).find(NOW)
        assert one == NotableSender("o", "user a", "450 no more", 2, 0, 0)


def test_a_table_that_cannot_be_read(table, monkeypatch, caplog):
    def away(*_):
        raise StoreFailure("away")

    monkeypatch.setattr(table, "notable", away)
    assert NotableSenders(table, 500).find(NOW) is None
    assert "is not known: away" in caplog.text
