from __future__ import annotations

import logging
from typing import ClassVar

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.node.observation import Observation
from gatepost.policy.connectors.content_hook import ContentHook
from gatepost.policy.connectors.hook_index import ApplicableHook
from gatepost.store.figures import WORKERS_DIRECTORY, read_figures
from gatepost.store.interface import StoreFailure
from gatepost.testing.process import free_port

FIELDS = {"at": 1.0, "message": "1", "organization": "o", "direction": "incoming", "session": "s"}


class Store:
    """As much of a store as an observation follows."""

    trace_dropped = 3
    failure = None
    has_room = True
    unwritten: ClassVar[dict[str, str]] = {"message trace": "", "evidence log": ""}

    def __init__(self, counts):
        self.counts, self.kept = counts, []

    def trace(self, events):
        self.kept += events

    def room_for(self, size):
        return self.has_room


def observe(home, caplog, level, **sections):
    caplog.set_level(level, "gatepost.events")
    observation = Observation(home.settings(**sections), 0)
    store = Store(observation.counts)
    observation.follow([store])
    take = observation.along(store)
    take([TraceEvent(event="RECEIVE", sender="a@b.example", recipient="c@d.example", **FIELDS)])
    take(
        [
            TraceEvent(
                event="DEFER", sender="", recipient="c@d.example", requirement="encrypted", result_type="x", **FIELDS
            )
        ]
    )
    observation.note(4, {("gatepost_connections", "inbound"): 1.0})
    observation.close()
    assert len(store.kept) == 2
    return read_figures(home.data / WORKERS_DIRECTORY, 0)


def test_events_become_numbers_lines_and_trouble(home, caplog, capfd):
    found = observe(home, caplog, logging.INFO, metrics={}, log={"format": "logfmt", "addresses": "domain"})
    numbers = {series[0]: count for series, count in found.numbers if series[0] != "gatepost_recipients_total"}
    assert numbers["gatepost_messages_received_total"] == 1
    assert numbers["gatepost_trace_rows_dropped_total"] == 3
    assert (found.version, found.gauges, found.failing[0].domain) == (4, [], "d.example")
    received, deferred = capfd.readouterr().err.splitlines()
    assert "event=receive" in received
    assert "to=@d.example" in deferred
    assert "tls=encrypted:none" in deferred


def test_spans_that_nobody_takes_are_counted(home, caplog):
    nowhere = f"http://127.0.0.1:{free_port()}/v1/traces"
    found = observe(home, caplog, logging.WARNING, metrics={}, otel={"endpoint": nowhere})
    numbers = {series[0]: count for series, count in found.numbers}
    assert numbers["gatepost_spans_dropped_total"] == 2


@pytest.mark.parametrize("level", [logging.WARNING])
def test_what_nobody_wants_is_not_made(home, caplog, capfd, level):
    found = observe(home, caplog, level)
    assert capfd.readouterr().err == ""
    assert found.failing
    assert not any(series[0] == "gatepost_messages_received_total" for series, _ in found.numbers)


def test_records_that_wait_become_trouble_until_they_are_written(home):
    observation = Observation(home.settings(), 0)
    stores = [Store(observation.counts), Store(observation.counts)]
    observation.follow(stores)
    stores[1].unwritten = {"message trace": "disk full", "evidence log": ""}
    observation._look()
    (failing,) = observation.problems.failing
    assert (failing.organization, failing.name, failing.reply) == ("", "message trace", "disk full")
    stores[1].unwritten = stores[0].unwritten
    observation._look()
    assert observation.problems.failing == ()
    observation.close()


@pytest.mark.parametrize(("mode", "then"), [("enforce", "defer"), ("rehearse", "accept")])
def test_a_hook_without_an_answer_becomes_trouble(home, mode, then):
    observation = Observation(home.settings(), 0)
    hook = ContentHook(name="av", type="clamav", address="127.0.0.1:9", mode=mode)
    observation.note_scanner(ApplicableHook("contoso", hook), "Connection refused")
    (failing,) = observation.problems.failing
    assert (failing.organization, failing.name, failing.wanted) == ("contoso", "av", then)
    observation.close()


def test_a_full_disk_is_a_reason_to_take_no_mail(home):
    observation = Observation(home.settings(), 0)
    store = Store(observation.counts)
    observation.follow([store])
    assert observation.refusal() is None
    store.has_room = False
    observation._figures.look()
    figures = read_figures(home.data / WORKERS_DIRECTORY, 0)
    assert (figures.trouble, "store.free_space" in figures.reason) == ("the disk of the store is full", True)
    store.failure = StoreFailure("disk I/O error")
    assert observation.refusal() is store.failure
    store.has_room, store.failure = True, None
    observation._figures.look()
    assert read_figures(home.data / WORKERS_DIRECTORY, 0).reason == ""
    observation.close()
