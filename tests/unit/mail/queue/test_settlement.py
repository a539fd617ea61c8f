"""What becomes of a delivery that leaves memory, whatever fails beside it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from gatepost.mail.model.delivery_result import DeliveryResult, Disposition, RecipientResult, disposition_of
from gatepost.mail.model.message import Journal, Recipient
from gatepost.mail.queue.memory_budget import MemoryBudget, QueueLimits
from gatepost.mail.queue.retry_decision import CUT_SHORT, IN_DOUBT
from gatepost.mail.queue.schedule import Schedule
from gatepost.mail.queue.settlement import Settler
from gatepost.net.tasks import spawn
from gatepost.protocols.smtp.replies import Reply
from gatepost.store.interface import MessageUnstorable, StoreFailure
from gatepost.values import replace

ANN, JOE = "ann@partner.example", "joe@partner.example"


class Store:
    """Keeps what is settled; `errors` are raised in turn, None for none."""

    def __init__(self):
        self.settled, self.errors, self.retried = [], [], []

    def settle(self, settlements):
        (settlement,) = settlements
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error
        self.settled.append(settlement)

    def retry(self, deliveries, now):
        if self.errors:
            raise self.errors.pop()
        self.retried.append((deliveries, now))


class Bouncer:
    def __init__(self):
        self.asked, self.error = [], None

    async def notices(self, delivery, results, *, late, now):
        self.asked.append(([result.disposition for result in results], late, now))
        if self.error is not None:
            raise self.error
        return ["notice"] if any(result.disposition is Disposition.FAILED for result in results) else []


@pytest.fixture
def parts():
    """A settler and what it was given: store, bouncer, window, and the lists of what it told."""
    made = SimpleNamespace(
        store=Store(), bouncer=Bouncer(), window=MemoryBudget(QueueLimits()), told=[], noted=[], failed=[]
    )
    made.trace = None

    def told(delivery, outcome, next_at):
        if made.trace is not None:
            raise made.trace
        made.told.append((delivery.id, [result.disposition for result in outcome.results], next_at))

    made.settler = Settler(
        made.store, Schedule(), made.bouncer, made.window, lambda: 2000.0, told,
        lambda destination, at: made.noted.append((destination, at)), made.failed.append,
    )  # fmt: skip
    return made


def recipients(*names):
    return [Recipient(name) for name in names]


def outcome(delivery, *replies, disposition=None):
    pairs = zip(delivery.recipients, replies, strict=True)
    return DeliveryResult(
        [RecipientResult(recipient, disposition or disposition_of(reply), reply, {}) for recipient, reply in pairs]
    )


def finish(parts, delivery, result, **options):
    asyncio.run(parts.settler.finish(delivery, result, **options))
    return parts.store.settled[-1] if parts.store.settled else None


def test_what_is_put_back_waits_as_if_it_had_not_been_in_memory(parts, make):
    delivery = make.delivery(2, *recipients(ANN), body=b"body", attempts=3, last_error="451 before")
    parts.window.keep_body(delivery)
    parts.settler.put_back(delivery, 500.0)
    (settlement,) = parts.store.settled
    assert (settlement.remaining, settlement.next_at, settlement.last_error) == (
        delivery.recipients,
        500.0,
        "451 before",
    )
    assert (delivery.attempts, delivery.body, parts.window.bytes) == (3, None, 0)
    assert parts.noted == [(delivery.destination, 500.0)]
    assert parts.told == parts.bouncer.asked == []


def test_an_attempt_that_settles_it(parts, make):
    delivery = make.delivery(2, *recipients(ANN), body=b"body")
    parts.window.keep_body(delivery)
    settlement = finish(parts, delivery, outcome(delivery, make.ok))
    assert (settlement.remaining, settlement.notices, settlement.last_error) == ([], [], "")
    assert (delivery.attempts, parts.window.bytes) == (1, 0)
    assert parts.told == [(2, [Disposition.DELIVERED], 0.0)]
    assert parts.noted == []


def test_recipients_part_ways(parts, make):
    delivery = make.delivery(2, *recipients(ANN, JOE))
    settlement = finish(parts, delivery, outcome(delivery, make.later, make.unknown))
    assert [recipient.address for recipient in settlement.remaining] == [ANN]
    assert settlement.notices == ["notice"]
    assert settlement.last_error == delivery.last_error == "451 4.3.0 Try again later"
    assert 2000.0 + 810 <= settlement.next_at <= 2000.0 + 990
    assert parts.noted == [(delivery.destination, settlement.next_at)]
    assert parts.told == [(2, [Disposition.DEFERRED, Disposition.FAILED], settlement.next_at)]


@pytest.mark.parametrize("disposition", [Disposition.HELD, Disposition.DEFERRED])
def test_recipients_know_whether_they_are_held(parts, make, disposition):
    delivery = make.delivery(2, *recipients(ANN))
    delivery.recipients[0].held = disposition is not Disposition.HELD
    settlement = finish(parts, delivery, outcome(delivery, make.later, disposition=disposition))
    assert [recipient.held for recipient in settlement.remaining] == [disposition is Disposition.HELD]


@pytest.mark.parametrize(
    ("reply", "tell", "told"), [("later", True, True), ("later", False, False), ("unknown", False, True)]
)
def test_the_trace_need_not_hear_of_each_deferral(parts, make, reply, tell, told):
    delivery = make.delivery(2, *recipients(ANN))
    finish(parts, delivery, outcome(delivery, getattr(make, reply)), record_deferral=tell)
    assert bool(parts.told) is told


def test_a_trace_that_fails_is_not_worth_the_mail(parts, make, caplog):
    parts.trace = KeyError("trace")
    delivery = make.delivery(2, *recipients(ANN))
    assert finish(parts, delivery, outcome(delivery, make.ok)).remaining == []
    assert "delivery 2: its outcome was not recorded" in caplog.text


def test_what_fails_waits_while_its_sender_cannot_be_told(parts, make, caplog):
    parts.bouncer.error = OSError("disk")
    delivery = make.delivery(2, *recipients(ANN, JOE))
    settlement = finish(parts, delivery, outcome(delivery, make.ok, make.unknown))
    assert [recipient.address for recipient in settlement.remaining] == [JOE]
    assert settlement.next_at == 2000.0 + Schedule().retry[-1]
    assert settlement.last_error == "451 4.3.0 It failed, and the notice for its sender cannot be made yet"
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]


def test_a_delay_that_cannot_be_told_holds_up_nothing(parts, make, caplog):
    parts.bouncer.error = OSError("disk")
    delivery = make.delivery(2, *recipients(ANN))
    settlement = finish(parts, delivery, outcome(delivery, make.later))
    assert settlement.last_error == "451 4.3.0 Try again later"
    assert "it goes on without them" in caplog.text
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_texts_that_no_column_holds_are_left_out(parts, make, caplog):
    parts.store.errors = [MessageUnstorable("a text")]
    delivery = make.delivery(2, *recipients(ANN, JOE))
    settlement = finish(parts, delivery, outcome(delivery, make.later, make.unknown))
    assert (settlement.last_error, settlement.notices, delivery.last_error) == ("", [], "")
    assert [recipient.address for recipient in settlement.remaining] == [ANN]
    assert parts.noted == [(delivery.destination, settlement.next_at)]
    assert "delivery 2 is settled without its text and its notices: a text" in caplog.text
    assert parts.failed == []


def test_a_delivery_that_cannot_be_settled_at_all_stays(parts, make, caplog):
    parts.store.errors = [MessageUnstorable("a text"), StoreFailure("gone")]
    delivery = make.delivery(2, *recipients(ANN))
    assert finish(parts, delivery, outcome(delivery, make.later)) is None
    assert "delivery 2 stays as it was: gone" in caplog.text


def test_a_store_that_failed_is_told(parts, make):
    gone = StoreFailure("gone")
    parts.store.errors = [gone]
    delivery = make.delivery(2, *recipients(ANN))
    finish(parts, delivery, outcome(delivery, make.ok))
    assert parts.failed == [gone]


def test_what_is_retried_is_due_in_the_store(parts):
    parts.settler.retry([], 5.0)
    parts.settler.retry([(1, 2)], 6.0)
    assert parts.store.retried == [([(1, 2)], 6.0)]
    parts.store.errors = [gone := StoreFailure("gone")]
    parts.settler.retry([(1, 2)], 7.0)
    assert parts.failed == [gone]


@pytest.mark.parametrize("kept", [True, False])
def test_nobody_is_notified_of_a_journal_copy(parts, make, kept):
    async def keep(_delivery, _journal, decision, _now, again):
        kept_until.append(again)
        return decision, ["for the second mailbox"]

    kept_until, offered = [], []
    journals = SimpleNamespace(kept=keep) if kept else None
    parts.settler = replace(parts.settler, journals=journals, offer=offered.extend)
    delivery = make.delivery(1, Recipient("keep@far.example", journal=Journal("report", "keep@far.example")))
    settlement = finish(parts, delivery, outcome(delivery, make.unknown))
    assert settlement.notices == []
    assert offered == (["for the second mailbox"] if kept else [])
    assert len(kept_until) == kept


@pytest.mark.parametrize("stopped", [True, False])
def test_a_stop_that_left_some_recipients_in_doubt_says_so(parts, make, caplog, stopped):
    """A host that answers with the same words says nothing of a stop."""
    delivery = make.delivery(7, Recipient(ANN), Recipient(JOE))
    replies = zip(delivery.recipients, (Reply(250, "2.0.0", ("ok",)), IN_DOUBT), strict=True)
    detail = CUT_SHORT if stopped else {}
    results = [RecipientResult(each, disposition_of(reply), reply, detail) for each, reply in replies]
    asyncio.run(parts.settler.finish(delivery, DeliveryResult(results)))
    (settlement,) = parts.store.settled
    assert [(each.address, each.in_doubt) for each in settlement.remaining] == [(JOE, stopped)]
    assert settlement.last_error == IN_DOUBT.text
    assert ("may arrive twice: it was sent" in caplog.text) is stopped


def test_a_stop_while_a_notice_is_made_settles_who_has_the_message(parts, make):
    async def never(*_arguments, **_options):
        await asyncio.Event().wait()

    async def run():
        parts.bouncer.notices = never
        delivery = make.delivery(7, Recipient(ANN), Recipient(JOE))
        task = spawn(parts.settler.finish(delivery, outcome(delivery, make.ok, make.unknown)), "a settlement")
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(run())
    (settlement,) = parts.store.settled
    assert [recipient.address for recipient in settlement.remaining] == [JOE]
    assert settlement.next_at == 2000.0
