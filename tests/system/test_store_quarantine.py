"""The quarantine behaves alike in SQLite and in PostgreSQL (`store.quarantine.Quarantine`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.postgres import Postgres
from support.queue_site import Events, PostgresSite, Site, SqliteSite, commit, eventually, message_of, read

from gatepost.mail.model.message import Delivery, QuarantineHold, Recipient
from gatepost.mail.model.queue_id import format_id
from gatepost.store.interface import QueueFilter, Store
from gatepost.store.quarantine import DAY, QuarantineFilter, QuarantinePlace, QuarantineUsage

VIRUS = QuarantineHold("contoso", "content hook 'av'", "clamav: Eicar", 30)
RULE = QuarantineHold("fabrikam", "mail flow rule 'invoices'", "", 7)


@pytest.fixture(params=["sqlite", "postgresql"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    if request.param == "sqlite":
        return SqliteSite(tmp_path)
    server: Postgres = request.getfixturevalue("postgres")
    return PostgresSite(tmp_path, server)


async def hold(
    store: Store, *recipients: str, holds: tuple[QuarantineHold, ...] = (VIRUS,), until: float = 0.0, **facts: Any
) -> list[Delivery]:
    """Accept a message that is in quarantine for each recipient."""
    message = message_of(store, **facts)
    deliveries = [
        Delivery(
            id=store.new_id(),
            message=message,
            destination=f"contoso/{recipient.partition('@')[2]}",
            recipients=[Recipient(recipient, quarantines=list(holds))],
            expires_at=message.received + 3600,
            quarantine=holds[0].organization,
            held=True,
            next_at=until or time.time() + holds[0].days * DAY,
        )
        for recipient in recipients or ("ann@contoso.example",)
    ]
    await commit(store, message, deliveries)
    return deliveries


def run(site: Site, work: Callable[[Store], Any]) -> None:
    async def main() -> None:
        async with site.open() as store:
            await work(store)

    asyncio.run(main())


def test_what_is_held_is_out_of_the_queue_and_outlives_its_process(site: Site) -> None:
    async def accept(store: Store) -> None:
        (held,) = await hold(store, subject="Offer", reverse_path="eve@elsewhere.example")
        assert await store.destinations() == []
        assert await store.lease(held.destination, 10, time.time() + 90 * DAY) == []

    run(site, accept)

    async def look(store: Store) -> None:  # another process
        admin = site.admin()
        assert admin.entries(QueueFilter()) == []
        assert admin.destinations(QueueFilter()) == []
        for action in ("hold", "release", "retry", "return", "drop"):
            assert admin.applying_to(action, QueueFilter()) == (0, 0)
        assert admin.release(QueueFilter(), author="eve") == admin.drop(QueueFilter(), author="eve") == []
        assert admin.depth() == (0, 0, 0, 0.0, "")
        (kept,) = site.quarantine().entries(QuarantineFilter())
        assert (kept.quarantine, kept.held, kept.recipients[0].quarantines) == ("contoso", True, [VIRUS])
        assert await read(store, kept.message.id) == b"hello\r\n"
        assert b"".join(site.quarantine().body(format_id(kept.message.id))) == b"hello\r\n"
        assert site.quarantine().usage() == {"contoso": QuarantineUsage(1, 7)}

    run(site, look)


def test_released_mail_is_due_at_once_with_its_whole_time_to_be_delivered(site: Site) -> None:
    async def work(store: Store) -> None:
        events = Events()
        (one,) = await hold(store, "ann@contoso.example", received=time.time() - 10 * DAY)
        (done,) = site.quarantine(events).release(QuarantineFilter(), author="bob", reason="an invoice")
        assert done.id == one.id
        assert site.quarantine().release(QuarantineFilter(), author="bob") == []
        await eventually(lambda: site.owner(store).notices)
        assert {notice.action for notice in site.owner(store).notices} == {"release"}
        (leased,) = await store.lease(one.destination, 10, time.time() + 5)
        (recipient,) = leased.recipients
        assert (recipient.quarantines, recipient.released, recipient.delayed) == ([], False, True)
        assert time.time() + 3500 < leased.expires_at < time.time() + 3700
        (row,) = events.events
        assert (row.event, row.recipient) == ("RELEASE", "ann@contoso.example")
        assert row.detail == {
            "author": "bob",
            "why": "an invoice",
            "quarantine": "contoso",
            "destination": one.destination,
        }

    run(site, work)


def test_each_organization_must_release_what_it_holds(site: Site) -> None:
    async def work(store: Store) -> None:
        await hold(store, holds=(VIRUS, RULE))
        mine = QuarantineFilter(organizations=frozenset({"contoso"}))
        theirs = QuarantineFilter(organizations=frozenset({"fabrikam"}))
        assert site.quarantine().release(theirs, author="joe") == []
        assert len(site.quarantine().release(mine, author="bob")) == 1
        assert site.quarantine().entries(mine) == []
        (held,) = site.quarantine().entries(theirs)
        assert held.recipients[0].quarantines == [RULE]
        assert 6 * DAY < held.next_at - time.time() < 8 * DAY
        assert await store.destinations() == []
        assert len(site.quarantine().release(theirs, author="joe")) == 1
        (work,) = await store.destinations()
        assert work.count == 1

    run(site, work)


def test_one_recipient_of_several_is_released_and_the_body_goes_with_the_last(site: Site) -> None:
    async def work(store: Store) -> None:
        one, _ = await hold(store, "ann@contoso.example", "joe@contoso.example")
        number = one.message.id
        quarantine = site.quarantine()
        assert quarantine.usage() == {"contoso": QuarantineUsage(2, 7)}
        released = quarantine.release(QuarantineFilter(recipient="ANN@contoso.example"), author="bob")
        assert [delivery.id for delivery in released] == [one.id]
        events = Events()
        (gone,) = site.quarantine(events).delete(QuarantineFilter(message=format_id(number)), author="bob", reason="x")
        assert gone.recipients[0].address == "joe@contoso.example"
        assert [(row.event, row.recipient) for row in events.events] == [("DROP", "joe@contoso.example")]
        assert await read(store, number) == b"hello\r\n"
        assert quarantine.entries(QuarantineFilter()) == []

    run(site, work)


def test_deleted_and_expired_mail_leaves_nothing(site: Site) -> None:
    async def work(store: Store) -> None:
        now = time.time()
        await hold(store, until=now - 1)
        large, _ = await hold(store, "a@contoso.example", "b@contoso.example", until=now - 1)
        await hold(store, until=now + 100)
        events = Events()
        assert site.quarantine(events).expire(now) == 3
        assert {(row.event, row.detail["expired"]) for row in events.events} == {("DROP", True)}
        with pytest.raises(LookupError):
            await read(store, large.message.id)
        assert site.quarantine().usage() == {"contoso": QuarantineUsage(1, 7)}
        assert site.quarantine().expire(now) == 0
        assert len(site.quarantine().delete(QuarantineFilter(), author="bob")) == 1
        assert site.quarantine().usage() == {}

    run(site, work)


def test_filters_and_pages(site: Site) -> None:
    async def work(store: Store) -> None:
        for number in range(5):
            await hold(store, f"u{number}@contoso.example", subject=f"Offer {number}", reverse_path="eve@else.example")
        await hold(store, holds=(RULE,), subject="Rechnung \x00 Grüße")
        quarantine = site.quarantine()
        found = quarantine.entries(QuarantineFilter(limit=2))
        assert [one.message.subject for one in found] == ["Rechnung \x00 Grüße", "Offer 4"]  # the newest first
        rest = quarantine.entries(QuarantineFilter(), QuarantinePlace(found[1].message.id, found[1].id))
        assert [one.message.subject for one in rest] == [f"Offer {number}" for number in (3, 2, 1, 0)]

        def count(**wanted: Any) -> int:
            return len(quarantine.entries(QuarantineFilter(**wanted)))

        assert count(subject="GRÜSSE") == count(reason="INVOICES") == count(organizations=frozenset({"fabrikam"})) == 1
        assert count(sender="@else.example") == count(reason="eicar") == 5
        assert count(recipient="U3@contoso.example") == 1
        assert count(message=format_id(found[1].message.id)) == 1
        assert count(message=format_id(1)) == count(organizations=frozenset()) == 0
        assert count(since=time.time() + 60) == count(until=time.time() - 600) == 0
        assert count(since=time.time() - 600, until=time.time() + 60) == 6
        with pytest.raises(ValueError, match="is not a queue id"):
            count(message="x")

    run(site, work)


def test_mailboxes_are_noted_as_told(site: Site) -> None:
    async def work(store: Store) -> None:
        await hold(store, "Ann@contoso.example", "joe@contoso.example")
        quarantine = site.quarantine()
        assert quarantine.unlisted("contoso", "", 10) == ["ann@contoso.example", "joe@contoso.example"]
        assert quarantine.unlisted("contoso", "ann@contoso.example", 10) == ["joe@contoso.example"]
        assert quarantine.unlisted("fabrikam", "", 10) == []
        assert quarantine.note_listed("contoso", "ann@contoso.example", 1000.0, 900.0)
        assert quarantine.unlisted("contoso", "", 10) == ["joe@contoso.example"]
        (newer,) = await hold(store, "ann@contoso.example")
        assert not quarantine.note_listed("contoso", "ann@contoso.example", 1100.0, 900.0)  # on the same day
        assert quarantine.unlisted("contoso", "", 1) == ["ann@contoso.example"]
        assert quarantine.of_recipient("contoso", "ann@contoso.example")[0].id == newer.id
        assert quarantine.note_listed("contoso", "ann@contoso.example", 3000.0, 2000.0)
        assert quarantine.unlisted("contoso", "", 10) == ["joe@contoso.example"]

    run(site, work)
