from __future__ import annotations

import pytest

from gatepost.manage.access.principal import ROLES, Principal, Role, Scope, may_reach_private_addresses

ALL = frozenset(Scope)


def principal(role, *organizations):
    return Principal("ann", ROLES[role], frozenset(organizations) if organizations else None)


@pytest.mark.parametrize(
    ("role", "scopes"),
    [
        (Role.OWNER, ALL),
        (Role.ADMINISTRATOR, ALL - {Scope.OWNER}),
        (Role.OPERATOR, {Scope.READ, Scope.QUEUE}),
        (Role.AUDITOR, {Scope.READ}),
    ],
)
def test_what_roles_may(role, scopes):
    assert {one for one in Scope if principal(role).may(one)} == scopes
    assert {one for one in Scope if principal(role).may(one, "contoso")} == scopes


def test_of_some_organizations():
    one = principal(Role.ADMINISTRATOR, "contoso")
    assert (one.sees("contoso"), one.sees("fabrikam"), one.sees("")) == (True, False, False)
    assert one.may(Scope.CONNECTORS, "contoso")
    assert not one.may(Scope.CONNECTORS, "fabrikam")
    assert not one.may(Scope.CONNECTORS)
    assert not one.is_of_gateway
    assert not one.may(Scope.OWNER, "contoso")


def test_of_the_whole_gateway():
    one = principal(Role.AUDITOR)
    assert one.is_of_gateway
    assert one.sees("contoso")
    assert one.sees("")


def test_a_token_with_the_scope_of_an_owner_may_all():
    assert all(Principal("token t", frozenset({Scope.OWNER})).may(one) for one in Scope)


def test_a_token_is_no_person():
    assert [Principal(name, frozenset()).is_person for name in ("ann", "ann@b.example", "token t")] == [
        True,
        True,
        False,
    ]


def test_all_users_and_tokens_of_a_tenant_have_one_share():
    tenant = [Principal(name, ROLES[Role.AUDITOR], frozenset({"contoso"})) for name in ("tim", "token t")]
    others = [
        Principal("tim", ROLES[Role.AUDITOR]),
        Principal("tina", ROLES[Role.AUDITOR]),
        principal(Role.AUDITOR, "fabrikam"),
        principal(Role.AUDITOR, "contoso", "fabrikam"),
        Principal("contoso", ROLES[Role.AUDITOR]),
    ]
    assert len({each.share_key for each in tenant}) == 1
    assert len({each.share_key for each in [*tenant, *others]}) == 1 + len(others)
    assert principal(Role.AUDITOR, "b", "a").share_key == principal(Role.AUDITOR, "a", "b").share_key


HERE = frozenset({"contoso"})

# who -> whether private addresses may be reached
WHO = [
    (Principal("owner", ROLES[Role.OWNER]), True),
    (Principal("administrator", ROLES[Role.ADMINISTRATOR]), True),
    (Principal("operator", ROLES[Role.OPERATOR]), False),
    (Principal("auditor", ROLES[Role.AUDITOR]), False),
    (Principal("certificates", frozenset({Scope.READ, Scope.CERTIFICATES, Scope.QUEUE})), False),
    (Principal("tenant's administrator", ROLES[Role.ADMINISTRATOR], HERE), False),
    (Principal("tenant with all rights", frozenset(Scope), HERE), False),
    (Principal("of nothing", frozenset(Scope), frozenset()), False),
]


@pytest.mark.parametrize(("who", "expected"), WHO, ids=[who.name for who, _ in WHO])
def test_who_could_make_a_connector_of_the_gateway_may(who, expected):
    assert may_reach_private_addresses(who) is expected
