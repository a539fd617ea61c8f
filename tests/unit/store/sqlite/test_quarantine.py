from __future__ import annotations

import asyncio
import contextlib
import time

import apsw
import pytest

from gatepost.mail.model.message import Delivery, QuarantineHold, Recipient
from gatepost.mail.model.queue_id import format_id
from gatepost.store.quarantine import DAY, Quarantine, QuarantineFilter, QuarantineUsage
from gatepost.store.queue_admin import is_readable
from gatepost.store.sqlite.quarantine import SqliteQuarantine
from gatepost.store.sqlite.schema import QUEUE_FILE

HOLD = QuarantineHold("contoso", "content hook 'av'", "clamav: X", 30)


def made(shop):
    return Quarantine(SqliteQuarantine(shop.queue), lambda _: None)


async def hold(shop, store, *recipients, until=0.0, body=b"hello\r\n"):
    message = shop.message(store)
    deliveries = [
        Delivery(
            store.new_id(),
            message,
            "contoso/contoso.example",
            [Recipient(recipient, quarantines=[HOLD])],
            next_at=until or time.time() + DAY,
            held=True,
            quarantine="contoso",
        )
        for recipient in recipients
    ]
    await shop.commit(store, message, deliveries, body)
    return deliveries


def test_over_all_shards(shop):
    async def main():
        async with shop.open(worker=0) as store:
            (old,) = await hold(shop, store, "ann@contoso.example")
        async with shop.open(worker=1) as store:
            one, two = await hold(shop, store, "Ann@contoso.example", "joe@contoso.example")
        return old, one, two

    old, one, two = asyncio.run(main())
    quarantine = made(shop)
    assert [each.id for each in quarantine.entries(QuarantineFilter())] == [two.id, one.id, old.id]
    assert quarantine.usage() == {"contoso": QuarantineUsage(3, 14)}
    assert quarantine.entries(QuarantineFilter(organizations=frozenset({"fabrikam"}))) == []
    assert b"".join(quarantine.body(format_id(old.message.id))) == b"hello\r\n"
    assert quarantine.unlisted("contoso", "", 9) == ["ann@contoso.example", "joe@contoso.example"]
    assert quarantine.note_listed("contoso", "ann@contoso.example", 5.0, 1.0)
    assert not quarantine.note_listed("contoso", "ann@contoso.example", 6.0, 5.0)
    assert quarantine.unlisted("contoso", "", 9) == ["joe@contoso.example"]
    assert [each.id for each in quarantine.of_recipient("contoso", "ann@contoso.example")] == [one.id, old.id]


@pytest.mark.parametrize("damage", ["x", '[{"address":7}]', '[{"address":"ann@contoso.example","quarantines":7}]'])
def test_what_cannot_be_read_is_listed_and_stays_until_it_is_deleted(shop, damage):
    async def main():
        async with shop.open(worker=0) as store:
            return await hold(shop, store, "ann@contoso.example", "joe@contoso.example")

    one, two = asyncio.run(main())
    with contextlib.closing(apsw.Connection(str(shop.shard / QUEUE_FILE))) as queue:
        queue.execute("UPDATE delivery SET recipients = ? WHERE id = ?", (damage, one.id))
    quarantine = made(shop)
    listed = quarantine.entries(QuarantineFilter())
    assert quarantine.of_recipient("contoso", "ann@contoso.example") == []
    assert "joe@contoso.example" in quarantine.unlisted("contoso", "", 9)
    assert quarantine.note_listed("contoso", "joe@contoso.example", 5.0, 1.0)
    assert [(each.id, is_readable(each)) for each in listed] == [(two.id, True), (one.id, False)]
    assert [each.id for each in quarantine.release(QuarantineFilter(), author="eve")] == [two.id]
    assert [each.id for each in quarantine.entries(QuarantineFilter())] == [one.id]
    assert [each.id for each in quarantine.delete(QuarantineFilter(), author="eve")] == [one.id]


def test_release_delete_and_expire(shop):
    async def main():
        async with shop.open() as store:
            (one,) = await hold(shop, store, "ann@contoso.example")
            await hold(shop, store, "joe@contoso.example", body=b"big" * 200_000)
            await hold(shop, store, "eve@contoso.example", until=1.0)
            quarantine = made(shop)
            assert len(quarantine.release(QuarantineFilter(recipient="ann@contoso.example"), author="bob")) == 1
            assert [work.destination for work in await store.destinations()] == [one.destination]
            assert len(list(shop.shard.glob("big/*"))) == 1
            assert len(quarantine.delete(QuarantineFilter(recipient="joe@contoso.example"), author="bob")) == 1
            assert list(shop.shard.glob("big/*")) == []
            assert quarantine.expire(time.time()) == 1
            assert quarantine.usage() == {}

    asyncio.run(main())


def test_what_was_released_meanwhile_is_left_alone(shop):
    async def main():
        async with shop.open() as store:
            return await hold(shop, store, "ann@contoso.example")

    deliveries = asyncio.run(main())
    engine = SqliteQuarantine(shop.queue)
    assert len(engine.release(deliveries, time.time(), "bob")) == 1
    assert engine.release(deliveries, time.time(), "bob") == engine.remove(deliveries) == []
    with pytest.raises(LookupError):
        next(engine.body("0" * 16))
