from __future__ import annotations

import pytest

from gatepost.mail.model.delivery_result import DeliveryResult, Disposition, RecipientResult, disposition_of
from gatepost.mail.model.message import Recipient, Return
from gatepost.mail.queue.retry_decision import (
    IN_DOUBT,
    INTERNAL,
    NO_NOTICE,
    UNTRIED,
    decide_retry,
    defer_without_notice,
    is_in_doubt,
    mark_in_doubt,
    suspended,
    uniform,
)
from gatepost.mail.queue.schedule import Schedule
from gatepost.protocols.smtp.replies import Reply
from gatepost.store.suspension import jitter_of
from gatepost.values import replace

ANN, JOE, EVE = (Recipient(f"{name}@partner.example") for name in ("ann", "joe", "eve"))


def outcome(*pairs):
    return DeliveryResult(
        [RecipientResult(recipient, disposition_of(reply), reply, {"host": "mx"}) for recipient, reply in pairs]
    )


def end(delivery, result, now=2000.0, attempts=1):
    delivery.attempts = attempts
    return decide_retry(delivery, result, Schedule(), now)


def usual(delivery, now=2000.0):
    """The next attempt of what is deferred, as its message and attempt alone spread it."""
    jitter = jitter_of(delivery.message.id, delivery.attempts)
    return Schedule().next_attempt(delivery.attempts, now, 1e12, jitter)


def test_who_is_deferred_remains(make):
    delivery = make.delivery(2, ANN, JOE, EVE)
    decision = end(delivery, outcome((ANN, make.ok), (JOE, make.later), (EVE, make.unknown)))
    assert decision.remaining == [JOE]
    assert decision.next_at == usual(delivery)
    assert decision.last_error == "451 4.3.0 Try again later"
    assert not decision.late


def test_what_is_deferred_together_returns_together(make):
    """Deliveries of one message; others at another time, and after another attempt too."""
    message, other = make.message(7), make.message(8)
    deliveries = [make.delivery(2, ANN, message=message), make.delivery(3, JOE, message=message)]
    times = [end(delivery, outcome((delivery.recipients[0], make.later))).next_at for delivery in deliveries]
    assert times[0] == times[1] != end(make.delivery(4, EVE, message=other), outcome((EVE, make.later))).next_at
    assert times[0] != end(deliveries[0], outcome((ANN, make.later)), attempts=2).next_at


def test_results_in_another_order_are_complete(make):
    results = outcome((JOE, make.ok), (ANN, make.later))
    decision = end(make.delivery(2, ANN, JOE), results)
    assert decision.remaining == [ANN]
    assert [result.recipient for result in decision.outcome.results] == [JOE, ANN]


def test_nobody_remains(make):
    decision = end(make.delivery(2, ANN), outcome((ANN, make.ok)))
    assert (decision.remaining, decision.next_at, decision.last_error) == ([], 0.0, "")


def test_expiry_turns_deferrals_into_failures_of_the_same_number(make):
    delivery = make.delivery(2, ANN, JOE, EVE, expires_at=2000.0)
    bare = Reply(450, "", ("no",))
    decision = end(delivery, outcome((ANN, make.ok), (JOE, make.silence), (EVE, bare)))
    assert decision.remaining == []
    assert decision.next_at == 0
    kinds = [
        (result.disposition, result.reply.text, result.detail.get("expired")) for result in decision.outcome.results
    ]
    assert kinds == [
        (Disposition.DELIVERED, "250 2.0.0 OK", None),
        (Disposition.FAILED, "550 5.4.316 Message expired, Connection refused", True),
        (Disposition.FAILED, "550 5.4.7 Message expired, no", True),
    ]
    assert decision.outcome.results[1].detail["host"] == "mx"


def test_nothing_is_given_up_by_a_clock_that_is_known_to_be_wrong(make):
    """Held mail, too, waits for its next look, which is in the future."""
    schedule = Schedule(is_trusted=lambda: False)
    for result in (outcome((ANN, make.later)), DeliveryResult(held(ANN))):
        decision = decide_retry(make.delivery(2, ANN, expires_at=2000.0), result, schedule, 9e8)
        assert decision.remaining == [ANN]
        assert 9e8 + 60 < decision.next_at <= 9e8 + schedule.longest
        assert not decision.late


def test_a_delivery_that_says_nothing_of_expiry_expires_by_the_schedule(make):
    assert end(make.delivery(2, ANN), outcome((ANN, make.later)), now=1000.0 + 86_399).remaining == [ANN]
    assert end(make.delivery(2, ANN), outcome((ANN, make.later)), now=1000.0 + 86_400).remaining == []


def test_late_after_four_hours(make):
    assert end(make.delivery(2, ANN), outcome((ANN, make.later)), now=1000.0 + 14_400).late


def test_a_recipient_that_was_forgotten_is_deferred(make):
    delivery = make.delivery(2, ANN, JOE)
    decision = end(delivery, outcome((JOE, make.ok)))
    assert decision.remaining == [ANN]
    assert decision.last_error == INTERNAL.text
    assert end(delivery, DeliveryResult([])).remaining == [ANN, JOE]


def test_what_is_told_of_strangers_and_told_twice_is_left_out(make):
    delivery = make.delivery(2, ANN)
    decision = end(delivery, outcome((EVE, make.later), (ANN, make.ok), (ANN, make.later)))
    assert decision.remaining == []
    assert len(decision.outcome.results) == 1


def test_the_same_address_twice_has_two_fates(make):
    delivery = make.delivery(2, ANN, Recipient(ANN.address))
    assert len(end(delivery, outcome((ANN, make.ok), (ANN, make.ok))).outcome.results) == 2
    assert len(end(delivery, outcome((ANN, make.ok))).remaining) == 1


def test_everybody_for_one_reason(make):
    delivery = make.delivery(2, ANN, JOE)
    for outcome, detail in (
        (uniform(delivery, make.later), {}),
        (suspended(delivery, make.later), {"suspended": True}),
        (suspended(delivery, make.later, [("connector", "bank")]), {"suspended": True, "connector": "bank"}),
    ):
        assert [(result.recipient, result.disposition, result.detail) for result in outcome.results] == [
            (ANN, Disposition.DEFERRED, detail),
            (JOE, Disposition.DEFERRED, detail),
        ]
        assert not outcome.destination_failed


def held(*recipients):
    reply = Reply(450, "4.4.317", ("Held",))
    return [RecipientResult(recipient, Disposition.HELD, reply, {}) for recipient in recipients]


def test_held_mail_waits_until_its_sender_is_to_be_told(make):
    decision = end(make.delivery(2, ANN, JOE), DeliveryResult(held(ANN, JOE)))
    assert decision.held
    assert decision.remaining == [ANN, JOE]
    assert decision.next_at == 1000.0 + 14_400
    assert decision.last_error == "450 4.4.317 Held"


def test_who_is_held_beside_somebody_who_is_deferred_is_tried_with_him(make):
    results = [*held(ANN), *outcome((JOE, make.later), (EVE, make.ok)).results]
    delivery = make.delivery(2, ANN, JOE, EVE)
    decision = end(delivery, DeliveryResult(results))
    assert not decision.held
    assert decision.remaining == [ANN, JOE]
    assert [result.disposition for result in decision.outcome.results] == [
        Disposition.DEFERRED,
        Disposition.DEFERRED,
        Disposition.DELIVERED,
    ]
    assert decision.next_at == usual(delivery)


def test_held_beside_somebody_who_is_done_is_held(make):
    decision = end(make.delivery(2, ANN, EVE), DeliveryResult([*held(ANN), *outcome((EVE, make.ok)).results]))
    assert decision.held
    assert decision.remaining == [ANN]


def test_held_mail_expires_like_any_other(make):
    decision = end(make.delivery(2, ANN, expires_at=2000.0), DeliveryResult(held(ANN)))
    assert decision.outcome.results[0].disposition is Disposition.FAILED
    assert decision.outcome.results[0].reply.enhanced == "5.4.317"
    assert (decision.remaining, decision.held) == ([], False)


def test_what_is_to_be_returned_fails_with_the_words_of_who_did_it_unless_it_was_delivered(make):
    delivery = make.delivery(2, ANN, JOE, EVE)
    delivery.returned = Return("olga", "The case is closed")
    decision = end(delivery, outcome((ANN, make.ok), (JOE, make.later), (EVE, make.unknown)))
    assert decision.remaining == []
    assert [
        (result.disposition, result.reply.text, result.detail.get("returned")) for result in decision.outcome.results
    ] == [
        (Disposition.DELIVERED, make.ok.text, None),
        (Disposition.FAILED, "550 5.3.0 The case is closed", "olga"),
        (Disposition.FAILED, make.unknown.text, None),
    ]


def test_where_the_dns_failed_it_is_said_who_was_asked(make):
    failed = Reply(450, "4.4.312", ("DNS query failed",))
    result = RecipientResult(
        ANN, Disposition.DEFERRED, failed, {"detail": "nameserver [127.0.0.1]:53 cannot be reached"}
    )
    told = end(make.delivery(2, ANN), DeliveryResult([result])).last_error
    assert told == "450 4.4.312 DNS query failed (nameserver [127.0.0.1]:53 cannot be reached)"


def test_where_we_are_at_fault_it_is_said_what_is_wrong(make):
    failed = Reply(450, "4.3.5", ("System incorrectly configured",))
    why = "the trust anchors of connector 'bank' of contoso cannot be read: /etc/bank.pem: No such file or directory"
    result = RecipientResult(ANN, Disposition.DEFERRED, failed, {"detail": why})
    assert end(make.delivery(2, ANN), DeliveryResult([result])).last_error == f"{failed.text} ({why})"
    others = RecipientResult(ANN, Disposition.DEFERRED, failed, {"detail": why, "connector_organization": "fabrikam"})
    assert why not in end(make.delivery(2, ANN), DeliveryResult([others])).last_error


def test_while_the_sender_cannot_be_told_nothing_fails(make):
    """What failed waits with its reply in the detail, who has it has it, and what was held is tried with the rest."""
    delivery = make.delivery(2, ANN, JOE, EVE)
    held = RecipientResult(EVE, Disposition.HELD, make.later, {"drop": "tls"})
    results = [*outcome((ANN, make.ok), (JOE, make.unknown)).results, held]
    before = end(delivery, DeliveryResult(results, destination_failed=True))
    decision = defer_without_notice(before, 5600.0)
    kinds = [(result.disposition, result.reply.text, result.detail) for result in decision.outcome.results]
    assert kinds == [
        (Disposition.DELIVERED, "250 2.0.0 OK", {"host": "mx"}),
        (Disposition.DEFERRED, NO_NOTICE.text, {"host": "mx", "failed": "550 5.1.1 User unknown"}),
        (Disposition.DEFERRED, "451 4.3.0 Try again later", {"drop": "tls"}),
    ]
    assert decision.remaining == [JOE, EVE]
    assert (decision.next_at, decision.last_error, decision.held) == (5600.0, NO_NOTICE.text, False)
    assert decision.outcome.destination_failed


def test_what_is_in_doubt_says_so_until_it_is_settled(make):
    delivery = make.delivery(2, Recipient("ann@partner.example"), Recipient("joe@partner.example"))
    mark_in_doubt(delivery, delivery.recipients[:1])
    assert delivery.last_error == IN_DOUBT.text
    assert [recipient.in_doubt for recipient in delivery.recipients] == [True, False]


def cut_short(result, *recipients):
    return DeliveryResult(
        [
            replace(each, detail=each.detail | {"cut_short": True}) if each.recipient in recipients else each
            for each in result.results
        ]
    )


def test_a_host_keeps_no_message_from_expiry_by_words_of_ours(make):
    delivery = make.delivery(2, ANN, JOE, expires_at=2000.0)
    assert end(delivery, outcome((ANN, UNTRIED), (JOE, IN_DOUBT))).remaining == []


@pytest.mark.parametrize(
    ("reply", "stopped", "in_doubt"),
    [(IN_DOUBT, True, True), (IN_DOUBT, False, False), (UNTRIED, True, False), (UNTRIED, False, False)],
)
def test_only_a_stop_leaves_a_message_in_doubt_and_no_reply_of_a_host(reply, stopped, in_doubt):
    results = outcome((ANN, reply))
    assert is_in_doubt((cut_short(results, ANN) if stopped else results).results[0]) is in_doubt


def test_what_a_stop_left_untried_is_due_at_once_unless_a_host_asked_for_a_pause(make):
    delivery = make.delivery(2, ANN, JOE)
    for reply, stopped, at_once in ((IN_DOUBT, JOE, True), (make.later, JOE, False), (UNTRIED, EVE, False)):
        decision = end(delivery, cut_short(outcome((ANN, UNTRIED), (JOE, reply)), ANN, stopped))
        assert decision.next_at == (2000.0 if at_once else usual(delivery))


@pytest.mark.parametrize("order", [None, Return("olga", "Closed")])
def test_a_deferral_at_expiry_is_final_only_where_no_host_was_left_untried_by_a_stop(make, order):
    delivery = make.delivery(2, ANN, JOE, expires_at=2000.0, returned=order)
    decision = end(delivery, cut_short(outcome((ANN, make.later), (JOE, make.later)), ANN))
    assert decision.remaining == ([] if order else [ANN])
    assert decision.outcome.results[1].detail["expired"]


def test_nothing_expires_by_an_attempt_that_a_stop_cut_short(make):
    """The last attempt is at expiry: what a stop left untried or in doubt is tried once more after the start."""
    delivery = make.delivery(2, ANN, JOE, EVE, expires_at=2000.0)
    decision = end(delivery, cut_short(outcome((ANN, UNTRIED), (JOE, IN_DOUBT), (EVE, make.later)), ANN, JOE))
    assert decision.remaining == [ANN, JOE]
    assert decision.next_at == 2000.0
    assert [result.disposition for result in decision.outcome.results] == [
        Disposition.DEFERRED,
        Disposition.DEFERRED,
        Disposition.FAILED,
    ]
