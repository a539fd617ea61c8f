from __future__ import annotations

import pytest

from gatepost.node.owner_mail import carrier
from gatepost.policy.connectors.directory import Directory
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
