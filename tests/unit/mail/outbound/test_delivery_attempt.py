from __future__ import annotations

from typing import Any

import pytest

from gatepost.mail.model.delivery_result import Disposition
from gatepost.mail.model.message import Message, Recipient
from gatepost.mail.outbound.delivery_attempt import AttemptPart, DeliveryAttempt, asks, may_go_clear
from gatepost.mail.outbound.failure import HopFailed, HopFailure
from gatepost.mail.outbound.hop import Hop
from gatepost.mail.queue.retry_decision import UNTRIED
from gatepost.policy.connectors.values import Cleartext
from gatepost.policy.decisions.requirement import Authenticated, Encrypted, Identity, Opportunistic, Requirement
from gatepost.policy.decisions.requiretls import Asks
from gatepost.protocols.smtp.replies import Reply
from gatepost.protocols.tlsrpt.result import ResultType

AFTER = Opportunistic((), Cleartext.AFTER_FAILED_HANDSHAKE)


@pytest.mark.parametrize(
    ("requirement", "attempts", "expected"),
    [
        (AFTER, 0, False),
        (AFTER, 1, True),
        (AFTER, 9, True),
        (Opportunistic(()), 9, False),
        (Encrypted(()), 9, False),
        (Authenticated((), (Identity(()),)), 9, False),
    ],
)
def test_cleartext_after_a_failed_handshake(requirement: Requirement, attempts: int, expected: bool) -> None:
    assert may_go_clear(requirement, attempts) is expected


def attempt(count: int = 1) -> DeliveryAttempt:
    recipients = [Recipient(f"r{number}@b.example") for number in range(count)]
    return DeliveryAttempt(Message(1, "contoso", 1.0, ""), [AttemptPart(recipients, {"connector": "out"})])


def test_reasons_are_added_once_and_within_bounds() -> None:
    one = attempt()
    one.add_reasons(())
    (part,) = one.parts
    assert "reasons" not in part.base
    one.add_reasons(("DANE", "MTA-STS"))
    one.add_reasons(("DANE",))
    assert part.base["reasons"] == ["DANE", "MTA-STS"]
    one.add_reasons([str(number) for number in range(100)])
    assert len(part.base["reasons"]) == 50


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"require_tls": True, "reverse_path": "a@a.example"}, Asks.REQUIRED),
        ({"require_tls": True}, Asks.NOTICE),
        ({"require_tls": True, "inbound": {"notice_about": "1"}}, Asks.REQUIRED),
        ({"tls_required_no": True}, Asks.WAIVED),
        ({}, Asks.NOTHING),
    ],
)
def test_what_the_message_asks(fields: dict[str, Any], expected: Asks) -> None:
    assert asks(Message(1, "contoso", 1.0, **{"reverse_path": "", **fields})) is expected


def failure(code: int, enhanced: str, result: ResultType | None = None) -> HopFailure:
    return HopFailure(Reply(code, enhanced, ("text",)), "detail", result, "mx.b.example")


@pytest.mark.parametrize(
    ("failures", "enhanced", "disposition", "unreachable"),
    [
        ([failure(450, "4.4.1"), failure(450, "4.4.2")], "4.4.2", Disposition.DEFERRED, True),
        (
            [failure(450, "4.7.320", ResultType.CERTIFICATE_EXPIRED), failure(450, "4.4.2")],
            "4.7.320",
            Disposition.DEFERRED,
            True,
        ),
        ([failure(450, "4.4.1"), failure(550, "5.4.4")], "4.4.1", Disposition.DEFERRED, True),
        ([failure(550, "5.4.4"), failure(554, "5.3.2")], "5.3.2", Disposition.FAILED, False),
    ],
)
def test_what_the_failures_say_together(
    failures: list[HopFailure], enhanced: str, disposition: Disposition, unreachable: bool
) -> None:
    one = attempt()
    one.failures += failures
    one.conclude()
    result = one.results[0]
    assert (result.reply.enhanced, result.disposition, one.unreachable) == (enhanced, disposition, unreachable)
    assert [entry["reply"].split()[1] for entry in result.detail["tries"]] == [one.reply.enhanced for one in failures]
    assert result.detail["connector"] == "out"
    assert one.pending == []


def test_concluding_twice_changes_nothing() -> None:
    one = attempt()
    one.failures.append(failure(450, "4.4.1"))
    one.conclude()
    one.conclude()
    assert len(one.results) == 1


def test_only_broken_handshakes_are_remembered_as_such() -> None:
    one = attempt()
    hop = Hop("mx.b.example", "192.0.2.1", 25, AFTER)
    one.failed(HopFailed(failure(450, "4.4.1")), hop)
    one.failed(HopFailed(failure(450, "4.4.317"), handshake="no shared cipher"), hop)
    assert one.broken == [(hop, "no shared cipher")]
    assert len(one.failures) == 2


@pytest.mark.parametrize(("limit", "sizes"), [(0, [100, 100, 30]), (50, [50] * 4 + [30]), (5000, [230])])
def test_batches(limit: int, sizes: list[int]) -> None:
    assert [len(batch) for batch in attempt(230).batches(limit)] == sizes


def test_no_batch_is_larger_than_our_own_limit() -> None:
    assert [len(batch) for batch in attempt(1500).batches(100_000)] == [1000, 500]


def test_a_long_list_of_tries_is_cut() -> None:
    one = attempt()
    one.failures += [failure(450, "4.4.1")] * 50
    one.conclude()
    assert len(one.results[0].detail["tries"]) == 20


def test_a_message_that_others_may_have_waits_whatever_hosts_say() -> None:
    one = attempt()
    one.owned = lambda: False
    one.failures = [failure(550, "5.4.4")]
    one.conclude()
    (result,) = one.results
    assert (result.disposition, result.reply) == (Disposition.DEFERRED, UNTRIED)


def test_a_stop_lets_wait_what_is_pending_whatever_hosts_failed_before() -> None:
    one = attempt(3)
    busy, never = Reply(451, "4.2.1", ("busy",)), Reply(521, "5.3.2", ("no mail",))
    one.decide(one.pending[0], Reply(250, "2.0.0", ("ok",)), {})
    one.deferrals["r1@b.example"] = busy, {"host": "mx"}
    one.failures.append(HopFailure(never, ""))
    one.stop()
    assert [result.reply for result in one.results[1:]] == [busy, UNTRIED]
    assert [result.detail.get("cut_short") for result in one.results] == [None, True, True]
    assert {result.disposition for result in one.results[1:]} == {Disposition.DEFERRED}
    assert one.results[2].detail["connector"] == "out"
    assert one.pending == []
