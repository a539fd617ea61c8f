from __future__ import annotations

import os

import pytest
from support.clock import Clock

from gatepost.events.delivery_problems import DeliveryProblems, FailingPartner
from gatepost.events.metrics.counts import Counts
from gatepost.mail.model.worker_load import WorkerLoad
from gatepost.node.figures import Figures
from gatepost.store.figures import WorkerFigures, read_figures, write_figures
from gatepost.store.interface import StoreBusy, StoreFull

FAILING = FailingPartner("o", "n", "d", "encrypted", 1.0, 2.0, 3, "certificate-expired")
SERIES = ("gatepost_attempt_seconds",)
BOUNDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)


@pytest.fixture
def clock():
    return Clock(100.0)


def counting(figures):
    one, other = Counts(), Counts()
    figures.follow(one, other, lost={("lost",): lambda: 7})
    for counts in (one, other):
        counts.add(("a", "x"), 2)
        counts.observe(SERIES, BOUNDS, 0.02)
    one.left_out = 3
    return one


def test_who_counts_is_added_up_and_the_next_process_counts_on(tmp_path, clock):
    figures = Figures(tmp_path, 0, served=True, clock=clock)
    one = counting(figures)
    figures.version, figures.gauges = 5, {("g", "y"): 1.0}
    figures.look()
    left = read_figures(tmp_path, 0)
    numbers = {tuple(series): count for series, count in left.numbers}
    assert numbers == {("a", "x"): 4, ("lost",): 7, ("gatepost_series_left_out_total",): 3}
    assert [(tuple(series), sum(counts)) for series, counts, _ in left.histograms] == [(SERIES, 2)]
    assert (left.gauges, left.version, left.at) == ([(["g", "y"], 1.0)], 5, 100.0)
    one.add(("a", "x"))
    figures.look()
    assert read_figures(tmp_path, 0) == left, "it is not time yet"
    clock.now = 101.0
    figures.look()
    again = Figures(tmp_path, 0, served=True, clock=clock)
    counting(again)
    again.last()
    numbers = {tuple(series): count for series, count in read_figures(tmp_path, 0).numbers}
    assert numbers[("a", "x")] == 9
    assert [sum(counts) for _, counts, _ in read_figures(tmp_path, 0).histograms] == [4]
    assert read_figures(tmp_path, 0).gauges == []


def test_buckets_of_another_version_are_left_behind(tmp_path, clock):
    write_figures(
        tmp_path, WorkerFigures(0, histograms=[(list(SERIES), [1, 2], 3.0), (["gone"], [1], 1.0), ([], [], 0.0)])
    )
    figures = Figures(tmp_path, 0, served=True, clock=clock)
    figures.look()
    assert read_figures(tmp_path, 0).histograms == []


def test_where_nobody_reads_metrics_the_file_tells_of_trouble_alone(tmp_path, clock):
    figures = Figures(tmp_path, 0, served=False, clock=clock)
    problems = DeliveryProblems((FAILING,))
    figures.watch(problems)
    figures.look()
    figures.last()
    assert list(tmp_path.iterdir()) == []
    problems.changed = True
    figures.look()
    assert read_figures(tmp_path, 0).failing == (FAILING,)
    problems.changed = True
    clock.now += 1
    figures.look()
    assert problems.changed, "seldom is enough"
    figures.last()
    assert not problems.changed


def test_a_store_that_cannot_be_used_is_told_at_once_even_where_nobody_reads_metrics(tmp_path, clock):
    figures = Figures(tmp_path, 0, served=False, clock=clock)
    figures.look()
    assert list(tmp_path.iterdir()) == []
    away = StoreBusy("PostgreSQL at db1 refuses", summary="PostgreSQL cannot be reached")
    figures.failure = lambda: away
    figures.look()
    left = read_figures(tmp_path, 0)
    assert (left.trouble, left.reason) == ("PostgreSQL cannot be reached", "PostgreSQL at db1 refuses")
    figures.failure = lambda: StoreFull("no room")
    figures.look()
    assert read_figures(tmp_path, 0).trouble == "the disk of the store is full"
    figures.last()
    assert read_figures(tmp_path, 0).trouble == ""


@pytest.mark.parametrize("failure", [None, StoreFull("full")])
def test_trouble_of_an_earlier_process_is_not_that_of_another_with_its_number(tmp_path, clock, failure):
    """It was killed on a full disk; in a container, the next process with its number is another worker."""
    summary, reason = (failure.summary, str(failure)) if failure else ("", "")
    write_figures(tmp_path, WorkerFigures(0, pid=4711, trouble=StoreFull("full").summary, reason="full"))
    figures = Figures(tmp_path, 0, served=False, clock=clock)
    figures.failure = lambda: failure
    figures.look()
    found = read_figures(tmp_path, 0)
    assert (found.pid, found.trouble, found.reason) == (os.getpid(), summary, reason)


def test_trouble_that_cannot_be_written_is_tried_again(tmp_path, clock):
    (tmp_path / "workers").write_text("in the way")
    figures = Figures(tmp_path / "workers", 0, served=False, clock=clock)
    figures.failure = lambda: StoreBusy("x")
    figures.look()
    (tmp_path / "workers").unlink()
    figures.look()
    assert read_figures(tmp_path / "workers", 0).trouble == "the store cannot be written"


def test_a_full_disk_is_told_now_and_then_and_tried_again(tmp_path, clock, caplog):
    (tmp_path / "workers").write_text("in the way")
    figures = Figures(tmp_path / "workers", 0, served=True, clock=clock)
    problems = DeliveryProblems((FAILING,))
    figures.watch(problems)
    for _ in range(5):
        clock.now += 10
        figures.look()
    assert caplog.text.count("cannot be written") == 1
    assert problems.changed
    (tmp_path / "workers").unlink()
    clock.now += 10
    figures.look()
    assert read_figures(tmp_path / "workers", 0).failing == (FAILING,)
    (tmp_path / "workers" / "0.json").unlink()
    (tmp_path / "workers").rmdir()
    (tmp_path / "workers").write_text("again")
    plain = Figures(tmp_path / "workers", 0, served=True, clock=clock)
    plain.look()
    assert caplog.text.count("cannot be written") == 2


def test_the_load_is_told_at_once_and_an_earlier_process_is_not_loaded_any_more(tmp_path, clock):
    figures = Figures(tmp_path, 0, served=False, clock=clock)
    figures.look()
    assert read_figures(tmp_path, 0).load == WorkerLoad()
    figures.load = WorkerLoad("busy", 0.5, "why", 100.0, 100.0)
    figures.look()
    assert read_figures(tmp_path, 0).load == figures.load
    figures.load = WorkerLoad("busy", 0.5, "why", 100.0, 101.0, 7)
    figures.look()
    assert read_figures(tmp_path, 0).load.refused == 0, "numbers have their time"
    clock.now += 5.0
    figures.look()
    assert read_figures(tmp_path, 0).load.refused == 7
    again = Figures(tmp_path, 0, served=False, clock=clock)
    assert again.load == WorkerLoad("normal", 1.0, "why", 100.0, 101.0, 7)


def test_a_drained_worker_is_not_ready_and_its_store_not_to_blame(tmp_path, clock):
    figures = Figures(tmp_path, 0, served=False, clock=clock)
    for drained in ("this node is being drained", ""):
        figures.drained = drained
        figures.look()
        left = read_figures(tmp_path, 0)
        assert (left.trouble, left.reason) == (drained, "")
    figures.drained = "this node is being drained"
    figures.failure = lambda: StoreBusy("db1", summary="PostgreSQL cannot be reached")
    figures.look()
    assert read_figures(tmp_path, 0).trouble == "PostgreSQL cannot be reached"
    figures.last()
    assert read_figures(tmp_path, 0).trouble == ""
