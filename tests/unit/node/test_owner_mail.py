from __future__ import annotations

import pytest

from gatepost.node.owner_mail import carrier
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.grants import mark
from gatepost.policy.connectors.model import parse

ORGANIZATIONS = {
    "contoso": {"accepted_domain": [{"name": "contoso.example"}]},
    "fabrikam": {"accepted_domain": [{"name": "fabrikam.example"}, {"name": "gate.example"}]},
    "adatum": {},
}

# domain of the recipient, our host name -> who carries the mail
CARRIERS = [
    ("contoso.example", "mx.gate.example", "contoso"),
    ("fabrikam.example", "mx.contoso.example", "fabrikam"),
    ("elsewhere.example", "mx.contoso.example", "contoso"),
    ("elsewhere.example", "mx.gate.example", "fabrikam"),
    ("elsewhere.example", "mx.elsewhere.example", "adatum"),
]


@pytest.mark.parametrize(("domain", "hostname", "organization"), CARRIERS)
def test_who_carries_mail_of_our_own(domain, hostname, organization):
    directory = Directory(parse({"organization": ORGANIZATIONS}))
    assert carrier(directory, domain, hostname) == organization


def test_nobody_does_where_there_is_nobody():
    assert carrier(Directory(parse({})), "contoso.example", "mx.contoso.example") == ""


@pytest.mark.parametrize(
    ("of_tenants", "organization"),
    [
        ([], "adatum"),
        (["adatum"], "contoso"),
        (["adatum", "contoso"], "fabrikam"),
        (["adatum", "contoso", "fabrikam"], ""),
    ],
)
def test_no_tenant_carries_what_is_told_of_all(of_tenants, organization):
    stored = {name: table | {"tenants": name in of_tenants} for name, table in ORGANIZATIONS.items()}
    directory = Directory(mark(parse({"organization": ORGANIZATIONS}), stored))
    assert carrier(directory, "elsewhere.example", "mx.elsewhere.example") == organization
    assert carrier(directory, "contoso.example", "mx.elsewhere.example") == "contoso"


def test_the_only_organization_there_is_carries_it():
    stored = {"adatum": {"tenants": True}}
    directory = Directory(mark(parse({"organization": {"adatum": {}}}), stored))
    assert carrier(directory, "elsewhere.example", "mx.elsewhere.example") == "adatum"
