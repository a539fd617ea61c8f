from __future__ import annotations

from typing import cast

import pytest

from gatepost.mail.outbound.connection import OutboundConnection
from gatepost.mail.outbound.hop import Hop, OpenHop
from gatepost.mail.outbound.transactions import DowngradeLog
from gatepost.policy.decisions.facts import HopFacts
from gatepost.policy.decisions.requirement import Achieved, Opportunistic, TlsLevel, Verdict

RELAXED = "relaxed: connector 'out' sends where it is not offered"
NO_CONNECTION = cast("OutboundConnection", None)  # it is not looked at


def opened(host: str, without: str, *, offered: bool = False) -> OpenHop:
    requirement = Opportunistic(())
    hop = Hop(host, "192.0.2.1", 25, requirement, without_requiretls=without)
    facts = HopFacts(host, hop.endpoint, requiretls_offered=offered)
    return OpenHop(hop, NO_CONNECTION, facts, Verdict(requirement, Achieved(TlsLevel.AUTHENTICATED), None))


@pytest.mark.parametrize(
    ("hop", "lines"),
    [
        (opened("a.example", RELAXED), 1),
        (opened("a.example", RELAXED, offered=True), 0),
        (opened("a.example", ""), 0),
        (opened("a.example", "local: the message does not leave this machine"), 0),
    ],
)
def test_only_a_downgrade_is_logged(caplog: pytest.LogCaptureFixture, hop: OpenHop, lines: int) -> None:
    DowngradeLog(lambda: 0.0).sent(7, hop)
    assert [record.message for record in caplog.records] == [
        f"message 7 left for a.example without REQUIRETLS: {RELAXED}"
    ][:lines]


def test_a_host_has_one_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    log = DowngradeLog(lambda: now)
    for now in (0.0, 1.0, 59.0, 60.0, 61.0):  # noqa: B007 - the log reads it
        log.sent(7, opened("a.example", RELAXED))
    log.sent(8, opened("b.example", RELAXED))
    assert [record.message.partition("without REQUIRETLS")[0] for record in caplog.records] == [
        "message 7 left for a.example ",
        "message 7 left for a.example ",
        "message 8 left for b.example ",
    ]
    assert caplog.records[1].message.endswith("(2 more since the last such line)")


def test_ten_thousand_hosts_are_not_remembered() -> None:
    log = DowngradeLog(lambda: 0.0)
    for number in range(10_000):
        log.sent(7, opened(f"a{number}.example", RELAXED))
    assert len(log._logged) <= 1000
