from __future__ import annotations

from gatepost.policy.connectors.quarantine_rules import QuarantineRules
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
