from __future__ import annotations

from typing import Any

import pytest

from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.protocols.tlsrpt.tally import (
    AppliedPolicy,
    Count,
    FailureDetail,
    PolicyType,
    Tally,
    TlsSession,
    applied,
    detail,
)

DAY, DOMAIN = "2026-11-24", "b.example"
TLSA = applied(PolicyType.TLSA, "mx.b.example", ["3 1 1 aa"])
STS = applied(PolicyType.STS, DOMAIN, ["version: STSv1", "mode: enforce"], ["*.b.example"])
NONE = applied(PolicyType.NONE, DOMAIN)
EXPIRED = detail(ResultType.CERTIFICATE_EXPIRED, mx_host="mx.b.example", address="192.0.2.1")
NO_TLS = detail(ResultType.STARTTLS_NOT_SUPPORTED, mx_host="mx.b.example")


def session(*results: Any, domain: str = DOMAIN) -> TlsSession:
    return TlsSession(domain, results)


def test_sessions_are_summed_by_day_domain_policy_and_result() -> None:
    tally = Tally()
    for one in [
        session((TLSA, None), (STS, EXPIRED)),
        session((TLSA, None), (STS, None)),
        session((TLSA, NO_TLS), (STS, NO_TLS)),
    ]:
        tally.add(DAY, one)
    tally.add("2026-11-25", session((TLSA, None)))
    tally.add(DAY, session((TLSA, None), domain="c.example"))
    assert set(tally.take()) == {
        Count(DAY, DOMAIN, TLSA, None, 2),
        Count(DAY, DOMAIN, TLSA, NO_TLS, 1),
        Count(DAY, DOMAIN, STS, None, 1),
        Count(DAY, DOMAIN, STS, EXPIRED, 1),
        Count(DAY, DOMAIN, STS, NO_TLS, 1),
        Count("2026-11-25", DOMAIN, TLSA, None, 1),
        Count(DAY, "c.example", TLSA, None, 1),
    }
    assert (len(tally), tally.take()) == (0, [])


def test_what_could_not_be_written_is_added_to_what_came_meanwhile() -> None:
    tally = Tally()
    tally.add(DAY, session((NONE, None)))
    taken = tally.take()
    tally.add(DAY, session((NONE, None)))
    tally.put_back(taken)
    assert tally.take() == [Count(DAY, DOMAIN, NONE, None, 2)]


def test_what_is_too_much_is_counted_without_details_then_not_at_all() -> None:
    tally = Tally(most=2)
    tally.add(DAY, session((STS, EXPIRED), (STS, None)))
    tally.add(DAY, session((STS, EXPIRED)))  # known already
    for number in range(5):
        tally.add(DAY, session((STS, detail(ResultType.CERTIFICATE_EXPIRED, address=f"192.0.2.{number}"))))
    tally.add(DAY, session((TLSA, None)))
    assert (len(tally), tally.left_out) == (4, 0)
    tally.add(DAY, session((TLSA, EXPIRED), domain="c.example"))
    tally.add(DAY, session((STS, None)))
    assert (len(tally), tally.left_out) == (4, 1)
    bare = AppliedPolicy(PolicyType.STS, DOMAIN)
    assert set(tally.take()) == {
        Count(DAY, DOMAIN, STS, EXPIRED, 2),
        Count(DAY, DOMAIN, STS, None, 2),
        Count(DAY, DOMAIN, bare, FailureDetail(ResultType.CERTIFICATE_EXPIRED), 5),
        Count(DAY, DOMAIN, AppliedPolicy(PolicyType.TLSA, "mx.b.example"), None, 1),
    }
    assert tally.left_out == 0


HOSTILE = ["\x1b]0;owned\x07", "ümlaut.example", "line\nbreak", "\u202eright to left"]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_peer_writes_is_printable(text: str) -> None:
    policy = applied(PolicyType.STS, text, [text], [text])
    failure = detail(
        ResultType.VALIDATION_FAILURE, mx_host=text, address=text, helo=text, sending_address=text, reason=text
    )
    shown = [policy.domain, *policy.strings, *policy.mx_hosts, failure.mx_host, failure.address, failure.helo]
    shown += [failure.sending_address, failure.reason]
    assert len(shown) == 8
    for one in shown:
        assert one.isascii()
        assert one.isprintable()
        assert len(one) == len(text)


def test_all_is_bounded() -> None:
    policy = applied(PolicyType.STS, "d" * 10_000, ["l" * 10_000] * 10_000, ["h" * 10_000] * 10_000)
    assert len(policy.domain) == 255
    assert [len(one) for one in policy.strings] == [1200] * 6
    assert [len(one) for one in policy.mx_hosts] == [255] * 32
    records = [f"3 1 1 {number:064x}" for number in range(100)]
    assert applied(PolicyType.TLSA, "mx.b.example", records).strings == tuple(records)
    failure = detail(ResultType.VALIDATION_FAILURE, helo="h" * 10_000, reason="r" * 10_000)
    assert (len(failure.helo), len(failure.reason)) == (255, 120)
