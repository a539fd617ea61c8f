from __future__ import annotations

import pytest

from gatepost.policy.connectors.fields import Access
from gatepost.policy.connectors.grants import Holder, moved, moved_rules, turned_to_mx
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.record_base import owned_marker, record_in
from gatepost.policy.connectors.records import Organization

OUT = {"name": "out", "recipient_domains": ["b.example"], "smart_hosts": ["mx.b.example"]}
BY_MX = {"name": "out", "recipient_domains": ["b.example"]}
RULE = {"name": "r", "recipients": ["c.example"], "route_via_connector": "OUT"}
PARTS = {
    "accepted_domain": [
        {
            "name": "a.example",
            "type": "internal-relay",
            "recipient_validation": "ldap",
            "recipient_directory": {"urls": ["ldaps://dc.example"], "bind_dn": "cn=reader"},
        }
    ],
    "mailbox": [{"address": "ann@a.example", "delivery": "lmtp:unix:/run/lmtp"}],
    "inbound_connector": [{"name": "in", "sender_domains": ["b.example"], "trust_anchors": "/roots"}],
    "outbound_connector": [OUT | {"trust_anchors": "/roots", "tls_settings": "certificate-validation"}],
    "oauth_issuer": [{"name": "idp", "issuer": "https://i.example", "audiences": ["x"], "trust_anchors": "/roots"}],
    "content_hook": [{"name": "av", "type": "clamav", "address": "unix:/run/clamd"}],
    "dkim_key": [{"name": "s._domainkey.a.example", "key_file": "/key"}],
}
PLACES = ("/etc", "unix:/run/x", "lmtp:unix:/run/x")
LISTS = {info.alias: name for name, info in Organization.model_fields.items() if info.alias}


def organization(parts):
    return parse({"organization": {"contoso": parts}}).organization("contoso")


def part(key, changes):
    given = PARTS | {key: [PARTS[key][0] | changes]}
    return getattr(organization(given), LISTS[key])[0]


def holder(key, changes, fields=None):
    return Holder(key, "here", part(key, {}), part(key, changes), fields or {"trust_anchors": "write PEM"})


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("outbound_connector", {"smart_hosts": ["evil.example"]}),
        ("outbound_connector", {"smart_hosts": ["mx.b.example:26"]}),
        ("outbound_connector", {"use_mx_record": True, "smart_hosts": []}),
        ("outbound_connector", {"recipient_domains": ["b.example", "*"]}),
        ("outbound_connector", {"tls_settings": "domain-validation", "tls_domain": "evil.example"}),
        ("outbound_connector", {"tls_settings": "opportunistic"}),
        ("outbound_connector", {"mode": "rehearse"}),
        ("outbound_connector", {"is_transport_rule_scoped": True}),
        ("inbound_connector", {"tls_sender_certificate_name": "evil.example"}),
        ("oauth_issuer", {"issuer": "https://evil.example"}),
        ("oauth_issuer", {"jwks_url": "https://evil.example/keys"}),
        ("content_hook", {"connections": 256}),
        ("dkim_key", {"service_type": "tlsrpt"}),
        ("accepted_domain", {"recipient_directory": {"urls": ["ldaps://dc.example"], "search_filter": "(cn={local})"}}),
        ("accepted_domain", {"recipient_directory": {"urls": ["ldaps://dc.example"], "base_dn": "dc=other"}}),
    ],
)
def test_what_says_where_it_leads_is_held(key, changes):
    errors = list(moved(holder(key, changes)))
    assert {error.path for error in errors} == {f"here.{field}" for field in changes}
    assert all("owner granted trust_anchors" in error.message for error in errors)
    assert all(error.message.endswith("or for trust_anchors write PEM") for error in errors)


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("outbound_connector", {"comment": "x", "enabled": False, "priority": 5}),
        ("outbound_connector", {"client_certificate": {"label": "ours"}}),
        ("mailbox", {"aliases": ["joe@a.example"]}),
        ("inbound_connector", {"mode": "rehearse"}),
        ("oauth_issuer", {"enabled": False}),
        ("content_hook", {"timeout": "5s"}),
        ("dkim_key", {"state": "current"}),
        ("accepted_domain", {"recipient_validation": "none", "recipients": ["x@a.example"]}),
        ("accepted_domain", {"recipient_validation_unavailable": "accept"}),
    ],
)
def test_what_leads_nowhere_is_the_tenants(key, changes):
    assert list(moved(holder(key, changes))) == []


def test_what_is_granted_is_judged_by_its_own_rule():
    assert list(moved(holder("outbound_connector", {"trust_anchors": "/other"}))) == []


def test_without_another_way_the_owner_is_to_be_asked():
    (error,) = moved(holder("content_hook", {"connections": 9}, {"address": ""}))
    assert error.message.endswith("ask the owner")


def rules(before, after, connector):
    parts = {"outbound_connector": [connector]}
    old, new = organization(parts | {"mail_flow_rule": before}), organization(parts | {"mail_flow_rule": after})
    (one,) = new.outbound_connectors
    held = Holder("outbound_connector", "here", one, one, {"client_certificate.key": ""})
    return [error.path for error in moved_rules(old, new, {"out": held})]


def test_no_rule_sends_other_mail_by_mx_with_what_is_granted():
    path = ["organization.contoso.mail_flow_rule[0] 'r'.route_via_connector"]
    assert rules([], [RULE], BY_MX) == path
    assert rules([RULE], [RULE | {"recipients": ["evil.example"]}], BY_MX) == path
    assert rules([RULE], [RULE | {"comment": "x"}], BY_MX) == []
    assert rules([], [RULE], OUT) == []
    assert rules([], [{"name": "r", "require_tls": True}], BY_MX) == []


def test_a_connector_turns_to_mx_once():
    hosts, by_mx = (organization({"outbound_connector": [one]}).outbound_connectors[0] for one in (OUT, BY_MX))
    assert [turned_to_mx(hosts, by_mx), turned_to_mx(by_mx, by_mx), turned_to_mx(by_mx, hosts)] == [True, False, False]


def test_every_resource_that_may_hold_a_grant_has_its_rule():
    marked = set()
    for info in Organization.model_fields.values():
        model = record_in(info.annotation)
        if info.alias and model is not None and "machine" in set(_access(model)):
            marked.add(info.alias)
    assert marked == set(PARTS)


def _access(model):
    for info in model.model_fields.values():
        inner = record_in(info.annotation)
        owned = owned_marker(info)
        if inner is not None:
            yield from _access(inner)
        elif owned is not None and any(owned.access(value) is Access.MACHINE for value in PLACES):
            yield "machine"
