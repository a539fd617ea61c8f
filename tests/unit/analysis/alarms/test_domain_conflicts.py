from __future__ import annotations

from gatepost.analysis.alarms.alarm import Kind, Severity
from gatepost.analysis.alarms.domain_conflicts import domain_conflicts
from gatepost.policy.connectors.names import Claim
from gatepost.policy.connectors.verification import Dispute

WIDE, NARROW = Claim("a", "*.b.example"), Claim("b", "b.example")


def test_one_that_keeps_its_domain_is_named_with_the_other() -> None:
    (alarm,) = domain_conflicts([Dispute(WIDE, NARROW, kept=True)])
    assert (alarm.kind, alarm.severity) == (Kind.DOMAIN_CONFLICT, Severity.ERROR)
    assert alarm.title == "*.b.example of a overlaps b.example of b"
    assert "b had b.example first and keeps it. *.b.example of a has no effect" in alarm.detail
    assert alarm.lines == (
        "gatepost domain remove *.b.example --organization a",
        "gatepost domain remove b.example --organization b",
    )
    assert "/" not in alarm.about


def test_two_of_which_neither_counts_are_one_alarm() -> None:
    (alarm,) = domain_conflicts([Dispute(WIDE, NARROW, kept=False), Dispute(NARROW, WIDE, kept=False)])
    assert alarm.severity is Severity.CRITICAL
    assert "does not tell who had it first" in alarm.detail
    assert list(domain_conflicts([])) == []
