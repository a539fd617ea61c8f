from __future__ import annotations

from gatepost.mail.model.delivery_result import Fate, Outcome, Sort, sort_of
from gatepost.mail.model.message import Recipient, Return
from gatepost.mail.queue.retry_decision import (
    IN_DOUBT,
    INTERNAL,
    NO_NOTICE,
    conclude,
    mark_in_doubt,
    suspended,
    uniform,
    untold,
)
from gatepost.mail.queue.schedule import Schedule
from gatepost.protocols.smtp.replies import Reply

ANN, JOE, EVE = (Recipient(f"{name}@partner.example") for name in ("ann", "joe", "eve"))


def outcome(*pairs):
    return Outcome([Fate(recipient, sort_of(reply), reply, {"host": "mx"}) for recipient, reply in pairs])


def end(delivery, result, now=2000.0, attempts=1):
    delivery.attempts = attempts
    return conclude(delivery, result, Schedule(), now, 0.5)


def test_who_is_deferred_remains(make):
    delivery = make.delivery(2, ANN, JOE, EVE)
    conclusion = end(delivery, outcome((ANN, make.ok), (JOE, make.later), (EVE, make.unknown)))
    assert conclusion.remaining == [JOE]
    assert conclusion.next_at == 2900.0
    assert conclusion.last_error == "451 4.3.0 Try again later"
    assert not conclusion.late


def test_nobody_remains(make):
    conclusion = end(make.delivery(2, ANN), outcome((ANN, make.ok)))
    assert (conclusion.remaining, conclusion.next_at, conclusion.last_error) == ([], 0.0, "")


def test_expiry_turns_deferrals_into_failures_of_the_same_number(make):
    delivery = make.delivery(2, ANN, JOE, EVE, expires_at=2000.0)
    bare = Reply(450, "", ("no",))
    conclusion = end(delivery, outcome((ANN, make.ok), (JOE, make.silence), (EVE, bare)))
    assert conclusion.remaining == []
    assert conclusion.next_at == 0
    kinds = [(fate.sort, fate.reply.text, fate.detail.get("expired")) for fate in conclusion.outcome.fates]
    assert kinds == [
        (Sort.DELIVERED, "250 2.0.0 OK", None),
        (Sort.FAILED, "550 5.4.316 Message expired, Connection refused", True),
        (Sort.FAILED, "550 5.4.7 Message expired, no", True),
    ]
    assert conclusion.outcome.fates[1].detail["host"] == "mx"


def test_a_delivery_that_says_nothing_of_expiry_expires_by_the_schedule(make):
    assert end(make.delivery(2, ANN), outcome((ANN, make.later)), now=1000.0 + 86_399).remaining == [ANN]
    assert end(make.delivery(2, ANN), outcome((ANN, make.later)), now=1000.0 + 86_400).remaining == []


def test_late_after_four_hours(make):
    assert end(make.delivery(2, ANN), outcome((ANN, make.later)), now=1000.0 + 14_400).late


def test_a_recipient_that_was_forgotten_is_deferred(make):
    delivery = make.delivery(2, ANN, JOE)
    conclusion = end(delivery, outcome((JOE, make.ok)))
    assert conclusion.remaining == [ANN]
    assert conclusion.last_error == INTERNAL.text
    assert end(delivery, Outcome([])).remaining == [ANN, JOE]


def test_what_is_told_of_strangers_and_told_twice_is_left_out(make):
    delivery = make.delivery(2, ANN)
    conclusion = end(delivery, outcome((EVE, make.later), (ANN, make.ok), (ANN, make.later)))
    assert conclusion.remaining == []
    assert len(conclusion.outcome.fates) == 1


def test_the_same_address_twice_has_two_fates(make):
    delivery = make.delivery(2, ANN, Recipient(ANN.address))
    assert len(end(delivery, outcome((ANN, make.ok), (ANN, make.ok))).outcome.fates) == 2
    assert len(end(delivery, outcome((ANN, make.ok))).remaining) == 1


def test_everybody_for_one_reason(make):
    delivery = make.delivery(2, ANN, JOE)
    for result, detail in ((uniform(delivery, make.later), {}), (suspended(delivery, make.later), {"suspended": True})):
        assert [(fate.recipient, fate.sort, fate.detail) for fate in result.fates] == [
            (ANN, Sort.DEFERRED, detail),
            (JOE, Sort.DEFERRED, detail),
        ]
        assert not result.destination_failed


def held(*recipients):
    reply = Reply(450, "4.4.317", ("Held",))
    return [Fate(recipient, Sort.HELD, reply, {}) for recipient in recipients]


def test_held_mail_waits_until_its_sender_is_to_be_told(make):
    conclusion = end(make.delivery(2, ANN, JOE), Outcome(held(ANN, JOE)))
    assert conclusion.held
    assert conclusion.remaining == [ANN, JOE]
    assert conclusion.next_at == 1000.0 + 14_400
    assert conclusion.last_error == "450 4.4.317 Held"


def test_who_is_held_beside_somebody_who_is_deferred_is_tried_with_him(make):
    fates = [*held(ANN), *outcome((JOE, make.later), (EVE, make.ok)).fates]
    conclusion = end(make.delivery(2, ANN, JOE, EVE), Outcome(fates))
    assert not conclusion.held
    assert conclusion.remaining == [ANN, JOE]
    assert [fate.sort for fate in conclusion.outcome.fates] == [Sort.DEFERRED, Sort.DEFERRED, Sort.DELIVERED]
    assert conclusion.next_at == 2900.0


def test_held_beside_somebody_who_is_done_is_held(make):
    conclusion = end(make.delivery(2, ANN, EVE), Outcome([*held(ANN), *outcome((EVE, make.ok)).fates]))
    assert conclusion.held
    assert conclusion.remaining == [ANN]


def test_held_mail_expires_like_any_other(make):
    conclusion = end(make.delivery(2, ANN, expires_at=2000.0), Outcome(held(ANN)))
    assert conclusion.outcome.fates[0].sort is Sort.FAILED
    assert conclusion.outcome.fates[0].reply.enhanced == "5.4.317"
    assert (conclusion.remaining, conclusion.held) == ([], False)


def test_what_is_to_be_returned_fails_with_the_words_of_who_did_it_unless_it_was_delivered(make):
    delivery = make.delivery(2, ANN, JOE, EVE)
    delivery.returned = Return("olga", "The case is closed")
    conclusion = end(delivery, outcome((ANN, make.ok), (JOE, make.later), (EVE, make.unknown)))
    assert conclusion.remaining == []
    assert [(fate.sort, fate.reply.text, fate.detail.get("returned")) for fate in conclusion.outcome.fates] == [
        (Sort.DELIVERED, make.ok.text, None),
        (Sort.FAILED, "550 5.3.0 The case is closed", "olga"),
        (Sort.FAILED, make.unknown.text, None),
    ]


def test_where_the_dns_failed_it_is_said_who_was_asked(make):
    failed = Reply(450, "4.4.312", ("DNS query failed",))
    fate = Fate(ANN, Sort.DEFERRED, failed, {"detail": "nameserver [127.0.0.1]:53 cannot be reached"})
    told = end(make.delivery(2, ANN), Outcome([fate])).last_error
    assert told == "450 4.4.312 DNS query failed (nameserver [127.0.0.1]:53 cannot be reached)"


def test_while_the_sender_cannot_be_told_nothing_fails(make):
    """What failed waits with its reply in the detail, who has it has it, and what was held is tried with the rest."""
    delivery = make.delivery(2, ANN, JOE, EVE)
    held = Fate(EVE, Sort.HELD, make.later, {"drop": "tls"})
    fates = [*outcome((ANN, make.ok), (JOE, make.unknown)).fates, held]
    before = end(delivery, Outcome(fates, destination_failed=True))
    conclusion = untold(before, 5600.0)
    kinds = [(fate.sort, fate.reply.text, fate.detail) for fate in conclusion.outcome.fates]
    assert kinds == [
        (Sort.DELIVERED, "250 2.0.0 OK", {"host": "mx"}),
        (Sort.DEFERRED, NO_NOTICE.text, {"host": "mx", "failed": "550 5.1.1 User unknown"}),
        (Sort.DEFERRED, "451 4.3.0 Try again later", {"drop": "tls"}),
    ]
    assert conclusion.remaining == [JOE, EVE]
    assert (conclusion.next_at, conclusion.last_error, conclusion.held) == (5600.0, NO_NOTICE.text, False)
    assert conclusion.outcome.destination_failed


def test_what_is_in_doubt_says_so_until_it_is_settled(make):
    delivery = make.delivery(2, Recipient("ann@partner.example"), Recipient("joe@partner.example"))
    mark_in_doubt(delivery)
    assert delivery.last_error == IN_DOUBT.text
    assert [recipient.in_doubt for recipient in delivery.recipients] == [True, True]
