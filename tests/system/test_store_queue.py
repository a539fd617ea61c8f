"""The queue behaves alike in SQLite and in PostgreSQL (`store.interface.Store`, `store.queue_admin.QueueAdmin`)."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from support.postgres import Postgres
from support.queue_site import (
    INLINE,
    PARTNER,
    Events,
    PostgresSite,
    Site,
    SqliteSite,
    accept,
    commit,
    deferred,
    delivery_of,
    eventually,
    message_of,
    read,
    settled,
)

from gatepost.events.metrics.catalogue import COMMIT_SECONDS
from gatepost.mail.model.message import Delivery, Recipient, Return
from gatepost.mail.model.queue_id import format_id, made_at
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.mail.queue.schedule import Schedule
from gatepost.net.tasks import spawn
from gatepost.store import queue_admin
from gatepost.store.interface import AdminNotice, MessageUnstorable, QueueFilter, Settlement, Store, StoreFailure
from gatepost.store.postgres import queue_rows
from gatepost.store.queue_admin import QueueEntry, QueuePlace, QueueTotals
from gatepost.store.sqlite import administration
from gatepost.store.suspension import Suspension, jitter_of


@pytest.fixture(params=["sqlite", "postgresql"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    if request.param == "sqlite":
        return SqliteSite(tmp_path)
    server: Postgres = request.getfixturevalue("postgres")
    return PostgresSite(tmp_path, server)


def ids(found: list[QueueEntry]) -> list[int]:
    return [entry.delivery.id for entry in found]


# ------------------------------------------------------------------------------------------- accept, read, settle


@pytest.mark.parametrize("head", [b"", b"a head of its own"], ids=["whole", "head apart"])
@pytest.mark.parametrize("size", [0, 1, 4096, INLINE, INLINE + 1, 3_000_000])
def test_what_was_accepted_can_be_read_and_is_gone_after_the_last_delivery(site: Site, size: int, head: bytes) -> None:
    content = random.Random(size).randbytes(size)  # noqa: S311 - content for a test
    chunks = [content[first : first + 65536] for first in range(0, size, 65536)]

    async def main() -> None:
        async with site.open() as store:
            message = message_of(store)
            one, two = delivery_of(store, message), delivery_of(store, message, "joe@other.example")
            await commit(store, message, [one, two], chunks, head)
            whole = head + content
            assert message.size == len(whole)
            assert one.body is None or one.body == two.body == whole
            assert await read(store, message.id) == whole
            assert b"".join(await asyncio.to_thread(lambda: list(site.admin().body(format_id(message.id))))) == whole
            await settled(store, one)
            assert await read(store, message.id) == whole
            await settled(store, two)
            await eventually(lambda: site.admin().applying_to("drop", QueueFilter()) == (0, 0))
            with pytest.raises(LookupError):
                await read(store, message.id)
        if isinstance(site, PostgresSite):
            async with site.open() as store:
                await eventually(lambda: site.count("chunk") == site.count("loose_body") == 0)

    asyncio.run(main())


def test_envelope_and_recipients_come_back_as_they_were(site: Site) -> None:
    async def main() -> None:
        async with site.open() as store:
            message = message_of(
                store,
                body_type="BINARYMIME",
                smtputf8=True,
                ret="HDRS",
                envid="a+2Bb",
                subject="Grüße 你好 \x00",
                hops=3,
                inbound={"tls": {"version": "TLSv1.3"}, "reasons": ["a", "b"]},
            )
            delivery = delivery_of(store, message, "ünï@bücher.example", expires_at=123.5)
            delivery.recipients = [Recipient("ünï@bücher.example", "FAILURE,DELAY", "utf-8;x", delayed=True)]
            await commit(store, message, [delivery])
            delivery.attempts = 2
            store.settle([Settlement(delivery, delivery.recipients, 5.0, "451 4.4.1 später")])
            (leased,) = await store.lease(delivery.destination, 10, 6.0)
            assert leased.message == message
            assert leased.recipients == delivery.recipients
            assert (leased.id, leased.attempts, leased.next_at, leased.expires_at) == (delivery.id, 2, 5.0, 123.5)
            assert leased.last_error == "451 4.4.1 später"
            assert leased.body is None

    asyncio.run(main())


def test_many_share_a_commit(site: Site) -> None:
    async def main() -> None:
        async with site.open() as store:
            deliveries = await asyncio.gather(*[accept(store) for _ in range(300)])
            assert len({one.message.id for one in deliveries} | {one.id for one in deliveries}) == 600
            await eventually(lambda: store.counts.histograms)
            assert 0 < sum(store.counts.histograms[COMMIT_SECONDS.name,].counts) < 100

    asyncio.run(main())
    assert site.admin().applying_to("drop", QueueFilter()) == (300, 300)


def test_one_malformed_message_does_not_fail_the_others_of_its_commit(site: Site) -> None:
    async def main() -> None:
        async with site.open() as store:
            taken = await accept(store)
            twin = message_of(store)
            twin.id = taken.message.id  # a constraint finds this, in the transaction
            huge = message_of(store)
            huge.id = 2**64  # the binding finds this
            odd = message_of(store, reverse_path="\ud800@contoso.example")  # encoding finds this
            alien = message_of(store)
            attempts = [
                *[accept(store) for _ in range(5)],
                commit(store, twin, [delivery_of(store, twin)]),
                commit(store, huge, [delivery_of(store, huge)]),
                commit(store, odd, [delivery_of(store, odd)]),
                commit(store, alien, [delivery_of(store, taken.message)]),
                commit(store, alien, []),
                commit(store, odd, [delivery_of(store, odd)], [b"x" * (INLINE + 1)]),
                commit(store, twin, [delivery_of(store, twin)], [b"x" * (INLINE + 1)]),
                *[accept(store) for _ in range(5)],
            ]
            results = await asyncio.gather(*attempts, return_exceptions=True)
            assert [type(result) for result in results[5:12]] == [MessageUnstorable] * 7
            assert not any(isinstance(result, Exception) for result in results[:5] + results[12:])
            assert store.failure is None
            if isinstance(site, PostgresSite):
                await eventually(lambda: site.count("chunk") == site.count("loose_body") == 0)
        assert site.admin().applying_to("drop", QueueFilter()) == (11, 11)

    asyncio.run(main())


def test_a_malformed_settlement_is_refused_at_once(site: Site) -> None:
    async def main() -> None:
        async with site.open() as store:
            delivery = await accept(store)
            for error, remaining in [("\ud800", delivery.recipients), ("", [Recipient("\ud800@partner.example")])]:
                with pytest.raises(MessageUnstorable):
                    store.settle([Settlement(delivery, remaining, 5.0, error)])
            await settled(store, delivery)

    asyncio.run(main())
    assert site.admin().entries(QueueFilter()) == []


def test_a_settlement_without_a_time_means_now(site: Site) -> None:
    async def main() -> None:
        async with site.open() as store:
            delivery = await deferred(store, next_at=0.0)
            assert len(await store.lease(delivery.destination, 5, time.time())) == 1

    asyncio.run(main())


def test_recipients_that_are_done_leave_and_the_others_stay(site: Site) -> None:
    async def main() -> None:
        async with site.open() as store:
            delivery = await accept(store, "ann@partner.example", "joe@partner.example")
            store.settle([Settlement(delivery, delivery.recipients[1:], 5.0, "452 4.2.2 full")])
            (leased,) = await store.lease(delivery.destination, 5, 6.0)
            assert [recipient.address for recipient in leased.recipients] == ["joe@partner.example"]

    asyncio.run(main())


@pytest.mark.parametrize("remaining", [True, False])
def test_notices_come_with_the_settlement_and_are_handed_over(site: Site, remaining: bool) -> None:
    async def main() -> None:
        async with site.open() as store:
            delivery = await accept(store)
            dsn = message_of(store, reverse_path="")
            notice = delivery_of(store, dsn, "bob@contoso.example")
            left = delivery.recipients if remaining else []
            store.settle([Settlement(delivery, left, 5.0, "", [(dsn, [notice], b"a DSN\r\n")])])
            assert site.owner(store).offered == []
            await store.flushed()
            assert site.owner(store).offered == [notice]
            assert notice.body == b"a DSN\r\n"
            assert dsn.size == 7
            assert await read(store, dsn.id) == b"a DSN\r\n"
            assert len(site.admin().entries(QueueFilter())) == (2 if remaining else 1)
            await settled(store, notice)
            assert len(site.admin().entries(QueueFilter())) == (1 if remaining else 0)

    asyncio.run(main())


def test_a_notice_that_cannot_be_written_leaves_the_delivery_and_is_said(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with site.open() as store:
            delivery = await accept(store)
            dsn = message_of(store, reverse_path="")
            dsn.id = delivery.message.id
            store.settle([Settlement(delivery, [], notices=[(dsn, [delivery_of(store, dsn)], b"a DSN\r\n")])])
            await store.flushed()
            assert site.owner(store).offered == []
            assert len(site.admin().entries(QueueFilter())) == 1

    asyncio.run(main())
    assert "was not settled" in caplog.text


# ------------------------------------------------------------------------------------------- deferred mail


def test_leases(site: Site) -> None:
    async def main() -> None:
        async with site.open() as store:
            first, second, third = [await deferred(store, next_at=at) for at in (30.0, 10.0, 20.0)]
            other = await deferred(store, "joe@other.example", next_at=5.0)
            fresh = await accept(store)
            destination = first.destination
            assert {(work.destination, work.earliest, work.count) for work in await store.destinations()} == {
                (destination, 10.0, 3),
                (other.destination, 5.0, 1),
            }
            assert await store.earliest(destination) == 10.0
            assert await store.lease(destination, 10, 9.0) == []
            one, two = await asyncio.gather(store.lease(destination, 1, 25.0), store.lease(destination, 5, 25.0))
            assert [delivery.id for delivery in one] == [second.id]
            assert [delivery.id for delivery in two] == [third.id]
            assert await store.lease(destination, 5, 25.0) == []
            assert await store.earliest(destination) == 30.0
            store.settle([Settlement(one[0], one[0].recipients, 7.0)])
            assert [delivery.id for delivery in await store.lease(destination, 5, 8.0)] == [second.id]
            assert await store.earliest("contoso/nowhere.example") == 0
            assert fresh.next_at == 0

    asyncio.run(main())


def test_leases_come_longest_due_first(site: Site) -> None:
    async def main() -> None:
        async with site.open() as store:
            made = {at: await deferred(store, next_at=at) for at in (30.0, 10.0, 40.0, 20.0)}
            found = await store.lease(PARTNER, 3, 35.0)
            assert [delivery.id for delivery in found] == [made[at].id for at in (10.0, 20.0, 30.0)]

    asyncio.run(main())


def test_mail_is_deferred_where_it_lies_if_that_takes_only_a_new_time(site: Site) -> None:
    """As after an attempt without a result; what needs more, or is not due, stays as it is."""
    now = time.time()
    plain: dict[str, Any] = {"attempts": 4, "next_at": now - 60, "expires_at": now + 90_000, "received": now}
    young, due, again = {"attempts": 1}, now + 90_000, (900.0, 3600.0)
    cases: list[tuple[dict[str, Any], float]] = [
        ({}, 3600.0),
        (young, 3600.0),
        ({"received": now - 200, "delayed": True}, 3600.0),
        ({"attempts": 0}, 0),
        ({"received": now - 200}, 0),
        ({"expires_at": now - 1}, 0),
        ({"next_at": now + 60}, 0),
        ({"held": True}, 0),
    ]

    async def main() -> None:
        async with site.open() as store:
            waits = {}
            for fields, wait in cases:
                delivery = await waiting(store, **(plain | fields))
                waits[delivery.id] = delivery, wait
            order = {"waits": again, "received_after": now - 100, "reply": "450 4.4.316 refused"}
            assert await store.suspend(Suspension(PARTNER, 100, now, **order)) == 3
            assert await store.suspend(Suspension(PARTNER, 100, now, **order)) == 0
            for entry in site.admin().entries(QueueFilter()):
                was, wait = waits[entry.delivery.id]
                attempts = was.attempts + bool(wait)
                at = Schedule(again).next_attempt(attempts, now, due, jitter_of(was.message.id, attempts))
                assert entry.delivery.next_at == pytest.approx(at if wait else was.next_at, abs=0.001)
                assert entry.delivery.attempts == attempts
                assert entry.delivery.last_error == ("450 4.4.316 refused" if wait else "451 4.0.0 later")
                assert entry.delivery.recipients == was.recipients

    async def waiting(store: Store, **fields: Any) -> Delivery:
        message = message_of(store, received=fields.pop("received"))
        flags = {name: fields.pop(name, False) for name in ("held", "delayed")}
        delivery = delivery_of(store, message, **fields)
        delivery.recipients[0] = Recipient("ann@partner.example", **flags)
        await commit(store, message, [delivery])
        store.settle([Settlement(delivery, delivery.recipients, delivery.next_at, "451 4.0.0 later")])
        await store.flushed()
        return delivery

    asyncio.run(main())


def test_no_delay_notice_that_is_due_is_passed_over(site: Site) -> None:
    """All pairs of recipients, from somebody and from nobody, of young mail and of old: only a notice keeps it."""
    now, reply = time.time(), "450 4.4.316 refused"
    kinds = [(notify, delayed) for notify in ("", "NEVER", "FAILURE", "SUCCESS,DELAY") for delayed in (False, True)]
    pairs = [[kind] for kind in kinds] + [list(pair) for pair in itertools.product(kinds, repeat=2)]
    cases = list(itertools.product(("", "bob@contoso.example"), (now - 200, now - 50), pairs))

    async def main() -> None:
        async with site.open() as store:
            stored = []
            for sender, received, pair in cases:
                message = message_of(store, received=received, reverse_path=sender)
                delivery = delivery_of(store, message, attempts=3, expires_at=now + 9000)
                delivery.recipients = [Recipient("ann@partner.example", kind[0], delayed=kind[1]) for kind in pair]
                stored.append((delivery, sender, received, pair))
            await asyncio.gather(*[commit(store, delivery.message, [delivery]) for delivery, *_ in stored])
            store.settle([Settlement(each, each.recipients, now - 10, "451 4.0.0 later") for each, *_ in stored])
            await store.flushed()
            order = {"waits": (900.0,), "received_after": now - 100, "reply": reply}
            await store.suspend(Suspension(PARTNER, len(stored), now, **order))
            errors = {
                entry.delivery.id: entry.delivery.last_error for entry in site.admin().entries(QueueFilter(limit=0))
            }
        for delivery, sender, received, pair in stored:
            wanted = [not delayed and (not notify or "DELAY" in notify) for notify, delayed in pair]
            is_due = bool(sender) and received < now - 100 and any(wanted)
            is_deferred = errors[delivery.id] == reply
            assert not (is_due and is_deferred), (sender, received - now, pair)
            # Where only some had their notice, and the others want none, it is leased for nothing.
            is_mixed = not all(delayed for _, delayed in pair) and any(delayed for _, delayed in pair)
            assert is_due or is_deferred or is_mixed, (sender, received - now, pair)

    asyncio.run(main())


def test_mail_with_a_nul_in_its_facts_is_deferred_where_it_lies(site: Site) -> None:
    """Its own text is not searched for the time at which it was received."""
    now = time.time()

    async def main() -> None:
        async with site.open() as store:
            subject = 'a \x00 "received":1.0'
            delivery = delivery_of(store, message_of(store, received=now - 50, subject=subject), attempts=1)
            delivery.expires_at = now + 9000
            await commit(store, delivery.message, [delivery])
            store.settle([Settlement(delivery, delivery.recipients, now - 10, "451 4.0.0 later")])
            await store.flushed()
            for received_after, deferred_ones in ((now - 40, 0), (now - 60, 1)):
                order = Suspension(
                    PARTNER, 9, now, waits=(900.0,), received_after=received_after, reply="450 4.4.316 no"
                )
                assert await store.suspend(order) == deferred_ones

    asyncio.run(main())


def test_what_changes_while_mail_is_deferred_counts(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order to return mail is not put off by a statement that began before it, by a clock that is ahead."""
    site, now = PostgresSite(tmp_path, postgres), time.time()
    gated = queue_rows.SUSPEND.replace(
        "AND NOT held", "AND NOT held AND pg_advisory_xact_lock_shared(1) IS NOT NULL", 1
    )
    monkeypatch.setattr(queue_rows, "SUSPEND", gated)
    at_gate = """SELECT count(*) FROM pg_locks JOIN pg_database AS d ON d.oid = database
        WHERE d.datname = current_database() AND locktype = 'advisory' AND NOT granted"""

    async def main() -> None:
        async with site.open() as store:
            delivery = delivery_of(store, message_of(store, received=now), attempts=1, expires_at=now + 9000)
            await commit(store, delivery.message, [delivery])
            store.settle([Settlement(delivery, delivery.recipients, now - 10, "451 4.0.0 later")])
            await store.flushed()
            order = Suspension(PARTNER, 9, now + 5, waits=(900.0,), received_after=0.0, reply="450 4.4.316 no")
            gate = await asyncpg.connect(site.url)
            await gate.execute("SELECT pg_advisory_lock(1)")
            suspended = spawn(store.suspend(order), "suspension")
            await eventually(lambda: site.sql(at_gate) == "1")  # the statement has begun, and sees the row as it was
            wanted = QueueFilter()
            assert await asyncio.to_thread(lambda: site.admin().send_back(wanted, author="ops", text="no"))
            await gate.close()
            assert await suspended == 0
            (entry,) = site.admin().entries(wanted)
            assert entry.delivery.returned is not None
            assert entry.delivery.next_at <= time.time()

    asyncio.run(main())


def test_due_mail_is_brought_forward(site: Site) -> None:
    async def main() -> None:
        async with site.open() as store:
            delivery = await deferred(store, next_at=5000.0)
            store.bring_forward(100.0)
            await store.flushed()
            assert await store.earliest(delivery.destination) == 100.0

    asyncio.run(main())


def test_a_cancelled_wait_does_no_harm(site: Site) -> None:
    async def main() -> None:
        async with site.open() as store:
            delivery = await deferred(store)
            for wait in (store.flushed(), store.lease(delivery.destination, 5, 0.5), store.earliest(PARTNER)):
                task = spawn(wait, "cancelled")  # type: ignore[arg-type, misc]  # they differ in their results
                await asyncio.sleep(0)
                task.cancel()
            await store.flushed()
            assert len(await store.lease(delivery.destination, 5, 6.0)) == 1

    asyncio.run(main())


def test_fresh_leftovers_and_leases_are_due_now_and_deferred_ones_keep_their_time(site: Site) -> None:
    async def main() -> None:
        later = time.time() + 5000
        async with site.open() as store:
            fresh = await accept(store)
            leased = await deferred(store, "joe@other.example")
            await store.lease(leased.destination, 5, time.time())
            waiting = await deferred(store, "eve@third.example", next_at=later)
            assert await store.earliest(fresh.destination) == 0
        async with site.open() as store:
            work = {work.destination: work.earliest for work in await store.destinations()}
            assert abs(time.time() - work[fresh.destination]) < 20
            assert abs(time.time() - work[leased.destination]) < 20
            assert work[waiting.destination] == later
            (again,) = await store.lease(leased.destination, 5, time.time())
            assert again.id == leased.id
            assert store.new_id() > waiting.id
            assert abs(made_at(store.new_id()) - time.time()) < 120

    asyncio.run(main())


def test_what_an_administrator_dropped_in_flight_goes_at_the_next_start(site: Site) -> None:
    async def main() -> None:
        async with site.open() as store:
            message = message_of(store)
            one, two = delivery_of(store, message), delivery_of(store, message, "joe@other.example")
            await commit(store, message, [one, two], [b"x" * INLINE, b"y"])
            alone = await accept(store)
            await asyncio.to_thread(site.admin().drop, QueueFilter(domain="partner.example"), author="me")
        async with site.open() as store:
            await eventually(lambda: site.admin().applying_to("drop", QueueFilter()) == (1, 1))
            await eventually(lambda: store.failure is None)
            assert [work.destination for work in await store.destinations()] == [two.destination]
            assert len(await read(store, message.id)) == INLINE + 1
            (leased,) = await store.lease(two.destination, 5, time.time())
            await settled(store, leased)
            with pytest.raises(LookupError):
                await read(store, alone.message.id)

    asyncio.run(main())


# ------------------------------------------------------------------------------------------- the rest of a store


def test_a_call_back_that_fails_does_not_keep_the_others_waiting(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with site.open() as store:
            message = message_of(store)

            def done(_failure: object) -> None:
                raise RuntimeError("my mistake")

            body = store.body()
            body.write(b"hello\r\n")
            store.accept(message, [delivery_of(store, message)], body, done)
            await accept(store)

    asyncio.run(main())
    assert "my mistake" in caplog.text


def test_a_body_of_another_store_is_a_mistake(site: Site) -> None:
    async def main() -> None:
        async with site.open() as store:
            message = message_of(store)
            with pytest.raises(TypeError):
                store.accept(message, [delivery_of(store, message)], object(), print)  # type: ignore[arg-type]

    asyncio.run(main())


def test_a_data_directory_has_one_process_for_each_worker(site: Site) -> None:
    async def main() -> None:
        async with site.open():
            with pytest.raises(StoreFailure, match="belongs to another process"):
                async with site.open():
                    pass
            async with site.open(worker=1):
                pass
        async with site.open():
            pass

    asyncio.run(main())


def test_a_closed_store_refuses(site: Site) -> None:
    async def main() -> None:
        async with site.open() as store:
            delivery = await accept(store)
        await store.close()  # once more does no harm
        with pytest.raises(StoreFailure, match="closed"):
            store.settle([Settlement(delivery, [])])
        with pytest.raises(StoreFailure, match="closed"):
            await store.flushed()
        with pytest.raises(StoreFailure):
            await accept(store)

    asyncio.run(main())


def test_an_aborted_body_leaves_nothing(site: Site) -> None:
    async def main() -> None:
        async with site.open() as store:
            for size in (100, INLINE + 1):
                body = store.body()
                if (wait := body.write(b"x" * size)) is not None:
                    await wait
                body.abort()
                body.abort()
            await accept(store)
        assert not [file for file in site.path.rglob("big/*") if file.is_file()]

    asyncio.run(main())


def test_its_numbers(site: Site) -> None:
    async def main() -> None:
        async with site.open() as store:
            assert store.trace_dropped == 0
            store.count_senders(lambda: 7)
            assert store.held_up() is None
            assert store.room_for(1)
            assert store.position == ((0, 1) if site.shared else None)
            await accept(store)
            await eventually(lambda: store.counts.histograms)
            store.trace([TraceEvent(1.0, "SEND", "1", "contoso", "originating", "s", "a@a.example", "b@b.example")])

    asyncio.run(main())


# ------------------------------------------------------------------------------------------- administration


async def fill(site: Site) -> tuple[Delivery, Delivery, Delivery]:
    """A deferred and an active delivery of one message, then a deferred one of another organization."""
    store = await site.start(worker=0)
    other_store = await site.start(worker=1)
    message = message_of(store, subject="what no database reads as JSON: \x00 \\u0000")
    first = delivery_of(store, message, "ann@partner.example", "joe@partner.example")
    active = delivery_of(store, message, "eve@other.example")
    await commit(store, message, [first, active])
    store.settle([Settlement(first, first.recipients, 5000.0, "451 4.4.1 later")])
    await store.flushed()
    await asyncio.sleep(0.01)  # ids are in the order of milliseconds
    facts = {"subject": "Ärende 5%", "message_id": "<M-id@x>"}
    message = message_of(other_store, organization="fabrikam", reverse_path="Liz@Fabrikam.example", **facts)
    other = delivery_of(other_store, message, "ann@partner.example", destination="fabrikam/partner.example")
    await commit(other_store, message, [other], b"big" * INLINE)
    other_store.settle([Settlement(other, other.recipients, 6000.0)])
    await other_store.flushed()
    stores.extend((store, other_store))
    return first, active, other


stores: list = []


async def close_all() -> None:
    while stores:
        await stores.pop().close()


def test_an_empty_queue(site: Site) -> None:
    admin = site.admin()
    assert admin.entries(QueueFilter()) == []
    assert admin.drop(QueueFilter(), author="me") == []
    assert admin.depth().count(0) == 4
    with pytest.raises(LookupError):
        admin.body("0" * 16)
    with pytest.raises(ValueError, match="is not a queue id"):
        admin.hold(QueueFilter(message="nonsense"), author="me")


FILTERS = [
    ({}, "012"),
    ({"limit": 0}, "012"),
    ({"limit": 1}, "0"),
    ({"limit": 2}, "01"),
    ({"organization": "Fabrikam"}, "2"),
    ({"organization": "abrikam"}, ""),
    ({"organizations": frozenset({"contoso"})}, "01"),
    ({"organizations": frozenset()}, ""),
    ({"domain": "Partner.example"}, "02"),
    ({"domain": "artner.example"}, ""),
    ({"sender": "bob@contoso.example"}, "01"),
    ({"sender": "liz@fabrikam.example"}, "2"),
    ({"sender": "@fabrikam.example"}, "2"),
    ({"sender": "x" * 1100}, ""),
    ({"recipient": "joe@partner.example"}, "0"),
    ({"recipient": "JOE@partner.example"}, "0"),
    ({"recipient": "j_e@partner.example"}, ""),
    ({"recipient": "j%@partner.example"}, ""),
    ({"recipient": "@other.example"}, "1"),
    ({"recipient": "' OR 1=1 --"}, ""),
    ({"held": False}, "012"),
    ({"held": True}, ""),
    ({"state": "active"}, "1"),
    ({"state": "deferred"}, "02"),
    ({"state": "held"}, ""),
    ({"organization": "contoso", "domain": "other.example"}, "1"),
    ({"parts": ("BOB@",)}, "01"),
    ({"parts": ("bob", "JOE")}, "0"),
    ({"parts": ("other.example",)}, "1"),
    ({"parts": ("liz@",)}, "2"),
    ({"parts": ("ärende",)}, "2"),
    ({"parts": ("ÄRENDE", "5%")}, "2"),
    ({"parts": ("subject",)}, ""),
    ({"parts": ("reverse_path",)}, ""),
    ({"parts": ("address",)}, ""),
    ({"parts": ("m-id@",)}, "2"),
    ({"parts": ("b_b",)}, ""),
    ({"message": "0000000000000001"}, ""),
]


def test_filters(site: Site) -> None:
    async def main() -> None:
        deliveries = await fill(site)
        admin = site.admin()
        for wanted, found in FILTERS:
            queue_filter = QueueFilter(**wanted)  # type: ignore[arg-type]  # of a table
            expected = [deliveries[int(digit)].id for digit in found]
            assert ids(await asyncio.to_thread(admin.entries, queue_filter)) == expected, wanted
        entries = admin.entries(QueueFilter())
        assert [entry.state for entry in entries] == ["deferred", "active", "deferred"]
        assert (entries[0].delivery.last_error, entries[0].delivery.next_at) == ("451 4.4.1 later", 5000.0)
        assert entries[1].delivery.next_at == 0
        assert entries[0].delivery.message.reverse_path == "bob@contoso.example"
        queue_id = format_id(deliveries[0].message.id)
        assert ids(admin.entries(QueueFilter(message=queue_id))) == [one.id for one in deliveries[:2]]
        for number, entry in enumerate(entries):
            place = QueuePlace(entry.shard, entry.delivery.message.id, entry.delivery.id)
            assert ids(admin.entries(QueueFilter(), place)) == [one.id for one in deliveries[number + 1 :]]
        depth = admin.depth()
        assert depth[:3] == (1, 2, 0)
        assert depth.destination == PARTNER
        assert depth.oldest == made_at(deliveries[0].message.id)
        assert admin.oldest() == depth[3:]
        octets = Counter[str]()
        for message in {one.message.id: one.message for one in deliveries}.values():
            octets[message.organization] += message.size
        assert admin.octets() == octets
        counted = admin.destinations(QueueFilter())
        assert {(one.destination, one.count, one.active, one.held, one.deferred) for one in counted} == {
            (PARTNER, 1, 0, 0, 1),
            ("contoso/other.example", 1, 1, 0, 0),
            ("fabrikam/partner.example", 1, 0, 0, 1),
        }
        (one,) = admin.destinations(QueueFilter(recipient="joe@partner.example"))
        assert (one.oldest, one.last_error) == (deliveries[0].message.id, "451 4.4.1 later")
        await close_all()

    asyncio.run(main())


SORTED = {
    "received": "012",
    "next_attempt": "102",
    "size": "012",
    "destination": "102",
    "sender": "012",
    "attempts": "012",
}


def test_a_sorted_queue_and_its_totals(site: Site) -> None:
    async def main() -> None:
        admin = site.admin()
        assert admin.totals(QueueFilter()) == QueueTotals(0, 0, 0, 0, 0, 0, 0, exact=True)
        deliveries = await fill(site)
        for sort, digits in SORTED.items():
            expected = [deliveries[int(digit)].id for digit in digits]
            for name, order in ((sort, expected), (f"-{sort}", expected[::-1])):
                found: list[int] = []
                after = None
                while page := await asyncio.to_thread(admin.entries, QueueFilter(sort=name, limit=1), after):
                    found += ids(page)
                    after = page[-1].place(name)
                assert found == order, name
        size = sum(delivery.message.size for delivery in deliveries)
        assert admin.totals(QueueFilter()) == QueueTotals(3, 2, 4, size, 1, 2, 0, exact=True)
        assert admin.totals(QueueFilter(organizations=frozenset({"fabrikam"}))).recipients == 1
        await close_all()

    asyncio.run(main())


def test_more_than_are_sorted_are_refused_but_by_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        await fill(site)
        admin = site.admin()
        for module in (queue_admin, administration):
            for name in ("SORTED", "COUNTED"):
                monkeypatch.setattr(module, name, 2)
        with pytest.raises(ValueError, match="too many to sort them by attempts"):
            admin.entries(QueueFilter(sort="attempts"))
        assert len(admin.entries(QueueFilter(sort="-received"))) == 3
        assert admin.totals(QueueFilter()).exact is False
        await close_all()

    asyncio.run(main())


def test_hold_and_release(site: Site) -> None:
    async def main() -> None:
        first, active, other = await fill(site)
        store, events = stores[0], Events()
        admin = site.admin(events)
        assert ids(admin.hold(QueueFilter(organization="contoso"), author="me", reason="ticket")) == [
            first.id,
            active.id,
        ]
        assert admin.hold(QueueFilter(organization="contoso"), author="me") == []
        assert [entry.state for entry in admin.entries(QueueFilter())] == ["held", "held", "deferred"]
        assert ids(admin.entries(QueueFilter(held=True))) == [first.id, active.id]
        assert {work.destination for work in await store.destinations()} == (
            {other.destination} if site.shared else set()
        )
        assert await store.lease(PARTNER, 5, 9e9) == []
        assert [(event.event, event.recipient) for event in events.events] == [
            ("HOLD", "ann@partner.example"),
            ("HOLD", "joe@partner.example"),
            ("HOLD", "eve@other.example"),
        ]
        assert events.events[0].detail == {"author": "me", "why": "ticket", "destination": PARTNER}
        store.settle([Settlement(active, active.recipients, 5.0)])  # what was held in flight stays held
        await store.flushed()
        assert await store.lease(active.destination, 5, 9e9) == []
        assert ids(admin.release(QueueFilter(recipient="eve@other.example"), author="me")) == [active.id]
        assert len(await store.lease(active.destination, 5, time.time() + 1)) == 1
        assert admin.release(QueueFilter(organization="fabrikam"), author="me") == []
        await close_all()

    asyncio.run(main())


def test_retry_is_due_now_and_leaves_held_ones(site: Site) -> None:
    async def main() -> None:
        first, active, other = await fill(site)
        admin = site.admin()
        admin.hold(QueueFilter(organization="fabrikam"), author="me")
        before = time.time()
        assert ids(admin.retry(QueueFilter(), author="me")) == [first.id, active.id]
        times = {entry.delivery.id: entry.delivery.next_at for entry in admin.entries(QueueFilter())}
        assert before - 1 <= times[first.id] <= time.time() + 1
        assert times[active.id] == 0
        assert times[other.id] == 6000.0
        await close_all()

    asyncio.run(main())


def test_what_waits_for_its_destinations_sake_is_held_and_remembers_its_release(site: Site) -> None:
    async def main() -> None:
        first, active, other = await fill(site)
        admin, store = site.admin(), stores[0]
        for delivery in await store.lease(first.destination, 10, 9e9):
            for recipient in delivery.recipients:
                recipient.held = True
            store.settle([Settlement(delivery, delivery.recipients, 9e8, "450 4.4.317 Held")])
        await store.flushed()
        assert ids(admin.entries(QueueFilter(held=True))) == [first.id]
        assert ids(admin.entries(QueueFilter(held=False))) == [active.id, other.id]
        assert ids(admin.retry(QueueFilter(held=True), author="me")) == [first.id]  # unlike what somebody marked
        (before,) = admin.release(QueueFilter(organization="contoso"), author="me")
        assert (before.delivery.id, before.state) == (first.id, "held")
        assert admin.entries(QueueFilter(held=True)) == []
        (entry,) = admin.entries(QueueFilter(recipient="joe@partner.example"))
        assert entry.state == "deferred"
        assert [(one.held, one.released) for one in entry.delivery.recipients] == [(False, True)] * 2
        await close_all()

    asyncio.run(main())


def test_a_deferral_that_is_not_written_yet_is_due_when_it_is_retried(site: Site) -> None:
    """In the order of the calls: the deferral, the order to try it again, the lease."""

    async def main() -> None:
        async with site.open() as store:
            first, second, third = [await accept(store, f"{name}@partner.example") for name in ("a", "b", "c")]
            await deferred(store, "d@other.example")  # with PostgreSQL there is a rest after it
            store.settle([Settlement(each, each.recipients, 5000.0, "451 4.2.0 later") for each in (first, second)])
            store.retry([(first.message.id, first.id), (third.message.id, third.id), (7, 8)], 90.0)
            assert [each.id for each in await store.lease(first.destination, 10, 100.0)] == [first.id]
            states = {
                entry.delivery.id: entry.state for entry in site.admin().entries(QueueFilter(domain="partner.example"))
            }
            assert states == {first.id: "active", second.id: "deferred", third.id: "active"}
            await asyncio.to_thread(site.admin().hold, QueueFilter(recipient="b@partner.example"), author="me")
            store.retry([(second.message.id, second.id)], 90.0)
            await store.flushed()
            assert await store.lease(first.destination, 10, 100.0) == []

    asyncio.run(main())


def test_the_owner_is_told_by_itself(site: Site) -> None:
    async def main() -> None:
        async with site.open() as store:
            admin = site.admin()
            fresh = await accept(store)
            waiting = await deferred(store, "joe@other.example", next_at=5000.0)
            notices = site.owner(store).notices
            for action in ("hold", "release", "retry", "drop"):
                await asyncio.to_thread(getattr(admin, action), QueueFilter(), author="me")
                expected = [AdminNotice(action, fresh.destination, fresh.message.id, fresh.id, "me")]
                if action in {"release", "retry"}:
                    expected.append(AdminNotice(action, waiting.destination, 0, 0, "me"))
                await eventually(lambda expected=expected: len(notices) >= len(expected), 20)
                assert notices == expected
                notices.clear()
            await gone(store, waiting.message.id)
            assert await read(store, fresh.message.id) == b"hello\r\n"

    asyncio.run(main())


@pytest.mark.parametrize("delivered", [True, False])
def test_a_drop_in_flight_takes_effect_at_settle(site: Site, delivered: bool) -> None:
    async def main() -> None:
        async with site.open() as store:
            delivery = await accept(store, body=[b"x" * (INLINE + 1)])
            await asyncio.to_thread(site.admin().drop, QueueFilter(), author="me")
            assert site.admin().entries(QueueFilter()) == []
            store.settle([Settlement(delivery, [] if delivered else delivery.recipients, 5.0)])
            await store.flushed()
            assert await store.lease("contoso/partner.example", 10, 9.0) == []
            await gone(store, delivery.message.id)
            assert await store.destinations() == []

    asyncio.run(main())


async def gone(store: Store, message: int) -> None:
    """Return when the body of a message cannot be read any more: it goes a moment after its last delivery."""
    end = time.monotonic() + 20
    while True:
        try:
            await read(store, message)
        except LookupError:
            return
        assert time.monotonic() < end, "it is still there"
        await asyncio.sleep(0.01)


def test_a_return_is_due_at_once_and_says_who_and_what(site: Site) -> None:
    text = "The case is closed"

    async def main() -> None:
        first, active, other = await fill(site)
        events = Events()
        admin = site.admin(events)
        admin.hold(QueueFilter(organization="fabrikam"), author="me")
        wanted = QueueFilter(domain="partner.example")
        assert ids(admin.applying("return", wanted)) == [first.id, other.id]
        assert admin.applying_to("return", wanted) == (2, 2)
        assert admin.applying_to("release", QueueFilter()) == (1, 1)
        assert ids(admin.send_back(wanted, author="ann", text=text, reason="ticket 7")) == [first.id, other.id]
        assert admin.send_back(wanted, author="ann", text="again") == [], "it is on its way already"
        assert admin.hold(wanted, author="me") == []
        entries = admin.entries(wanted)
        assert [(entry.state, entry.delivery.returned) for entry in entries] == [("deferred", Return("ann", text))] * 2
        (found,) = await stores[0].lease(first.destination, 5, time.time() + 1)
        assert found.returned == Return("ann", text)
        assert events.events[-1].detail["text"] == text
        await asyncio.to_thread(admin.send_back, QueueFilter(domain="other.example"), author="me", text=text)
        stores[0].settle([Settlement(active, active.recipients, 9e9)])  # it was in flight
        await stores[0].flushed()
        (found,) = await stores[0].lease(active.destination, 5, time.time())
        assert found.returned == Return("me", text)
        await close_all()

    asyncio.run(main())


def test_many_are_changed_page_by_page(site: Site) -> None:
    async def main() -> None:
        async with site.open() as store:
            await asyncio.gather(*[deferred(store) for _ in range(450)])
            admin = site.admin()
            assert len(admin.hold(QueueFilter(limit=250), author="me")) == 250
            assert len(admin.entries(QueueFilter(held=False, limit=0))) == 200
            assert len(admin.hold(QueueFilter(limit=0), author="me")) == 200
            assert len(admin.drop(QueueFilter(limit=0), author="me")) == 450
            assert admin.entries(QueueFilter()) == []
            if isinstance(site, PostgresSite):
                assert site.count("message") == 0

    asyncio.run(main())


def test_the_queue_is_changed_while_mail_goes_in_and_out(site: Site) -> None:
    """Nothing of it is lost, whatever is done beside it."""

    async def main() -> None:
        async with site.open() as store:
            admin, changed, kept = site.admin(), [0, 0, 0, 0], []

            def change() -> None:
                for _ in range(6):
                    for number, action in enumerate(("hold", "release", "retry", "drop")):
                        domain = "dropped.example" if action == "drop" else "kept.example"
                        done = getattr(admin, action)(QueueFilter(domain=domain, limit=50), author="other")
                        changed[number] += len(done)

            await deferred(store, "ann@dropped.example")  # so that the first change finds something
            kept.append((await deferred(store, "joe@kept.example", next_at=9e9)).id)
            work = asyncio.get_running_loop().run_in_executor(None, change)

            async def send() -> None:
                while not work.done():
                    await deferred(store, "ann@dropped.example")
                    kept.append((await deferred(store, "joe@kept.example", next_at=9e9)).id)
                    store.settle([Settlement(await accept(store, "eve@sent.example"), [])])

            await asyncio.gather(work, *[send() for _ in range(5)])
            await store.flushed()
            assert changed[0] > 0
            assert changed[3] > 0
            there = ids(admin.entries(QueueFilter(domain="kept.example", limit=0)))
            assert sorted(there) == sorted(kept)
            assert admin.entries(QueueFilter(domain="sent.example")) == []

    asyncio.run(main())
