from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from gatepost.policy.connectors.accepted_domain import AcceptedDomain
from gatepost.policy.connectors.errors import FieldError, ResourceErrors
from gatepost.policy.connectors.model import dump, parse
from gatepost.policy.connectors.records import InboundConnector, Mailbox, Organization, OutboundConnector
from gatepost.policy.connectors.resources import Resources

WHOLE = """
[organization.contoso]
display_name = "Contoso Hospital"
message_expiration = "12h"
reject_direct_send = true
cleartext = "after-failed-handshake"
[[organization.contoso.accepted_domain]]
name = "Contoso.Example"
[[organization.contoso.accepted_domain]]
name = "*.relay.example"
type = "internal-relay"
[[organization.contoso.mailbox]]
address = "ann@contoso.example"
delivery = "lmtp:127.0.0.1:24"
[[organization.contoso.inbound_connector]]
name = "hq"
connector_type = "on-premises"
sender_ip_addresses = ["192.0.2.7/24", "2001:db8::1"]
tls_sender_certificate_name = "*.contoso.example"
trust_anchors = "/etc/roots.pem"
[[organization.contoso.inbound_connector]]
name = "bank-in"
mode = "rehearse"
sender_domains = ["bank.example"]
restrict_domains_to_certificate = true
tls_sender_certificate_name = "mail.bank.example"
min_tls_version = "1.3"
priority = 10
[[organization.contoso.outbound_connector]]
name = "bank-out"
recipient_domains = ["*.bank.example"]
smart_hosts = ["Mail.bank.example:2525", "[2001:DB8::1]"]
tls_settings = "domain-validation"
tls_domain = "*.bank.example"
client_certificate = { chain = "/a.pem", key = "/a.key" }
[organization.fabrikam]
"""


def errors_of(document: dict[str, Any]) -> list[str]:
    with pytest.raises(ResourceErrors) as refused:
        parse(document)
    return [str(error) for error in refused.value.errors]


def test_a_document_becomes_resources() -> None:
    resources = parse(tomllib.loads(WHOLE))
    contoso = resources.organization("contoso")
    assert contoso is not None
    assert contoso.message_expiration == 43200
    assert [one.name for one in contoso.accepted_domains] == ["contoso.example", "*.relay.example"]
    assert contoso.mailboxes == (Mailbox(address="ann@contoso.example", delivery="lmtp:127.0.0.1:24"),)
    assert contoso.inbound_connectors[0].sender_ip_addresses == ("192.0.2.0/24", "2001:db8::1")
    assert contoso.inbound_connectors[1].min_tls_version == "TLSv1.3"
    assert [str(one) for one in contoso.outbound_connectors[0].smart_hosts] == [
        "mail.bank.example:2525",
        "[2001:db8::1]",
    ]
    assert resources.organization("fabrikam") == Organization(name="fabrikam")
    assert resources.organization("nobody") is None


def test_what_is_dumped_reads_back_the_same_through_toml_and_json() -> None:
    resources = parse(tomllib.loads(WHOLE))
    document = dump(resources)
    assert parse(document) == resources
    assert dump(parse(tomllib.loads(tomlkit.dumps(document)))) == document
    assert parse(json.loads(json.dumps(document))) == resources


def test_what_was_not_written_is_not_dumped() -> None:
    document = dump(parse(tomllib.loads(WHOLE)))
    assert document["organization"]["fabrikam"] == {}
    assert document["organization"]["contoso"]["accepted_domain"][0] == {"name": "contoso.example"}
    assert document["organization"]["contoso"]["message_expiration"] == "12h"


def test_nothing_is_a_document_of_no_organization() -> None:
    assert parse({}) == Resources()
    assert dump(Resources()) == {"organization": {}}


def test_a_null_of_json_is_the_same_as_nothing() -> None:
    text = '{"organization": {"o": {"message_expiration": null}}}'
    assert dump(parse(json.loads(text))) == {"organization": {"o": {}}}


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({"organisation": {}}, "organisation: unknown key, it would have no effect; did you mean 'organization'?"),
        ({"organization": []}, "organization: must be a table: write [organization.NAME] headings"),
        ({"organization": {"o": 5}}, "organization.o: must be a table: write its keys under [organization.o]"),
        (
            {"organization": {"o": {"name": "o"}}},
            "organization.o.name: leave this key out: the name stands in the heading, [organization.o]",
        ),
        ({"organization": {"o": {"mailbox": 5}}}, "organization.o.mailbox: must be a list of tables"),
        ({"organization": {"Big Co": {}}}, "organization.Big Co.name: 'Big Co' has the wrong form"),
        ({"organization": {"o": {"mailboxes": []}}}, "organization.o.mailboxes: unknown key"),
    ],
)
def test_a_wrong_document_is_refused_with_the_place(document: dict[str, Any], error: str) -> None:
    (found,) = errors_of(document)
    assert found.startswith(error)


@pytest.mark.parametrize("document", [[], "organization", 7, None])
def test_what_is_no_table_is_no_document(document: Any) -> None:
    assert errors_of(document) == ["document: must be a table, which has one key: organization"]


def test_everything_wrong_is_told_at_once() -> None:
    text = """
    surplus = 1
    [organization.a]
    message_expiration = "soon"
    reject_direct_sent = true
    [[organization.a.accepted_domain]]
    name = "a.example"
    [[organization.a.mailbox]]
    address = "x@elsewhere.example"
    [[organization.a.outbound_connector]]
    name = "out"
    priority = 5000
    recipient_domains = ["p.example"]
    tls_domain = "p.example"
    [[organization.a.inbound_connector]]
    nmae = "in"
    sender_domains = ["*"]
    treat_messages_as_internal = true
    """
    assert [error.split(": ")[0] for error in errors_of(tomllib.loads(text))] == [
        "surplus",
        "organization.a.message_expiration",
        "organization.a.reject_direct_sent",
        "organization.a.inbound_connector[0].name",
        "organization.a.inbound_connector[0].nmae",
        "organization.a.outbound_connector[0] 'out'.priority",
        "organization.a.inbound_connector[0].treat_messages_as_internal",
        "organization.a.outbound_connector[0] 'out'.tls_domain",
        "organization.a.mailbox[0] 'x@elsewhere.example'.address",
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = [
    *(field.alias or name for name, field in Organization.model_fields.items()),
    *InboundConnector.model_fields,
    *OutboundConnector.model_fields,
    *AcceptedDomain.model_fields,
]


@given(
    st.dictionaries(
        st.sampled_from(KEYS), JSON | st.lists(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=4), max_size=2)
    )
)
def test_any_document_gives_resources_or_errors_and_nothing_else(table: dict[str, Any]) -> None:
    try:
        resources = parse({"organization": {"o": table}})
    except ResourceErrors as errors:
        found = errors.errors
    else:
        found = (FieldError("none", "it was right"),)
        assert dump(parse(dump(resources))) == dump(resources)
    assert found
    assert all(isinstance(error, FieldError) and error.message for error in found)


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
def test_a_list_of_a_connector_that_is_to_be_stored_is_bounded_and_not_read_beyond(direction: str) -> None:
    key = {"inbound": "sender_domains", "outbound": "recipient_domains"}[direction]

    def document(*domains: str) -> dict[str, Any]:
        return {
            "organization": {"contoso": {f"{direction}_connector": [{"name": "bank", key: domains, "priority": "x"}]}}
        }

    with pytest.raises(ResourceErrors) as refused:
        parse(document(*["no domain!"] * 11), most_entries=10)
    path = f"organization.contoso.{direction}_connector[0] 'bank'"
    assert [str(error) for error in refused.value.errors] == [
        f"{path}.{key}: has 11 entries; a list may have at most 10",
        f"{path}.priority: 'x' must be a whole number, without quotes",
    ]
    for most in (10, None):
        with pytest.raises(ResourceErrors) as refused:
            parse(document(*["no domain!"] * 10), most_entries=most)
        assert len(refused.value.errors) == 11


def test_lists_of_recipients_have_any_length() -> None:
    domain = {
        "name": "a.example",
        "type": "internal-relay",
        "recipients": [f"r{number}@a.example" for number in range(9)],
    }
    assert parse({"organization": {"contoso": {"accepted_domain": [domain]}}}, most_entries=8)
