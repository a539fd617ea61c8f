from __future__ import annotations

from typing import Any

import pytest

from gatepost.policy.connectors.journal_index import JournalTarget, OrganizationJournal, journals
from gatepost.policy.connectors.mail_flow import Content
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.values import JournalDirection, JournalForm

KEEP, OTHER = "keep@o.example", "other@o.example"


def organizations(**fields: Any) -> Any:
    own = {"accepted_domain": [{"name": "*.p.example", "type": "internal-relay"}, {"name": "o.example"}]}
    own["mailbox"] = [{"address": KEEP}, {"address": OTHER}]
    return parse({"organization": {"o": own | fields, "p": {}}}).organizations


def test_nobody_who_journals_is_no_index() -> None:
    assert journals(organizations()) is None
    off = [{"name": "r", "journal_to": KEEP, "enabled": False}, {"name": "tls", "require_tls": True}]
    assert journals(organizations(mail_flow_rule=off)) is None


def test_what_an_organization_says_of_its_journal() -> None:
    index = journals(organizations(journal_to=KEEP, journal_failures_to=OTHER))
    assert index is not None
    assert list(index) == ["o"]
    assert (index["o"].name, index["o"].author, index["o"].failures_to) == ("o", "postmaster@o.example", OTHER)
    assert index["o"].header_names == frozenset()
    found = list(index["o"].targets(JournalDirection.INCOMING, "a@x.example", "b@o.example", Content()))
    assert found == [JournalTarget(KEEP, JournalForm.REPORT)]


def test_an_organization_without_a_domain_of_its_own_still_has_an_author() -> None:
    (bare,) = parse({"organization": {"o": {}}}).organizations
    assert OrganizationJournal(bare).author == "postmaster@localhost"


@pytest.mark.parametrize(
    ("setting", "directions"),
    [
        ("all", {"incoming", "outgoing", "internal"}),
        ("external", {"incoming", "outgoing"}),
        ("incoming", {"incoming"}),
        ("outgoing", {"outgoing"}),
        ("internal", {"internal"}),
    ],
)
def test_the_direction_says_what_is_journaled(setting: str, directions: set[str]) -> None:
    rule = {"name": "r", "journal_to": OTHER, "journal_direction": setting}
    index = journals(organizations(journal_to=KEEP, journal_direction=setting, mail_flow_rule=[rule]))
    assert index is not None
    for direction in (JournalDirection.INCOMING, JournalDirection.OUTGOING, JournalDirection.INTERNAL):
        found = [target.address for target in index["o"].targets(direction, "a@x.example", "b@o.example", Content())]
        assert found == ([KEEP, OTHER] if str(direction) in directions else [])


def test_rules_journal_what_meets_their_conditions_while_they_are_in_force() -> None:
    rules = [
        {"name": "a", "senders": ["a@x.example"], "journal_to": OTHER, "journal_form": "copy", "priority": 1},
        {"name": "trial", "journal_to": OTHER, "mode": "rehearse", "priority": 2},
        {"name": "tls", "require_tls": True, "priority": 3},
        {"name": "end", "header_name": "X-End", "require_tls": True, "stop_rule_processing": True, "priority": 4},
        {"name": "late", "journal_to": OTHER, "priority": 5},
    ]
    index = journals(organizations(mail_flow_rule=rules))
    assert index is not None
    assert index["o"].header_names == {"x-end"}

    def names(sender: str, content: Content) -> list[JournalTarget]:
        return list(index["o"].targets(JournalDirection.INCOMING, sender, "b@o.example", content)) if index else []

    first = JournalTarget(OTHER, JournalForm.COPY, "a")
    late = JournalTarget(OTHER, JournalForm.REPORT, "late")
    assert names("a@x.example", Content()) == [first, late]
    assert names("b@x.example", Content()) == [late]
    assert names("a@x.example", Content({"x-end": ("1",)})) == [first]
