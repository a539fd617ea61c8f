"""What each piece of work writes, and whom it tells what, without a thread."""

from __future__ import annotations

import asyncio

import pytest

from gatepost.mail.model.message import Delivery, Message, Recipient
from gatepost.store.interface import MessageUnstorable, Settlement, StoreBusy, StoreFailure
from gatepost.store.sqlite.rows import CommitPlan, LeaseRequest
from gatepost.store.sqlite.work import (
    AcceptanceWork,
    Barrier,
    BringForward,
    LeaseWork,
    LeftoverWork,
    RetryWork,
    SettlementWork,
    SuspensionWork,
    Work,
    accept_rows,
    refuse,
    tell,
)
from gatepost.store.suspension import Suspension

LONE = "\ud800"  # half of a character: no column holds it


def message(**facts):
    return Message(7, "contoso", 1.0, "bob@contoso.example", **facts)


def delivery(**fields):
    fields = {"destination": "contoso/partner.example", "recipients": [Recipient("ann@partner.example")], **fields}
    return Delivery(fields.pop("id", 8), fields.pop("message", message()), **fields)


class Body:
    """A body that is ended, in memory or in a file."""

    def __init__(self, *, number=0, head=b"", whole=b"hello"):
        self.file = type("File", (), {"number": number})() if number else None
        self.head, self._whole, self.said = head, whole, []
        self.size = len(whole)

    def whole(self):
        return self._whole

    def release(self):
        self.said.append("released")

    def discard(self):
        self.said.append("discarded")


def test_a_piece_that_does_nothing():
    work, plan = Work(), CommitPlan()
    work.collect(plan)
    work.finish()
    assert (work.weight, work.patient, work.urgent, work.failure) == (0, True, True, None)
    assert not any((plan.messages, plan.deliveries, plan.finished, plan.deferred, plan.leases))


@pytest.mark.parametrize(
    ("deliveries", "text"),
    [
        ([], "a message without deliveries"),
        ([delivery(), delivery(message=Message(9, "contoso", 1.0, ""))], "delivery 8 is not of message 7"),
        ([delivery(destination=f"contoso/{LONE}")], "message 7: "),
        ([delivery(last_error=LONE)], "message 7: "),
        ([delivery(recipients=[Recipient(LONE)])], "message 7: "),
        ([delivery(recipients=[object()])], "message 7: "),
    ],
)
def test_what_no_column_can_hold_is_refused_alone_and_early(deliveries, text):
    with pytest.raises(MessageUnstorable, match=text):
        accept_rows(message(), deliveries)
    with pytest.raises(MessageUnstorable):
        AcceptanceWork(message(), deliveries, Body(), print)
    with pytest.raises(MessageUnstorable):
        SettlementWork(Settlement(delivery(), [], notices=[(message(), deliveries, b"")]), print)


def test_a_message_that_no_column_can_hold():
    with pytest.raises(MessageUnstorable, match="message 7: "):
        AcceptanceWork(message(subject=LONE), [delivery()], Body(), print)


@pytest.mark.parametrize(
    ("body", "big", "bodies", "weight", "kept"),
    [
        (Body(), None, [(7, b"hello")], 5, b"hello"),
        (Body(number=9), 9, [], 0, None),
        (Body(number=9, head=b"head"), 9, [(7, b"head")], 4, None),
    ],
)
@pytest.mark.parametrize("failure", [None, StoreBusy("later")])
def test_an_acceptance(body, big, bodies, weight, kept, failure):
    told, one, plan = [], delivery(), CommitPlan()
    body.said.clear()
    work = AcceptanceWork(one.message, [one], body, told.append)
    work.collect(plan)
    work.failure = failure
    work.finish()
    assert (work.weight, work.patient, work.urgent) == (weight, False, True)
    assert [row[:3] for row in plan.messages] == [(7, 5, big)]
    assert [row[:3] for row in plan.deliveries] == [(7, 8, "contoso/partner.example")]
    assert (plan.bodies, one.body, one.message.size) == (bodies, kept, 5)
    assert told == [failure]
    assert body.said == (["released", "discarded"] if failure else ["released"])


def test_a_settlement_that_ends_a_delivery():
    plan, offered = CommitPlan(), []
    work = SettlementWork(Settlement(delivery(), []), offered.append)
    work.collect(plan)
    work.finish()
    assert (plan.finished, plan.deferred, offered) == ([(7, 8)], [], [])
    assert (work.weight, work.patient, work.urgent, work.soon) == (0, True, False, False)


def test_a_settlement_that_defers_and_tells_the_sender():
    plan, offered = CommitPlan(), []
    about = Message(20, "contoso", 2.0, "")
    notice = delivery(id=21, message=about)
    settlement = Settlement(delivery(), [Recipient("x@y.example")], 5.0, "451 later", [(about, [notice], b"notice")])
    work = SettlementWork(settlement, offered.append)
    work.collect(plan)
    assert (plan.finished, [row[0] for row in plan.deferred]) == ([], [5.0])
    assert ([row[0] for row in plan.messages], plan.bodies) == ([20], [(20, b"notice")])
    assert [row[1] for row in plan.deliveries] == [21]
    assert (work.weight, about.size, work.urgent, work.soon) == (6, 6, False, True)
    assert not offered
    work.finish()
    assert offered == [[notice]]
    assert notice.body == b"notice"


@pytest.mark.parametrize(("failure", "said"), [(StoreBusy("busy"), True), (StoreFailure("gone"), False)])
def test_a_settlement_that_was_not_written_offers_nothing(failure, said, caplog):
    offered, about = [], Message(20, "contoso", 2.0, "")
    work = SettlementWork(
        Settlement(delivery(), [], notices=[(about, [delivery(message=about)], b"x")]), offered.append
    )
    work.failure = failure
    work.finish()
    assert offered == []
    assert ("delivery 8 was not settled: busy" in caplog.text) is said


@pytest.mark.parametrize("fields", [{"last_error": LONE}, {"remaining": [Recipient(LONE)]}])
def test_a_settlement_that_no_column_can_hold(fields):
    with pytest.raises(MessageUnstorable, match="delivery 8: "):
        SettlementWork(Settlement(delivery(), **{"remaining": [Recipient("x@y.example")], **fields}), print)


def answered(make, failure, *, done=False):
    """What the future of a piece was given: a result, or the failure."""

    async def main():
        future = asyncio.get_running_loop().create_future()
        if done:
            future.cancel()
        work = make(future)
        plan = CommitPlan()
        work.collect(plan)
        work.failure = failure
        work.finish()
        try:
            return plan, await future
        except (StoreFailure, asyncio.CancelledError) as error:
            return plan, error

    return asyncio.run(main())


def test_a_lease():
    request = LeaseRequest("contoso/partner.example", 5, 1.0)
    request.granted = [delivery()]
    plan, granted = answered(lambda future: LeaseWork(request, future), None)
    assert plan.leases == [request]
    assert granted is request.granted
    assert answered(lambda future: LeaseWork(request, future), StoreBusy("busy"))[1] == []
    gone = StoreFailure("gone")
    assert answered(lambda future: LeaseWork(request, future), gone)[1] is gone
    assert isinstance(answered(lambda future: LeaseWork(request, future), gone, done=True)[1], asyncio.CancelledError)
    assert not LeaseWork.patient


def test_a_suspension():
    request = Suspension("contoso/partner.example", 5, 1.0, waits=(60.0,), received_after=0.0, reply="450 no")
    request.deferred = 3
    plan, deferred = answered(lambda future: SuspensionWork(request, future), None)
    assert plan.suspensions == [request]
    assert deferred == 3
    assert answered(lambda future: SuspensionWork(request, future), StoreBusy("busy"))[1] == 0
    gone = StoreFailure("gone")
    assert answered(lambda future: SuspensionWork(request, future), gone)[1] is gone
    cancelled = answered(lambda future: SuspensionWork(request, future), gone, done=True)[1]
    assert isinstance(cancelled, asyncio.CancelledError)
    assert not SuspensionWork.patient


def test_a_barrier():
    busy = StoreBusy("busy")
    assert answered(Barrier, None)[1] is None
    assert answered(Barrier, busy)[1] is busy
    assert isinstance(answered(Barrier, busy, done=True)[1], asyncio.CancelledError)


def test_deliveries_are_brought_forward():
    plan, works = CommitPlan(), (BringForward(30.0), BringForward(20.0, "450 4.4.312 "))
    for work in works:
        work.collect(plan)
        work.finish()
    assert plan.brought == [(30.0, ""), (20.0, "450 4.4.312 ")]


def test_deliveries_are_retried():
    plan, work = CommitPlan(), RetryWork([(7, 8), (7, 9)], 30.0)
    work.collect(plan)
    work.finish()
    assert plan.retried == [(30.0, 7, 8), (30.0, 7, 9)]
    assert work.patient


def test_leftovers_are_due():
    plan, work = CommitPlan(), LeftoverWork(30.0, 7, 9)
    work.collect(plan)
    work.finish()
    assert plan.leftovers == [(30.0, 7, 9)]
    assert work.patient


class Told(Work):
    """Remembers why it failed; a mistaken one fails itself."""

    def __init__(self, *, mistaken=False):
        super().__init__()
        self.mistaken, self.ended = mistaken, []

    def finish(self):
        if self.mistaken:
            raise KeyError("mistake")
        self.ended.append(self.failure)


def test_a_mistake_of_one_caller_keeps_no_other_waiting(caplog):
    good = Told()
    tell([Told(mistaken=True), good])
    assert good.ended == [None]
    assert "a call-back of the store failed" in caplog.text


def test_who_is_refused_is_told_why():
    piece, failure = Told(), StoreBusy("away")
    refuse([piece], failure)
    assert piece.ended == [failure]
