from __future__ import annotations

import itertools
import os
import threading
import time

import pytest

from gatepost.node.heartbeat import Heartbeat
from gatepost.settings.store_url import SQLITE
from gatepost.store.interface import StoreBusy, StoreFailure
from gatepost.store.nodes import NodeFigures, NodeIdentity, NodeState
from gatepost.store.sqlite.administration import Depth
from gatepost.store.storage import Storage

NODE = NodeIdentity("mx1", "start 1", "data 1", "host1", "1.0")


@pytest.fixture
def registry(tmp_path):
    made = Storage(SQLITE, tmp_path).nodes()
    made.enter(NODE)
    yield made
    made.close()


def beating(registry, depth=Depth, state=lambda _: None, figures=lambda: (3, NodeFigures(drained=True))):
    return Heartbeat(registry, NODE, 0, figures=figures, depth=depth, state=state)


def said(registry):
    return registry.nodes()[0].workers[0]


def test_a_beat_says_version_process_and_queue(registry):
    beating(registry, lambda: Depth(1, 2, 3)).beat()
    worker = said(registry)
    assert (worker.configuration, worker.pid) == (3, os.getpid())
    assert (worker.figures.active, worker.figures.deferred, worker.figures.held) == (1, 2, 3)
    assert not worker.figures.drained


def test_the_queue_is_counted_now_and_then_and_at_each_beat_while_it_is_drained(registry):
    counted, states = [], []

    def depth():
        counted.append(1)
        return Depth()

    heart = beating(registry, depth, states.append)
    heart.beat()
    heart.beat()
    assert len(counted) == 1
    registry.drain("mx1")
    heart.beat()
    assert states == [NodeState.DRAINING]
    heart.beat()
    heart.beat()
    assert len(counted) == 3
    assert states == [NodeState.DRAINING]
    assert registry.nodes()[0].state is NodeState.DRAINED
    registry.drain("mx1", undo=True)
    heart.beat()
    assert states == [NodeState.DRAINING, NodeState.ACTIVE]


def test_a_queue_that_takes_long_to_count_is_counted_seldom(registry, monkeypatch):
    now, counted = [1000.0], []

    def depth():
        counted.append(now[0])
        now[0] += 0.2
        return Depth()

    heart = beating(registry, depth)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for _ in range(40):
        heart.beat()
        now[0] += 3
    assert [round(later - earlier) for earlier, later in itertools.pairwise(counted)] == [60]


@pytest.mark.parametrize(("fails", "seconds"), [(True, 30), (False, 300)], ids=["it failed", "the disk was read"])
def test_a_first_count_that_took_very_long_is_not_the_last_for_an_hour(registry, monkeypatch, fails, seconds):
    now, counted = [1000.0], []

    def depth():
        counted.append(now[0])
        if len(counted) == 1:
            now[0] += 10
            if fails:
                raise StoreFailure("on purpose")
        return Depth(deferred=len(counted))

    heart = beating(registry, depth)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    while len(counted) < 2 and now[0] < 5000:
        heart.beat()
        now[0] += 3
    assert counted[-1] - counted[0] == pytest.approx(seconds, abs=5)
    assert said(registry).figures.deferred == 2


def test_new_mail_comes_before_the_first_count_of_the_queue(registry, monkeypatch):
    monkeypatch.setattr("gatepost.node.heartbeat.BEAT_SECONDS", 3600)
    beats, counted = threading.Semaphore(0), threading.Event()

    def figures():
        beats.release()
        return 3, NodeFigures()

    def depth():
        counted.set()
        return Depth()

    heart = beating(registry, depth, figures=figures)
    heart.start()
    assert beats.acquire(timeout=30)
    heart.soon()
    assert beats.acquire(timeout=30)  # the first one is over
    assert not counted.is_set()
    heart.close()


def test_a_queue_that_cannot_be_counted_is_not_drained(registry):
    def depth():
        raise StoreFailure("on purpose")

    beating(registry, depth).beat()
    assert said(registry).figures == NodeFigures(offset=said(registry).figures.offset)


def test_what_fails_is_told_once_in_a_while_and_tried_again(registry, caplog, monkeypatch):
    monkeypatch.setattr(registry, "beat", lambda *_: (_ for _ in ()).throw(StoreBusy("away")))
    heart = beating(registry)
    heart.beat()
    heart.beat()
    assert caplog.text.count("no heartbeat of this node: away") == 1
    wrong = beating(registry, figures=lambda: 1 / 0)
    wrong.beat()
    assert "a heartbeat failed" in caplog.text


def test_the_thread_beats_at_once_and_when_it_is_told(registry, monkeypatch):
    monkeypatch.setattr("gatepost.node.heartbeat.BEAT_SECONDS", 3600)
    beats, done = [], threading.Semaphore(0)

    def figures():
        beats.append(1)
        done.release()
        return 3, NodeFigures()

    heart = beating(registry, figures=figures)
    heart.start()
    assert done.acquire(timeout=30)
    heart.soon()
    assert done.acquire(timeout=30)
    heart.close()
    count = len(beats)
    time.sleep(0.05)
    assert len(beats) == count
