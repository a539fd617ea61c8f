from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time

import apsw
import pytest

from gatepost.mail.model.message import Return
from gatepost.mail.model.queue_id import format_id, made_at
from gatepost.store.interface import AdminNotice, QueueFilter, Settlement, StoreFailure, TraceFilter
from gatepost.store.queue_admin import CANNOT_BE_READ, QueuePlace, QueueTotals
from gatepost.store.sqlite import administration
from gatepost.store.sqlite.administration import Administration, trace_writer
from gatepost.store.sqlite.message_trace import SqliteTrace
from gatepost.store.sqlite.schema import QUEUE_FILE

LIMIT = 256 * 1024


@pytest.fixture
def admin(shop):
    return Administration(shop.queue, trace_writer(SqliteTrace(shop.trace), lambda _: None))


def ids(entries):
    return [entry.delivery.id for entry in entries]


async def fill(shop):
    """Two shards: a deferred and an active delivery of one message, a deferred one of another organization."""
    async with shop.open(worker=0) as store:
        message = shop.message(store)
        deferred = shop.delivery(store, message, "ann@partner.example", "joe@partner.example")
        active = shop.delivery(store, message, "eve@other.example")
        await shop.commit(store, message, [deferred, active])
        store.settle([Settlement(deferred, deferred.recipients, 5000.0, "451 4.4.1 later")])
    async with shop.open(worker=1) as store:
        facts = {"subject": "Ärende 5%\0", "message_id": "<M-id@x>"}
        message = shop.message(store, organization="fabrikam", reverse_path="Liz@Fabrikam.example", **facts)
        other = shop.delivery(store, message, "ann@partner.example", destination="fabrikam/partner.example")
        await shop.commit(store, message, [other], b"big" * LIMIT)
        store.settle([Settlement(other, other.recipients, 6000.0)])
    return deferred, active, other


def test_an_empty_place(admin):
    assert admin.entries(QueueFilter()) == []
    assert admin.drop(QueueFilter(), author="me") == []
    with pytest.raises(LookupError):
        admin.body("0" * 16)


def test_entries(shop, admin):
    deferred, active, other = asyncio.run(fill(shop))
    entries = admin.entries(QueueFilter())
    assert [(entry.delivery.id, entry.shard, entry.state) for entry in entries] == [
        (deferred.id, "0", "deferred"),
        (active.id, "0", "active"),
        (other.id, "1", "deferred"),
    ]
    assert entries[0].delivery.last_error == "451 4.4.1 later"
    assert entries[0].delivery.next_at == 5000.0
    assert entries[0].delivery.message.reverse_path == "bob@contoso.example"


@pytest.mark.parametrize("damage", ["x", '[{"address":7,"held":true}]', '[{"held":true'])
def test_what_cannot_be_read_is_listed_and_can_be_held_and_removed(shop, admin, damage):
    deferred, active, other = asyncio.run(fill(shop))
    with contextlib.closing(apsw.Connection(str(shop.shard / QUEUE_FILE))) as queue:
        queue.execute("UPDATE delivery SET recipients = ? WHERE id = ?", (damage, deferred.id))
    entries = admin.entries(QueueFilter())
    assert [entry.delivery.id for entry in entries] == [deferred.id, active.id, other.id]
    shown = entries[0].delivery
    assert shown.last_error.startswith("this release cannot read what is stored of it")
    assert (shown.message.id, shown.message.size, shown.organization) == (deferred.message.id, 7, "contoso")
    assert admin.totals(QueueFilter()).deliveries == 3
    assert ids(admin.entries(QueueFilter(recipient="eve@other.example"))) == [active.id]
    assert ids(admin.entries(QueueFilter(parts=("eve@",)))) == [active.id]
    of_it = QueueFilter(message=format_id(deferred.message.id), domain="partner.example")
    assert admin.hold(of_it, author="eve")
    assert admin.release(of_it, author="eve")
    with contextlib.closing(apsw.Connection(str(shop.shard / QUEUE_FILE))) as queue:
        assert queue.execute("SELECT recipients FROM delivery WHERE id = ?", (deferred.id,)).get == damage
    assert admin.drop(of_it, author="eve")
    assert ids(admin.entries(QueueFilter())) == [active.id, other.id]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, "012"),
        ({"limit": 0}, "012"),
        ({"limit": 1}, "0"),
        ({"limit": 2}, "01"),
        ({"organization": "Fabrikam"}, "2"),
        ({"domain": "Partner.example"}, "02"),
        ({"domain": "artner.example"}, ""),
        ({"sender": "bob@contoso.example"}, "01"),
        ({"sender": "liz@fabrikam.example"}, "2"),
        ({"sender": "@fabrikam.example"}, "2"),
        ({"recipient": "joe@partner.example"}, "0"),
        ({"recipient": "@other.example"}, "1"),
        ({"recipient": "' OR 1=1 --"}, ""),
        ({"held": False}, "012"),
        ({"held": True}, ""),
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
    ],
)
def test_filters(shop, admin, wanted, found):
    deliveries = asyncio.run(fill(shop))
    assert ids(admin.entries(QueueFilter(**wanted))) == [deliveries[int(digit)].id for digit in found]


def test_by_queue_id(shop, admin):
    deferred, active, _ = asyncio.run(fill(shop))
    queue_id = format_id(deferred.message.id)
    assert ids(admin.entries(QueueFilter(message=queue_id))) == [deferred.id, active.id]
    with pytest.raises(ValueError, match="is not a queue id"):
        admin.hold(QueueFilter(message="nonsense"), author="me")


def test_bodies(shop, admin):
    deferred, _, other = asyncio.run(fill(shop))
    assert b"".join(admin.body(format_id(deferred.message.id))) == b"hello\r\n"
    reading = admin.body(format_id(other.message.id))
    assert b"".join(admin.body(format_id(other.message.id))) == b"big" * LIMIT
    admin.drop(QueueFilter(organization="fabrikam"), author="me")
    with pytest.raises(LookupError):
        b"".join(reading)


def test_hold_and_release_on_a_stopped_gateway(shop, admin):
    deferred, active, other = asyncio.run(fill(shop))
    assert ids(admin.hold(QueueFilter(organization="contoso"), author="me")) == [deferred.id, active.id]
    assert admin.hold(QueueFilter(organization="contoso"), author="me") == []
    assert [entry.state for entry in admin.entries(QueueFilter())] == ["held", "held", "deferred"]
    assert ids(admin.entries(QueueFilter(held=True))) == [deferred.id, active.id]

    async def look(expected):
        async with shop.open() as store:
            assert {work.destination for work in await store.destinations()} == expected

    asyncio.run(look(set()))
    assert ids(admin.release(QueueFilter(recipient="eve@other.example"), author="me")) == [active.id]
    asyncio.run(look({active.destination}))
    assert admin.release(QueueFilter(organization="fabrikam"), author="me") == []
    assert other.held is False


def test_retry_is_due_now_and_leaves_held_ones(shop, admin):
    deferred, active, other = asyncio.run(fill(shop))
    admin.hold(QueueFilter(organization="fabrikam"), author="me")
    before = time.time()
    assert ids(admin.retry(QueueFilter(), author="me")) == [deferred.id, active.id]
    times = {entry.delivery.id: entry.delivery.next_at for entry in admin.entries(QueueFilter())}
    assert before <= times[deferred.id] <= time.time()
    assert times[active.id] == 0
    assert times[other.id] == 6000.0


def test_what_waits_for_its_destinations_sake_is_held_and_remembers_its_release(shop, admin):
    deferred, active, other = asyncio.run(fill(shop))

    async def keep_back():
        async with shop.open() as store:
            for delivery in await store.lease(deferred.destination, 10, 9e9):
                for recipient in delivery.recipients:
                    recipient.held = True
                store.settle([Settlement(delivery, delivery.recipients, 9e8, "450 4.4.317 Held")])

    asyncio.run(keep_back())
    assert ids(admin.entries(QueueFilter(held=True))) == [deferred.id]
    assert ids(admin.entries(QueueFilter(held=False))) == [active.id, other.id]
    assert ids(admin.retry(QueueFilter(held=True), author="me")) == [deferred.id]  # unlike what somebody marked
    (before,) = admin.release(QueueFilter(organization="contoso"), author="me")
    assert (before.delivery.id, before.state) == (deferred.id, "held")
    assert admin.entries(QueueFilter(held=True)) == []
    entry = next(one for one in admin.entries(QueueFilter()) if one.delivery.id == deferred.id)
    assert entry.state == "deferred"
    assert [(one.held, one.released) for one in entry.delivery.recipients] == [(False, True)] * 2
    # Held by hand as well: a release that does not mean the destination does not accept it.
    assert ids(admin.hold(QueueFilter(organization="fabrikam"), author="me")) == [other.id]
    admin.release(QueueFilter(organization="fabrikam"), author="me")
    entry = next(one for one in admin.entries(QueueFilter()) if one.delivery.id == other.id)
    assert not entry.delivery.recipients[0].released


def test_drop_on_a_stopped_gateway(shop, admin):
    deferred, active, other = asyncio.run(fill(shop))
    assert ids(admin.drop(QueueFilter(), author="me")) == [deferred.id, active.id, other.id]
    assert admin.entries(QueueFilter()) == []
    assert list((shop.queue / "1" / "big").iterdir()) == []

    async def look():
        async with shop.open() as store:
            assert await store.destinations() == []
            with pytest.raises(LookupError):
                await shop.read(store, active.message.id)

    asyncio.run(look())


def test_trace_says_who(shop, admin):
    deferred, _, _ = asyncio.run(fill(shop))
    wanted = QueueFilter(recipient="joe@partner.example")
    for action in (admin.hold, admin.release, admin.retry, admin.drop):
        action(wanted, author="ann")
    events = SqliteTrace(shop.trace).search(TraceFilter(message=format_id(deferred.message.id)))
    assert sorted((event.event, event.recipient) for event in events) == [
        (word, address)
        for word in ("DROP", "HOLD", "RELEASE")
        for address in ("ann@partner.example", "joe@partner.example")
    ]
    assert all(event.detail == {"author": "ann", "destination": deferred.destination} for event in events)
    assert {(event.organization, event.sender) for event in events} == {("contoso", "bob@contoso.example")}


def test_many_are_changed_page_by_page(shop, admin):
    async def main():
        async with shop.open() as store:
            await asyncio.gather(*[shop.deferred(store) for _ in range(450)])

    asyncio.run(main())
    assert len(admin.hold(QueueFilter(limit=250), author="me")) == 250
    assert len(admin.entries(QueueFilter(held=False, limit=0))) == 200
    assert len(admin.hold(QueueFilter(limit=0), author="me")) == 200
    assert len(admin.drop(QueueFilter(limit=0), author="me")) == 450
    assert admin.entries(QueueFilter()) == []


def test_the_owner_is_told_by_itself(shop, admin, eventually):
    async def main():
        async with shop.open() as store:
            fresh = await shop.accept(store)
            waiting = await shop.deferred(store, "joe@other.example", next_at=5000.0)
            told = store.owner.notices
            for action in ("hold", "release", "retry", "drop"):
                await asyncio.to_thread(getattr(admin, action), QueueFilter(), author="me")
                await eventually(lambda: told, 20)
                expected = [AdminNotice(action, fresh.destination, fresh.message.id, fresh.id, "me")]
                if action in {"release", "retry"}:
                    expected.append(AdminNotice(action, waiting.destination, 0, 0, "me"))
                assert told == expected
                told.clear()
            with pytest.raises(LookupError):
                await shop.read(store, waiting.message.id)
            assert await shop.read(store, fresh.message.id) == b"hello\r\n"

    asyncio.run(main())


@pytest.mark.parametrize("delivered", [True, False])
def test_a_drop_in_flight_takes_effect_at_settle(shop, admin, delivered):
    async def main():
        async with shop.open() as store:
            delivery = await shop.accept(store, body=[b"x" * (LIMIT + 1)])
            await asyncio.to_thread(admin.drop, QueueFilter(), author="me")
            assert admin.entries(QueueFilter()) == []
            store.settle([Settlement(delivery, [] if delivered else delivery.recipients, 5.0)])
            await store.flushed()
            assert await store.destinations() == []
            with pytest.raises(LookupError):
                await shop.read(store, delivery.message.id)
        assert list((shop.shard / "big").iterdir()) == []

    asyncio.run(main())


def test_a_hold_in_flight_takes_effect_at_settle(shop, admin):
    async def main():
        async with shop.open() as store:
            delivery = await shop.accept(store)
            await asyncio.to_thread(admin.hold, QueueFilter(), author="me")
            store.settle([Settlement(delivery, delivery.recipients, 5.0)])
            await store.flushed()
            assert await store.lease(delivery.destination, 5, time.time()) == []
            (entry,) = admin.entries(QueueFilter())
            assert (entry.state, entry.delivery.held) == ("held", True)
            await asyncio.to_thread(admin.release, QueueFilter(), author="me")
            assert len(await store.lease(delivery.destination, 5, time.time())) == 1

    asyncio.run(main())


TEXT = "The case is closed"


def test_a_return_is_due_at_once_and_says_who_and_what(shop, admin):
    deferred, _, other = asyncio.run(fill(shop))
    admin.hold(QueueFilter(organization="fabrikam"), author="me")
    wanted = QueueFilter(domain="partner.example")
    assert ids(admin.applying("return", wanted)) == [deferred.id, other.id]
    assert admin.applying_to("return", wanted) == (2, 2)
    assert admin.applying_to("release", QueueFilter()) == (1, 1)
    assert ids(admin.send_back(wanted, author="ann", text=TEXT, reason="ticket 7")) == [deferred.id, other.id]
    assert admin.send_back(wanted, author="ann", text="again") == [], "it is on its way already"
    assert admin.hold(wanted, author="me") == []
    entries = admin.entries(wanted)
    assert [(entry.state, entry.delivery.returned) for entry in entries] == [("deferred", Return("ann", TEXT))] * 2

    async def look():
        async with shop.open() as store:
            (found,) = await store.lease(deferred.destination, 5, time.time())
            assert found.returned == Return("ann", TEXT)

    asyncio.run(look())
    events = SqliteTrace(shop.trace).search(TraceFilter(event="RETURN", recipient="joe@partner.example"))
    assert [event.detail for event in events] == [
        {"author": "ann", "why": "ticket 7", "text": TEXT, "destination": deferred.destination}
    ]


def test_a_return_in_flight_is_due_when_the_attempt_ends(shop, admin):
    async def main():
        async with shop.open() as store:
            delivery = await shop.accept(store)
            await asyncio.to_thread(admin.send_back, QueueFilter(), author="me", text=TEXT)
            store.settle([Settlement(delivery, delivery.recipients, 9e9)])
            await store.flushed()
            (found,) = await store.lease(delivery.destination, 5, time.time())
            assert found.returned == Return("me", TEXT)

    asyncio.run(main())


OTHER_PROCESS = """
import json, sys
from pathlib import Path
from gatepost.store.sqlite import administration
from gatepost.store.sqlite.administration import Administration, trace_writer
from gatepost.store.sqlite.message_trace import SqliteTrace
from gatepost.store.interface import QueueFilter
trace = SqliteTrace(Path(sys.argv[1]) / "trace")
admin = Administration(Path(sys.argv[1]) / "queue", trace_writer(trace, lambda _: None))
counts = []
for step in range(6):
    for action in ("hold", "release", "retry", "drop"):
        wanted = QueueFilter(domain="dropped.example" if action == "drop" else "kept.example", limit=50)
        counts.append(len(getattr(admin, action)(wanted, author="other")))
print(json.dumps(counts))
"""


def test_another_process_changes_the_queue_of_a_working_gateway(shop, admin):
    """Mail goes in and out all the while; nothing of it is lost, whatever the other process does."""

    async def main():
        async with shop.open(checkpoint_pages=100) as store:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", OTHER_PROCESS, str(shop.path), stdout=subprocess.PIPE
            )
            kept = []

            async def work():
                while process.returncode is None:
                    await shop.deferred(store, "ann@dropped.example")
                    delivery = await shop.deferred(store, "joe@kept.example", next_at=9e9)
                    kept.append(delivery.id)
                    store.settle([Settlement(await shop.accept(store, "eve@sent.example"), [])])

            output, *_ = await asyncio.gather(process.stdout.read(), *[work() for _ in range(5)])
            await process.wait()
            counts = json.loads(output)
            await store.flushed()
            assert process.returncode == 0
            assert sum(counts[0::4]) > 0
            assert sum(counts[3::4]) > 0
            there = ids(admin.entries(QueueFilter(domain="kept.example", limit=0)))
            assert sorted(there) == sorted(kept)
            assert admin.entries(QueueFilter(domain="sent.example")) == []
            assert len(SqliteTrace(shop.trace).search(TraceFilter(event="DROP", limit=1000))) == sum(counts[3::4])
            return len(kept), counts

    asyncio.run(main())


def test_a_queue_that_cannot_be_read(shop, admin):
    async def main():
        async with shop.open() as store:
            await shop.accept(store)

    asyncio.run(main())
    connection = apsw.Connection(str(shop.shard / QUEUE_FILE))
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    for call in (admin.entries, lambda wanted: admin.drop(wanted, author="me")):
        with pytest.raises(StoreFailure, match="has tables of version 99"):
            call(QueueFilter())
    (shop.shard / QUEUE_FILE).write_bytes(b"no database, but long enough to be read as one " * 100)
    with pytest.raises(StoreFailure):
        admin.entries(QueueFilter())


def test_a_change_that_fails_changes_nothing_and_leaves_no_lock(shop, admin, monkeypatch):
    asyncio.run(fill(shop))

    def fail(connection, *_arguments):
        connection.execute("UPDATE delivery SET held = 1")
        raise apsw.IOError("the disk is gone")

    monkeypatch.setattr(administration, "apply", fail)
    with pytest.raises(StoreFailure, match="the disk is gone"):
        admin.hold(QueueFilter(), author="me")
    monkeypatch.undo()
    assert admin.entries(QueueFilter(held=True)) == []
    assert SqliteTrace(shop.trace).search(TraceFilter()) == []
    assert len(admin.hold(QueueFilter(), author="me")) == 3


def test_destinations_of_all_shards_are_counted_together(shop, admin):
    async def main():
        for worker, due in ((0, 5000.0), (1, 4000.0)):
            async with shop.open(worker=worker) as store:
                for _ in range(worker + 1):
                    delivery = await shop.accept(store)
                    store.settle([Settlement(delivery, delivery.recipients, due, f"451 {worker}")])
                await shop.accept(store, "eve@other.example")

    asyncio.run(main())
    found = admin.destinations(QueueFilter())
    assert [(one.destination, one.count, one.active) for one in found] == [
        ("contoso/partner.example", 3, 0),
        ("contoso/other.example", 2, 2),
    ]
    assert found[0].last_error == "451 0"  # of the oldest
    assert [one.destination for one in admin.destinations(QueueFilter(domain="other.example"))] == [
        "contoso/other.example"
    ]


def test_the_size_of_the_whole_queue(shop, admin):
    deferred, _, _ = asyncio.run(fill(shop))
    assert admin.depth()[:3] == (1, 2, 0)
    assert admin.depth().destination == deferred.destination
    assert admin.oldest() == admin.depth()[3:]


@pytest.mark.parametrize("piece", [1, 2, 20_000])
def test_the_octets_of_each_organization(shop, admin, monkeypatch, piece):
    assert admin.octets() == {}
    monkeypatch.setattr(administration, "_PIECE", piece)
    asyncio.run(fill(shop))
    asyncio.run(fill(shop))
    assert admin.octets() == {"contoso": 2 * len(b"hello\r\n"), "fabrikam": 2 * 3 * LIMIT}


def test_the_oldest_message_of_several_shards(shop, admin):
    async def main():
        async with shop.open(worker=1) as other, shop.open() as store, shop.open(worker=2):
            assert admin.oldest() == (0.0, "")
            first = await shop.accept(other, "joe@c.example")
            for _ in range(1 << 13):  # ids of a millisecond
                store.new_id()
            await shop.accept(store)
        return first

    first = asyncio.run(main())
    assert admin.oldest() == (made_at(first.message.id), "contoso/c.example")


def test_what_cannot_be_read_is_counted_over_all_shards_unless_it_is_held(shop, admin):
    async def main():
        async with shop.open(worker=1) as other, shop.open() as store:
            deliveries = [await shop.accept(store), await shop.accept(other, "joe@c.example"), await shop.accept(store)]
            assert admin.unreadable() == (0, 0)
            for delivery, of in zip(deliveries, (store, other, store), strict=True):
                of.settle([Settlement(delivery, delivery.recipients, 5000.0, CANNOT_BE_READ)])
        return deliveries

    first, _, last = asyncio.run(main())
    assert admin.unreadable() == (3, first.message.id)
    admin.hold(QueueFilter(message=format_id(last.message.id)), author="me")
    assert admin.unreadable() == (2, first.message.id)


SORTED = {
    "received": "012",
    "next_attempt": "102",
    "size": "012",
    "destination": "102",
    "attempts": "012",
}


@pytest.mark.parametrize("sort", SORTED)
def test_pages_of_a_sorted_queue(shop, admin, sort):
    deliveries = asyncio.run(fill(shop))
    expected = [deliveries[int(digit)].id for digit in SORTED[sort]]
    for name, order in ((sort, expected), (f"-{sort}", expected[::-1])):
        assert ids(admin.entries(QueueFilter(sort=name))) == order
        found, after = [], None
        while page := admin.entries(QueueFilter(sort=name, limit=1), after):
            found += ids(page)
            after = page[-1].place(name)
        assert found == order


def test_more_than_are_sorted_are_refused_but_by_time(shop, admin, monkeypatch):
    asyncio.run(fill(shop))
    monkeypatch.setattr(administration, "SORTED", 2)
    with pytest.raises(ValueError, match="too many to sort them by size"):
        admin.entries(QueueFilter(sort="-size"))
    assert len(admin.entries(QueueFilter(sort="-size", domain="partner.example"))) == 2
    assert len(admin.entries(QueueFilter(sort="-received"))) == 3


def test_totals(shop, admin, monkeypatch):
    assert admin.totals(QueueFilter()) == QueueTotals(0, 0, 0, 0, 0, 0, 0, exact=True)
    deliveries = asyncio.run(fill(shop))
    admin.hold(QueueFilter(organization="fabrikam"), author="me")
    size = sum(delivery.message.size for delivery in deliveries)
    assert admin.totals(QueueFilter()) == QueueTotals(3, 2, 4, size, 1, 1, 1, exact=True)
    assert admin.totals(QueueFilter(state="active")).deliveries == 1
    assert admin.totals(QueueFilter(organizations=frozenset({"fabrikam"}))).messages == 1
    monkeypatch.setattr(administration, "COUNTED", 2)
    totals = admin.totals(QueueFilter())
    assert (totals.deliveries, totals.exact) == (2, False)


def test_a_page_begins_behind_a_place(shop, admin):
    deliveries = asyncio.run(fill(shop))
    entries = admin.entries(QueueFilter())
    for number, entry in enumerate(entries):
        place = QueuePlace(entry.shard, entry.delivery.message.id, entry.delivery.id)
        assert ids(admin.entries(QueueFilter(), place)) == [one.id for one in deliveries[number + 1 :]]
    assert ids(admin.entries(QueueFilter(limit=1), QueuePlace("0", 0, 0))) == [deliveries[0].id]
