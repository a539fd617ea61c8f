from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.policy.connectors.fields import Access
from gatepost.policy.connectors.grants import (
    TENANTS_CHOOSE,
    UNGRANTED_PATH,
    decide,
    first_grants,
    mark,
    resources_in_force,
    ungranted,
    ungranted_paths,
    with_grant,
)
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.record_base import keys, owned_marker, record_in
from gatepost.policy.connectors.records import Organization

PEM = "-----BEGIN CERTIFICATE-----MAAA-----END CERTIFICATE-----"
OUT = {"name": "Out", "recipient_domains": ["b.example"], "smart_hosts": ["10.0.0.1", "mx.b.example:26"]}
FILES = {"client_certificate": {"chain": "/k/c.pem", "key": "/k/k.pem"}, "trust_anchors": "/k/roots"}
PARTS = {
    "accepted_domain": [{"name": "a.example"}],
    "mailbox": [
        {"address": "Ann@a.example", "delivery": "lmtp:unix:/run/lmtp"},
        {"address": "bob@a.example", "delivery": "lmtp:10.0.0.1:24"},
        {"address": "cy@a.example"},
    ],
    "inbound_connector": [{"name": "in", "sender_domains": ["b.example"], "trust_anchors": "system"}],
    "outbound_connector": [OUT | FILES],
    "oauth_issuer": [{"name": "idp", "issuer": "https://idp.example", "audiences": ["x"], "trust_anchors": PEM}],
    "content_hook": [
        {"name": "av", "type": "clamav", "address": "unix:/run/clamd"},
        {"name": "spam", "type": "rspamd", "address": "http://127.0.0.1:11333"},
    ],
    "dkim_key": [{"name": "s._domainkey.a.example", "key_file": "/k/dkim.pem"}],
}
MACHINE = {
    "mailbox ann@a.example delivery lmtp:unix:/run/lmtp",
    "outbound_connector out client_certificate.chain /k/c.pem",
    "outbound_connector out client_certificate.key /k/k.pem",
    "outbound_connector out trust_anchors /k/roots",
    "content_hook av address unix:/run/clamd",
    "dkim_key s._domainkey.a.example key_file /k/dkim.pem",
}
NETWORK = {
    "mailbox bob@a.example delivery lmtp:10.0.0.1:24",
    "outbound_connector out recipient_domains b.example",
    "outbound_connector out smart_hosts 10.0.0.1",
    "outbound_connector out smart_hosts mx.b.example:26",
    "oauth_issuer idp issuer https://idp.example",
    "content_hook spam address http://127.0.0.1:11333",
}
NOTHING = {"granted": []}


def organization(parts=PARTS, name="contoso"):
    return parse({"organization": {name: parts}}).organization(name)


def granted(document):
    return {" ".join(one) for one in document["granted"]}


def test_the_owner_grants_what_they_write():
    document, errors = decide(None, organization(), None, by_owner=True)
    assert (granted(document), errors) == (MACHINE | NETWORK, [])
    assert "tenants" not in document


def test_a_tenant_writes_nothing_of_the_machine():
    document, errors = decide(organization({}), organization(), NOTHING, by_owner=False)
    assert document == {"granted": [], "tenants": True}
    assert len(errors) == len(MACHINE)
    said = {error.path: error.message for error in errors}
    assert "label" in said["organization.contoso.outbound_connector[0] 'Out'.client_certificate.key"]
    assert "PEM" in said["organization.contoso.outbound_connector[0] 'Out'.trust_anchors"]
    assert "maildir" in said["organization.contoso.mailbox[0] 'Ann@a.example'.delivery"]
    assert all("only the gateway's owner may write" in text for text in said.values())


def test_what_the_owner_wrote_may_be_repeated_and_not_moved():
    before = organization()
    document, _ = decide(None, before, None, by_owner=True)
    assert decide(before, before, document, by_owner=False) == (document | {"tenants": True}, [])
    moved = organization(PARTS | {"outbound_connector": [OUT | FILES | {"name": "other"}]})
    after, errors = decide(before, moved, document, by_owner=False)
    assert {error.path.rpartition("'")[2] for error in errors} == {
        ".client_certificate.chain", ".client_certificate.key", ".trust_anchors",
    }  # fmt: skip
    assert not any(one.startswith("outbound_connector") for one in granted(after))


def test_a_tenant_does_not_lead_elsewhere_what_the_owner_granted():
    before = organization()
    document, _ = decide(None, before, None, by_owner=True)
    for changed, field in (
        ({"outbound_connector": [OUT | FILES | {"smart_hosts": ["192.0.2.1"]}]}, "smart_hosts"),
        ({"outbound_connector": [OUT | FILES | {"use_mx_record": True, "smart_hosts": []}]}, "use_mx_record"),
        ({"content_hook": [PARTS["content_hook"][0] | {"connections": 9}]}, "connections"),
    ):
        after = organization(PARTS | changed)
        _, errors = decide(before, after, document, by_owner=False)
        said = {error.path.rpartition(".")[2]: error.message for error in errors}
        assert "the gateway's owner granted" in said[field]
        assert decide(before, after, document, by_owner=True)[1] == []
    given_up = OUT | {"smart_hosts": ["192.0.2.1"]}
    assert decide(before, organization(PARTS | {"outbound_connector": [given_up]}), document, by_owner=False)[1] == []


def test_a_domain_that_was_granted_for_smart_hosts_is_not_for_mx():
    before = organization({"outbound_connector": [OUT]})
    document, _ = decide(None, before, None, by_owner=True)
    by_mx = organization({"outbound_connector": [{"name": "Out", "recipient_domains": ["b.example"]}]})
    after, errors = decide(before, by_mx, document, by_owner=False)
    assert (after, errors) == ({"granted": [], "tenants": True}, [])
    kept, _ = decide(by_mx, by_mx, decide(None, by_mx, None, by_owner=True)[0], by_owner=False)
    assert granted(kept) == {"outbound_connector out recipient_domains b.example"}


def test_a_grant_whose_resource_is_gone_is_nobodys():
    document, _ = decide(None, organization(), None, by_owner=True)
    after, errors = decide(organization({}), organization(), document, by_owner=False)
    assert (after, len(errors)) == ({"granted": [], "tenants": True}, len(MACHINE))


def test_swapped_fields_are_moved_ones():
    document, _ = decide(None, organization(), None, by_owner=True)
    swapped = {"client_certificate": {"chain": "/k/k.pem", "key": "/k/c.pem"}, "trust_anchors": "/k/roots"}
    _, errors = decide(
        organization(), organization(PARTS | {"outbound_connector": [OUT | swapped]}), document, by_owner=False
    )
    assert len(errors) == 2


def test_what_stood_there_before_grants_counts_as_granted():
    document, errors = decide(organization(), organization(), None, by_owner=False)
    assert (granted(document), errors) == (MACHINE | NETWORK, [])
    resources = parse(
        {"organization": {"contoso": PARTS, "known": PARTS | {"accepted_domain": [], "mailbox": [], "dkim_key": []}}}
    )
    first = first_grants(resources, {"known": NOTHING})
    assert list(first) == ["contoso"]
    assert granted(first["contoso"]) == MACHINE | NETWORK
    assert mark(resources, {}) == resources


def test_the_owner_does_not_grant_what_they_repeat():
    """An export that is applied again must not turn a tenant's address into the owner's."""
    before = organization({"outbound_connector": [OUT]})
    document, _ = decide(before, before, NOTHING | {"tenants": True}, by_owner=True)
    assert document == {"granted": [], "tenants": True}
    again, _ = decide(organization({}), before, document, by_owner=True)
    assert len(granted(again)) == 3


def test_what_is_not_granted_has_no_effect():
    document = {"organization": {"contoso": PARTS}, "grant": {"contoso": NOTHING}}
    resources = resources_in_force(document)
    (one,) = resources.organizations
    ann, bob, cy = one.mailboxes
    assert ann.delivery == f"lmtp:unix:{UNGRANTED_PATH}"
    assert (bob.delivery, bob.ungranted) == ("lmtp:10.0.0.1:24", {("delivery", "lmtp:10.0.0.1:24")})
    assert not cy.ungranted
    (out,) = one.outbound_connectors
    assert {out.trust_anchors, out.client_certificate.chain, out.client_certificate.key} == {UNGRANTED_PATH}
    assert ("smart_hosts", "mx.b.example:26") in out.ungranted
    assert one.content_hooks[0].address == f"unix:{UNGRANTED_PATH}"
    assert one.dkim_keys[0].key_file == UNGRANTED_PATH
    assert len(list(ungranted_paths(resources))) == len(MACHINE)
    found = {" ".join(one.grant): one.access for one in ungranted(resources)}
    # Of a connector with smart hosts nobody looks the domains up.
    assert set(found) == (MACHINE | NETWORK) - {"outbound_connector out recipient_domains b.example"}
    assert {key for key, access in found.items() if access is Access.MACHINE} == MACHINE
    # Put out of force it stands there all the same: an owner who changes something else does not grant it.
    again, _ = decide(one, organization(), NOTHING, by_owner=True)
    assert again == NOTHING


def test_of_a_list_the_values_without_a_grant_have_no_effect():
    directory = {"urls": ["ldaps://one.example", "ldaps://two.example"], "trust_anchors": "/roots"}
    relayed = {"name": "r.example", "type": "internal-relay", "recipient_validation": "ldap"}
    parts = {"accepted_domain": [relayed | {"recipient_directory": directory}]}
    granted = {"granted": [["accepted_domain", "r.example", "recipient_directory.urls", "ldaps://two.example"]]}
    (one,) = mark(parse({"organization": {"contoso": parts}}), {"contoso": granted}).organizations
    found = one.accepted_domains[0].recipient_directory
    assert (found.urls, found.trust_anchors) == (("ldaps://two.example",), UNGRANTED_PATH)
    _, errors = decide(None, organization(parts), NOTHING, by_owner=False)
    assert len(errors) == 3
    assert "which only the gateway's owner may write" in errors[0].message


def test_one_value_is_granted_as_it_stands():
    document = {"granted": [], "tenants": True}
    resources = mark(parse({"organization": {"contoso": PARTS}}), {"contoso": document})
    every = list(ungranted(resources))
    one = every.pop(0)
    after = mark(parse({"organization": {"contoso": PARTS}}), {"contoso": with_grant(document, one.grant)})
    assert list(ungranted(after)) == every
    assert with_grant(document, one.grant)["tenants"] is True


def test_what_is_granted_is_in_force():
    document, _ = decide(None, organization(), None, by_owner=True)
    resources = resources_in_force({"organization": {"contoso": PARTS}, "grant": {"contoso": document}})
    assert resources.organizations == (organization(),)
    assert not list(ungranted_paths(resources))


def test_an_organization_that_tenants_change_is_known():
    resources = parse({"organization": {"contoso": {}}})
    (one,) = mark(resources, {"contoso": {"granted": [], "tenants": True}}).organizations
    assert TENANTS_CHOOSE in one.ungranted


@pytest.mark.parametrize("broken", [{}, {"granted": 5}, {"granted": [5, ["a"], "abcd"]}, {"granted": None}])
def test_a_document_of_grants_that_cannot_be_understood_grants_nothing(broken):
    (one,) = mark(parse({"organization": {"contoso": PARTS}}), {"contoso": broken}).organizations
    assert one.outbound_connectors[0].trust_anchors == UNGRANTED_PATH


def test_what_is_wrong_with_resources_is_said():
    with pytest.raises(ResourceErrors):
        resources_in_force({"organization": {"contoso": {"no": 1}}, "grant": {}})


# ------------------------------------------------------------------------------------------ all fields there are

PLACES = ["/etc/passwd", "unix:/run/docker.sock", "lmtp:unix:/run/docker.sock", "file:/etc/passwd", "env:SECRET"]
HOSTS = ["10.0.0.1:25", "http://10.0.0.1:80", "https://10.0.0.1/x", "lmtp:10.0.0.1:24"]
# Fields for people, names and things of a message: whatever stands in them is opened and called by nobody.
WORDS = {
    "name", "display_name", "comment", "settings_id", "header_contains", "audiences", "username_claim",
    "required_scopes", "route_via_connector", "label", "header_name", "username", "client_id", "scope",
    "base_dn", "bind_dn",
}  # fmt: skip
# Networks that a session comes from.
SOURCES = {"sender_ip_addresses"}


def fields(model, outer=""):
    for key, info in keys(model).items():
        inner = record_in(info.annotation)
        if inner is not None:
            yield from fields(inner, f"{outer}{key}.")
        else:
            yield f"{outer}{key}", info


def takes(info, value):
    adapter = TypeAdapter(info.rebuild_annotation())
    for given in (value, (value,)):
        try:
            adapter.validate_python(given)
        except ValidationError:
            continue
        return True
    return False


@pytest.mark.parametrize(("key", "info"), list(fields(Organization)), ids=[key for key, _ in fields(Organization)])
def test_every_field_that_can_name_something_of_the_gateway_is_marked(key, info):
    """A new field that takes a path, a socket or a host is marked `Owned`, or is a word for people."""
    owned = owned_marker(info)
    if key.rpartition(".")[2] in WORDS | SOURCES:
        assert owned is None
        return
    for value in PLACES:
        if takes(info, value):
            assert owned is not None, f"{key} takes {value}"
            assert owned.access(value) is Access.MACHINE
    for value in HOSTS:
        if takes(info, value):
            assert owned is not None, f"{key} takes {value}"
            assert owned.access(value) in set(Access)
    said = f"{info.description} {info}".lower()
    if any(word in said for word in ("socket", "mode 0600", " path", "directory")):
        assert owned is not None or key in {"organization.name", "accepted_domain.recipient_validation"}, key


def test_all_of_them_are_known():
    """What needs a grant, by name: a field that is missing here was lost."""
    found = {key: owned for key, info in fields(Organization) if (owned := owned_marker(info)) is not None}
    assert set(found) == {
        "mailbox.delivery", "inbound_connector.trust_anchors", "outbound_connector.recipient_domains",
        "outbound_connector.smart_hosts", "outbound_connector.client_certificate.chain",
        "outbound_connector.client_certificate.key", "outbound_connector.trust_anchors", "oauth_issuer.issuer",
        "oauth_issuer.jwks_url", "oauth_issuer.trust_anchors", "content_hook.address", "content_hook.trust_anchors",
        "dkim_key.key_file", "outbound_connector.authentication.secret_file",
        "outbound_connector.authentication.token_url", "outbound_connector.source_ipv4_address",
        "outbound_connector.source_ipv6_address", "accepted_domain.recipients_file",
        "accepted_domain.recipient_directory.urls", "accepted_domain.recipient_directory.password_file",
        "accepted_domain.recipient_directory.trust_anchors", "accepted_domain.recipient_graph.secret_file",
        "accepted_domain.recipient_graph.url", "accepted_domain.recipient_graph.login_url",
    }  # fmt: skip
    assert found["outbound_connector.trust_anchors"].access("") is None
    assert found["oauth_issuer.jwks_url"].access("") is None


def test_a_tenant_does_not_take_back_who_releases_the_quarantine():
    before, after = (
        Organization.model_validate({"name": "o", "quarantine_release": who}) for who in ("gateway", "administrators")
    )
    _, errors = decide(before, after, NOTHING, by_owner=False)
    assert [error.path for error in errors] == ["organization.o.quarantine_release"]
    assert decide(before, after, NOTHING, by_owner=True)[1] == []
    assert decide(after, before, NOTHING, by_owner=False)[1] == []
    assert decide(before, before, NOTHING, by_owner=False)[1] == []


def test_only_the_owner_changes_what_an_organization_lets_its_users_and_servers_send():
    def organization(**fields):
        return parse({"organization": {"o": fields}}).organization("o")

    before, after = organization(user_messages_per_day=5), organization(user_messages_per_day=4)
    (error,) = decide(before, after, NOTHING, by_owner=False)[1]
    assert (error.path, "only the gateway's owner" in error.message) == ("organization.o.user_messages_per_day", True)
    assert decide(before, after, NOTHING, by_owner=True)[1] == []
    assert decide(before, before, NOTHING, by_owner=False)[1] == []
    assert decide(None, organization(), None, by_owner=False)[1] == []
    assert len(decide(None, organization(server_recipients_per_day=1), None, by_owner=False)[1]) == 1


def test_thousands_of_connectors_are_looked_at_once():
    """What takes the square of so many takes longer than a test may."""
    connectors = [
        {"name": f"c{number}", "recipient_domains": [f"p{number}.example"], "smart_hosts": ["10.0.0.1"]}
        for number in range(6_000)
    ]
    table = {"accepted_domain": [{"name": "a.example"}], "outbound_connector": connectors}
    resources = parse({"organization": {"contoso": table}})
    organization = resources.organizations[0]
    owned, errors = decide(None, organization, None, by_owner=True)
    kept, more = decide(organization, organization, owned, by_owner=False)
    assert (errors, more, len(kept["granted"])) == ([], [], 12_000)
    nothing = mark(resources, {"contoso": {"granted": []}})
    assert sum(1 for _ in ungranted(nothing)) == 6_000, "of each the host: its domain is not led by MX"
