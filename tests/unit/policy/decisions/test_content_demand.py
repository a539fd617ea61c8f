from __future__ import annotations

from typing import Any

import pytest

from gatepost.policy.connectors.records import OutboundConnector
from gatepost.policy.decisions.content import NO_DEMAND, ContentDemand, Demand, by_connector
from gatepost.policy.decisions.requirement import Source


def connector(**fields: Any) -> OutboundConnector:
    return OutboundConnector.model_validate({"name": "c", "recipient_domains": ["b.example"], **fields})


@pytest.mark.parametrize(
    ("fields", "record"),
    [
        ({}, {}),
        ({"encrypt": "none", "sign": "none"}, {}),
        ({"encrypt": "smime"}, {"encrypt": {"required_by": ["connector:c"]}}),
        ({"sign": "smime"}, {"sign": {"required_by": ["connector:c"]}}),
        ({"encrypt": "smime", "mode": "rehearse"}, {"encrypt": {"rehearsed_by": ["connector:c"]}}),
        (
            {"encrypt": "smime", "sign": "smime"},
            {"encrypt": {"required_by": ["connector:c"]}, "sign": {"required_by": ["connector:c"]}},
        ),
    ],
)
def test_what_a_connector_asks(fields: dict[str, Any], record: dict[str, Any]) -> None:
    assert by_connector(connector(**fields)).record() == record


def test_no_connector_asks_nothing() -> None:
    assert by_connector(None) is NO_DEMAND
    assert by_connector(connector()) is NO_DEMAND


def test_demands_add_up() -> None:
    one = ContentDemand(Demand.of("rule", ["a"], ["b"]))
    both = by_connector(connector(encrypt="smime")).joined(one)
    assert both.encrypt == Demand((Source("connector", "c"), Source("rule", "a")), (Source("rule", "b"),))
    assert both.sign == Demand()
    assert one.joined(NO_DEMAND) == one
    assert NO_DEMAND.joined(NO_DEMAND) == NO_DEMAND


def test_who_asks_is_told_by_organization() -> None:
    asked = Demand.of("rule", ("a",), ("b",), organization="fabrikam").joined(Demand.of("connector", ("c",)))
    assert asked.asking("contoso") == ("fabrikam", "contoso")
    assert Demand.of("rule", (), ("b",)).asking("contoso") == ("contoso",)
    assert asked.record()["required_by"] == ["rule:a of fabrikam", "connector:c"]
