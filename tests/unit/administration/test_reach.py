from __future__ import annotations

import pytest

from gatepost.access.principal import ROLES, Principal, Role, Scope
from gatepost.administration.reach import may_reach_inside
from gatepost.settings.loader import load

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


@pytest.fixture
def private(tmp_path):
    """Settings of a gateway whose partners are all in networks of its own."""
    file = tmp_path / "gatepost.toml"
    file.write_text('[server]\nhostname = "mx.gate.example"\n[outbound]\nprivate_policy_hosts = true\n')
    return load(str(file), {})


@pytest.mark.parametrize(("who", "expected"), WHO, ids=[who.name for who, _ in WHO])
def test_who_could_make_a_connector_of_the_gateway_may(gateway, who, expected):
    assert may_reach_inside(gateway.settings, who) is expected


@pytest.mark.parametrize("who", [who for who, _ in WHO], ids=[who.name for who, _ in WHO])
def test_everybody_may_where_all_is_private(private, who):
    assert may_reach_inside(private, who)
