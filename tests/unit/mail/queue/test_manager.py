from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time

import apsw
import pytest

from gatepost.mail.model.delivery_result import DeliveryResult, Disposition, RecipientResult
from gatepost.mail.queue import manager as module
from gatepost.mail.queue.bounce import Bouncer
from gatepost.mail.queue.hop_queue import EACH_ITS_OWN, LaneKey
from gatepost.mail.queue.lane_budget import LaneBudget
from gatepost.mail.queue.pacing import Pause
from gatepost.mail.queue.schedule import Schedule
from gatepost.net.tasks import spawn
from gatepost.protocols.smtp.replies import Reply
from gatepost.store.interface import AdminNotice, DestinationWork, QueueFilter, Settlement, StoreFailure
from gatepost.store.sqlite import queue

UNKNOWN = Reply(550, "5.1.1", ("User unknown",))
OK = Reply(250, "2.0.0", ("OK",))
LATER = Reply(451, "4.3.0", ("Try again later",))
NO_NAME = Reply(450, "4.4.312", ("DNS query failed",))
ANN = "ann@partner.example"
PARTNER = "contoso/partner.example"
HOUR = 3600.0


def run(work):
    asyncio.run(asyncio.wait_for(work(), 50))


# ---------------------------------------------------------------------------------------------- fresh mail and retries


def test_fresh_mail_is_tried_at_once_and_leaves(rig):
    async def main():
        async with rig.open():
            await rig.accept(ANN, "joe@partner.example", "eve@other.example")
            await rig.calm()
            assert sorted(rig.tried()) == [ANN, "eve@other.example", "joe@partner.example"]
            assert rig.entries() == []
            assert {event for event, *_ in rig.told} == {"delivered"}
            assert rig.manager._window.bytes == rig.manager._window.waiting == 0

    run(main)


def test_deferred_mail_is_retried_by_the_schedule(rig):
    rig.peer.replies["partner.example"] = LATER

    async def main():
        async with rig.open():
            await rig.accept(ANN)
            await rig.calm()
            waits = []
            for _ in range(4):
                ((disposition, _, text, wait),) = rig.told
                assert (disposition, text) == ("deferred", "451 4.3.0 Try again later")
                waits.append(wait)
                rig.told.clear()
                (entry,) = rig.entries()
                assert entry.delivery.last_error == "451 4.3.0 Try again later"
                assert len(rig.tried()) == 1
                await rig.pass_time(wait - 1)
                assert rig.tried() == []
                await rig.pass_time(1.1)
            expected = (900, 900, 3600, 3600)
            assert all(0.9 * wait <= waited <= 1.1 * wait for wait, waited in zip(expected, waits, strict=True))
            assert len(set(waits)) == 4
            rig.peer.replies.clear()
            await rig.pass_time(1.1 * HOUR)
            assert rig.entries() == []

    run(main)


def test_recipients_part_ways(rig):
    rig.peer.replies = {ANN: [LATER, UNKNOWN], "eve@partner.example": UNKNOWN}

    async def main():
        async with rig.open():
            await rig.accept(ANN, "joe@partner.example", "eve@partner.example")
            await rig.calm()
            (entry,) = rig.entries(domain="partner.example")
            assert [recipient.address for recipient in entry.delivery.recipients] == [ANN]
            assert rig.tried() == [ANN, "joe@partner.example", "eve@partner.example", "bob@contoso.example"]
            await rig.pass_time(1000)
            assert rig.tried() == [ANN, "bob@contoso.example"]
            assert rig.entries() == []

    run(main)


def test_failures_are_told_to_the_sender_by_mail(rig):
    rig.peer.replies = {ANN: UNKNOWN, "contoso.example": LATER}

    async def main():
        async with rig.open():
            await rig.accept(ANN)
            await rig.calm()
            (entry,) = rig.entries()
            assert entry.delivery.message.reverse_path == ""
            assert entry.delivery.destination == "contoso/contoso.example"
            notice = b"".join(rig.admin.body(f"{entry.delivery.message.id:016x}"))
            assert b"Status: 5.1.1" in notice
            assert b"Subject: hello" in notice

    run(main)


def test_a_notice_that_fails_is_not_told_to_anybody(rig):
    rig.peer.replies = {ANN: UNKNOWN, "contoso.example": UNKNOWN}

    async def main():
        async with rig.open():
            await rig.accept(ANN)
            await rig.calm()
            assert rig.tried() == [ANN, "bob@contoso.example"]
            assert rig.entries() == []

    run(main)


def test_delay_is_told_once_after_four_hours_and_expiry_after_a_day(rig):
    rig.peer.replies["partner.example"] = LATER

    async def main():
        async with rig.open():
            await rig.accept(ANN)
            notices, hours = [], 0
            while rig.entries(domain="partner.example"):
                await rig.pass_time(HOUR)
                hours += 1
                notices += [hours] * rig.tried().count("bob@contoso.example")
            assert 4 <= notices[0] <= 6
            assert 24 <= notices[1] <= 25
            assert len(notices) == 2
            assert ("failed", ANN, "550 5.3.0 Message expired, Try again later", 0.0) in rig.told

    run(main)


def test_after_a_day_of_standstill_mail_has_one_more_attempt(rig):
    async def main():
        async with rig.open(paused=True):
            await rig.accept(ANN)
        rig.now += 2 * 86_400
        async with rig.open():
            await rig.calm()
            assert rig.tried() == [ANN]
            assert rig.entries() == []

    run(main)


def test_what_a_crash_or_a_stop_left_is_tried_at_the_next_start(rig):
    async def main():
        async with rig.open(paused=True):
            for _ in range(30):
                await rig.accept(ANN, "eve@other.example")
            await rig.calm()
            assert rig.tried() == []
        rig.now += 1
        async with rig.open():
            await rig.calm()
            assert len(rig.tried()) == 60
            assert rig.entries() == []

    run(main)


# ---------------------------------------------------------------------------------------------- lanes and memory


def test_the_first_lane_at_once_and_one_more_when_something_waits(rig):
    async def main():
        async with rig.open(lane_wait=0.1, connections_per_destination=4):
            rig.peer.gate = asyncio.Event()
            loop, begun = asyncio.get_running_loop(), []
            accepted = [spawn(rig.accept(ANN), "accepting") for _ in range(10)]
            for lanes in range(1, 5):
                while rig.peer.running.get(PARTNER, 0) < lanes:  # noqa: ASYNC110 - a double that knows no event
                    await asyncio.sleep(0.002)
                begun.append(loop.time())
            await asyncio.gather(*accepted)
            # A timer fires late on a busy machine and never early: lanes are opened one after the other, not at once.
            assert begun[-1] - begun[0] > 0.15
            await asyncio.sleep(0.3)
            assert rig.peer.running[PARTNER] == rig.peer.most[PARTNER] == 4
            rig.peer.gate.set()
            rig.peer.gate = None
            await rig.calm()
            assert rig.peer.most[PARTNER] == 4
            assert len(rig.tried()) == 10

    run(main)


def test_no_further_lane_while_every_connection_is_in_use(rig):
    async def main():
        async with rig.open(connections=1, lane_wait=0.01):
            rig.peer.gate = asyncio.Event()
            accepted = [spawn(rig.accept(ANN), "accepting") for _ in range(3)]
            await asyncio.gather(*accepted)
            await asyncio.sleep(0.2)
            assert rig.peer.running[PARTNER] == rig.peer.most[PARTNER] == 1
            rig.peer.gate.set()
            rig.peer.gate = None
            await rig.calm()
            assert len(rig.tried()) == 3

    run(main)


def test_quick_mail_needs_one_lane(rig):
    async def main():
        async with rig.open(lane_wait=20):
            await asyncio.gather(*[rig.accept(ANN) for _ in range(50)])
            await rig.calm()
            assert rig.peer.most[PARTNER] == 1

    run(main)


def test_lanes_in_all_are_bounded_and_every_destination_gets_its_turn(rig):
    async def main():
        # No destination gets a second lane, as it may soon on a busy machine, and take its turns twice.
        async with rig.open(connections=3, lane_wait=60):
            rig.peer.seconds = 0.001
            domains = [f"d{number}.example" for number in range(12)]
            await asyncio.gather(*[rig.accept(f"ann@{domain}") for domain in domains for _ in range(40)])
            await rig.calm()
            assert rig.peer.most_in_all <= 3
            assert len(rig.peer.attempts) == 480
            assert rig.entries() == []
            # Nobody waits for all of another's mail: each has had a turn before anyone was through with 40.
            first = [destination for destination, _ in rig.peer.attempts[: 12 * module._TURNS]]
            assert len(set(first)) == 12

    run(main)


def test_what_exceeds_the_window_waits_in_the_store_and_comes_back(rig):
    async def main():
        async with rig.open(window_per_destination=5, connections_per_destination=2, lane_wait=0.01):
            rig.peer.gate = asyncio.Event()
            await asyncio.gather(*[rig.accept(ANN) for _ in range(40)])
            await asyncio.sleep(0.05)
            await rig.store.flushed()
            assert rig.manager._waiting.hops[PARTNER].size <= 5
            states = [entry.state for entry in rig.entries()]
            assert states.count("active") <= 5 + 2
            rig.peer.gate.set()
            rig.peer.gate = None
            await rig.pass_time(2)
            assert len(rig.tried()) == 40
            assert rig.entries() == []

    run(main)


def test_the_window_in_all_holds_too(rig):
    async def main():
        async with rig.open(window_messages=8, connections_per_destination=1):
            rig.peer.gate = asyncio.Event()
            await asyncio.gather(*[rig.accept(f"ann@d{number}.example") for number in range(8) for _ in range(5)])
            await asyncio.sleep(0.05)
            assert rig.manager._window.waiting <= 8
            rig.peer.gate.set()
            rig.peer.gate = None
            while rig.entries():  # the test ends after 50 s
                await rig.pass_time(2)

    run(main)


def test_bodies_beyond_the_limit_are_let_go(rig):
    seen = []

    async def deliver(delivery):
        seen.append(delivery.body is not None)
        await rig.peer.gate.wait()
        return await type(rig.peer).deliver(rig.peer, delivery)

    async def main():
        async with rig.open(deliver=deliver, window_bytes=2500, connections_per_destination=10, lane_wait=0.001):
            rig.peer.gate = asyncio.Event()
            for _ in range(6):
                await rig.accept(ANN, body=b"x" * 1000)
            await asyncio.sleep(0.1)
            assert rig.manager._window.bytes <= 2500
            rig.peer.gate.set()
            rig.peer.gate = None
            await rig.calm()
            assert sorted(seen) == [False] * 4 + [True] * 2
            assert rig.manager._window.bytes == 0

    run(main)


def test_destinations_without_work_are_forgotten(rig):
    async def main():
        async with rig.open():
            for number in range(20):
                await rig.accept(f"ann@d{number}.example")
            rig.peer.failing = {"contoso/dead.example"}
            await rig.accept("ann@dead.example")
            await rig.calm()
            assert set(rig.manager._waiting.hops) == {"contoso/dead.example"}
            for entry in rig.entries():
                await asyncio.to_thread(rig.admin.drop, QueueFilter(), author="me")
                assert entry
            await rig.pass_time(2 * HOUR)
            await rig.pass_time(HOUR)
            assert rig.manager._waiting.hops == {}

    run(main)


# ---------------------------------------------------------------------------------------------- the gate


def test_a_silent_destination_is_left_alone_and_its_mail_put_back_untried(rig):
    rig.peer.failing = {PARTNER}

    async def main():
        async with rig.open(connections_per_destination=1):
            rig.peer.gate = asyncio.Event()
            for _ in range(5):
                await rig.accept(ANN)
            await asyncio.sleep(0.02)
            rig.peer.gate.set()
            rig.peer.gate = None
            await rig.calm()
            assert len(rig.tried()) == 1
            waiting = sorted(entry.delivery.attempts for entry in rig.entries())
            assert waiting == [0, 0, 0, 0, 1]
            await rig.accept(ANN)  # fresh mail finds the gate closed
            await rig.calm()
            assert rig.tried() == []
            rig.peer.failing = set()
            await rig.pass_time(9)
            assert rig.tried() == []
            await rig.pass_time(2)
            assert len(rig.tried()) == 5
            (entry,) = rig.entries()
            assert entry.delivery.attempts == 1

    run(main)


def test_other_destinations_do_not_mind(rig):
    rig.peer.failing = {PARTNER}

    async def main():
        async with rig.open():
            await rig.accept(ANN, "eve@other.example")
            await rig.calm()
            assert [entry.delivery.destination for entry in rig.entries()] == [PARTNER]

    run(main)


def test_lanes_that_meet_the_same_silence_count_once(rig):
    rig.peer.failing = {PARTNER}

    async def main():
        async with rig.open(lane_wait=0.001, connections_per_destination=10):
            rig.peer.gate = asyncio.Event()
            await asyncio.gather(*[rig.accept(ANN) for _ in range(10)])
            while rig.peer.running.get(PARTNER) != 10:  # noqa: ASYNC110 - a double that knows no event
                await asyncio.sleep(0.01)
            rig.peer.gate.set()
            rig.peer.gate = None
            await rig.calm()
            assert rig.manager._waiting.hops[PARTNER].gate.failures == 1

    run(main)


def test_a_probe_that_fails_again_speaks_for_all_that_is_due(rig):
    """All of a dead destination's mail is deferred, told and expired by its own schedule with one attempt a gate."""
    rig.peer.failing = {PARTNER}
    count = 120  # more than one lease, and than memory may hold

    async def main():
        async with rig.open(connections_per_destination=5, window_per_destination=50):
            await asyncio.gather(*[rig.accept(ANN, notify="FAILURE") for _ in range(count)])
            await rig.calm()
            rig.tried()
            await rig.pass_time(10.1)
            assert len(rig.tried()) == 1
            entries = rig.entries()
            assert len(entries) == count
            assert all(entry.state == "deferred" for entry in entries)
            assert all(entry.delivery.attempts >= 1 for entry in entries)
            assert all(entry.delivery.next_at > rig.now + 700 for entry in entries)
            assert {entry.delivery.last_error for entry in entries} == {"450 4.4.316 Connection refused"}
            assert len(rig.told) <= count + 1
            probes = hours = 0
            rig.told.clear()
            while rig.entries(domain="partner.example"):
                await rig.pass_time(HOUR)
                hours += 1
                probes += rig.tried().count(ANN)
            assert 24 <= hours <= 25
            assert probes < count
            expired = [text for disposition, _, text, _ in rig.told if disposition == "failed"]
            assert expired == ["550 5.4.316 Message expired, Connection refused"] * count
            assert [disposition for disposition, *_ in rig.told].count("delivered") == count  # the notices to bob

    rig.schedule = Schedule(delay_notice=0)
    run(main)


def test_what_the_store_defers_is_as_if_it_had_been_leased(rig, monkeypatch):
    """Deliveries of the same messages to two dead destinations, of which one has its mail leased: all is alike."""
    leased = "contoso/leased.example"
    rig.peer.failing = {PARTNER, leased}
    monkeypatch.setattr(EACH_ITS_OWN, "only_hop", lambda name: None if name == leased else name, raising=False)
    granted = {PARTNER: 0, leased: 0}
    flags = ["NEVER", "FAILURE", "", "DELAY"]

    def state(domain):
        entries = sorted(rig.entries(domain=domain), key=lambda entry: entry.delivery.message.id)
        return [
            (entry.delivery.attempts > 1, entry.delivery.last_error, entry.delivery.recipients[0].delayed)
            for entry in entries
        ]

    def told(domain):
        return sorted((event, text) for event, address, text, _ in rig.told if address.endswith(f"@{domain}"))

    async def main():
        async with rig.open(window_per_destination=4):
            lease = rig.store.lease

            async def counted(destination, *rest):
                deliveries = await lease(destination, *rest)
                if destination in granted:
                    granted[destination] += len(deliveries)
                return deliveries

            monkeypatch.setattr(rig.store, "lease", counted)
            for number in range(40):
                await rig.accept(ANN, "ann@leased.example", notify=flags[number % 4])
            await rig.calm()
            for seconds in (10.1, 1100.0, 1100.0, 4000.0, 4000.0, 4000.0, 4000.0):
                await rig.pass_time(seconds)
            assert state("partner.example") == state("leased.example")
            assert [delayed for _, _, delayed in state("partner.example")] == [False, False, True, True] * 10
            for seconds in (24 * HOUR, 1000.0, 1000.0):
                await rig.pass_time(seconds)
            assert told("partner.example") == told("leased.example")
            assert [event for event, _ in told("partner.example")].count("failed") == 40

    run(main)
    assert granted[PARTNER] < granted[leased] - 100


def test_a_destination_that_is_back_gets_all_of_its_mail(rig):
    rig.peer.failing = {PARTNER}

    async def main():
        async with rig.open():
            await asyncio.gather(*[rig.accept(ANN) for _ in range(30)])
            await rig.calm()
            await rig.pass_time(10.1)
            await rig.pass_time(20.1)
            rig.peer.failing = set()
            await rig.pass_time(1000)
            assert rig.entries() == []
            assert rig.manager._leases._agenda.earliest() is None

    run(main)


# ---------------------------------------------------------------------------------------------- administrators


def test_hold_and_release_in_the_store(rig):
    rig.peer.replies[ANN] = LATER

    async def main():
        async with rig.open():
            await rig.accept(ANN)
            await rig.calm()
            await asyncio.to_thread(rig.admin.hold, QueueFilter(), author="me")
            rig.peer.replies.clear()
            rig.tried()
            await rig.pass_time(5 * HOUR)
            assert rig.tried() == []
            await asyncio.to_thread(rig.admin.release, QueueFilter(), author="me")
            await rig.calm()
            assert rig.tried() == [ANN]
            assert rig.entries() == []

    run(main)


def test_mail_held_for_its_destinations_sake_waits_for_a_release_and_its_sender_is_told_meanwhile(rig):
    joe = "joe@partner.example"

    async def deliver(delivery):
        outcome = await rig.peer.deliver(delivery)
        notice = not delivery.message.reverse_path
        released = notice or all(recipient.released for recipient in delivery.recipients)
        disposition = Disposition.DELIVERED if released else Disposition.HELD
        return DeliveryResult(
            [RecipientResult(result.recipient, disposition, LATER, result.detail) for result in outcome.results]
        )

    async def main():
        async with rig.open(deliver=deliver):
            await rig.accept(ANN)
            await rig.accept(joe)
            await rig.calm()
            assert [entry.state for entry in rig.entries(held=True)] == ["held", "held"]
            assert rig.entries(held=False) == []
            assert rig.entries()[0].delivery.last_error == LATER.text
            rig.tried()
            await rig.pass_time(3.9 * HOUR)
            assert rig.tried() == []
            await asyncio.to_thread(rig.admin.release, QueueFilter(recipient=joe), author="me")
            await rig.calm()
            assert rig.tried() == [joe]
            await rig.pass_time(0.2 * HOUR)
            assert rig.tried() == [ANN, "bob@contoso.example"]  # held again, and its sender told of the delay
            assert [entry.state for entry in rig.entries()] == ["held"]
            await rig.pass_time(20 * HOUR)
            assert rig.tried() == [ANN, "bob@contoso.example"]
            assert rig.entries() == []
            assert ("failed", ANN) in [line[:2] for line in rig.told]

    run(main)


@pytest.mark.parametrize("action", ["hold", "drop"])
def test_hold_and_drop_of_what_waits_in_memory(rig, action):
    async def main():
        async with rig.open(connections_per_destination=1):
            rig.peer.gate = asyncio.Event()
            await rig.accept("first@partner.example")
            await rig.accept("second@partner.example")
            await asyncio.sleep(0.02)
            wanted = QueueFilter(recipient="second@partner.example")
            await asyncio.to_thread(getattr(rig.admin, action), wanted, author="me")
            await rig.calm()
            rig.peer.gate.set()
            rig.peer.gate = None
            await rig.calm()
            assert rig.tried() == ["first@partner.example"]
            assert [entry.state for entry in rig.entries()] == (["held"] if action == "hold" else [])
            assert rig.manager._window.waiting == rig.manager._window.bytes == 0

    run(main)


@pytest.mark.parametrize(("reply", "left"), [(LATER, ["held"]), (None, [])])
def test_a_hold_in_flight_takes_effect_when_the_attempt_ends(rig, reply, left):
    async def main():
        async with rig.open():
            rig.peer.gate = asyncio.Event()
            if reply:
                rig.peer.replies[ANN] = reply
            await rig.accept(ANN)
            await asyncio.sleep(0.02)
            await asyncio.to_thread(rig.admin.hold, QueueFilter(), author="me")
            rig.peer.gate.set()
            rig.peer.gate = None
            await rig.calm()
            assert [entry.state for entry in rig.entries()] == left
            await rig.pass_time(5 * HOUR)
            assert rig.tried() == [ANN]

    run(main)


def test_a_drop_in_flight_takes_effect_when_the_attempt_ends(rig):
    rig.peer.replies[ANN] = LATER

    async def main():
        async with rig.open():
            rig.peer.gate = asyncio.Event()
            await rig.accept(ANN)
            await asyncio.sleep(0.02)
            await asyncio.to_thread(rig.admin.drop, QueueFilter(), author="me")
            rig.peer.gate.set()
            rig.peer.gate = None
            await rig.calm()
            assert rig.entries() == []
            await rig.pass_time(5 * HOUR)
            assert rig.tried() == [ANN]

    run(main)


TEXT = "The case is closed"


def _send_back(rig):
    return asyncio.to_thread(rig.admin.send_back, QueueFilter(recipient=ANN), author="olga", text=TEXT)


def _returned(rig):
    """What the trace was told of the one that was returned, and to whom mail was sent since."""
    return [line[2] for line in rig.told if line[:2] == ("failed", ANN)], rig.tried()


def test_what_waits_is_returned_at_once_though_its_destination_is_left_alone(rig):
    rig.peer.failing = {PARTNER}

    async def main():
        async with rig.open():
            await rig.accept(ANN)
            await rig.calm()
            rig.tried()
            assert rig.manager.backing_off
            await _send_back(rig)
            for _ in range(100):  # until the queue has heard of it
                rig.now = max(rig.now + 0.001, time.time())  # as above
                await asyncio.sleep(0.05)
                if any(line[0] == "failed" for line in rig.told):
                    break
            await rig.calm()
            assert _returned(rig) == ([f"550 5.3.0 {TEXT}"], ["bob@contoso.example"])
            assert rig.entries() == []

    run(main)


def test_what_waits_in_memory_is_returned_untried(rig):
    async def main():
        async with rig.open(connections_per_destination=1):
            rig.peer.gate = asyncio.Event()
            await rig.accept("first@partner.example")
            await rig.accept(ANN)
            await asyncio.sleep(0.02)
            await _send_back(rig)
            await rig.calm()
            rig.now = max(rig.now + 0.001, time.time())
            rig.peer.gate.set()
            rig.peer.gate = None
            await rig.calm()
            assert _returned(rig) == ([f"550 5.3.0 {TEXT}"], ["first@partner.example", "bob@contoso.example"])
            assert rig.entries() == []

    run(main)


@pytest.mark.parametrize(("reply", "failing"), [(LATER, False), (None, True), (None, False)])
def test_what_is_in_flight_is_returned_when_the_attempt_ends_unless_it_was_delivered(rig, reply, failing):
    async def main():
        async with rig.open():
            rig.peer.gate = asyncio.Event()
            if reply:
                rig.peer.replies[ANN] = reply
            if failing:
                rig.peer.failing = {PARTNER}
            await rig.accept(ANN)
            await asyncio.sleep(0.02)
            await _send_back(rig)
            await rig.calm()  # and the queue has heard of it
            rig.now = max(rig.now + 0.001, time.time())
            rig.peer.gate.set()
            rig.peer.gate = None
            await rig.calm()
            deferred = bool(reply) or failing
            expected = ([f"550 5.3.0 {TEXT}"], [ANN, "bob@contoso.example"]) if deferred else ([], [ANN])
            assert _returned(rig) == expected
            assert rig.entries() == []

    run(main)


def test_an_order_that_a_crash_left_is_carried_out_at_the_next_start(rig):
    async def main():
        async with rig.open(paused=True):
            await rig.accept(ANN)
        await _send_back(rig)
        async with rig.open():
            rig.now = max(rig.now + 0.001, time.time())
            await rig.calm()
            assert _returned(rig) == ([f"550 5.3.0 {TEXT}"], ["bob@contoso.example"])

    run(main)


def test_retry_opens_the_gate(rig):
    rig.peer.failing = {PARTNER}

    async def main():
        async with rig.open():
            await rig.accept(ANN)
            await rig.calm()
            rig.peer.failing = set()
            rig.tried()
            await asyncio.to_thread(rig.admin.retry, QueueFilter(), author="me")
            rig.now += 0.001  # "now" of the other process is a hair later than the clock of this test
            rig.now = max(rig.now, time.time())
            await rig.calm()
            assert rig.tried() == [ANN]
            assert rig.entries() == []

    run(main)


def test_a_retry_during_an_attempt_makes_another_one_at_once(rig):
    """What was wrong when it began may be mended by then."""
    rig.peer.gate, rig.peer.replies[ANN] = asyncio.Event(), [LATER, OK]

    async def main():
        async with rig.open():
            await rig.accept(ANN)
            await asyncio.sleep(0.05)
            await asyncio.to_thread(rig.admin.retry, QueueFilter(), author="me")
            await rig.calm()
            rig.peer.gate.set()
            await rig.calm()
            assert rig.tried() == [ANN, ANN]
            assert rig.entries() == []

    run(main)


@pytest.mark.parametrize("action", ["retry", "release"])
def test_an_order_that_comes_before_a_deferral_is_written_is_followed(rig, action):
    rig.peer.replies[ANN] = [LATER, OK]

    async def main():
        async with rig.open() as manager:
            (delivery,) = await rig.accept(ANN)
            while not rig.told:  # noqa: ASYNC110 - a double that knows no event
                await asyncio.sleep(0)
            manager.administered([AdminNotice(action, PARTNER, delivery.message.id, delivery.id, "me")])
            await rig.calm()
            assert rig.tried() == [ANN, ANN]
            assert rig.entries() == []

    run(main)


# ---------------------------------------------------------------------------------------------- failures and the end


def test_our_own_failure_defers_and_does_not_end_the_lane(rig, caplog):
    failing = [True]

    async def deliver(delivery):
        if failing.pop() if failing else False:
            raise KeyError("a mistake of ours")
        return await rig.peer.deliver(delivery)

    async def main():
        async with rig.open(deliver=deliver, connections_per_destination=1):
            await rig.accept(ANN)
            await rig.accept("joe@partner.example")
            await rig.calm()
            assert rig.tried() == ["joe@partner.example"]
            (entry,) = rig.entries()
            assert entry.delivery.last_error.startswith("451 4.3.0")
            assert "mistake" not in entry.delivery.last_error

    run(main)
    assert "a mistake of ours" in caplog.text


def test_a_trace_that_fails_does_not_hold_up_the_mail(rig, caplog):
    async def main():
        def fail(*_arguments):
            raise RuntimeError("no trace")

        rig.settled = fail
        async with rig.open():
            await rig.accept(ANN)
            await rig.accept(ANN)
            await rig.calm()
            assert rig.entries() == []

    run(main)
    assert "was not recorded" in caplog.text


def test_mail_does_not_fail_while_its_sender_cannot_be_told(rig, caplog, monkeypatch):
    rig.peer.replies[ANN] = UNKNOWN

    async def main():
        async with rig.open():

            async def fail(*_arguments, **_named):
                raise RuntimeError("no notice")

            monkeypatch.setattr(Bouncer, "notices", fail)
            await rig.accept(ANN)
            await rig.calm()
            (entry,) = rig.entries()
            assert entry.delivery.last_error.startswith("451 4.3.0 It failed, and the notice")
            assert entry.delivery.next_at == pytest.approx(rig.now + 3600, abs=1)
            monkeypatch.undo()
            await rig.pass_time(3601)
            assert rig.tried() == [ANN, ANN, "bob@contoso.example"]
            assert rig.entries() == []

    run(main)
    (record,) = [one for one in caplog.records if "no notice could be made" in one.message]
    assert record.levelname == "CRITICAL"


@pytest.mark.parametrize("gone", ["row", "file", "end"])
@pytest.mark.parametrize("fails", ["at once", "by expiry"])
def test_a_failure_is_told_though_the_message_cannot_be_read(rig, gone, fails):
    rig.peer.replies[ANN] = UNKNOWN if fails == "at once" else LATER
    told = []

    async def main():
        async with rig.open():
            rig.peer.gate = asyncio.Event()
            await rig.accept(ANN, body=b"Subject: hello\r\n\r\n" + b"x" * (300_000 if gone != "row" else 100))
            await asyncio.sleep(0.05)
            if gone == "row":
                connection = apsw.Connection(str(rig.path / "queue/0/q.db"))
                connection.execute("DELETE FROM body")
                connection.close()
            else:
                (file,) = (rig.path / "queue/0/big").iterdir()
                file.unlink() if gone == "file" else os.truncate(file, 1000)
            rig.peer.replies["bob@contoso.example"] = LATER
            rig.peer.gate.set()
            rig.peer.gate = None
            if fails == "by expiry":
                await rig.calm()
                rig.now += 86_000
                await rig.pass_time(1000)
            await rig.calm()
            (entry,) = [one for one in rig.entries() if one.delivery.recipients[0].address != ANN]
            told.append(b"".join([chunk async for chunk in rig.store.read(entry.delivery.message.id)]))

    run(main)
    whole = gone == "end" or (gone == "row" and fails == "at once")  # the header section, or in memory still
    assert (b"could not be read any more" in told[0]) == (not whole)
    assert (b"Subject: hello" in told[0]) == whole
    assert b"Final-Recipient: rfc822; ann@partner.example" in told[0]


def test_an_outcome_with_a_text_no_column_holds(rig, caplog):
    async def deliver(delivery):
        reply = Reply(451, "4.3.0", ("\ud800",))
        return DeliveryResult(
            [RecipientResult(recipient, Disposition.DEFERRED, reply, {}) for recipient in delivery.recipients]
        )

    async def main():
        async with rig.open(deliver=deliver):
            await rig.accept(ANN)
            await rig.calm()
            (entry,) = rig.entries()
            assert (entry.state, entry.delivery.last_error) == ("deferred", "")

    run(main)
    assert "settled without its text" in caplog.text


def test_drain_lets_attempts_end_and_keeps_the_rest(rig):
    async def main():
        async with rig.open(connections_per_destination=1) as manager:
            rig.peer.gate = asyncio.Event()
            for _ in range(5):
                await rig.accept(ANN)
            await rig.calm()
            assert len(rig.peer.attempts) == 1
            draining = asyncio.get_running_loop().create_task(manager.drain(5))
            await asyncio.sleep(0.01)
            await rig.accept("late@partner.example")  # accepted while we stop
            rig.peer.gate.set()
            await draining
            await rig.store.flushed()
            assert rig.tried() == [ANN]
            entries = rig.entries()
            assert len(entries) == 5
            assert {entry.state for entry in entries} == {"deferred"}
            assert {entry.delivery.attempts for entry in entries} == {0}
        rig.peer.gate = None
        async with rig.open():
            await rig.pass_time(1)
            assert len(rig.tried()) == 5

    run(main)


def test_a_stop_waits_longer_for_the_reply_to_a_message_that_was_sent(rig, caplog):
    async def deliver(delivery):
        with contextlib.suppress(asyncio.CancelledError):  # as an outbound connection does after the last dot
            await asyncio.sleep(10)
        await asyncio.sleep(2.5)  # the first second is counted in turns of the loop
        return DeliveryResult(
            [RecipientResult(recipient, Disposition.DELIVERED, OK, {}) for recipient in delivery.recipients]
        )

    async def main():
        async with rig.open(deliver=deliver) as manager:
            await rig.accept(ANN)
            await asyncio.sleep(0.02)
            await manager.drain(0.05, 5.0)
            await rig.store.flushed()
            assert rig.entries() == []

    run(main)
    assert "replies are waited for: lane contoso/partner.example" in caplog.text
    assert "twice" not in caplog.text


def test_what_is_in_doubt_after_a_stop_is_said(rig, caplog):
    async def deliver(delivery):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(10)
        await asyncio.sleep(10)

    async def main():
        async with rig.open(deliver=deliver) as manager:
            await rig.accept(ANN)
            await asyncio.sleep(0.02)
            await manager.drain(0.05, 1.1)
            await rig.store.flushed()
            (entry,) = rig.entries()
            assert "may arrive twice" in entry.delivery.last_error

    run(main)
    assert "may arrive twice: it was sent" in caplog.text


def test_a_process_that_stood_still_as_it_stopped_says_what_is_in_doubt(rig, caplog):
    """It stands still as attempts are cancelled, for longer than they have to end."""

    async def deliver(delivery):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            time.sleep(2 * module._END)  # noqa: ASYNC251 - as under SIGSTOP
            for _ in range(5):
                await asyncio.sleep(0)
            raise

    async def main():
        async with rig.open(deliver=deliver) as manager:
            await rig.accept(ANN)
            await asyncio.sleep(0.02)
            await manager.drain(0.05, 0.05)
            assert not manager._tasks
            await rig.store.flushed()
            (entry,) = rig.entries()
            assert "may arrive twice" in entry.delivery.last_error

    run(main)
    assert "may arrive twice: it was sent" in caplog.text


def test_replies_are_waited_for_by_the_time_of_the_order(rig, caplog):
    """However late the process is as its attempts have had their time: others count from the order to stop."""

    async def deliver(delivery):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    async def main():
        async with rig.open(deliver=deliver) as manager:
            await rig.accept(ANN)
            await asyncio.sleep(0.02)
            begun = time.monotonic()
            asyncio.get_running_loop().call_later(0.2, time.sleep, 2.5)
            await manager.drain(0.3, 1.5)
            assert time.monotonic() - begun > 2.5
            assert "replies are waited for" not in caplog.text

    run(main)
    assert "may arrive twice" in caplog.text


def test_a_stop_waits_for_no_long_queue_that_is_looked_through(rig, monkeypatch):
    looked = threading.Event()

    def look(*_, **__):
        assert looked.wait(60)
        raise StoreFailure("on purpose")

    async def main():
        async with rig.open(paused=True):
            for _ in range(2):
                await rig.accept(ANN)
        for name in ("_NEWEST", "_ROWS"):
            monkeypatch.setattr(f"gatepost.store.sqlite.recovery.{name}", 0)
        monkeypatch.setattr(queue, "look_through", look)
        async with rig.open() as manager:
            await asyncio.sleep(0.02)
            assert manager._tasks, "the store is asked what is due"
            try:
                await asyncio.wait_for(manager.drain(600), 30)
            finally:
                looked.set()

    run(main)


def test_a_clock_that_is_put_back_keeps_no_mail_waiting(rig):
    rig.peer.replies[ANN] = [LATER, OK]

    async def main():
        async with rig.open():
            await rig.accept(ANN)
            await rig.calm()
            await rig.pass_time(-7 * 86_400)
            await rig.pass_time(3960)
            while len(rig.peer.attempts) < 2:
                await rig.calm()
            assert rig.tried() == [ANN, ANN]

    run(main)


def test_a_clock_that_was_put_back_while_nothing_ran_keeps_no_mail_waiting(rig):
    rig.peer.replies[ANN] = [LATER, OK]

    async def main():
        async with rig.open():
            await rig.accept(ANN)
            await rig.calm()
        rig.now -= 7 * 86_400
        async with rig.open():
            await rig.pass_time(3960)
            while len(rig.peer.attempts) < 2:
                await rig.calm()
            assert rig.tried() == [ANN, ANN]

    run(main)


def test_drain_gives_up_on_attempts_that_do_not_end(rig):
    async def main():
        async with rig.open() as manager:
            rig.peer.gate = asyncio.Event()
            await rig.accept(ANN)
            while not rig.peer.running.get(PARTNER):  # noqa: ASYNC110 - a double that knows no event
                await asyncio.sleep(0.01)
            started = time.monotonic()
            await manager.drain(0.05)
            assert time.monotonic() - started < 20
            await rig.store.flushed()
            assert [entry.state for entry in rig.entries()] == ["deferred"]
            rig.peer.gate = None

    run(main)


def test_a_store_that_failed_stops_delivery(rig, caplog):
    async def main():
        async with rig.open() as manager:
            rig.peer.gate = asyncio.Event()
            await rig.accept(ANN)
            await asyncio.sleep(0.02)
            rig.store._fail(StoreFailure("the disk is gone"))
            manager.offer([])
            rig.peer.gate.set()
            rig.peer.gate = None
            while not manager._draining or manager._tasks:  # noqa: ASYNC110 - a double that knows no event
                await asyncio.sleep(0.01)
        assert rig.tried() == [ANN]
        async with rig.open():  # the start anew tries again: at least once
            await rig.pass_time(1)
            assert rig.tried() == [ANN]

    run(main)
    assert "delivery stops" in caplog.text


def test_what_the_agenda_missed_is_found_by_the_refresh(rig):
    rig.peer.replies[ANN] = LATER

    async def main():
        async with rig.open() as manager:
            await rig.accept(ANN)
            await rig.calm()
            manager._leases._agenda.__init__()
            rig.peer.replies.clear()
            rig.tried()
            await rig.pass_time(2000)
            await rig.pass_time(1)
            assert rig.tried() == [ANN]

    run(main)


def test_a_lease_while_the_store_is_busy_is_asked_again(rig, monkeypatch):
    async def main():
        async with rig.open(paused=True):
            await rig.accept(ANN)
        rig.now += 1
        async with rig.open() as manager:
            lease, refusals = rig.store.lease, [1, 1]

            async def busy(*arguments):
                if refusals:
                    refusals.pop()
                    return []
                return await lease(*arguments)

            rig.store.lease = busy
            for _ in range(4):
                await rig.pass_time(1.1)
            assert rig.tried() == [ANN]
            assert manager

    run(main)


# ---------------------------------------------------------------------------------------------- what is not taken up


def notice(action, destination=PARTNER, *, message=1, number=2):
    return AdminNotice(action, destination, message, number, "me")


@pytest.mark.parametrize("action", ["hold", "drop"])
def test_a_hold_or_drop_of_what_is_not_in_memory_takes_nothing_up(rig, action):
    """Nothing is due because of it: the agenda does not name the destination, and no gate opens."""
    rig.peer.failing = {PARTNER}

    async def main():
        async with rig.open() as manager:
            await rig.accept(ANN)
            await rig.calm()
            rig.tried()
            gate = manager._waiting.hops[PARTNER].gate
            until = gate.until
            noted = []
            manager._note = lambda destination, at: noted.append((destination, at))
            manager.administered([notice(action), notice(action, "contoso/other.example")])
            assert noted == []
            assert gate.until == until > rig.now
            assert manager._again == set()
            manager.administered([notice("release", "contoso/other.example")])
            assert noted == [("contoso/other.example", rig.now)]
            assert gate.until == until
            manager.administered([notice("retry")])
            assert gate.until == 0.0

    run(main)


@pytest.mark.parametrize("ending", [False, True])
def test_what_waits_for_names_is_tried_when_they_can_be_had_again(rig, ending):
    rig.peer.replies = {ANN: [NO_NAME, OK], "bob@other.example": [LATER, OK]}

    async def main():
        async with rig.open() as manager:
            await rig.accept(ANN, "bob@other.example")
            await rig.calm()
            assert sorted(rig.tried()) == [ANN, "bob@other.example"]
            gate = manager._waiting.hop(PARTNER).gate
            gate.fail(NO_NAME, rig.now + 900, "contoso")
            manager._draining = ending
            manager.try_again("450 4.4.312 ")
            await rig.calm()
            assert rig.tried() == ([] if ending else [ANN])
            assert gate.closed(rig.now) is ending

    run(main)


def test_one_notice_that_needs_nothing_does_not_end_the_others(rig):
    async def main():
        async with rig.open() as manager:
            noted = []
            manager._note = lambda destination, at: noted.append(destination)
            manager.administered(
                [notice("hold"), notice("retry", "contoso/a.example"), notice("drop"), notice("return")]
            )
            assert noted == ["contoso/a.example", PARTNER]

    run(main)


def test_mail_that_others_left_is_taken_up(rig):
    async def main():
        async with rig.open() as manager:
            (delivery,) = await rig.accept(ANN, offer=False)
            rig.store.settle([Settlement(delivery, delivery.recipients, rig.now)])
            await rig.store.flushed()
            manager.due([DestinationWork(PARTNER, rig.now, 1)])
            await rig.calm()
            assert rig.tried() == [ANN]

    run(main)


@pytest.mark.parametrize("known", [True, False], ids=["ready", "next hop looked up"])
def test_what_belongs_to_others_by_now_is_forgotten(rig, known):
    """What is under way ends, and what waits is left to the processes that have it."""
    rig.peer.gate = asyncio.Event()

    class Slow:
        usual = staticmethod(EACH_ITS_OWN.usual)
        known = staticmethod(
            lambda delivery, **_: None if delivery.recipients[0].address == "new@b.example" else LaneKey("x")
        )

        async def find(self, delivery):
            await rig.peer.gate.wait()
            return LaneKey("x")

    rig.finder = Slow()

    async def main():
        async with rig.open(connections=1, connections_per_destination=1) as manager:
            await rig.accept("first@a.example")
            await asyncio.sleep(0.05)
            await rig.accept("second@a.example" if known else "new@b.example")
            while manager.waiting != 1:  # noqa: ASYNC110 - a double that knows no event
                await asyncio.sleep(0.01)
            manager.disowned()
            assert manager.waiting == 0
            rig.peer.gate.set()
            await rig.calm()
            assert rig.tried() == ["first@a.example"]
            assert manager._window.bytes == manager._window.waiting == 0
            assert len(rig.entries()) == 1

    run(main)


@pytest.mark.parametrize("before", ["", "451 4.3.0 Try again later"])
def test_mail_that_finds_a_closed_gate_says_why_it_waits_unless_it_knows_better(rig, before):
    rig.peer.failing = {PARTNER}

    async def main():
        async with rig.open() as manager:
            await rig.accept("first@partner.example")
            await rig.calm()
            (delivery,) = await rig.accept(ANN, offer=False)
            delivery.last_error = before
            manager.offer([delivery])
            await rig.calm()
            (entry,) = rig.entries(recipient=ANN)
            assert entry.delivery.last_error == (before or "450 4.4.316 Connection refused")
            assert entry.delivery.next_at == manager._waiting.hops[PARTNER].gate.until
            assert entry.delivery.attempts == 0

    run(main)


def test_a_queue_that_is_paused_wakes_for_nothing(rig):
    """What an administrator has tried again waits all the same: no alarm is set, nothing is leased."""
    rig.peer.replies[ANN] = LATER

    async def main():
        async with rig.open():
            await rig.accept(ANN)
            await rig.calm()
        rig.tried()
        rig.now += 2 * HOUR
        async with rig.open(paused=True) as manager:
            await asyncio.to_thread(rig.admin.retry, QueueFilter(), author="me")
            manager.administered([notice("retry"), notice("release"), notice("return")])
            await rig.calm()
            assert manager._leases._alarm is None
            assert manager._leases._agenda.earliest() is not None  # it is remembered, and that is all
            assert rig.tried() == []
            assert [entry.state for entry in rig.entries()] == ["deferred"]
            assert manager.lanes == manager.waiting == 0

    run(main)


# ---------------------------------------------------------------------------------------------- next hops, step by step


class Slow:
    """Of partner.example the next hop has to be looked up, which takes until `gate` is set."""

    def __init__(self):
        self.gate = asyncio.Event()

    def known(self, delivery, *, alone=False):
        return None if delivery.destination == PARTNER else LaneKey(delivery.destination)

    async def find(self, _delivery):
        await self.gate.wait()
        return LaneKey("relay")

    def usual(self, destination):
        return None if destination == PARTNER else LaneKey(destination)


class Relay:
    """What is for a domain below relayed.example goes by one relay."""

    def known(self, delivery, *, alone=False):
        return self.usual(delivery.destination)

    def usual(self, destination):
        return LaneKey("relay" if destination.endswith(".relayed.example") else destination)

    def only_hop(self, destination):
        return self.usual(destination).next_hop


def test_what_has_to_be_looked_up_waits_in_memory_within_its_limits(rig):
    rig.finder = Slow()

    async def main():
        async with rig.open(window_per_destination=2) as manager:
            (first,), (second,), (third,) = [await rig.accept(ANN) for _ in range(3)]
            assert manager.waiting == 2
            assert third.body is None  # it is put back, due at once
            manager.administered([notice("drop", number=second.id)])
            assert manager.waiting == 1
            rig.finder.gate.set()
            await rig.calm()
            assert first.id not in manager._in_flight
            assert manager.waiting == manager._window.bytes == 0
            assert rig.entries() == []
            assert len(rig.tried()) == 3  # the store was not told to drop it

    run(main)


def test_what_waits_for_a_look_up_goes_back_at_the_end(rig):
    rig.finder = Slow()

    async def main():
        async with rig.open(drain=0.05) as manager:
            await rig.accept(ANN)
            await asyncio.sleep(0.02)
        assert manager.waiting == 0
        assert [entry.state for entry in rig.entries()] == ["deferred"]
        (delivery,) = [entry.delivery for entry in rig.entries()]
        assert delivery.attempts == 0

    run(main)


def test_what_is_swept_and_goes_another_way_is_tried_there(rig):
    async def main():
        async with rig.open() as manager:
            (delivery,) = await rig.accept(ANN, offer=False)
            manager._sweeper.place(delivery, LaneKey("archive", "rule"))
            assert list(manager._waiting.hops) == ["archive"]
            await rig.calm()
            assert rig.tried() == [ANN]

    run(main)


def test_a_retry_opens_the_gate_of_the_destination_that_it_names(rig):
    rig.peer.failing, rig.peer.silent = {PARTNER, "contoso/other.example"}, False

    async def main():
        async with rig.open() as manager:
            await rig.accept(ANN, "eve@other.example")
            await rig.calm()
            gates = {backlog.destination: backlog.gate for backlog in manager._waiting.failing}
            assert [gate.closed(rig.now) for gate in gates.values()] == [True, True]
            manager.administered([notice("retry")])
            assert (gates[PARTNER].closed(rig.now), gates["contoso/other.example"].closed(rig.now)) == (False, True)

    run(main)


def test_a_gate_that_says_nothing_gives_no_reason(rig):
    async def main():
        async with rig.open() as manager:
            until = manager._waiting.hop(PARTNER).gate.until = rig.now + 50
            await rig.accept(ANN)
            await rig.calm()
            (entry,) = rig.entries()
            assert (entry.delivery.last_error, entry.delivery.next_at) == ("", until)

    run(main)


def test_a_lane_that_another_queue_gives_back_is_used(rig):
    rig.budget = LaneBudget(10, 1, time.monotonic)

    async def main():
        async with rig.open():
            rig.budget.take(PARTNER)
            await rig.accept(ANN)
            await rig.calm()
            assert rig.tried() == []
            rig.budget.release(PARTNER)
            await rig.calm()
            assert rig.tried() == [ANN]

    run(main)


def test_hosts_that_take_their_time_hold_up_no_other_organizations_mail(rig, directory):
    rig.budget = LaneBudget(4, 2, time.monotonic)
    rig.budget.use(directory("[organization.contoso]\n[organization.fabrikam]\n"))
    held, ended, tried = [], asyncio.Event(), asyncio.Queue()

    async def deliver(delivery):
        if delivery.organization == "contoso":
            held.append(delivery.destination)
            await ended.wait()
        tried.put_nowait(delivery.destination)
        return await type(rig.peer).deliver(rig.peer, delivery)

    async def main():
        async with rig.open(deliver=deliver, lane_wait=0.001) as manager:
            await asyncio.gather(*[rig.accept(f"ann@d{number}.example") for number in range(8) for _ in range(2)])
            await asyncio.sleep(0.05)
            assert len(held) == 3  # of four lanes
            for domain in ("a.example", "b.example", "d0.example"):
                await rig.accept(f"joe@{domain}", organization="fabrikam")
            others = {await tried.get() for _ in range(3)}  # the test ends after a minute
            assert others == {"fabrikam/a.example", "fabrikam/b.example", "fabrikam/d0.example"}
            assert len(held) == 3
            ended.set()
            for _ in range(16):
                await tried.get()
            await rig.calm()
            assert (rig.budget.organizations.free, rig.budget.running, len(manager._line)) == (4, 0, 0)

    run(main)


def test_hosts_of_two_organizations_hold_up_no_third(rig, directory):
    rig.budget = LaneBudget(16, 2, time.monotonic)
    names = ("contoso", "fabrikam", "adatum")
    rig.budget.use(directory("".join(f"[organization.{name}]\n" for name in names)))
    attempts, tried = Held(rig), asyncio.Event()

    async def deliver(delivery):
        if delivery.organization == "adatum":
            tried.set()
            return await type(rig.peer).deliver(rig.peer, delivery)
        return await attempts.deliver(delivery)

    async def main():
        async with rig.open(deliver=deliver, lane_wait=0.001, drain=0.1):
            for name in names[:2]:
                for number in range(20):
                    await rig.accept(f"ann@d{number}.example", organization=name)
                await asyncio.sleep(0.05)
            assert rig.budget.running == 15
            await rig.accept("joe@a.example", organization="adatum")
            await asyncio.wait_for(tried.wait(), 10)
            for destination in [name for name in attempts.held if name.startswith("contoso")][:8]:
                attempts.end(destination)
            await asyncio.sleep(0.1)
            theirs = sum(len(held) for name, held in attempts.held.items() if name.startswith("fabrikam"))
            assert theirs >= 6, "the second has its share of what the first gives back"
            attempts.end_all()

    run(main)


def test_mail_for_slow_hosts_leaves_room_in_memory_to_other_organizations(rig, directory):
    rig.budget = LaneBudget(1000, 1, time.monotonic)
    rig.budget.use(directory("[organization.contoso]\n[organization.fabrikam]\n"))
    attempts, tried = Held(rig), asyncio.Event()

    async def deliver(delivery):
        if delivery.organization == "fabrikam":
            tried.set()
            return await type(rig.peer).deliver(rig.peer, delivery)
        return await attempts.deliver(delivery)

    async def main():
        limits = {"window_messages": 40, "window_per_destination": 10}
        async with rig.open(deliver=deliver, drain=0.1, **limits) as manager:
            for number in range(10):
                for _ in range(10):
                    await rig.accept(f"ann@d{number}.example")
            await asyncio.sleep(0.05)
            assert manager.waiting == 30
            await rig.accept("joe@a.example", organization="fabrikam")
            await asyncio.wait_for(tried.wait(), 5)

    run(main)


class CountedLanes(LaneBudget):
    """taken: the next hop of each lane, in the order in which they began."""

    def __init__(self, *limits):
        super().__init__(*limits, time.monotonic)
        self.taken = []

    def take(self, next_hop):
        self.taken.append(next_hop)
        super().take(next_hop)


class Held:
    """Attempts that take until somebody ends them, by destination."""

    def __init__(self, rig):
        self.rig = rig
        self.held = {}

    async def deliver(self, delivery):
        ended = asyncio.Event()
        self.held.setdefault(delivery.destination, []).append(ended)
        await ended.wait()
        return await type(self.rig.peer).deliver(self.rig.peer, delivery)

    def end(self, destination):
        self.held[destination].pop().set()

    def end_all(self):
        for waiting in self.held.values():
            for ended in waiting:
                ended.set()


def test_where_an_organization_is_at_its_limit_an_end_begins_one_lane(rig, directory):
    rig.budget = CountedLanes(16, 16)
    rig.budget.use(directory("[organization.contoso]\n[organization.fabrikam]\n"))
    attempts = Held(rig)

    async def main():
        async with rig.open(deliver=attempts.deliver, drain=0.1) as manager:
            for number in range(40):
                await rig.accept(f"ann@d{number}.example")
            await asyncio.sleep(0.05)
            assert (len(attempts.held), rig.budget.running, len(manager._line)) == (12, 12, 28)
            assert len(rig.budget.taken) == 12
            attempts.end("contoso/d3.example")
            await asyncio.sleep(0.05)
            assert rig.budget.taken[12:] == ["contoso/d12.example"], "the first in the line, and no other"
            assert (rig.budget.running, len(manager._line)) == (12, 27)

    run(main)


def test_what_waited_at_a_next_hop_that_others_use_is_tried_when_its_organization_may(rig, directory):
    rig.budget, rig.finder = CountedLanes(8, 2), Relay()
    rig.budget.use(directory("[organization.contoso]\n[organization.fabrikam]\n"))
    attempts = Held(rig)

    async def main():
        async with rig.open(deliver=attempts.deliver, lane_wait=0.001, drain=0.1):
            for name in "ab":
                await rig.accept(f"joe@{name}.relayed.example", organization="fabrikam")
            await asyncio.sleep(0.05)
            await rig.accept("ann@c.relayed.example")
            for number in range(4):
                await rig.accept(f"ann@d{number}.example")
            await asyncio.sleep(0.05)
            assert (len(attempts.held), rig.budget.lanes("relay")) == (6, 2)
            for _ in range(2):
                rig.budget.organizations.begin("adatum")
            attempts.end("fabrikam/a.relayed.example")
            await asyncio.sleep(0.05)
            assert "contoso/c.relayed.example" not in attempts.held, "contoso has its part"
            for number in range(2):
                attempts.end(f"contoso/d{number}.example")
            await asyncio.sleep(0.05)
            assert "contoso/c.relayed.example" in attempts.held

    run(main)


def test_what_waits_in_line_is_tried_when_lanes_go_on_with_mail_of_others(rig, directory):
    rig.budget, rig.finder = CountedLanes(8, 6), Relay()
    rig.budget.use(directory("[organization.contoso]\n[organization.fabrikam]\n"))
    attempts = Held(rig)

    async def main():
        async with rig.open(deliver=attempts.deliver, lane_wait=0.001, drain=0.1) as manager:
            for name in "abcdef":
                await rig.accept(f"ann@{name}.relayed.example")
            await asyncio.sleep(0.1)
            for name in "abcdef":
                await rig.accept(f"joe@{name}.relayed.example", organization="fabrikam")
            await rig.accept("ann@d.example")
            await asyncio.sleep(0.05)
            assert ("contoso" in rig.budget.organizations, len(attempts.held), len(manager._line)) == (True, 6, 1)
            for name in "abcdef":
                attempts.end(f"contoso/{name}.relayed.example")
            await asyncio.sleep(0.1)
            assert (rig.budget.lanes("relay"), len(manager._line)) == (5, 1)
            assert "contoso/d.example" in attempts.held, "a lane is free, and it has none"

    run(main)


def test_a_hop_in_line_that_may_not_begin_any_more_is_passed_over(rig):
    rig.budget = LaneBudget(1, 1, time.monotonic)

    async def main():
        async with rig.open() as manager:
            rig.budget.take("elsewhere")
            await rig.accept(ANN, "eve@other.example")
            assert len(manager._line) == 2
            manager._waiting.hops[PARTNER].gate.until = rig.now + 50
            rig.budget.release("elsewhere")
            await rig.calm()
            assert rig.tried() == ["eve@other.example"]
            assert not manager._line

    run(main)


def crowded(delivery):
    results = [RecipientResult(recipient, Disposition.DEFERRED, LATER, {}) for recipient in delivery.recipients]
    return DeliveryResult(results, destination_failed=True, next_hop_failed=True, crowded=True)


@pytest.mark.parametrize(("others", "closed", "tries"), [(0, False, 1), (1, False, 6), (1, True, 1)])
def test_what_a_busy_host_turned_away_is_tried_again_beside_other_lanes(rig, others, closed, tries):
    """At once and a few times, if others of ours are there; not behind a gate that has closed meanwhile."""
    rig.budget = LaneBudget(10, 10, time.monotonic)

    async def deliver(delivery):
        rig.peer.attempts.append((delivery.destination, [ANN]))
        if closed:
            rig.manager._waiting.hops[PARTNER].gate.fail(LATER, rig.now + 50, "contoso")
        while rig.budget.lanes(PARTNER) <= others:
            rig.budget.take(PARTNER)
        return crowded(delivery)

    async def main():
        async with rig.open(deliver=deliver) as manager:
            await rig.accept(ANN)
            for _ in range(tries):
                await rig.calm()
                while others and not closed and rig.budget.lanes(PARTNER):
                    rig.budget.release(PARTNER)  # the lane ended, as there are too many for such a host
            await rig.calm()
            assert len(rig.tried()) == tries
            assert manager._turned_away == {}
            (entry,) = rig.entries()
            assert entry.delivery.attempts == 1

    run(main)


def test_a_lane_waits_while_the_disk_is_full(rig):
    waited = []

    async def main():
        async with rig.open() as manager:

            async def written():
                waited.append(len(rig.peer.attempts))

            held_up = iter([written(), None])
            manager._store.held_up = lambda: next(held_up, None)
            await rig.accept(ANN)
            await rig.calm()
            assert waited == [0]
            assert rig.tried() == [ANN]

    run(main)


def test_silence_that_others_did_not_meet_closes_nothing(rig):
    rig.peer.failing = {PARTNER}

    async def deliver(delivery):
        rig.manager._waiting.hops[PARTNER].answered = time.monotonic() + 1
        return await rig.peer.deliver(delivery)

    async def main():
        async with rig.open(deliver=deliver) as manager:
            await rig.accept(ANN)
            await rig.calm()
            assert manager.backing_off == 0
            assert len(rig.entries()) == 1

    run(main)


def test_what_is_swept_already_is_not_swept_twice(rig):
    rig.peer.failing = {PARTNER}

    async def main():
        async with rig.open() as manager:
            await rig.accept(ANN)
            await rig.calm()
            gate = manager._waiting.hops[PARTNER].gate
            manager._sweeper.gates.add(gate)
            names = []
            spawn_task = manager._spawn
            manager._spawn = lambda work, name: names.append(name) or spawn_task(work, name)
            await rig.pass_time(1000)
            assert gate.failures == 2
            assert not [name for name in names if name.startswith("sweep")]
            manager._sweeper.gates.clear()

    run(main)


def test_a_store_that_fails_in_the_background_stops_delivery_too(rig, caplog):
    async def fails():
        raise StoreFailure("the disk is gone")

    async def main():
        async with rig.open() as manager:
            manager._spawn(fails(), "failing")
            while not manager._draining:  # noqa: ASYNC110 - a double that knows no event
                await asyncio.sleep(0.01)
            assert "delivery stops until a new start: the disk is gone" in caplog.text

    run(main)


def test_who_rests_takes_no_deferred_mail(rig):
    rig.peer.replies["partner.example"] = LATER

    async def main():
        async with rig.open():
            await rig.accept(ANN)
            await rig.calm()
            rig.tried()
            rig.peer.replies.clear()
            rig.manager.rest(resting=True)
            await rig.pass_time(2 * HOUR)
            assert rig.tried() == []
            rig.manager.rest(resting=False)
            await rig.pass_time(5)
            assert len(rig.tried()) == 1
            assert rig.entries() == []

    run(main)


def test_what_a_limit_lets_through_later_waits_in_the_store_with_the_reason(rig, monkeypatch):
    async def main():
        async with rig.open():
            pauses = [Pause("limited to 60 messages a minute by connector c", 5.0)]
            monkeypatch.setattr(rig.manager._pacing, "full", lambda _hop, _backlog: pauses.pop() if pauses else None)
            await rig.accept(ANN)
            await rig.store.flushed()
            (entry,) = rig.entries()
            assert (entry.state, entry.delivery.attempts) == ("deferred", 0)
            assert entry.delivery.last_error == "limited to 60 messages a minute by connector c"
            assert entry.delivery.next_at == pytest.approx(rig.now + 5)

    run(main)
