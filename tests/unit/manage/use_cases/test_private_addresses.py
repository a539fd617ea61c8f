from __future__ import annotations

import pytest

from gatepost.manage.access.principal import ROLES, Principal, Role, Scope
from gatepost.manage.use_cases.private_addresses import may_reach_private_addresses

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
