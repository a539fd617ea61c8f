from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.name_lookup import OUTBOUND
from gatepost.manage.use_cases.partner import CheckTarget, plan_check, target_of
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.manage.use_cases.resources import PartName, add_part

ADMINISTRATOR = Principal("ann", frozenset({Scope.READ, Scope.CONNECTORS}))
AUDITOR = Principal("audrey", frozenset({Scope.READ}))
TENANT = Principal("tim", frozenset({Scope.READ, Scope.CONNECTORS}), frozenset({"contoso"}))
SMART = [{"name": "hq", "recipient_domains": ["*"], "smart_hosts": ["10.0.0.5:2525"]}]
RESOURCES = {"organization": {"contoso": {"outbound_connector": SMART}, "fabrikam": {}}}
STRANGER = Principal("sid", frozenset({Scope.READ}), frozenset({"fabrikam"}))


@pytest.fixture
def stored(gateway):
    with gateway.config() as store:
        store.apply(RESOURCES, author="root")
    return gateway


@pytest.mark.parametrize(
    ("text", "host", "found", "shown"),
    [
        ("Partner.Example", False, CheckTarget("partner.example"), "partner.example"),
        (" x@partner.example ", False, CheckTarget("partner.example"), "partner.example"),
        ("mx.partner.example", True, CheckTarget("mx.partner.example", 25), "mx.partner.example"),
        ("mx.partner.example:587", True, CheckTarget("mx.partner.example", 587), "mx.partner.example:587"),
        ("[2001:db8::1]:26", True, CheckTarget("2001:db8::1", 26), "[2001:db8::1]:26"),
    ],
)
def test_who_is_meant(text, host, found, shown):
    assert target_of(text, host=host) == found
    assert found.text == shown
    assert found.kind == ("host" if host else "partner")


@pytest.mark.parametrize(
    ("text", "host", "why"),
    [
        ("b..example", False, "'b..example' is not a domain"),
        (" ", False, "enter a domain"),
        ("b.example:0x", True, "b.example:0x"),
        ("", True, "enter a host"),
    ],
)
def test_who_cannot_be_meant(text, host, why):
    with pytest.raises(Refusal) as refused:
        target_of(text, host=host)
    (error,) = refused.value.errors
    assert error.path == ("host" if host else "domain")
    assert why in error.message


@pytest.mark.parametrize(
    ("who", "target", "bounded"),
    [
        (ADMINISTRATOR, CheckTarget("b.example"), False),
        (AUDITOR, CheckTarget("b.example"), True),
        (TENANT, CheckTarget("b.example"), True),
        (TENANT, CheckTarget("10.0.0.5", 2525), False),
        (STRANGER, CheckTarget("10.0.0.5", 25), True),
        (AUDITOR, CheckTarget("10.0.0.5", 2525), False),
    ],
)
def test_who_is_sent_where(stored, who, target, bounded):
    assert plan_check(stored, who, target).bounds.bounded is bounded


def test_smart_hosts_that_a_tenant_wrote_are_bound_on_any_port(gateway):
    fields = {"recipient_domains": ["b.example"], "smart_hosts": ["10.0.0.5:2525"]}
    with gateway.config() as store:
        store.apply({"organization": {"contoso": {}}}, author="root")
    add_part(gateway, TENANT, PartName(OUTBOUND, "contoso", "hq"), fields, ChangeOptions("tim"))
    assert plan_check(gateway, TENANT, CheckTarget("10.0.0.5", 2525)).bounds.bounded
    assert not plan_check(gateway, TENANT, CheckTarget("10.0.0.5", 2525)).bounds.own, "no other service of ours"
    assert not plan_check(gateway, ADMINISTRATOR, CheckTarget("10.0.0.5", 2525)).bounds.bounded


@pytest.mark.parametrize("who", [AUDITOR, TENANT, STRANGER])
def test_other_ports_are_for_smart_hosts(stored, who):
    with pytest.raises(Refusal) as refused:
        plan_check(stored, who, CheckTarget("10.0.0.6", 22))
    assert "port 22 is none of mail" in refused.value.text
    assert plan_check(stored, ADMINISTRATOR, CheckTarget("10.0.0.6", 22)).target.port == 22


def test_another_tenants_smart_host_is_nobodys(stored):
    with pytest.raises(Refusal):
        plan_check(stored, STRANGER, CheckTarget("10.0.0.5", 2525))


@pytest.mark.parametrize("target", [CheckTarget("c.example"), CheckTarget("c.example", 25)])
def test_who_checks_the_own_domain_sees_this_gateway(stored, target):
    assert plan_check(stored, TENANT, target).bounds.own
