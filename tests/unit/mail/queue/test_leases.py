"""When deferred mail comes into memory, on a loop whose time passes by hand."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from gatepost.mail.queue import leases as module
from gatepost.mail.queue.hop_queue import LaneKey
from gatepost.mail.queue.leases import LEASE, LOOK, Leases
from gatepost.mail.queue.memory_budget import MemoryBudget, QueueLimits
from gatepost.mail.queue.waiting import Waiting
from gatepost.net.tasks import spawn
from gatepost.store.interface import DestinationWork, StoreBusy

A, B = "contoso/a.example", "contoso/b.example"


class Store:
    """due: what each destination has, by turns leased as it stands there. first: when the first of it is due."""

    def __init__(self):
        self.due, self.first, self.leases, self.known = {}, {}, [], []
        self.brought, self.listed, self.stopped = [], 0, False

    async def lease(self, destination, limit, now):
        self.leases.append((destination, limit))
        mine = self.due.get(destination, [])
        taken, self.due[destination] = mine[:limit], mine[limit:]
        return taken

    def stop_leasing(self):
        self.stopped = True

    async def earliest(self, destination):
        return self.first.get(destination, 0.0)

    async def destinations(self):
        self.listed += 1
        return self.known

    def bring_forward(self, latest, failed):
        self.brought.append((latest, failed))

    async def flushed(self):
        self.known = [
            DestinationWork(one.destination, min(one.earliest, *self.brought[-1][:1]), 1) for one in self.known
        ]


class World(SimpleNamespace):
    """hop: the queue of "relay", which is forgotten while it is idle."""

    @property
    def hop(self):
        return self.waiting.hop("relay")


def play(work, **limits):
    """`work` is given the leases and everything around them; what it spawned has ended when this returns."""

    async def main():
        made = World(now=1000.0, store=Store(), offered=[], put_back=[], tasks=[], unknown=set())
        chosen = QueueLimits(**limits)
        settler = SimpleNamespace(put_back=lambda _delivery, _due: None)
        made.waiting = Waiting(MemoryBudget(chosen), settler, lambda: made.now)

        def offer(delivery):
            made.offered.append(delivery.id)
            hop = made.waiting.hop("relay")
            made.waiting.add(hop, hop.backlog(delivery.destination, ""), delivery)

        async def settle():
            while made.tasks:
                await made.tasks.pop(0)

        made.settle = settle
        finder = SimpleNamespace(usual=lambda one: None if one in made.unknown else LaneKey("relay"))
        made.leases = Leases(
            made.store, made.waiting, finder, offer=offer, put_back=made.put_back.append, longest=4000.0,
            spawn=lambda coroutine, name: made.tasks.append(spawn(coroutine, name)),
            per_destination=chosen.window_per_destination,
        )  # fmt: skip
        await work(made)
        made.leases.stop()
        await settle()

    asyncio.run(asyncio.wait_for(main(), 40))


def due(make, count, destination=A, first=1):
    return [make.delivery(number, destination=destination) for number in range(first, first + count)]


def test_what_is_due_comes_into_memory_and_what_is_left_is_noted(make):
    async def work(it):
        it.store.due = {A: due(make, 3)}
        it.store.first = {A: 1200.0}
        it.leases.note(A, 999.0)
        it.leases.look()
        await it.settle()
        assert it.offered == [1, 2, 3]
        assert it.store.leases == [(A, LEASE)]
        assert it.leases._agenda.earliest() == 1200.0
        assert it.waiting.window.waiting == 3
        assert it.hop.hungry == {}

    play(work)


def test_what_is_not_due_stays(make):
    async def work(it):
        it.leases.note(A, 1001.0)
        it.leases.look()
        await it.settle()
        assert it.store.leases == []
        it.now = 1001.0
        it.leases.look()
        await it.settle()
        assert it.store.leases == [(A, LEASE)]

    play(work)


def test_a_destination_with_more_gets_no_more_while_some_of_it_waits(make):
    async def work(it):
        it.store.due = {A: due(make, 150), B: due(make, 1, B, 500)}
        it.leases.note(A, 999.0)
        it.leases.note(B, 999.0)
        it.leases.look()
        await it.settle()
        assert it.store.leases == [(A, LEASE), (B, LEASE)]
        assert it.hop.sated == {A: ""}
        assert len(it.offered) == 101
        backlog = it.hop.backlogs[A, ""]
        while len(backlog.ready) > 60:
            it.waiting.next(it.hop)
        it.leases.made_room(it.hop, backlog)
        await it.settle()
        assert it.hop.sated == {A: ""}
        while len(backlog.ready) >= 50:
            it.waiting.next(it.hop)
        it.leases.made_room(it.hop, backlog)
        await it.settle()
        assert it.store.leases[2:] == [(A, LEASE)]
        assert len(it.offered) == 151

    play(work)


def test_what_several_destinations_have_is_offered_together(make, monkeypatch):
    """So that deliveries of one message find each other, but no longer than for a moment, nor twice for one of them."""

    async def work(it):
        seen = []
        lease = it.store.lease

        async def watched(destination, limit, now):
            seen.append((destination, list(it.offered), it.waiting.window.waiting - limit))
            return await lease(destination, limit, now)

        it.store.lease = watched
        it.store.due = {A: due(make, 1), B: due(make, 1, B, 2)}
        for destination in (A, B):
            it.leases.note(destination, 999.0)
        it.leases.look()
        await it.settle()
        assert seen == [(A, [], 0), (B, [], 1)]
        assert it.offered == [1, 2]
        assert it.waiting.window.waiting == 2
        monkeypatch.setattr(module, "_GATHERED", -1.0)
        it.store.due = {A: due(make, 1, A, 3), B: due(make, 1, B, 4)}
        seen.clear()
        for destination in (A, B):
            it.leases.note(destination, 999.0)
        it.leases.look()
        await it.settle()
        assert [offered for _, offered, _ in seen] == [[1, 2], [1, 2, 3]]

    play(work)


def test_a_lease_that_fails_loses_nothing_that_was_gathered(make):
    async def work(it):
        lease = it.store.lease

        async def failing(destination, limit, now):
            if destination == B:
                raise StoreBusy("away")
            return await lease(destination, limit, now)

        it.store.lease = failing
        it.store.due = {A: due(make, 1)}
        for destination in (A, B):
            it.leases.note(destination, 999.0)
        it.leases.look()
        with pytest.raises(StoreBusy):
            await it.settle()
        assert it.offered == [1]

    play(work)


def test_made_room_of_another_destination_changes_nothing(make):
    async def work(it):
        it.hop.sated = {A: ""}
        it.leases.made_room(it.hop, it.hop.backlog(B, ""))
        assert (it.hop.sated, it.hop.hungry, it.tasks) == ({A: ""}, {}, [])

    play(work)


@pytest.mark.parametrize(("leased", "noted"), [(0, 1000.0 + LOOK), (2, 1000.0)])
def test_a_lease_that_gave_nothing_is_asked_again_in_a_moment(make, leased, noted):
    """Something is due and was not given: the store was full or busy. What was given says nothing of that."""

    async def work(it):
        it.store.due = {A: due(make, leased)}
        it.store.first = {A: 1000.0}
        it.leases.note(A, 999.0)
        it.leases.look()
        await it.settle()
        assert it.leases._agenda.earliest() == noted

    play(work)


def test_the_window_bounds_what_is_leased(make):
    async def work(it):
        it.store.due = {A: due(make, 9)}
        it.store.first = {A: 1.0}
        it.leases.note(A, 999.0)
        it.leases.look()
        await it.settle()
        assert it.store.leases == [(A, 4)]
        assert it.offered == [1, 2, 3, 4]
        assert it.hop.hungry == {A: ""} or it.hop.sated == {A: ""}

    play(work, window_messages=4)


def test_a_window_that_is_full_of_what_goes_elsewhere_is_looked_at_again(make):
    async def work(it):
        it.waiting.window.enter("others", 4)
        it.leases.note(A, 999.0)
        it.leases.look()
        assert it.leases._agenda.earliest() == it.now + LOOK
        assert it.waiting.hops == {}
        it.now += LOOK
        it.leases.look()
        assert it.leases._agenda.earliest() == it.now + LOOK
        assert it.store.leases == []
        it.waiting.window.leave("others", 4)
        it.now += LOOK
        it.leases.look()
        await it.settle()
        assert it.store.leases == [(A, 4)]

    play(work, window_messages=4)


def test_an_organization_whose_share_fills_while_it_waits_for_its_turn_is_looked_at_again(make):
    async def work(it):
        it.waiting.window._shares.divided = True
        it.store.due = {A: due(make, 1)}
        it.hop.hungry = {A: ""}
        turn = it.leases.pace.turn

        async def meanwhile():
            await turn()
            it.waiting.window.enter("contoso", 15)

        it.leases.pace.turn = meanwhile
        await it.leases._lease_by_turns(it.hop)
        assert it.store.leases == []
        assert it.leases._agenda.earliest() == it.now + LOOK
        it.waiting.window.leave("contoso", 15)

    play(work, window_messages=20)


def test_a_window_that_fills_during_leases_is_looked_at_again(make):
    async def work(it):
        it.waiting.window.enter("others", 4)
        it.hop.hungry = {A: ""}
        await it.leases._lease_by_turns(it.hop)
        assert it.leases._agenda.earliest() == it.now + LOOK
        assert it.hop.hungry == {}

    play(work, window_messages=4)


def test_what_is_due_is_looked_at_again_when_the_last_for_its_next_hop_leaves_a_full_window(make):
    async def work(it):
        backlog = it.hop.backlog(A, "")
        it.waiting.add(it.hop, backlog, *due(make, 1))
        it.waiting.window.enter("others", 3)
        it.leases.note(B, 999.0)
        it.leases.look()
        assert it.leases._agenda.earliest() is None  # what waits for the next hop calls for more as it leaves
        it.waiting.next(it.hop)
        it.waiting.window.enter("others")  # others were quicker
        it.leases.made_room(it.hop, backlog)
        assert it.leases._agenda.earliest() == it.now + LOOK

    play(work, window_messages=4)


def test_an_organization_that_has_its_share_takes_no_turns_for_leases(make):
    """It may have mail for thousands of domains behind a relay, and a turn is a millisecond at least."""

    async def work(it):
        it.waiting.window._shares.divided = True
        it.waiting.window.enter("contoso", 15)
        for number in range(50):
            it.leases.note(f"contoso/d{number}.example", 998.0)
        it.leases.note("fabrikam/a.example", 999.0)
        turns, turn = [], it.leases.pace.turn

        async def counted():
            turns.append(it.now)
            await turn()

        it.leases.pace.turn = counted
        it.leases.look()
        await it.settle()
        assert it.store.leases == [("fabrikam/a.example", 3)]
        assert len(turns) == 1
        assert len(it.leases._agenda) == 50
        assert it.leases._agenda.earliest() == it.now + LOOK
        it.waiting.window.leave("contoso", 15)
        it.now += LOOK
        it.leases.look()
        await it.settle()
        assert len(it.store.leases) >= 51

    play(work, window_messages=20)


def test_a_destination_without_room_of_its_own_is_looked_for_again_much_later(make):
    async def work(it):
        for one in due(make, 3):
            it.waiting.add(it.hop, it.hop.backlog(A, ""), one)
        it.hop.hungry = {A: ""}
        await it.leases._lease_by_turns(it.hop)
        assert it.store.leases == []
        assert it.hop.sated == {A: ""}
        assert it.leases._agenda.earliest() == it.now + module._SATED

    play(work, window_per_destination=3)


@pytest.mark.parametrize("whose", ["hop", "backlog"])
def test_behind_a_closed_gate_nothing_is_leased(make, whose):
    async def work(it):
        backlog = it.hop.backlog(A, "")
        gate = it.hop.gate if whose == "hop" else backlog.gate
        gate.fail(make.silence, 1500.0, "contoso")
        it.leases.note(A, 999.0)
        it.leases.look()
        await it.settle()
        assert it.store.leases == []
        assert it.leases._agenda.earliest() == 1500.0

    play(work)


def test_a_gate_that_closes_meanwhile_puts_off_the_rest(make):
    async def work(it):
        it.store.due = {A: due(make, 1), B: due(make, 1, B, 9)}

        async def lease(destination, limit, now):
            it.hop.gate.fail(make.silence, 1500.0, "contoso")
            return await Store.lease(it.store, destination, limit, now)

        it.store.lease = lease
        it.leases.note(A, 999.0)
        it.leases.note(B, 999.0)
        it.leases.look()
        await it.settle()
        assert it.store.leases == [(A, LEASE)]
        assert it.leases._agenda.earliest() == 1500.0

    play(work)


def test_a_destination_of_which_no_hop_is_known_has_a_queue_of_its_own(make):
    async def work(it):
        it.unknown = {A}
        it.store.due = {A: due(make, 1)}
        it.leases.note(A, 999.0)
        it.leases.look()
        await it.settle()
        assert it.offered == [1]
        assert "" not in it.waiting.hops  # it is forgotten again

    play(work)


def test_the_alarm_rings_when_something_is_due_and_at_least_each_moment(make):
    async def work(it):
        loop = asyncio.get_running_loop()
        it.leases.look()
        await it.settle()
        assert it.leases._alarm.when() == pytest.approx(loop.time() + LOOK, abs=0.1)
        it.leases.note(A, 1000.25)
        assert it.leases._alarm.when() == pytest.approx(loop.time() + 0.25, abs=0.1)
        it.leases.note(B, 1000.75)  # later: no other alarm
        assert it.leases._alarm.when() == pytest.approx(loop.time() + 0.25, abs=0.1)
        it.leases.note(B, 10.0)
        assert it.leases._alarm.when() == pytest.approx(loop.time(), abs=0.1)

    play(work)


def test_before_the_first_look_and_after_the_last_no_alarm_is_set(make):
    """A queue that is paused never looks; one that ends looks no more."""

    async def work(it):
        it.leases.note(A, 1.0)
        assert it.leases._alarm is None
        it.leases.stop()
        it.leases.note(B, 0.5)
        it.leases.look()
        assert it.leases._alarm is None
        assert it.tasks == it.store.leases == []
        it.hop.hungry = {A: ""}
        it.leases.made_room(it.hop, it.hop.backlog(A, ""))
        assert it.tasks == []
        await it.leases._lease_by_turns(it.hop)
        assert it.store.leases == []

    play(work)


def test_a_stop_ends_the_alarm_and_what_is_leased_meanwhile_is_not_looked_after(make):
    async def work(it):
        it.store.due = {A: due(make, 1)}
        it.store.first = {A: 1.0}
        it.leases.note(A, 999.0)
        it.leases.look()
        alarm = it.leases._alarm

        async def lease(*arguments):
            it.leases.stop()
            return await Store.lease(it.store, *arguments)

        it.store.lease = lease
        await it.settle()
        assert alarm.cancelled()
        assert it.store.stopped, "nobody waits for it any more"
        assert it.offered == [1]
        assert it.leases._agenda.earliest() is None

    play(work)


def test_what_the_agenda_missed_is_asked_of_the_store_now_and_then(make):
    async def work(it):
        it.store.known = [DestinationWork(A, 1000.5, 1)]
        it.waiting.hop("idle")
        it.leases.look()
        await it.settle()
        assert it.leases._agenda.earliest() == 1000.5
        assert "idle" not in it.waiting.hops
        it.store.known = [DestinationWork(B, 1000.2, 1)]
        it.leases.look()
        await it.settle()
        assert it.leases._agenda.earliest() == 1000.5
        it.now += module._REFRESH
        it.store.known = []
        it.leases.look()
        assert len(it.tasks) == 2  # of the store, and of what is due by now
        await it.settle()

    play(work)


def test_what_is_brought_forward_is_taken_up_at_the_next_look(make):
    """And the store is asked more often for a minute, as it may move the rest later."""

    async def work(it):
        async def listed():
            it.store.listed = 0
            it.leases.look()
            await it.settle()
            return it.store.listed

        it.store.known = [DestinationWork(A, 4000.0, 1)]
        assert await listed() == 1
        it.store.due = {A: due(make, 1)}
        await it.leases.bring_forward("450 4.4.312 ")
        assert it.store.brought == [(1000.0, "450 4.4.312 ")]
        assert await listed() == 1
        assert await listed() == 0
        assert it.offered == [1]
        it.now += 5.0
        assert await listed() == 1
        it.now += 60.0
        assert await listed() == 0

    play(work)


def test_a_clock_that_is_put_back_makes_a_new_agenda(make, caplog):
    async def work(it):
        it.leases.look()
        await it.settle()
        it.leases.note(A, 5000.0)
        it.now -= LOOK
        it.leases.look()
        assert it.put_back == []
        it.now -= LOOK + 500
        it.store.known = [DestinationWork(B, 700.0, 1)]
        it.leases.look()
        await it.settle()
        assert it.put_back == [it.now]
        assert it.leases._agenda.earliest() == 700.0

    play(work)
    assert "the clock was put back by" in caplog.text


def test_a_store_that_still_speaks_of_the_time_before_it_was_put_back_delays_nothing(make):
    """It is asked while what shortens the times may still be on its way to the disk."""

    async def work(it):
        it.leases.look()
        await it.settle()
        it.now -= 500
        it.store.known = [DestinationWork(A, it.now + 86_400.0, 1), DestinationWork(B, it.now + 700.0, 1)]
        it.leases.look()
        await it.settle()
        assert it.leases._agenda.earliest() == it.now + 700.0
        it.leases._agenda.take(it.now + 700.0)
        assert it.leases._agenda.earliest() == it.now + 4000.0

    play(work)


def test_one_look_takes_up_so_many(make, monkeypatch):
    monkeypatch.setattr(module, "_LOOK_AT", 2)

    async def work(it):
        for number in range(3):
            it.leases.note(f"contoso/d{number}.example", 1.0 + number)
        it.leases.look()
        assert it.leases._agenda.earliest() == 3.0  # the rest is taken up in the next turn of the loop
        await it.settle()
        names = [f"contoso/d{number}.example" for number in range(3)]
        assert [destination for destination, _ in it.store.leases] == names

    play(work)


def test_a_lease_that_fails_gives_its_place_back(make):
    async def work(it):
        async def lease(*_arguments):
            raise OSError("gone")

        it.store.lease = lease
        it.hop.hungry = {A: ""}
        with pytest.raises(OSError, match="gone"):
            await it.leases._lease_by_turns(it.hop)
        assert it.waiting.window.waiting == 0
        assert not it.hop.leasing

    play(work)


def test_while_it_rests_nothing_is_leased_and_then_all_that_is_deferred(make):
    async def work(it):
        it.store.due = {A: due(make, 3), B: due(make, 1, B, first=10)}
        it.leases.note(A, 999.0)
        it.leases.rest(resting=True)
        it.leases.look()
        await it.settle()
        assert it.store.leases == []
        it.store.known = [DestinationWork(A, 999.0, 3), DestinationWork(B, 999.0, 1)]
        it.leases.rest(resting=False)
        it.leases.look()
        await it.settle()
        it.leases.look()
        await it.settle()
        assert sorted(it.offered) == [1, 2, 3, 10]

    play(work)


def test_who_begins_to_rest_while_it_leases_ends_soon(make):
    async def work(it):
        it.store.due = {A: due(make, 1), B: due(make, 1, B, first=10)}
        it.leases.note(A, 999.0)
        it.leases.note(B, 999.0)
        it.leases.look()
        it.leases.rest(resting=True)
        await it.settle()
        assert len(it.store.leases) < 2

    play(work)


def test_destinations_without_a_known_next_hop_are_leased_together(make):
    """There may be thousands, each with little: one after the other, each would wait for a commit of its own."""
    names = [f"contoso/{number}.example" for number in range(40)]

    async def work(it):
        it.unknown.update(names)
        it.store.due = {name: due(make, 1, name, number) for number, name in enumerate(names)}
        it.store.together, open_leases = [], 0
        lease = it.store.lease

        async def slow(*arguments):
            nonlocal open_leases
            open_leases += 1
            it.store.together.append(open_leases)
            await asyncio.sleep(0)
            open_leases -= 1
            return await lease(*arguments)

        it.store.lease = slow
        for name in names:
            it.leases.note(name, 999.0)
        it.leases.look()
        await it.settle()
        assert max(it.store.together) == 16
        assert sorted(it.offered) == list(range(40))

    play(work)


def test_leases_at_once_lose_nothing_when_one_of_them_fails(make):
    """The others end later, and what they got is nobody else's."""
    names = [f"contoso/{number}.example" for number in range(4)]

    async def work(it):
        it.unknown.update(names)
        it.store.due = {name: due(make, 1, name, number) for number, name in enumerate(names)}
        lease = it.store.lease

        async def failing(destination, limit, now):
            if destination == names[0]:
                raise StoreBusy("away")
            await asyncio.sleep(0.01)
            return await lease(destination, limit, now)

        it.store.lease = failing
        for name in names:
            it.leases.note(name, 999.0)
        it.leases.look()
        with pytest.raises(StoreBusy):
            await it.settle()
        await asyncio.sleep(0.05)
        assert sorted(it.offered) == [1, 2, 3]

    play(work)


def test_what_was_gathered_does_not_wait_for_a_turn_that_takes_long(make):
    async def work(it):
        it.store.due = {A: due(make, 1), B: due(make, 1, B, first=10)}
        for destination in (A, B):
            it.leases.note(destination, 999.0)
        it.leases.pace.arrived()
        it.leases.look()
        lease, waits = it.store.lease, asyncio.Event()

        async def late(*arguments):
            it.leases.pace.late = 1.0
            return await lease(*arguments)

        async def turn():
            if it.store.leases:
                waits.set()
                await asyncio.Event().wait()

        it.store.lease, it.leases.pace.turn = late, turn
        await waits.wait()
        assert it.offered == [1]
        it.tasks.pop().cancel()

    play(work)


def test_a_gate_that_closes_while_it_waits_for_its_turn_ends_the_leases(make):
    async def work(it):
        it.store.due = {A: due(make, 1), B: due(make, 1, B, first=10)}
        it.hop.hungry = {A: "", B: ""}

        async def turn():
            if it.store.leases:
                it.hop.gate.fail(make.silence, 1500.0, "contoso")
                it.leases.postpone(it.hop, 1500.0)

        it.leases.pace.turn = turn
        await it.leases._lease_by_turns(it.hop)
        assert it.offered == [1], "what was gathered before"
        assert it.leases._agenda.earliest() == 1500.0

    play(work)


def test_what_an_administrator_wants_tried_is_leased_first(make):
    async def work(it):
        it.hop.hungry = {A: ""}
        it.hop.leasing = True
        it.waiting.put_first(B, 0)
        it.leases.note(B, 999.0)
        it.leases.look()
        assert list(it.hop.hungry) == [B, A]

    play(work)


def test_a_destination_that_waits_for_its_turn_is_not_taken_up_again(make):
    async def work(it):
        it.unknown.update({A, B})
        it.waiting.hop("").hungry = {A: ""}
        it.waiting.hop("").leasing = True
        it.leases.note(A, 999.0)
        it.leases.note(B, 999.0)
        it.leases.look()
        assert it.waiting.hop("").hungry == {A: "", B: ""}
        assert it.leases._agenda.earliest() is None

    play(work)


def test_new_mail_makes_leases_smaller_and_a_stop_ends_the_wait(make):
    async def work(it):
        it.store.due = {A: due(make, 30)}
        it.leases.pace.arrived()
        it.leases.pace.late = 1.0
        it.leases.note(A, 999.0)
        it.leases.look()
        while not it.store.leases:  # noqa: ASYNC110 - a list knows no event
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        it.leases.pace.late = 1.0
        assert it.store.leases == [(A, 10)]
        it.leases.stop()
        await it.settle()
        assert it.store.leases == [(A, 10)]

    play(work)
