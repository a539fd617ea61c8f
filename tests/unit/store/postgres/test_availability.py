from __future__ import annotations

import logging

import pytest

from gatepost.store.interface import StoreBusy, StoreFailure, StoreFull
from gatepost.store.postgres import availability
from gatepost.store.postgres.availability import Availability


class Clock:
    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(availability, "time", clock := Clock())
    return clock


def test_a_server_that_is_away_is_told_once(clock, caplog):
    caplog.set_level(logging.INFO)
    available = Availability()
    assert (available.failure, available.works) == (None, True)
    for _ in range(3):
        available.note_away(StoreBusy("refused"))
    assert (str(available.failure), available.works) == ("refused", False)
    available.note_back()
    assert (available.failure, available.works) == (None, True)
    assert caplog.text.count("cannot be written; no mail is accepted and none is tried until it can: refused") == 1
    assert caplog.text.count("can be written again") == 1
    clock.now += 59
    available.note_away(StoreBusy("again"))
    assert "again: " not in caplog.text, "not more often than once a minute"


def test_a_full_disk_stops_what_arrives_and_nothing_else(clock, caplog):
    caplog.set_level(logging.INFO)
    available = Availability()
    available.note_room()
    assert caplog.text == ""
    for _ in range(2):
        available.note_full(StoreFull("no room"))
    assert (type(available.failure), available.works) == (StoreFull, True)
    assert caplog.text.count("the queue has no room; no mail is accepted until it has: no room") == 1
    clock.now += 2
    assert available.failure is None, "the next message finds out"
    available.note_full(StoreFull("no room"))
    available.note_room()
    assert available.failure is None
    assert caplog.text.count("the queue has room again") == 1


def test_a_statement_that_takes_long_counts_as_no_answer(clock):
    available = Availability()
    available.begin()
    clock.now += 5
    assert available.works
    clock.now += 1
    assert available.failure.summary == "PostgreSQL does not answer in time"
    assert not available.works
    available.end()
    assert available.works
    available.final = StoreFailure("closed")
    assert available.failure is available.final
