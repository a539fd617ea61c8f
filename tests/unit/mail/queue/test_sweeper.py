from __future__ import annotations

import asyncio
import itertools
from types import SimpleNamespace

import pytest

from gatepost.mail.queue.hop_queue import LaneKey
from gatepost.mail.queue.memory_budget import MemoryBudget, QueueLimits
from gatepost.mail.queue.retry_decision import UNTRIED
from gatepost.mail.queue.retry_pace import RetryPace
from gatepost.mail.queue.schedule import Schedule
from gatepost.mail.queue.sweeper import Sweeper
from gatepost.mail.queue.waiting import Waiting

A, B = "contoso/a.example", "fabrikam/b.example"


class Settler:
    def __init__(self):
        self.finished, self.put, self.connectors = [], [], {}
        self.schedule = Schedule(retry=(60.0, 600.0), delay_notice=30.0)

    async def finish(self, delivery, outcome, *, record_deferral):
        self.finished.append((delivery.id, outcome.results[0].reply.text, record_deferral))
        self.connectors[delivery.id] = outcome.results[0].detail.get("connector")

    def put_back(self, delivery, due):
        self.put.append((delivery.id, due))


class Store:
    """Leases what is given for a destination, one batch at a time."""

    def __init__(self):
        self.batches, self.leases, self.suspended, self.suspensions = {}, [], {}, []

    async def lease(self, destination, limit, now):
        self.leases.append((destination, limit, now))
        batches = self.batches.get(destination, [])
        return batches.pop(0) if batches else []

    async def suspend(self, suspension):
        self.suspensions.append(suspension)
        counts = self.suspended.get(suspension.destination, [])
        return counts.pop(0) if counts else 0

    async def flushed(self):
        pass


class Lookups:
    def __init__(self):
        self.keys, self.only = {}, {}

    def only_hop(self, destination):
        return self.only.get(destination)

    async def find(self, delivery):
        return self.keys.get(delivery.id, LaneKey("relay"))


@pytest.fixture
def parts(make):
    """A sweeper, a next hop that did not answer, and what was placed and noted."""
    made = SimpleNamespace(settler=Settler(), store=Store(), lookups=Lookups(), placed=[], noted=[], stopped=False)
    made.waiting, made.pace = Waiting(MemoryBudget(QueueLimits()), made.settler, lambda: 100.0), RetryPace()

    async def note_earliest(destination, not_before):
        made.noted.append((destination, not_before))

    made.sweeper = Sweeper(
        made.store, made.waiting, SimpleNamespace(note_earliest=note_earliest, pace=made.pace), made.lookups,
        lambda delivery, key: made.placed.append((delivery.id, key)), lambda: made.stopped,
    )  # fmt: skip
    made.hop = made.waiting.hop("relay")
    made.hop.gate.fail(make.silence, 500.0, "contoso")
    return made


def ready(parts, make, *numbers, destination=A, **fields):
    backlog = parts.hop.backlog(destination, "")
    for number in numbers:
        parts.waiting.add(parts.hop, backlog, make.delivery(number, destination=destination, **fields))
    return backlog


def sweep(parts, gate, *backlogs):
    parts.sweeper.gates.add(gate)
    asyncio.run(parts.sweeper.sweep(parts.hop, gate, backlogs))
    assert gate not in parts.sweeper.gates


def test_what_is_in_memory_and_what_is_due_in_the_store_waits_untried(parts, make):
    first, second = ready(parts, make, 1, 2), ready(parts, make, 3, destination=B)
    parts.hop.hungry["contoso/c.example"] = ""
    parts.hop.sated["contoso/d.example"] = ""
    parts.store.batches = {A: [[make.delivery(4, attempts=1)], [make.delivery(5)]]}
    sweep(parts, parts.hop.gate, first, second)
    refused, others = "450 4.4.316 Connection refused", "450 4.4.316 The next hop did not answer a moment ago"
    assert parts.settler.finished == [
        (1, refused, True), (2, refused, True), (3, others, True), (4, refused, False), (5, refused, True)
    ]  # fmt: skip
    destinations = [A, B, "contoso/c.example", "contoso/d.example"]
    assert list(dict.fromkeys(destination for destination, _, _ in parts.store.leases)) == destinations
    assert parts.noted == [(destination, 500.0) for destination in destinations]
    assert (parts.hop.hungry, parts.hop.sated) == ({}, {})


def test_what_waits_untried_has_the_connector_that_it_would_go_by(parts, make):
    backlog = ready(parts, make, 1)
    backlog.connector = (("connector", "bank"),)
    parts.store.batches = {A: [[make.delivery(2), make.delivery(3)]]}
    parts.lookups.keys = {2: LaneKey("relay", connector=(("connector", "other"),))}
    sweep(parts, parts.hop.gate, backlog)
    assert parts.settler.connectors == {1: "bank", 2: "other", 3: None}


def test_other_tasks_get_their_turns_and_most_of_the_time(parts, make):
    backlog = ready(parts, make, 1)
    numbers = iter(range(2, 1000))
    parts.store.batches = {A: [[make.delivery(next(numbers)) for _ in range(20)] for _ in range(2)]}
    spans, turns = [], []

    async def flushed():
        await asyncio.sleep(0.05)
        spans.append(asyncio.get_running_loop().time())

    async def scene():
        async def other():
            while True:
                turns.append(len(parts.settler.finished))
                await asyncio.sleep(0)

        task = asyncio.get_running_loop().create_task(other())
        await parts.sweeper.sweep(parts.hop, parts.hop.gate, [backlog])
        task.cancel()

    parts.store.flushed = flushed
    asyncio.run(scene())
    assert len(parts.settler.finished) == 41
    assert {limit for _, limit, _ in parts.store.leases} == {50}
    assert max(later - before for before, later in itertools.pairwise(sorted(set(turns)))) <= 10
    assert spans[1] - spans[0] >= 0.14, "a rest of twice what a batch took, and the next batch"


def test_what_goes_another_way_is_placed_there(parts, make):
    backlog = ready(parts, make, 1)
    parts.lookups.keys = {2: LaneKey("archive", "rule"), 3: LaneKey("relay", "other terms")}
    parts.store.batches = {A: [[make.delivery(2), make.delivery(3)]]}
    sweep(parts, parts.hop.gate, backlog)
    assert parts.placed == [(2, LaneKey("archive", "rule"))]
    assert [number for number, _, _ in parts.settler.finished] == [1, 3]  # the whole next hop is silent


def test_what_needs_only_a_new_time_is_deferred_in_the_store(parts, make):
    """Without a lease, until some of it needs more."""
    first, second = ready(parts, make, 1), ready(parts, make, 2, destination=B)
    parts.lookups.only = {A: "relay", B: "relay"}
    parts.store.suspended = {A: [100, 100, 99, 100, 0], B: [0]}
    parts.store.batches = {A: [[make.delivery(3)]]}
    sweep(parts, parts.hop.gate, first, second)
    asked = [(request.destination, request.limit, request.now, request.reply) for request in parts.store.suspensions]
    refused, others = "450 4.4.316 Connection refused", "450 4.4.316 The next hop did not answer a moment ago"
    assert asked == [(A, 100, 100.0, refused)] * 5 + [(B, 100, 100.0, others)]
    terms = {(request.waits, request.received_after) for request in parts.store.suspensions}
    assert terms == {((60.0, 600.0), 70.0)}
    assert [destination for destination, _, _ in parts.store.leases] == [A, A, B]
    assert [number for number, _, _ in parts.settler.finished] == [1, 2, 3]


def test_what_may_go_another_way_is_not_deferred_in_the_store(parts, make):
    backlog, other = ready(parts, make, 1), ready(parts, make, 2, destination=B)
    parts.lookups.only = {A: "archive"}
    sweep(parts, parts.hop.gate, backlog, other)
    parts.lookups.only = {A: "relay"}
    backlog.gate.fail(make.silence, 700.0, "contoso")
    sweep(parts, backlog.gate, backlog)  # mail of a destination with other terms may get through
    assert parts.store.suspensions == []


def test_other_work_gets_most_of_the_time_while_the_store_defers(parts, make):
    spans = []

    async def suspend(_suspension):
        spans.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0.02)
        return 100 if len(spans) < 3 else 0

    backlog = ready(parts, make, 1)
    parts.lookups.only, parts.store.suspend = {A: "relay"}, suspend
    sweep(parts, parts.hop.gate, backlog)
    assert min(later - before for before, later in itertools.pairwise(spans)) >= 0.11
    assert parts.noted == [(A, 500.0)]


def test_a_host_that_answers_while_the_store_defers_ends_it(parts, make):
    async def suspend(suspension):
        parts.store.suspensions.append(suspension)
        parts.hop.gate.recover()
        return 100

    backlog = ready(parts, make, 1)
    parts.lookups.only, parts.store.suspend = {A: "relay"}, suspend
    sweep(parts, parts.hop.gate, backlog)
    assert len(parts.store.suspensions) == 1
    assert parts.store.leases == []


def test_what_failed_for_a_destination_speaks_for_its_own_terms(parts, make):
    backlog = ready(parts, make, 1)
    backlog.gate.fail(make.silence, 700.0, "contoso")
    parts.hop.hungry["contoso/c.example"] = ""
    parts.lookups.keys = {3: LaneKey("relay", "other terms")}
    parts.store.batches = {A: [[make.delivery(2), make.delivery(3)]]}
    sweep(parts, backlog.gate, backlog)
    assert [number for number, _, _ in parts.settler.finished] == [1, 2]
    assert parts.placed == [(3, LaneKey("relay", "other terms"))]
    assert parts.noted == [(A, 700.0)]
    assert parts.hop.hungry == {"contoso/c.example": ""}


def test_what_came_in_meanwhile_waits_until_the_gate_opens(parts, make):
    backlog = ready(parts, make, 1)

    async def finish(delivery, outcome, *, record_deferral):
        if delivery.id == 1:
            ready(parts, make, 2)

    parts.settler.finish = finish
    sweep(parts, parts.hop.gate, backlog)
    assert parts.settler.put == [(2, 500.0)]


def test_what_came_for_a_backlog_made_anew_waits_until_the_gate_opens(parts, make):
    """The sweep took longer than the gate was closed: the next probe failed during it."""
    old = ready(parts, make, 1)

    async def suspend(_suspension):
        parts.hop.tidy(old, 100.0)
        ready(parts, make, 2, 3)
        parts.hop.gate.fail(make.silence, 900.0, "contoso")
        return 0

    parts.store.suspend, parts.lookups.only = suspend, {A: "relay"}
    sweep(parts, parts.hop.gate, old)
    assert sorted(parts.settler.put) == [(2, 900.0), (3, 900.0)]
    assert parts.hop.size == 0


def test_what_comes_after_the_next_hop_answered_stays_for_its_lane(parts, make):
    old = ready(parts, make, 1)

    async def suspend(_suspension):
        parts.hop.tidy(old, 100.0)
        ready(parts, make, 2)
        parts.hop.gate.recover()
        return 0

    parts.store.suspend, parts.lookups.only = suspend, {A: "relay"}
    sweep(parts, parts.hop.gate, old)
    assert (parts.settler.put, parts.hop.size) == ([], 1)


def test_a_queue_that_ends_puts_back_what_it_has(parts, make):
    backlog = ready(parts, make, 1, 2)
    parts.stopped = True
    sweep(parts, parts.hop.gate, backlog)
    assert parts.settler.put == [(1, 100.0), (2, 100.0)]
    assert parts.settler.finished == parts.store.leases == parts.noted == []


def test_a_host_that_answers_meanwhile_ends_it(parts, make):
    backlog = ready(parts, make, 1)

    async def finish(delivery, outcome, *, record_deferral):
        parts.settler.finished.append(outcome.results[0].reply)
        parts.hop.gate.recover()

    parts.settler.finish = finish
    ready(parts, make, 2)
    sweep(parts, parts.hop.gate, backlog)
    assert parts.settler.finished == [make.silence, UNTRIED]
    assert parts.store.leases == []


def test_a_store_that_fails_leaves_the_gate_to_be_swept_again(parts, make):
    async def lease(*_arguments):
        raise OSError("gone")

    parts.store.lease = lease
    backlog = ready(parts, make, 1)
    parts.sweeper.gates.add(parts.hop.gate)
    with pytest.raises(OSError, match="gone"):
        asyncio.run(parts.sweeper.sweep(parts.hop, parts.hop.gate, [backlog]))
    assert parts.sweeper.gates == set()
