from __future__ import annotations

import pytest
from msgspec.structs import asdict

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resources import apply_document

from .calls import document, grant_value, ungranted_values, version_record

OWNER = Principal("ann", frozenset({Scope.OWNER}))
TENANT = Principal("liz", frozenset({Scope.READ, Scope.CONNECTORS}), frozenset({"fabrikam"}))
WISH = ChangeOptions("ann")
OUT = {"name": "HQ", "recipient_domains": ["b.example"], "smart_hosts": ["10.0.0.1"]}
HOST = {
    "organization": "fabrikam",
    "resource": "outbound_connector",
    "name": "HQ",
    "field": "smart_hosts",
    "value": "10.0.0.1",
}


@pytest.fixture
def base(gateway):
    """A tenant wrote a connector to an inner host."""
    apply_document(gateway, OWNER, {"organization": {"fabrikam": {}}}, WISH)
    apply_document(gateway, TENANT, {"organization": {"fabrikam": {"outbound_connector": [OUT]}}}, WISH)
    return gateway


def test_the_owner_grants_one_value_as_it_stands(base):
    (found,) = ungranted_values(base, OWNER)
    assert asdict(found) == HOST | {"name": "hq", "effect": "bounded"}
    version, exported = document(base, OWNER)
    apply_document(base, OWNER, exported, WISH)
    assert ungranted_values(base, OWNER) == [found]
    assert grant_value(base, OWNER, HOST, ChangeOptions("ann", dry_run=True)).version == version
    assert ungranted_values(base, OWNER) == [found]
    done = grant_value(base, OWNER, HOST, ChangeOptions("ann", "asked for", expected=version))
    assert (done.version, done.dry_run, asdict(done.granted)) == (version + 1, False, HOST)
    assert ungranted_values(base, OWNER) == []
    with pytest.raises(Refusal, match="granted existing files and sockets"):
        version_record(base, OWNER, version + 1)


def test_a_file_without_a_grant_has_no_effect(base):
    with base.config() as store:
        hidden = OUT | {"trust_anchors": "/etc/passwd"}
        store.apply({"organization": {"fabrikam": {"outbound_connector": [hidden]}}}, author="nobody")
    assert [(one.field, one.effect) for one in ungranted_values(base, OWNER)] == [
        ("smart_hosts", "bounded"), ("trust_anchors", "none"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("who", "value", "wish", "kind"),
    [
        (TENANT, HOST, WISH, RefusalKind.FORBIDDEN),
        (OWNER, HOST | {"value": "10.0.0.2"}, WISH, RefusalKind.MISSING),
        (OWNER, HOST | {"organization": "other"}, WISH, RefusalKind.MISSING),
        (OWNER, HOST, ChangeOptions("ann", expected=1), RefusalKind.CONFLICT),
    ],
)
def test_nothing_else_is_granted(base, who, value, wish, kind):
    with pytest.raises(Refusal) as refused:
        grant_value(base, who, value, wish)
    assert refused.value.kind is kind
    assert len(ungranted_values(base, OWNER)) == 1


def test_who_is_overtaken_looks_again(base, monkeypatch):
    monkeypatch.setattr("gatepost.manage.use_cases.ungranted.grants.with_grant", lambda *_: overtake(base))
    with pytest.raises(Refusal) as refused:
        grant_value(base, OWNER, HOST, WISH)
    assert refused.value.kind is RefusalKind.CONFLICT


def overtake(gateway):
    with gateway.config() as store:
        store.apply({"organization": {"other": {}}}, author="somebody else")
    return {}


def test_tenants_do_not_list(base):
    with pytest.raises(Refusal, match="some organizations only"):
        ungranted_values(base, TENANT)
