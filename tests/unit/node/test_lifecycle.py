from __future__ import annotations

import asyncio

import pytest

from gatepost.net.listener import Listener, bind
from gatepost.node.lifecycle import Duty, Lifecycle, Parts, every, listening
from gatepost.store.interface import StoreBusy
from gatepost.store.leases import FixedLease


def run(scene):
    asyncio.run(asyncio.wait_for(scene, 40))


def part(name, said, *, failing=(), **more):
    """A part that says what it is asked to do, and then fails in some of it."""

    def do(what):
        def done(*given):
            said.append(" ".join([name, what, *map(str, given)]))
            if what in failing:
                raise RuntimeError("on purpose")

        return done

    async def close():
        await asyncio.sleep(0)
        do("close")()

    async def drain(seconds):
        do("drain")()
        assert 0.5 <= seconds <= 3

    return Lifecycle(
        name, start=do("start"), refresh=do("refresh"), reload=do("reload"), drain=drain, close=close, **more
    )


def test_parts_start_in_the_order_in_which_they_were_made_and_end_in_the_reverse_of_it():
    said = []

    async def scene():
        parts = Parts(part("store", said))
        parts.add(part("queue", said), Lifecycle("one that does nothing"))
        await parts.start()
        parts.refresh("new")
        parts.reload()
        await parts.close(3)

    run(scene())
    assert said == [
        *("store start", "queue start"),
        *("store refresh new", "queue refresh new"),
        *("store reload", "queue reload"),
        *("queue drain", "store drain", "queue close", "store close"),
    ]


@pytest.mark.parametrize("turn", ["refresh", "reload", "drain", "close"])
def test_what_fails_in_one_part_keeps_no_other_from_its_turn(turn, caplog):
    said = []

    async def scene():
        parts = Parts(*(part(name, said, failing={turn}) for name in ("store", "queue")))
        await parts.start()
        parts.refresh("new")
        parts.reload()
        await parts.close(3)

    run(scene())
    assert len(said) == 10
    assert [record.message.endswith(" failed") for record in caplog.records] == [True, True]
    assert all(name in caplog.text for name in ("store", "queue"))


def test_a_part_that_cannot_start_is_no_part_to_go_on_without():
    said = []

    async def scene():
        parts = Parts(part("store", said, failing={"start"}), part("queue", said))
        with pytest.raises(RuntimeError):
            await parts.start()

    run(scene())
    assert said == ["store start"]


def test_duties_are_done_from_the_start_until_the_end_begins(caplog):
    done = []

    def fail():
        done.append("at once")
        raise RuntimeError("on purpose")

    async def scene():
        duties = [Duty(0.01, lambda: done.append("again")), Duty(60, fail, at_once=True)]
        parts = Parts(Lifecycle("work", duties=duties, drain=lambda _: done.append("drain")))
        await parts.start()
        assert done == ["at once"]
        while len(done) < 3:  # noqa: ASYNC110 - the work knows no event
            await asyncio.sleep(0.005)
        await parts.close(1)
        count = len(done)
        await asyncio.sleep(0.03)
        assert len(done) == count
        assert done[-1] == "drain"

    run(scene())
    assert [record.message.partition(",")[0] for record in caplog.records] == ["work: failed"]


def test_periodic_work_that_fails_is_tried_again(caplog):
    calls = []

    def work():
        calls.append(len(calls))
        if len(calls) == 1:
            raise RuntimeError("on purpose")

    async def scene():
        task = asyncio.get_running_loop().create_task(every(0.01, work))
        while len(calls) < 3:  # noqa: ASYNC110 - the work knows no event
            await asyncio.sleep(0.005)
        task.cancel()
        await task
        assert task.done()

    run(scene())
    (record,) = caplog.records
    assert record.message.startswith("periodic work: failed, and is tried again by itself")
    assert record.exc_info


@pytest.mark.parametrize("lease", [None, FixedLease(held=True)])
def test_a_duty_that_keeps_failing_is_said_in_a_line_and_once(caplog, lease):
    caplog.set_level("INFO")
    calls = []

    def work():
        calls.append(1)
        if len(calls) < 10:
            raise StoreBusy("store.url: PostgreSQL at db1 cannot be reached")
        if len(calls) > 12:
            raise ValueError("secret")

    async def scene():
        parts = Parts(Lifecycle("retention of the trace", duties=[Duty(0.01, work, at_once=True)], lease=lease))
        await parts.start()
        while len(calls) < 30:  # noqa: ASYNC110 - the work knows no event
            await asyncio.sleep(0.005)
        await parts.close(1)

    run(scene())
    first, well, last = caplog.records
    assert first.message == (
        "retention of the trace: failed, and is tried again by itself (gatepost status, gatepost doctor): "
        "store.url: PostgreSQL at db1 cannot be reached"
    )
    assert not first.exc_info
    assert well.message == "retention of the trace: works again"
    assert last.exc_info, "what nobody expected needs its traceback, once"


def test_periodic_work_may_say_itself_when_it_is_due_again():
    pauses, calls = [0.01, 0.02, 3600.0], []

    async def scene():
        task = asyncio.get_running_loop().create_task(every(lambda: pauses[len(calls)], lambda: calls.append(1)))
        while len(calls) < 2:  # noqa: ASYNC110 - the work knows no event
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        task.cancel()
        await task

    run(scene())
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("seconds", "now", "rest"),
    [(0.1, 12.34, 0.1), (0.5, 12.34, 0.66), (2.0, 12.34, 1.66), (600.0, 12.34, 599.66), (0.5, 12.9996, 0.5004)],
)
def test_periodic_work_is_done_at_moments_that_all_of_it_shares(monkeypatch, seconds, now, rest):
    rests = []

    async def sleep(delay):
        rests.append(delay)
        raise asyncio.CancelledError

    async def scene():
        loop = asyncio.get_running_loop()
        with monkeypatch.context() as patch:
            patch.setattr(loop, "time", lambda: now)
            patch.setattr(asyncio, "sleep", sleep)
            await every(seconds, list)

    run(scene())
    assert rests == [pytest.approx(rest)]


def test_listeners_accept_from_the_start_until_the_end_begins():
    async def scene():
        sockets = bind("127.0.0.1:0")
        port = sockets[0].getsockname()[1]
        accepted = []
        listener = Listener(sockets, accepted.append, refuse=lambda *_: None)
        parts = Parts(listening(listener))
        await parts.start()
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        while not accepted:  # noqa: ASYNC110 - the listener knows no event
            await asyncio.sleep(0.005)
        writer.close()
        await parts.close(0.5)
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection("127.0.0.1", port)

    run(scene())


class Lent:
    """A lease that comes and goes as the test says."""

    is_lasting = False

    def __init__(self):
        self.held = False

    def check(self, connection):
        """Never asked here."""


def test_duties_under_a_lease_begin_each_time_it_comes_and_stop_when_it_goes(monkeypatch):
    monkeypatch.setattr("gatepost.node.lifecycle._LEASE_LOOK", 0.01)
    said, lease = [], Lent()
    duties = [Duty(3600, lambda: said.append("at once"), at_once=True), Duty(0.05, lambda: said.append("later"))]

    async def scene():
        parts = Parts(Lifecycle("alarms", duties=duties, lease=lease, lost=lambda: said.append("lost")))
        await parts.start()
        await asyncio.sleep(0.1)
        assert said == []
        for _ in range(2):
            lease.held = True
            while "later" not in said:  # noqa: ASYNC110 - a list knows no event
                await asyncio.sleep(0.01)
            lease.held = False
            while "lost" not in said:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
            assert said[0] == "at once"
            assert said[-1] == "lost"
            assert said.count("at once") == 1
            said.clear()
        lease.held = True
        while not said:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
        said.clear()
        await parts.close(0.5)
        assert said == ["lost"]

    run(scene())


def test_a_duty_that_fails_is_tried_again_while_its_lease_is_held(monkeypatch, caplog):
    monkeypatch.setattr("gatepost.node.lifecycle._LEASE_LOOK", 0.01)
    lease, tried = Lent(), []
    lease.held = True

    def work():
        tried.append(1)
        raise StoreBusy("PostgreSQL cannot be reached")

    async def scene():
        parts = Parts(Lifecycle("alarms", duties=[Duty(0.02, work)], lease=lease))
        await parts.start()
        while len(tried) < 5:  # noqa: ASYNC110 - a list knows no event
            await asyncio.sleep(0.01)
        await parts.close(0.5)

    run(scene())
    (record,) = caplog.records
    assert record.message.startswith("alarms: failed, and is tried again by itself")
    assert not record.exc_info


def test_under_a_lease_that_lasts_duties_are_done_or_never():
    said = []

    async def scene():
        parts = Parts(
            Lifecycle("ours", duties=[Duty(9, lambda: said.append("ours"), at_once=True)], lease=FixedLease(held=True)),
            Lifecycle(
                "theirs", duties=[Duty(9, lambda: said.append("theirs"), at_once=True)], lease=FixedLease(held=False)
            ),
        )
        await parts.start()
        await parts.close(0.5)

    run(scene())
    assert said == ["ours"]
