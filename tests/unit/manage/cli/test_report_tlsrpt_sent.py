from __future__ import annotations

import time

import pytest

from gatepost.settings.store_url import SQLITE
from gatepost.store.sqlite.trace_files import day_of
from gatepost.store.storage import Storage

NOW = 1_795_608_000.0


@pytest.fixture
def day():
    return day_of(time.time() - 86_400)


@pytest.fixture
def some(home, day):
    reports = Storage(SQLITE, home.data).sent_reports()
    reports.plan(day, [("a.example", NOW), ("b.example", NOW)])
    first, second = reports.claim(NOW, 10, 60.0)
    reports.failed(first, "no answer", NOW + 300)
    reports.address([(second, ("https://b.example/r", "mailto:tls@b.example"))], NOW)
    for one in reports.claim(NOW, 10, 60.0):
        if one.rua.startswith("https"):
            reports.failed(one, "127.0.0.1 is not a public address", None)
        else:
            reports.sent(one, "1a")
    return home


def test_what_was_sent_and_what_was_not(some, day):
    first, second, third = some.table("report", "sent")
    assert first == {
        "day": day,
        "domain": "a.example",
        "to": "?",
        "state": "waiting",
        "tries": "1",
        "last try": "2026-11-25 12:00:00Z",
        "next try": "2026-11-25 12:05:00Z",
        "mail": "",
        "detail": "no answer",
    }
    assert (second["to"], second["state"], second["next try"]) == ("https://b.example/r", "given-up", "")
    assert (third["state"], third["mail"]) == ("sent", "1a")


def test_for_machines(some, day):
    found = some.json("report", "sent", "--domain", "B.example.", "--since", day)
    assert [(one["rua"], one["state"]) for one in found] == [
        ("https://b.example/r", "given-up"),
        ("mailto:tls@b.example", "sent"),
    ]


@pytest.mark.parametrize("words", [["--domain", "c.example"], ["--since", day_of(time.time() + 90_000)]])
def test_nothing_of_that(some, words):
    assert "no reports" in some.call("report", "sent", *words, code=1).stderr


def test_before_anything_was_sent(home):
    assert home.json("report", "sent", code=1) == []


def test_a_file_that_cannot_be_read(home):
    home.data.mkdir(exist_ok=True)
    (home.data / "sent-reports.db").write_bytes(b"no database" * 1000)
    assert "sent-reports.db" in home.call("report", "sent", code=3).stderr
