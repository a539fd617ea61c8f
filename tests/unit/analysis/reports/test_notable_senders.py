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
    for days_ago in range(1, 36):
        table.note_everybody(day_text(NOW - days_ago * 86400))
    found = {one.subject: one for one in NotableSenders(table, 500).find(NOW)}
    assert found == {
        "user a": NotableSender("o", "user a", "", 500, 70, 35),  # others of its organization were counted before
        "server s": NotableSender("o", "server s", "", 900, 1, 2),
    }


def test_a_user_is_not_compared_with_days_on_which_only_senders_with_a_limit_were_counted(table):
    """As after the upgrade from a version that counted no others, and after `unusual_sending` was 0."""
    table.add([sent("user a", 600), sent("server s", 1, 30), sent("user limited", 3, 20)])
    assert [one.days for one in NotableSenders(table, 500).find(NOW)] == [0]
    for days_ago in (1, 2, 3):
        table.note_everybody(day_text(NOW - days_ago * 86400))
    assert [one.days for one in NotableSenders(table, 500).find(NOW)] == [3]


def test_an_organization_with_many_users_is_looked_at_once(table, monkeypatch):
    table.add([sent(f"user {number}", 600) for number in range(50)] + [sent("user old", 1, 35)])
    asked, ask = [], table.first_day
    monkeypatch.setattr(table, "first_day", lambda days, name: asked.append(name) or ask(days, name))
    assert len(NotableSenders(table, 500).find(NOW)) == 50
    assert asked == ["o"]


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
