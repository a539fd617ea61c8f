"""A journal copy that cannot be delivered goes to a second mailbox or waits; nobody is notified, nothing is lost."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from gatepost.mail.model.delivery_result import DeliveryResult, Disposition, RecipientResult, disposition_of
from gatepost.mail.model.message import Journal, Recipient
from gatepost.mail.queue.journal_failures import JournalFailures
from gatepost.mail.queue.retry_decision import RetryDecision
from gatepost.net.tasks import spawn
from gatepost.policy.decisions.forwarding import Target
from gatepost.store.interface import StoreFailure

KEEP, SECOND = "keep@far.example", "second@near.example"


class Journaled:
    """to: the second mailbox. broken: why a copy cannot be read, None if it can."""

    def __init__(self):
        self.to, self.broken = SECOND, None

    def __call__(self, store):
        async def chunks(_delivery):
            if self.broken is not None:
                raise self.broken
            yield b"Subject: report\r\n\r\n"
            yield b"x" * 300_000

        return JournalFailures(
            store, lambda _organization: self.to, chunks, lambda path: (Target(path),), lambda _organization: 3600.0
        )


@pytest.fixture
def journaled(rig):
    rig.journals = made = Journaled()
    return made


def run(rig, scenario):
    async def whole():
        async with rig.open():
            await accepted(rig)
            await scenario()
            await rig.calm()

    asyncio.run(whole())
    return [entry.delivery for entry in rig.entries()]


async def accepted(rig):
    """One message, for its journal mailbox alone."""
    (delivery,) = await rig.accept(KEEP, offer=False)
    delivery.recipients[:] = [Recipient(KEEP, "NEVER", journal=Journal("report", KEEP))]
    rig.manager.offer([delivery])
    return delivery


async def nothing():
    """The queue does the rest by itself."""


def test_a_refused_copy_goes_to_the_second_mailbox(rig, journaled, make):
    rig.peer.replies[KEEP] = make.unknown
    assert run(rig, nothing) == []
    assert [(disposition, address) for disposition, address, _, _ in rig.told] == [
        (str(Disposition.FAILED), KEEP),
        (str(Disposition.DELIVERED), SECOND),
    ]


def test_it_waits_with_the_reply_where_there_is_no_second_mailbox(rig, journaled, make):
    journaled.to = ""
    rig.peer.replies[KEEP] = make.unknown
    (delivery,) = run(rig, nothing)
    assert delivery.last_error == make.unknown.text
    assert delivery.recipients[0].journal == Journal("report", KEEP)
    assert delivery.expires_at == pytest.approx(rig.now + 3600, abs=60)
    ((disposition, _, _, next_at),) = rig.told
    assert disposition == str(Disposition.DEFERRED)
    assert 0 < next_at <= 3600


@pytest.mark.parametrize("failure", [StoreFailure("gone"), LookupError("no body")])
def test_it_waits_while_the_second_mailbox_cannot_have_it(rig, journaled, make, failure, caplog):
    journaled.broken = failure
    rig.peer.replies[KEEP] = make.unknown
    (delivery,) = run(rig, nothing)
    assert delivery.destination == "contoso/far.example"
    assert "cannot go to second@near.example yet" in caplog.text


def test_what_fails_at_the_second_mailbox_waits_there(rig, journaled, make):
    rig.peer.replies |= {KEEP: make.unknown, SECOND: make.unknown}
    (delivery,) = run(rig, nothing)
    (recipient,) = delivery.recipients
    assert (recipient.address, recipient.journal) == (SECOND, Journal("report", SECOND, made=True, alternate=True))
    assert (delivery.message.reverse_path, delivery.message.inbound["journal"]) == ("", "report")
    assert delivery.message.size == 300_019


def test_a_copy_that_is_deferred_is_as_any_mail(rig, journaled, make):
    rig.peer.replies[KEEP] = make.later
    (delivery,) = run(rig, nothing)
    assert delivery.last_error == make.later.text
    assert rig.told[0][:2] == (str(Disposition.DEFERRED), KEEP)


@pytest.mark.parametrize("known", [True, False])
def test_nobody_is_notified_of_a_copy(rig, make, known):
    """Nor where nothing keeps it."""
    rig.journals = None
    rig.peer.replies[KEEP] = make.unknown if known else make.ok
    assert run(rig, nothing) == []
    assert len(rig.told) == 1


def test_the_store_that_refuses_the_second_one_keeps_the_first(make):
    """Not even a failure of the commit loses it."""

    class Body:
        size = 3

        def write(self, _chunk):
            future = asyncio.get_running_loop().create_future()
            future.set_result(None)
            return future

        def abort(self):
            """Nothing is left."""

    class Store:
        def new_id(self):
            return 5

        def body(self):
            return Body()

        def accept(self, _message, _deliveries, _body, done):
            done(StoreFailure("full"))
            done(None)

    async def chunks(_delivery):
        yield b"abc"

    async def scenario():
        failures = JournalFailures(Store(), lambda _: SECOND, chunks, lambda path: (Target(path),), lambda _: 60.0)
        journal = Journal("copy", KEEP)
        delivery = make.delivery(2, Recipient(KEEP, journal=journal))
        reply = make.unknown
        outcome = DeliveryResult([RecipientResult(delivery.recipients[0], Disposition.FAILED, reply, {})])
        decision = RetryDecision(outcome, [], 0.0, "", late=False)
        return await failures.kept(delivery, journal, decision, 1000.0, 1900.0)

    decision, instead = asyncio.run(scenario())
    assert instead == []
    assert [result.disposition for result in decision.outcome.results] == [Disposition.DEFERRED]
    assert decision.next_at == 1060.0


def test_a_stop_while_a_copy_is_redirected_keeps_what_mailboxes_have(make):
    class Store:
        def new_id(self):
            return 5

        def body(self):
            return SimpleNamespace(abort=lambda: None)

    async def chunks(_delivery):
        await asyncio.Event().wait()
        yield b""

    async def scenario():
        failures = JournalFailures(Store(), lambda _: SECOND, chunks, lambda path: (Target(path),), lambda _: 60.0)
        journal = Journal("copy", KEEP)
        delivery = make.delivery(2, Recipient(KEEP, journal=journal), Recipient("two@far.example", journal=journal))
        replies = zip(delivery.recipients, (make.ok, make.unknown), strict=True)
        outcome = DeliveryResult([RecipientResult(each, disposition_of(reply), reply, {}) for each, reply in replies])
        keeping = failures.kept(delivery, journal, RetryDecision(outcome, [], 0.0, "", late=False), 1000.0, 1900.0)
        task = spawn(keeping, "a failed copy")
        await asyncio.sleep(0)
        task.cancel()
        return await task

    decision, instead = asyncio.run(scenario())
    assert instead == []
    assert [recipient.address for recipient in decision.remaining] == ["two@far.example"]
