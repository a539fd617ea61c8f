"""A connector that mail goes past is said to be one."""

from __future__ import annotations

from typing import Any

import pytest

from gatepost.analysis.checks.coverage import elsewhere
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse

CASES = [
    # fields of the connector, other connectors, domain, the note's end ("" for none)
    ({}, [], "b.example", ""),
    ({}, [{"name": "first", "recipient_domains": ["*"], "priority": 1}], "b.example", "'first' of contoso matches"),
    ({}, [{"name": "all", "recipient_domains": ["*"]}], "b.example", ""),
    ({}, [], "c.example", "no outbound connector of contoso matches recipient domain c.example"),
    ({"recipient_domains": ["*"]}, [], "fabrikam.example", "no outbound connector of fabrikam matches"),
    ({"enabled": False}, [], "b.example", ""),
    ({"is_transport_rule_scoped": True}, [], "b.example", ""),
]


@pytest.mark.parametrize(("fields", "others", "domain", "why"), CASES)
def test_where_the_mail_of_a_domain_goes(
    fields: dict[str, Any], others: list[dict[str, Any]], domain: str, why: str
) -> None:
    own = {"name": "out", "recipient_domains": ["b.example"]} | fields
    fabrikam = {"accepted_domain": [{"name": "fabrikam.example"}]}
    document = {"organization": {"contoso": {"outbound_connector": [own, *others]}, "fabrikam": fabrikam}}
    directory = Directory(parse(document))
    contoso = directory.organization("contoso")
    assert contoso is not None
    note = elsewhere(directory, contoso, contoso.outbound_connectors[0], domain)
    assert why in note
    assert note.startswith(f"mail to {domain} does not go by this connector: " if why else "")
    assert bool(note) is bool(why)
