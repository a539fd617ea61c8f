from __future__ import annotations

import pytest

from gatepost.policy.connectors.quarantine_rules import QuarantineRules, lint_quarantine
from gatepost.policy.connectors.records import Organization


def organization(name: str, **rule: object) -> Organization:
    return Organization.model_validate({"name": name, "mail_flow_rule": [{"name": "r", **rule}]})


def test_only_organizations_with_a_rule_that_holds_have_rules() -> None:
    rules = QuarantineRules(
        [
            organization("a", quarantine=True, header_name="X-A"),
            organization("b", quarantine=True, enabled=False),
            organization("c", require_tls=True, header_name="X-C"),
        ]
    )
    assert rules
    assert rules.header_names == {"x-a"}
    assert rules.of("a") is not None
    assert rules.of("b") is rules.of("c") is rules.of("d") is None
    assert not QuarantineRules([])


HOOK = {"content_hook": [{"name": "av", "type": "clamav", "address": "127.0.0.1:3310", "quarantine": ["reject"]}]}
RULE = {"mail_flow_rule": [{"name": "r", "header_name": "X", "quarantine": True}]}
OFF = {"mail_flow_rule": [{"name": "r", "header_name": "X", "quarantine": True, "enabled": False}]}


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        ({}, ""),
        (HOOK, ""),
        ({"quarantine_digest": True}, "quarantine_digest has no effect, as nothing is held"),
        ({"quarantine_digest": True, **OFF}, "quarantine_digest has no effect, as nothing is held"),
        ({"quarantine_digest": True, **RULE}, ""),
        ({"quarantine_days": 1}, ""),
        ({"quarantine_days": 1, **HOOK}, "deletes messages in quarantine after 1 day, and tells no mailbox"),
        ({"quarantine_days": 2, **RULE}, "after 2 days"),
        ({"quarantine_days": 2, "quarantine_digest": True, **RULE}, ""),
        ({"quarantine_days": 3, **RULE}, ""),
    ],
)
def test_warnings(fields: dict[str, object], warning: str) -> None:
    said = list(lint_quarantine(Organization.model_validate({"name": "a", **fields})))
    assert len(said) == bool(warning)
    assert all(warning in one for one in said)
