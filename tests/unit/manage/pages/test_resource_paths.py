from __future__ import annotations

import pytest

from gatepost.manage.pages import resource_paths
from gatepost.manage.use_cases.name_lookup import DOMAIN, INBOUND, KINDS, RULE, Part
from gatepost.policy.connectors.model import parse

OWNER = parse(
    {
        "organization": {
            "contoso": {
                "accepted_domain": [{"name": "contoso.example"}],
                "inbound_connector": [{"name": "a/b?c", "sender_domains": ["x.example"]}],
            }
        }
    }
).organizations[0]


@pytest.mark.parametrize(
    ("kind", "view", "edit", "listed"),
    [
        (
            DOMAIN,
            "/domains/view/contoso/contoso.example",
            "/domains/edit/contoso/contoso.example",
            "/domains",
        ),
        (INBOUND, "/connectors/contoso/inbound/a%2Fb%3Fc", "/connectors/edit/contoso/inbound/a%2Fb%3Fc", "/connectors"),
    ],
)
def test_a_part_has_an_address_whatever_its_name(kind, view, edit, listed):
    part = Part(kind, OWNER, kind.of(OWNER)[0])
    assert (resource_paths.part_path(part), resource_paths.edit_path(part), resource_paths.list_path(kind)) == (
        view,
        edit,
        listed,
    )


def test_kinds_without_pages_of_their_own_are_few():
    assert set(KINDS) - set(resource_paths.FOLDERS) == {"inbound_connector", "outbound_connector"}


def test_other_addresses():
    assert resource_paths.named_path(RULE, "contoso", "x") == "/rules/view/contoso/x"
    assert resource_paths.trace_path("<a/b@c>") == "/trace/%3Ca%2Fb%40c%3E"
    assert resource_paths.version_path(7) == "/history/7"
    assert resource_paths.organization_path("contoso", "edit") == "/organizations/edit/contoso"


@pytest.mark.parametrize(
    ("text", "number"),
    [("7", 7), ("0", 0), ("9" * 18, 10**18 - 1)]
    + [(odd, None) for odd in ("", "-1", "+1", " 1", "x", "²", "٣", "9" * 5000)],
)
def test_a_number_that_something_is_named_by(text, number):
    assert resource_paths.number_of(text) == number


def test_actions_of_a_connector_have_addresses_whatever_its_name():
    path = "/connectors/validate/contoso/outbound/a%2Fb"
    assert resource_paths.validate_path("contoso", "outbound", "a/b") == path
    assert resource_paths.trust_path("contoso", "a/b") == "/connectors/trust/contoso/a%2Fb"
