from __future__ import annotations

from collections.abc import Callable

import pytest

from gatepost.policy.connectors.inbound_lint import lint_inbound
from gatepost.policy.connectors.resources import Resources

Build = Callable[[str], Resources]

OWN = '[[organization.o.accepted_domain]]\nname = "o.example"\n'
INBOUND = '[[organization.o.inbound_connector]]\nname = "in"\n'
PREMISES = INBOUND + 'connector_type = "on-premises"\n'
PARTNER = INBOUND + 'sender_domains = ["p.example"]\n'
BY_NAME = 'restrict_domains_to_certificate = true\ntls_sender_certificate_name = "*.p.example"\n'
BY_ADDRESS = 'restrict_domains_to_ip_addresses = true\nsender_ip_addresses = ["192.0.2.1"]\n'
ANOTHER = PARTNER.replace('"in"', '"a"')


def warnings(resources: Resources) -> list[str]:
    return [sentence for organization in resources.organizations for sentence in lint_inbound(organization)]


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (OWN + PREMISES + 'sender_ip_addresses = ["192.0.2.1"]\n' + BY_NAME.replace("p.ex", "o.ex"), "on partner"),
        (PREMISES + 'tls_sender_certificate_name = "*.o.example"', "*.o.example is under no accepted domain of o"),
        (
            OWN + PREMISES + 'tls_sender_certificate_name = "*.example"\ntrust_anchors = "/o.pem"',
            "covers a whole top-level domain",
        ),
        (
            OWN + PREMISES + 'sender_ip_addresses = ["192.0.2.1"]\nmode = "rehearse"',
            "still lets its servers relay",
        ),
        (PARTNER + BY_NAME.replace("p.example", "example"), "*.example covers a whole top-level domain"),
        (
            OWN + PREMISES + 'tls_sender_certificate_name = "*.o.example"\nmatch_common_name = true',
            "match_common_name accepts the CN",
        ),
        (
            PARTNER + BY_NAME + "match_common_name = true",
            "match_common_name accepts the CN",
        ),
        (
            OWN + PREMISES + 'sender_ip_addresses = ["192.0.2.1"]\ncloud_services_mail_enabled = true',
            "cloud_services_mail_enabled has no effect on servers known by address alone",
        ),
        (PARTNER + "cloud_services_mail_enabled = true", "acts on on-premises connectors only; leave it out"),
        (PARTNER + BY_NAME + BY_ADDRESS, "both the certificate and the address are needed"),
        (INBOUND + 'sender_domains = ["*"]\n' + BY_NAME, "it locks down all accepted domains"),
        (PARTNER + "require_tls = false", "it demands nothing"),
        (
            PARTNER + 'require_tls = false\nprofile = "modern"',
            'profile = "modern" refuses mail over TLS older than TLSv1.3, and lets unencrypted mail pass',
        ),
        (
            OWN + PREMISES + 'sender_ip_addresses = ["192.0.2.1"]\nprofile = "default"',
            'profile = "default" refuses mail over TLS older than TLSv1.2, and lets unencrypted mail pass',
        ),
        (
            PARTNER + 'tls_sender_certificate_name = "*.p.example"',
            "it does not refuse mail without a certificate for *.p.example; write restrict_domains_to_certificate",
        ),
        (
            PARTNER + BY_NAME + 'sender_ip_addresses = ["192.0.2.1"]',
            "it does not refuse mail from addresses that it does not name; write restrict_domains_to_ip_addresses",
        ),
        (
            PARTNER + ANOTHER + "priority = 100",
            "'a' and 'in' of o both name p.example; 'a' wins by its name, and what 'in' demands is not applied",
        ),
        (
            OWN + PARTNER + 'associated_accepted_domains = ["o.example"]\n' + ANOTHER,
            "'a' and 'in' of o both name p.example",
        ),
        (
            OWN + PREMISES + 'sender_ip_addresses = ["192.0.2.1"]\nsender_domains = ["o.example"]',
            "sender_domains act on partner connectors only",
        ),
    ],
)
def test_what_is_probably_not_meant(resources: Build, text: str, warning: str) -> None:
    found = warnings(resources(text))
    assert len(found) == 1, found
    assert warning in found[0]


@pytest.mark.parametrize(
    "text",
    [
        OWN + PREMISES + 'tls_sender_certificate_name = "*.o.example"',
        OWN + PREMISES + 'tls_sender_certificate_name = "o.example"',
        OWN.replace("o.example", "eu.o.example") + PREMISES + 'tls_sender_certificate_name = "*.o.example"',
        PARTNER,
        PARTNER + BY_NAME,
        PARTNER + "require_tls = false\n" + BY_ADDRESS,
        PARTNER + "require_tls = false\nenabled = false",
        PARTNER + "require_tls = true\nprofile = 'modern'",
        OWN + PREMISES + "sender_ip_addresses = ['192.0.2.1']\nprofile = 'legacy'",
        "[organization.o]\nreject_direct_send = true\n" + PARTNER + 'tls_sender_certificate_name = "*.p.example"',
        PARTNER + ANOTHER + "priority = 1",
        PARTNER + ANOTHER + 'mode = "rehearse"',
        PARTNER + ANOTHER + "enabled = false",
        PARTNER + ANOTHER.replace("p.example", "*.p.example"),
        PARTNER + ANOTHER + BY_NAME,
        PARTNER + BY_ADDRESS + ANOTHER + BY_NAME,
        OWN
        + OWN.replace("o.example", "q.example")
        + "".join(
            PARTNER.replace('"in"', f'"{one}"') + f'associated_accepted_domains = ["{one}.example"]\n' for one in "oq"
        ),
        OWN + INBOUND + 'sender_domains = ["*"]\nassociated_accepted_domains = ["o.example"]\n' + BY_NAME,
        OWN + PREMISES + 'sender_ip_addresses = ["192.0.2.1"]\nsender_domains = ["*"]',
    ],
)
def test_what_is_meant_gives_no_warning(resources: Build, text: str) -> None:
    assert warnings(resources(text)) == []


def test_of_many_alike_each_pair_is_told_up_to_a_limit(resources: Build) -> None:
    text = "".join(PARTNER.replace('"in"', f'"{number}"') for number in range(100))
    found = warnings(resources(text))
    assert len(found) == 1000
    assert len(set(found)) == 1000
