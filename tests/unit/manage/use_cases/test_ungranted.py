from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.change import Wish
from gatepost.manage.use_cases.history import version_records
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.resources import apply_document, document
from gatepost.manage.use_cases.ungranted import Value, grant_value, ungranted_values

OWNER = Principal("ann", frozenset({Scope.OWNER}))
TENANT = Principal("liz", frozenset({Scope.READ, Scope.CONNECTORS}), frozenset({"fabrikam"}))
WISH = Wish("ann")
OUT = {"name": "HQ", "recipient_domains": ["b.example"], "smart_hosts": ["10.0.0.1"]}
HOST = Value("fabrikam", "outbound_connector", "HQ", "smart_hosts", "10.0.0.1")


@pytest.fixture
def base(gateway):
    """A tenant wrote a connector to an inner host."""
    apply_document(gateway, OWNER, {"organization": {"fabrikam": {}}}, WISH)
    apply_document(gateway, TENANT, {"organization": {"fabrikam": {"outbound_connector": [OUT]}}}, WISH)
    return gateway


def test_the_owner_grants_one_value_as_it_stands(base):
    (found,) = ungranted_values(base, OWNER)
    assert found == HOST._asdict() | {"name": "hq", "effect": "bounded"}
    version, exported = document(base, OWNER)
    apply_document(base, OWNER, exported, WISH)
    assert ungranted_values(base, OWNER) == [found]
    assert grant_value(base, OWNER, HOST, Wish("ann", dry_run=True))["version"] == version
    assert ungranted_values(base, OWNER) == [found]
    done = grant_value(base, OWNER, HOST, Wish("ann", "asked for", expected=version))
    assert done == {"version": version + 1, "dry_run": False, "granted": HOST._asdict()}
    assert ungranted_values(base, OWNER) == []
    with pytest.raises(Refusal, match="granted what stood in resources already"):
        version_records(base, OWNER, version + 1)


def test_a_file_without_a_grant_has_no_effect(base):
    with base.config() as store:
        hidden = OUT | {"trust_anchors": "/etc/passwd"}
        store.apply({"organization": {"fabrikam": {"outbound_connector": [hidden]}}}, author="nobody")
    assert [(one["field"], one["effect"]) for one in ungranted_values(base, OWNER)] == [
        ("smart_hosts", "bounded"), ("trust_anchors", "none"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("who", "value", "wish", "kind"),
    [
        (TENANT, HOST, WISH, Kind.FORBIDDEN),
        (OWNER, HOST._replace(value="10.0.0.2"), WISH, Kind.MISSING),
        (OWNER, HOST._replace(organization="other"), WISH, Kind.MISSING),
        (OWNER, HOST, Wish("ann", expected=1), Kind.CONFLICT),
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
    assert refused.value.kind is Kind.CONFLICT


def overtake(gateway):
    with gateway.config() as store:
        store.apply({"organization": {"other": {}}}, author="somebody else")
    return {}


def test_tenants_do_not_list(base):
    with pytest.raises(Refusal, match="some organizations only"):
        ungranted_values(base, TENANT)
