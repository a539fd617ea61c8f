from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.parties import Parties, SenderPart, deciding, parties


def directory(*connectors: dict[str, Any]) -> Directory:
    """Contoso with some connectors; fabrikam accepts fabrikam.example."""
    named = [{"name": f"c{number}"} | fields for number, fields in enumerate(connectors)]
    contoso = {"accepted_domain": [{"name": "contoso.example"}], "outbound_connector": named}
    fabrikam = {
        "accepted_domain": [{"name": "fabrikam.example"}],
        "mailbox": [{"address": "ann@fabrikam.example"}],
    }
    return Directory(parse({"organization": {"contoso": contoso, "fabrikam": fabrikam}}))


ALL = {"recipient_domains": ["*"]}
CENTRAL = {
    "connector_type": "on-premises",
    "route_all_messages_via_on_premises": True,
    "smart_hosts": ["hq.contoso.example"],
}
NAMED = {"recipient_domains": ["fabrikam.example"]}
ABOVE = {"recipient_domains": ["*.example"]}

OWNERS = Parties("fabrikam", "contoso", "fabrikam")
OWN = Parties("contoso", "", "fabrikam")


@pytest.mark.parametrize(
    ("connectors", "expected"),
    [
        ([], OWNERS),
        ([ALL], OWNERS),
        ([CENTRAL], OWNERS),
        ([NAMED], OWN),
        ([ABOVE], OWN),
        ([ALL | {"priority": 1}, NAMED], OWN),
        ([CENTRAL, NAMED], OWN),
        ([NAMED | {"enabled": False}], OWNERS),
        ([NAMED | {"is_transport_rule_scoped": True}], OWNERS),
        ([NAMED | {"mode": "rehearse"}], OWN),
    ],
)
def test_who_names_a_domain_decides_about_its_own_mail_for_it(
    connectors: Sequence[dict[str, Any]], expected: Parties
) -> None:
    index = directory(*connectors)
    assert parties(index, "contoso", "fabrikam.example") == expected
    assert expected.rule_owners == (("fabrikam", "contoso") if expected is OWNERS else ("contoso",))
    # A mailbox here is where its owner says, whoever names the domain.
    assert deciding(index, "contoso", "fabrikam.example", "ann@fabrikam.example") == "fabrikam"
    assert deciding(index, "contoso", "fabrikam.example", "bob@fabrikam.example") == expected.router


@pytest.mark.parametrize(
    ("organization", "domain", "expected"),
    [
        ("contoso", "b.example", Parties("contoso")),
        ("contoso", "contoso.example", Parties("contoso", owner="contoso")),
        ("gone", "contoso.example", Parties("contoso", owner="contoso")),
        ("gone", "b.example", Parties("")),
        ("", "", Parties("")),
    ],
)
def test_where_one_organization_has_a_part(organization: str, domain: str, expected: Parties) -> None:
    assert parties(directory(), organization, domain) == expected


def test_the_senders_part_is_told_by_names() -> None:
    (connector,) = directory(ALL).resources.organizations[0].outbound_connectors
    assert SenderPart("contoso", connector).record() == {"organization": "contoso", "connector": "c0"}
    assert SenderPart("contoso", None).record() == {"organization": "contoso", "connector": ""}
