from __future__ import annotations

import logging
import time

import pytest

from gatepost.events.metrics.catalogue import LIMITED
from gatepost.events.metrics.counts import Counts
from gatepost.mail.inbound.service import SessionRegistry
from gatepost.mail.model.worker_load import WorkerLoad
from gatepost.node import load as module
from gatepost.node.load import LOAD_SECONDS, LoadMonitor, memory_in_use
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.load import Measurements
from gatepost.settings.model import Settings


class Observed:
    """As `node.observation.Observation`, of which only this is needed."""

    def __init__(self):
        self.counts = Counts()
        self.load = WorkerLoad()

    def note_load(self, load):
        self.load = load


@pytest.fixture
def monitor(tmp_path, monkeypatch):
    settings = Settings(
        server={"hostname": "mx.contoso.example", "data_dir": str(tmp_path)},
        rates={"delay_mark": "10ms"},
        store={"free_space": "0"},
    )
    observed = Observed()
    monitor = LoadMonitor(settings, observed, lambda _: False)
    monitor.observed, monitor.registry = observed, SessionRegistry(time.monotonic)
    monkeypatch.setattr(module, "memory_in_use", lambda: None)
    monitor.part(monitor.registry, Directory(parse({})))
    return monitor


def rounds(monitor, seconds=1):
    left = round(seconds / LOAD_SECONDS)
    while left > 0:
        monitor.measure()
        left -= round(monitor.pause / LOAD_SECONDS)


def test_a_message_that_waits_makes_limits_tighter_and_is_noted(monitor, caplog):
    rounds(monitor)
    assert (monitor.limits.share, monitor.observed.load) == (1.0, WorkerLoad())
    monitor.registry.commits.began("session", time.monotonic() - 2.0)
    with caplog.at_level(logging.INFO, "gatepost"):
        rounds(monitor)
    assert monitor.limits.share == 0.75
    load = monitor.observed.load
    assert (load.level, load.share, load.reason) == ("busy", 0.75, "messages wait 2 s to be stored")
    assert load.text == "busy: messages wait 2 s to be stored; unknown clients may do 75% of their limits"
    assert load.since == load.last > 0
    assert caplog.text == "", "it is not grave yet"
    with caplog.at_level(logging.INFO, "gatepost"):
        rounds(monitor, 10)
    assert monitor.limits.share < 0.1
    assert (monitor.observed.load.level, monitor.observed.load.since) == ("overloaded", load.since)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "this worker is overloaded: messages wait 2" in caplog.text


def work(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_worker_that_has_little_to_do_is_measured_seldom_until_it_works_or_is_busy(monitor):
    monitor.measure()
    work(0.1 * LOAD_SECONDS)
    monitor.measure()
    assert monitor.pause == 5 * LOAD_SECONDS
    work(0.2 * monitor.pause)
    monitor.measure()
    assert monitor.pause == LOAD_SECONDS
    monitor.registry.commits.began("session", time.monotonic() - 2.0)
    rounds(monitor, 2)
    assert monitor.observed.load.level == "busy"
    monitor.measure()
    assert monitor.pause == LOAD_SECONDS


def test_it_says_itself_when_it_measures_again(monitor):
    (duty,) = monitor.part(monitor.registry, Directory(parse({}))).duties
    monitor.pause = 0.3
    assert (duty.seconds(), duty.work) == (0.3, monitor.measure)


def test_what_was_refused_meanwhile_is_counted(monitor):
    monitor.observed.counts.add((LIMITED.name, "messages", "all"), 5)
    monitor.registry.commits.began("session", time.monotonic() - 2.0)
    rounds(monitor)
    monitor.observed.counts.add((LIMITED.name, "messages", "all"), 3)
    rounds(monitor)
    assert monitor.observed.load.refused == 3


@pytest.mark.parametrize("worked", [True, False])
def test_only_own_work_makes_a_worker_late(monitor, worked):
    for _ in range(10):
        monitor.measure()
        monitor._due = time.monotonic() - 0.05
        work(0.02 if worked else 0.0)
    monitor.measure()
    assert (monitor.limits.share < 1.0) is worked


def test_a_worker_that_has_little_to_do_is_not_late_because_of_it(monitor):
    for _ in range(20):
        monitor.measure()
        monitor._due = time.monotonic() - 0.05
        work(0.1 * monitor.pause)  # more than the mark
    rounds(monitor)
    assert monitor.limits.share == 1.0


def test_limits_are_as_they_were_after_a_while_and_the_log_says_so(monitor, caplog):
    monitor.registry.commits.began("session", time.monotonic() - 8.0)
    rounds(monitor, 3)
    monitor.registry.commits.ended("session", time.monotonic())
    rounds(monitor)
    caplog.clear()
    with caplog.at_level(logging.INFO, "gatepost"):
        rounds(monitor, 60)
    load = monitor.observed.load
    assert (monitor.limits.share, load.level, load.share) == (1.0, "normal", 1.0)
    assert load.reason == "messages wait 8 s to be stored", "the alarm says it for a while"
    assert [record.message for record in caplog.records] == ["this worker is no longer overloaded"]


MEMINFO = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    {} kB\n"


@pytest.mark.parametrize(
    ("available", "most", "used", "inactive", "expected"),
    [
        (250, "max", 500, 0, 0.75),
        (250, "1000", 900, 0, 0.9),
        (250, "1000", 900, 400, 0.75),
        (250, "1000", 500, 400, 0.75),
        (250, "", 500, 0, 0.75),
        (None, "1000", 900, 0, 0.9),
        (None, "max", 900, 0, None),
    ],
)
def test_memory_of_the_machine_or_the_container(tmp_path, available, most, used, inactive, expected):
    meminfo, own, group = tmp_path / "meminfo", tmp_path / "cgroup", tmp_path / "groups" / "a" / "b"
    group.mkdir(parents=True)
    if available is not None:
        meminfo.write_text(MEMINFO.format(available))
    own.write_text("0::/a/b\n")
    for name, text in (("max", most), ("current", used), ("stat", f"anon 1\ninactive_file {inactive}")):
        (group / f"memory.{name}").write_text(f"{text}\n")
    assert memory_in_use(meminfo, tmp_path / "groups", own) == expected


def test_this_machine(tmp_path):
    share = memory_in_use()
    assert share is not None
    assert 0.0 < share < 1.0
    assert module._free_bytes(str(tmp_path)) > 0
    assert module._free_bytes(str(tmp_path / "none")) is None
    assert Measurements(memory=share).memory == share
