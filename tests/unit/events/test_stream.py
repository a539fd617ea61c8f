from __future__ import annotations

import threading
import time

from gatepost.events.stream import EventFeed


def test_events_go_to_the_trace_at_once_and_to_every_reader_in_order(caplog):
    kept, first, second, rounds = [], [], [], threading.Event()

    def bad(groups):
        first.extend(groups)
        raise ValueError("a reader's fault")

    feed = EventFeed([bad, second.extend], rounds.set, interval=0.01)
    along = feed.along(kept.append)
    for number in range(100):
        along([number])
        assert kept[-1] == [number]
    assert rounds.wait(20)
    along(["last"])
    feed.close()
    assert kept == first == second
    assert "a reader's fault" in caplog.text


def test_who_is_slow_loses_lines_and_no_memory(monkeypatch):
    monkeypatch.setattr("gatepost.events.stream._MOST", 10)
    kept, read = [], []
    feed = EventFeed([read.extend], interval=3600)
    along = feed.along(kept.append)
    for number in range(15):
        along([number, number])
    feed.close()
    assert (len(kept), len(read), feed.left_out) == (15, 10, 10)


def test_a_feed_that_rests_wakes_seldom_and_is_soon_awake_again(monkeypatch):
    monkeypatch.setattr("gatepost.events.stream._QUIET", 0.08)
    waits, read = [], threading.Event()
    feed = EventFeed([lambda _: read.set()], interval=0.01)
    wait = feed._closing.wait

    def watched(seconds):
        waits.append(seconds)
        return wait(seconds)

    monkeypatch.setattr(feed._closing, "wait", watched)
    while 0.08 not in waits:
        time.sleep(0.01)
    assert waits == sorted(waits)
    assert max(waits) == 0.08
    feed.along(lambda _: None)(["event"])
    assert read.wait(20)
    while waits[-1] == 0.08:
        time.sleep(0.001)
    feed.close()
    assert 0.01 in waits[waits.index(0.08) :]
