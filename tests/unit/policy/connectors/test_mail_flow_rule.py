from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gatepost.policy.connectors.mail_flow_rule import MailFlowRule
from gatepost.policy.connectors.values import ContentProtection, Mode


def test_a_rule_that_says_nothing_asks_nothing() -> None:
    made = MailFlowRule(name="r")
    assert (made.enabled, made.mode, made.priority, made.stop_rule_processing) == (True, Mode.ENFORCE, 100, False)
    assert (made.route_via_connector, made.require_tls) == ("", False)
    assert (made.encrypt, made.sign) == (ContentProtection.NONE, ContentProtection.NONE)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "r", "priority": 1001},
        {"name": "r", "senders": ["no pattern"]},
        {"name": "r", "header_name": "two words"},
        {"name": "r", "route_via_connector": "x" * 65},
        {"name": "r", "encrypt": "pgp"},
    ],
)
def test_bounds(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MailFlowRule(**fields)


@pytest.mark.parametrize(
    ("fields", "acts"),
    [
        ({}, False),
        ({"stop_rule_processing": True}, False),
        ({"require_tls": True}, True),
        ({"sign": "smime"}, True),
        ({"quarantine": True}, True),
        ({"journal_to": "keep@o.example"}, True),
        ({"route_via_connector": "c"}, True),
    ],
)
def test_whether_it_does_anything(fields: dict[str, Any], acts: bool) -> None:
    assert MailFlowRule(name="r", **fields).acts is acts
