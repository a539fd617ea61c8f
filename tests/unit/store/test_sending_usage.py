from __future__ import annotations

import pytest

from gatepost.settings.store_url import SQLITE
from gatepost.store.sending_usage import SenderUsage
from gatepost.store.storage import Storage

DAY = "2026-11-24"


@pytest.fixture
def table(tmp_path):
    made = Storage(SQLITE, tmp_path).sending_usage()
    yield made
    made.close()
    made.close()


def row(messages=0, recipients=0, **fields):
    return SenderUsage(DAY, "o", "user a@o.example", messages, recipients, **fields)


def test_counts_are_added_up(table):
    table.add([row(1, 3)])
    table.add([row(2, 4), SenderUsage("2026-11-25", "o", "server x", 1, 1)])
    table.add([row(-1, -2)])
    rows, revision = table.since(DAY)
    assert rows == [row(2, 5)]
    assert table.since(DAY, revision) == ([], revision)
    table.add([row(1, 1)])
    assert table.since(DAY, revision) == ([row(3, 6)], revision + 1)


def test_the_first_breach_of_a_day_and_the_widest_lift_are_kept(table):
    table.add([row(breached=100.0, breach="450 first")])
    table.add([row(breached=200.0, breach="450 second")])
    table.add([row(lifted=2, lifted_by="owner")])
    table.add([row(1, 1)])
    table.add([row(lifted=1, lifted_by="")])
    assert table.since(DAY)[0] == [row(1, 1, lifted=2, lifted_by="owner", breached=100.0, breach="450 first")]


def test_old_days_are_forgotten(table):
    table.add([row(1, 1), SenderUsage("2026-10-01", "o", "server x", 1, 1)])
    table.prune("2026-11-01")
    assert table.since("2026-10-01")[0] == []
    assert table.since(DAY)[0] == [row(1, 1)]


def test_who_sent_much_or_was_beyond_a_limit(table):
    quiet, loud = (SenderUsage(DAY, "o", name, 1, number) for name, number in (("user q", 9), ("user l", 10)))
    table.add([quiet, loud, row(1, 1, breached=5.0, breach="450")])
    assert table.notable(DAY, 10) == [row(1, 1, breached=5.0, breach="450"), loud]
    assert table.notable(DAY, 0) == [row(1, 1, breached=5.0, breach="450")]


def test_since_when_senders_without_a_limit_are_counted(table):
    days = ["2026-11-22", "2026-11-23", DAY]
    table.add([row(1, 1)])
    assert table.counted_since(days) == "", "one with a limit was counted before, too"
    for day in (DAY, "2026-11-23"):
        table.note_day(day)
    assert table.counted_since(days) == "2026-11-23"
    assert table.counted_since(days[:1]) == ""
    assert table.notable(DAY, 0) == [], "nobody sent what the note says"


def test_the_busiest_of_some_days(table):
    days = ["2026-11-23", "2026-11-22"]
    table.add([SenderUsage(day, "o", "user b", 1, number) for day, number in zip(days, (3, 8), strict=True)])
    table.add([row(1, 99), SenderUsage("2026-11-22", "o", "user c", 1, 50)])
    assert table.history(days, "o", "user b") == (8, "2026-11-22")
    assert table.history(days[:1], "o", "user b") == (3, "2026-11-23")
    assert table.history(days, "other", "user b") == (0, "")
    assert (table.first_day(days, "o"), table.first_day(days[:1], "o")) == ("2026-11-22", "2026-11-23")
    assert table.first_day(days, "other") == ""
