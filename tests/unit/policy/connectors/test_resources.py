from __future__ import annotations

from gatepost.policy.connectors.records import Organization
from gatepost.policy.connectors.resources import Resources


def test_organizations_are_known_by_their_names() -> None:
    contoso = Organization(name="contoso")
    resources = Resources((Organization(name="fabrikam"), contoso))
    assert resources.organization("contoso") is contoso
    assert resources.organization("Contoso") is None
