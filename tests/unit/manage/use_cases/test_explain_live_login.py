from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.explain import ExplainRequest, explain, explain_record
from gatepost.pki.certificates.connector_secrets import content_name, destination_of
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse

ALL = Principal("root", frozenset({Scope.OWNER}))
OTHER = Principal("tim", frozenset({Scope.READ}), frozenset({"fabrikam"}))
AUTO = "the strongest that the smart host offers of "
TOKEN = {"token_url": "https://login.example/token", "client_id": "gate"}


def resources(**login):
    relay = {
        "name": "relay",
        "recipient_domains": ["*"],
        "smart_hosts": ["smtp.provider.example:587"],
        "tls_settings": "domain-validation",
    }
    if login:
        relay["authentication"] = {"username": "gate@contoso.example", **login}
    return {
        "organization": {
            "contoso": {
                "accepted_domain": [{"name": "contoso.example"}],
                "inbound_connector": [
                    {"name": "own", "connector_type": "on-premises", "sender_ip_addresses": ["192.0.2.7"]}
                ],
                "outbound_connector": [relay],
            },
            "fabrikam": {"accepted_domain": [{"name": "fabrikam.example"}]},
        }
    }


def explained(gateway, document, who=ALL, *, sender="ann@contoso.example", to="x@any.example"):
    with gateway.config() as store:
        store.apply(document, author="root")
    return explain_record(explain(gateway, who, ExplainRequest(sender, to, ip="192.0.2.7")))


def store_secret(gateway, document, *, destination=""):
    """As `gatepost connector secret` does, but that nothing opens it here."""
    with gateway.config() as store:
        store.apply(document, author="root")
        connector = Directory(parse(document)).organization("contoso").outbound_connectors[0]
        place = destination or destination_of(connector)
        store.apply({}, author="root", content={content_name("contoso", "relay"): place.encode() + b"\nsealed"})


@pytest.mark.parametrize(
    ("login", "method"),
    [
        ({"mechanism": "auto"}, f"with a password, by {AUTO}SCRAM-SHA-256-PLUS, SCRAM-SHA-256, PLAIN, LOGIN"),
        ({"mechanism": "plain"}, "with a password, by PLAIN"),
        ({"mechanism": "scram-sha-256"}, "with a password, by SCRAM-SHA-256-PLUS or SCRAM-SHA-256"),
        (TOKEN, f"with an access token, by {AUTO}OAUTHBEARER, XOAUTH2"),
        ({"mechanism": "xoauth2", **TOKEN}, "with an access token, by XOAUTH2"),
        (
            {"secret_file": "/etc/gatepost/relay"},
            f"with a password, by {AUTO}SCRAM-SHA-256-PLUS, SCRAM-SHA-256, PLAIN, LOGIN",
        ),
    ],
)
def test_how_the_gateway_logs_in(sealed, login, method):
    document = resources(**login)
    if "secret_file" not in login:
        store_secret(sealed, document)
    found = explained(sealed, document)
    assert found["login"] == {"username": "gate@contoso.example", "method": method, "missing": ""}
    assert found["succeeds"] is True


def test_who_does_not_log_in_has_nothing_to_say(gateway):
    found = explained(gateway, resources())
    assert "login" not in found
    assert found["succeeds"] is True


@pytest.mark.parametrize(
    ("kind", "prepare", "why"),
    [
        ("sealed", lambda _gateway, _document: None, "no secret is stored"),
        (
            "sealed",
            lambda gateway, document: store_secret(gateway, document, destination="0" * 64),
            "entered for another destination",
        ),
        ("gateway", store_secret, "store.master_key is not set"),
    ],
)
def test_what_keeps_it_from_logging_in(request, kind, prepare, why):
    gateway = request.getfixturevalue(kind)
    document = resources(mechanism="auto")
    prepare(gateway, document)
    found = explained(gateway, document)
    assert why in found["login"]["missing"]
    assert found["succeeds"] is False


def test_another_organization_is_not_told(gateway):
    document = resources(mechanism="auto")
    found = explained(gateway, document, OTHER, to="x@fabrikam.example")
    assert "login" not in found
    assert "gate@contoso.example" not in str(found)
