from __future__ import annotations

from typing import Any

import pytest

from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.policy.connectors.lint import warnings
from gatepost.policy.connectors.model import parse

LISTED = {"type": "internal-relay", "recipient_validation": "list"}
URL = "ldaps://dc1.o.example"
LDAP = {"recipient_validation": "ldap"}
GRAPH = {"recipient_validation": "graph"}
APP = {"tenant_id": "t", "client_id": "c"}


def document(*mailboxes: str, **fields: Any) -> dict[str, Any]:
    domain = {"name": "o.example"} | fields
    boxes = [{"address": address} for address in mailboxes]
    return {"organization": {"o": {"accepted_domain": [domain], "mailbox": boxes}}}


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"recipient_validation": "list", "recipients": ["a@o.example"]}, "recipient_validation", "internal-relay"),
        (LISTED, "recipient_validation", "every recipient would be refused"),
        (LISTED | {"recipients": ["a@o.example", "b@p.example"]}, "recipients[1]", "b@p.example is not in o.example"),
        (LISTED | {"recipients": ["a@sub.o.example"]}, "recipients[0]", "is not in o.example"),
        (LISTED | {"recipients": ["nobody"]}, "recipients[0]", "is not a mail address"),
        (LISTED | {"recipient_validation": "file"}, "recipient_validation", "there is no file"),
        (LISTED | {"recipient_validation": "ldap"}, "recipient_validation", "there is no directory"),
        (LISTED | LDAP | {"recipient_directory": {}}, "recipient_directory.urls", "is missing"),
        (
            LISTED | LDAP | {"recipient_directory": {"urls": [URL], "password_file": "/p"}},
            "recipient_directory.password_file",
            "has an effect only with bind_dn",
        ),
        (
            LISTED | LDAP | {"recipient_directory": {"urls": ["http://x"]}},
            "recipient_directory.urls[0]",
            "not an address of a server",
        ),
        (LISTED | {"type": "elsewhere"}, "type", "authoritative"),
        (LISTED | GRAPH, "recipient_validation", "there is no app registration"),
        (LISTED | GRAPH | {"recipient_graph": {"client_id": "c"}}, "recipient_graph.tenant_id", "is missing"),
        (LISTED | GRAPH | {"recipient_graph": {"tenant_id": "t"}}, "recipient_graph.client_id", "is missing"),
        (
            LISTED | GRAPH | {"recipient_graph": APP | {"url": "https://graph.example"}},
            "recipient_graph.login_url",
            "is missing",
        ),
        (LISTED | GRAPH | {"recipient_graph": {"tenant_id": "common"}}, "recipient_graph.tenant_id", "is not a tenant"),
    ],
)
def test_a_source_that_cannot_know_the_recipients_is_an_error(fields: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(ResourceErrors) as caught:
        parse(document(**fields))
    (error,) = caught.value.errors
    assert error.path.endswith(f".{field}")
    assert said in error.message


def test_a_list_may_have_addresses_in_every_subdomain_of_a_wildcard() -> None:
    fields = LISTED | {"name": "*.o.example", "recipients": ["a@o.example", "B@sub.O.example"]}
    (organization,) = parse(document(**fields)).organizations
    assert organization.accepted_domains[0].recipients == ("a@o.example", "B@sub.o.example")


@pytest.mark.parametrize(
    ("fields", "mailboxes", "said"),
    [
        ({"type": "internal-relay", "recipients": ["a@o.example"]}, (), "its recipients have no effect"),
        (LISTED | {"recipient_validation": "callout", "recipients": ["a@o.example"]}, (), ""),
        (LISTED | {"recipients": ["a@o.example"]}, (), "postmaster@o.example is not among its recipients"),
        (LISTED | {"recipients": ["Postmaster@o.example"]}, (), ""),
        (LISTED | {"recipients": ["a@o.example"]}, ("postmaster@o.example",), ""),
        ({"type": "internal-relay", "name": "*.o.example"}, (), "misspelt ones too"),
        (LISTED | {"name": "*.o.example", "recipients": ["a@o.example"]}, (), ""),
        ({"type": "internal-relay", "recipients_file": "/r"}, (), "its recipients_file has no effect"),
        (
            {"type": "internal-relay", "recipient_directory": {"urls": [URL], "bind_dn": "cn=a"}},
            (),
            "its recipient_directory has no effect",
        ),
        (LISTED | LDAP | {"recipient_directory": {"urls": [URL]}}, (), "does not log in"),
        (LISTED | LDAP | {"recipient_directory": {"urls": [URL], "bind_dn": "cn=a"}}, (), ""),
        (LISTED | {"recipient_validation": "file", "recipients_file": "/r"}, (), ""),
        ({"type": "internal-relay", "recipient_graph": APP}, (), "its recipient_graph has no effect"),
        (LISTED | GRAPH | {"recipient_graph": APP}, (), ""),
    ],
)
def test_what_has_no_effect_or_leaves_out_the_postmaster_is_warned_of(
    fields: dict[str, Any], mailboxes: tuple[str, ...], said: str
) -> None:
    texts = [text for text in warnings(parse(document(*mailboxes, **fields))) if "no outbound connector" not in text]
    assert [said in text for text in texts] == ([True] if said else [])
