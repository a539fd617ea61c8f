from __future__ import annotations

import tomllib

import pytest

from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.policy.connectors.lint import warnings
from gatepost.policy.connectors.model import parse

HEAD = '[[organization.o.outbound_connector]]\nname = "c"\nrecipient_domains = ["p.example"]\n'
SMART = HEAD + 'smart_hosts = ["relay.example:587"]\n'
PROVED = SMART + 'tls_settings = "domain-validation"\n'
LOGIN = 'authentication = { username = "u" }\n'


def errors_of(text):
    try:
        parse(tomllib.loads(text))
    except ResourceErrors as errors:
        return [(error.path.rpartition("'c'.")[2], error.message) for error in errors.errors]
    return []


@pytest.mark.parametrize(
    "text",
    [
        PROVED + LOGIN,
        PROVED + 'authentication = { username = "u", secret_file = "/etc/s", mechanism = "plain" }\n',
        PROVED
        + 'authentication = { username = "u", client_id = "c", token_url = "https://a.example/t", scope = "s" }\n',
        PROVED + LOGIN + "implicit_tls = true\n",
        SMART + 'tls_settings = "encryption-only"\nimplicit_tls = true\n',
        HEAD + 'source_ipv4_address = "192.0.2.1"\nsource_ipv6_address = "2001:db8::1"\naddress_family = "any"\n',
        HEAD + 'source_ipv4_address = "192.0.2.1"\naddress_family = "ipv4"\nhello_name = "out.example"\n',
    ],
)
def test_what_goes_together(text):
    assert errors_of(text) == []


@pytest.mark.parametrize(
    ("text", "field", "why"),
    [
        (SMART + LOGIN, "authentication", 'under tls_settings = "opportunistic"'),
        (SMART + LOGIN + 'tls_settings = "encryption-only"', "authentication", "does not prove its name"),
        (SMART + LOGIN + 'tls_settings = "certificate-validation"', "authentication", "does not prove its name"),
        (PROVED + LOGIN + 'mode = "rehearse"', "authentication", "in rehearsal"),
        (PROVED + LOGIN + 'profile = "legacy"', "authentication", "TLS 1.0"),
        (HEAD + 'tls_settings = "domain-validation"\n' + LOGIN, "authentication", "to smart hosts only"),
        (PROVED + "authentication = {}", "authentication.username", "is missing"),
        (
            PROVED + 'authentication = { username = "u", mechanism = "xoauth2" }',
            "authentication.token_url",
            "needs an access token",
        ),
        (
            PROVED + 'authentication = { username = "u", mechanism = "plain", client_id = "c", '
            'token_url = "https://a.example/t" }',
            "authentication.token_url",
            "is a log-in with a password",
        ),
        (
            PROVED + 'authentication = { username = "u", token_url = "https://a.example/t" }',
            "authentication.client_id",
            "is missing",
        ),
        (PROVED + 'authentication = { username = "u", scope = "s" }', "authentication.scope", "only with token_url"),
        (
            PROVED + 'authentication = { username = "u", token_url = "http://a.example/t" }',
            "authentication.token_url",
            "not an https address",
        ),
        (HEAD + 'tls_settings = "encryption-only"\nimplicit_tls = true', "implicit_tls", "MX hosts begin without TLS"),
        (SMART + "implicit_tls = true", "implicit_tls", "TLS is required from the first octet"),
        (HEAD + 'source_ipv4_address = "192.0.2.1"\naddress_family = "ipv6"', "source_ipv4_address", "never uses it"),
        (HEAD + 'source_ipv6_address = "::1"\naddress_family = "ipv4"', "source_ipv6_address", "never uses it"),
        (HEAD + 'source_ipv4_address = "::1"', "source_ipv4_address", "is not an IPv4 address"),
        (HEAD + 'source_ipv4_address = "0.0.0.0"', "source_ipv4_address", "is not an IPv4 address"),
        (HEAD + 'source_ipv6_address = "ff02::1"', "source_ipv6_address", "is not an IPv6 address"),
        (HEAD + 'source_ipv6_address = "mx.example"', "source_ipv6_address", "is not an IP address"),
        (HEAD + 'address_family = "ipv5"', "address_family", "ipv6"),
    ],
)
def test_what_is_refused(text, field, why):
    ((path, message),) = errors_of(text)
    assert path == field
    assert why in message


def test_a_field_that_is_wrong_by_itself_is_told_alone():
    (one,) = errors_of(SMART + LOGIN + 'tls_settings = "best"')
    assert one[0] == "tls_settings"
    (one,) = errors_of(PROVED + 'authentication = { username = 5 }\nmode = "rehearse"')
    assert one[0] == "authentication.username"
    (one,) = errors_of(HEAD + 'tls_settings = "best"\nimplicit_tls = true')
    assert one[0] == "tls_settings"
    (one,) = errors_of(HEAD + 'source_ipv4_address = "x"\naddress_family = "ipv6"')
    assert one[0] == "source_ipv4_address"


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (SMART.replace("587", "465"), "write implicit_tls = true"),
        (PROVED + "implicit_tls = true", "ports 25 and 587 (relay.example:587)"),
        (PROVED + LOGIN + 'revocation_check = "none"', "without a check whether"),
    ],
)
def test_what_is_warned_of(text, warning):
    found = [line for line in warnings(parse(tomllib.loads(text))) if warning in line]
    assert len(found) == 1


def test_what_is_not_warned_of():
    text = PROVED.replace("587", "465") + "implicit_tls = true\n" + LOGIN + 'tls_domain = "relay.example"\n'
    assert warnings(parse(tomllib.loads(text))) == []
