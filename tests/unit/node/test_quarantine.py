from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC
from types import SimpleNamespace
from typing import Any

import pytest

from gatepost.mail.model.message import Delivery, Message, QuarantineHold, Recipient
from gatepost.node.quarantine import DIGEST_CONTENT, QuarantineKeeping
from gatepost.node.site_mail import SiteMail
from gatepost.policy.connectors.directory import Directory
from gatepost.store.interface import StoreFailure

NOON = 1_795_737_600.0 + 12 * 3600
RESOURCES = """
[organization.a]
quarantine_digest = true
[[organization.a.accepted_domain]]
name = "a.example"
[[organization.a.mailbox]]
address = "ann@a.example"
[[organization.a.mailbox]]
address = "joe@a.example"
forwarding_smtp_address = "joe@far.example"
[[organization.b.accepted_domain]]
name = "b.example"
"""


def held(recipient: str, subject: str = "Offer", reason: str = "clamav: X") -> Delivery:
    message = Message(7, "a", NOON - 60, "eve@else.example", subject=subject)
    hold = QuarantineHold("a", "content hook 'av'", reason, 30)
    return Delivery(9, message, "a/a.example", [Recipient(recipient, quarantines=[hold])], next_at=NOON + 86400)


class FakeQuarantine:
    """What is in it by recipient; failing: what it raises."""

    def __init__(self, keep: Callable[[Any], None], world: World) -> None:
        self._keep, self._world = keep, world

    def expire(self, now: float) -> int:
        if self._world.failing:
            raise StoreFailure("away")
        self._world.expired.append(now)
        self._keep(["a row"])
        return 1

    def unlisted(self, organization: str, after: str, size: int) -> list[str]:
        return sorted(each for each in self._world.held if each > after)[:2]

    def note_listed(self, organization: str, recipient: str, now: float, since: float) -> bool:
        if recipient in self._world.listed:
            return False
        self._world.listed.append(recipient)
        return True

    def of_recipient(self, organization: str, recipient: str) -> list[Delivery]:
        return self._world.held[recipient]


class World:
    """Stands around the duty: one store for mail, and what is kept of the day."""

    def __init__(self, directory: Directory) -> None:
        self.now = NOON
        self.held: dict[str, list[Delivery]] = {}
        self.listed: list[str] = []
        self.expired: list[float] = []
        self.rows: list[Any] = []
        self.failing = False
        self.trusted = True
        self.kept: dict[str, bytes] = {}
        self.accepted: list[tuple[Message, list[Delivery], bytes]] = []
        self.lease = SimpleNamespace(held=True)
        self._directory = directory
        self._numbers = 100

    def keeping(self) -> QuarantineKeeping:
        store: Any = self
        mail = SiteMail(store, lambda _: None, lambda: self._directory, lambda _: 3600.0, self.rows.extend)
        resources: Any = SimpleNamespace(content=self.kept.get, keep_apart=self.kept.update)
        opened: Any = lambda keep: FakeQuarantine(keep, self)  # noqa: E731 - a call-back
        lease: Any = self.lease
        return QuarantineKeeping(
            opened,
            resources,
            mail,
            "mx.gate.example",
            digest_hour=6,
            zone=UTC,
            lease=lease,
            clock=lambda: self.now,
            is_trusted=lambda: self.trusted,
        )

    def round(self) -> None:
        async def main() -> None:
            keeping = self.keeping()
            keeping.tick()
            running = keeping._running.task
            keeping.tick()  # one at a time
            assert keeping._running.task is running
            assert running is not None
            await running
            await keeping.close()

        asyncio.run(main())

    # the store

    def new_id(self) -> int:
        self._numbers += 1
        return self._numbers

    def body(self) -> Any:
        content = bytearray()
        return SimpleNamespace(write=content.extend, content=content)

    def accept(self, message: Message, deliveries: list[Delivery], body: Any, done: Callable[[Any], None]) -> None:
        self.accepted.append((message, deliveries, bytes(body.content)))
        done(None)


@pytest.fixture
def world(directory: Callable[[str], Directory]) -> World:
    return World(directory(RESOURCES))


def test_what_is_over_goes_and_the_trace_tells_it(world: World) -> None:
    world.round()
    assert world.expired == [NOON]
    assert world.rows == ["a row"]


def test_nothing_goes_by_a_clock_that_is_known_to_be_wrong(world: World) -> None:
    world.trusted = False
    world.round()
    assert world.expired == []


def test_a_store_that_is_away_is_logged_once_and_tried_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.failing = True

    async def main() -> None:
        keeping = world.keeping()
        for failing in (True, True, False, True):
            world.failing = failing
            keeping.tick()
            assert keeping._running.task is not None
            await keeping._running.task

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    assert [record.message for record in caplog.records] == ["the quarantine is not looked after: away"] * 2
    assert world.expired == [NOON]


def test_each_mailbox_of_the_organization_gets_one_list_a_day(world: World) -> None:
    world.held = {
        "ann@a.example": [held("ann@a.example", "see http://evil.example"), held("ann@a.example", reason="")],
        "bob@far.example": [held("bob@far.example")],  # an outside recipient of a user of ours
        "fay@b.example": [held("fay@b.example")],  # of another organization
        "joe@a.example": [held("joe@a.example")],
        "no address": [held("no address")],
    }
    world.round()
    assert sorted(message.reverse_path for message, _, _ in world.accepted) == ["", ""]
    (first, (delivery,), content), (_, (forwarded,), _) = world.accepted
    assert (delivery.recipients[0].address, delivery.recipients[0].notify) == ("ann@a.example", "NEVER")
    assert (first.organization, first.direction, delivery.expires_at) == ("a", "originating", NOON + 3600)
    assert (forwarded.recipients[0].address, forwarded.recipients[0].forwarded_by) == (
        "joe@far.example",
        "joe@a.example",
    )
    text = content.decode()
    assert "Subject: 2 messages in quarantine\r\n" in text
    assert "Reason:   content hook 'av': clamav: X\r\n" in text
    assert "Reason:   content hook 'av'\r\n" in text
    assert "http://" not in text
    assert world.kept == {DIGEST_CONTENT: time.strftime("%Y-%m-%d", time.gmtime(NOON)).encode()}
    world.held["new@a.example"] = [held("new@a.example")]
    world.round()
    assert len(world.accepted) == 2, "of today"
    world.now += 86400
    world.round()
    assert len(world.accepted) == 3


def test_nothing_is_sent_before_the_hour(world: World) -> None:
    world.now = NOON - 7 * 3600
    world.held = {"ann@a.example": [held("ann@a.example")]}
    world.round()
    assert (world.accepted, world.kept) == ([], {})


def test_who_lost_the_lease_sends_nothing(world: World) -> None:
    world.lease.held = False
    world.held = {"ann@a.example": [held("ann@a.example")]}
    world.round()
    assert (world.accepted, world.listed, world.kept) == ([], [], {})


def test_a_list_without_messages_is_not_sent(world: World) -> None:
    world.held = {"ann@a.example": []}  # released meanwhile
    world.round()
    assert world.accepted == []


def test_a_long_list_is_cut(world: World) -> None:
    world.held = {"ann@a.example": [held("ann@a.example")] * 60}
    world.round()
    assert "\r\nand 10 more\r\n" in world.accepted[0][2].decode()


def test_what_is_under_way_is_stopped(world: World) -> None:
    async def main() -> None:
        keeping = world.keeping()
        await keeping.close()
        keeping.tick()
        await keeping.close()
        assert keeping._running.task is not None
        assert keeping._running.task.done()

    asyncio.run(main())
