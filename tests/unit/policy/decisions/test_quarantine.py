from __future__ import annotations

from collections.abc import Callable

from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.mail_flow import Content
from gatepost.policy.decisions.quarantine import Hold, Quarantined, holds, quarantine_sentences, quarantined_by_rules

TWO = """
[[organization.a.accepted_domain]]
name = "a.example"
[[organization.a.mail_flow_rule]]
name = "out"
recipients = ["b.example"]
quarantine = true
[organization.b]
quarantine_days = 7
[[organization.b.accepted_domain]]
name = "b.example"
[[organization.b.mail_flow_rule]]
name = "in"
header_name = "X-Bad"
quarantine = true
[[organization.b.mail_flow_rule]]
name = "trial"
mode = "rehearse"
quarantine = true
[organization.c]
[[organization.c.accepted_domain]]
name = "c.example"
"""
BAD = Content({"x-bad": ("1",)})


def found(directory: Directory, organization: str, sender: str, to: str, content: Content = BAD) -> list[str]:
    domain = to.partition("@")[2]
    held = quarantined_by_rules(directory, organization, (sender, to, domain), content)
    assert all(each.reason == "" for each in held)
    return [f"{each.organization}: {each.by}" for each in held]


def test_the_rules_that_hold_a_message_are_named_with_their_organizations(
    directory: Callable[[str], Directory],
) -> None:
    envelope = "x@a.example", "y@b.example", "b.example"
    assert quarantine_sentences(directory(TWO), "a", envelope, BAD) == (
        "a holds it in quarantine, by mail flow rule 'out', until it is released",
        "b holds it in quarantine, by mail flow rule 'in', until it is released",
    )


def test_rules_of_all_parties_hold_the_senders_first(directory: Callable[[str], Directory]) -> None:
    two = directory(TWO)
    assert found(two, "a", "x@a.example", "y@b.example") == ["a: mail flow rule 'out'", "b: mail flow rule 'in'"]
    assert found(two, "b", "x@else.example", "y@b.example") == ["b: mail flow rule 'in'"]
    assert found(two, "b", "x@else.example", "y@b.example", Content()) == []
    assert found(two, "c", "x@c.example", "y@else.example") == []


def test_one_hold_for_each_organization_in_order(directory: Callable[[str], Directory]) -> None:
    made = holds(
        directory(TWO),
        [
            Quarantined("b", "content hook 'av'", "clamav: X"),
            Quarantined("gone", "content hook 'av'", ""),
            Quarantined("b", "mail flow rule 'in'", ""),
            Quarantined("b", "content hook 'av'", "clamav: X"),
        ],
    )
    assert made == [
        Hold("b", "content hook 'av'; mail flow rule 'in'", "clamav: X", 7),
        Hold("gone", "content hook 'av'", "", 30),
    ]
    assert holds(directory(TWO), []) == []
