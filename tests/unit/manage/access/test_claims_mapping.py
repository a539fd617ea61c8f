from __future__ import annotations

import pytest

from gatepost.manage.access.claims_mapping import map_claims
from gatepost.manage.access.issuer_rows import IssuerIdentity
from gatepost.manage.access.principal import Role
from gatepost.settings.oidc import GroupRole, Oidc

OIDC = Oidc.model_validate(
    {
        "issuer": "https://login.example",
        "client_id": "gatepost",
        "group": [
            {"name": "owners", "role": "owner"},
            {"name": "help", "role": "operator", "organizations": ["contoso"]},
        ],
    }
)
CLAIMS = {"sub": "4711", "preferred_username": "wendy", "groups": ["help"]}


def test_the_roles_are_the_same():
    assert {one.value for one in GroupRole} == {one.value for one in Role}


@pytest.mark.parametrize(
    ("groups", "role", "organizations"),
    [(["staff", "help"], Role.OPERATOR, {"contoso"}), (["help", "owners"], Role.OWNER, None)],
)
def test_the_first_group_of_the_settings_counts(groups, role, organizations):
    assert map_claims(OIDC, CLAIMS | {"groups": groups}) == IssuerIdentity(
        OIDC.issuer, "4711", "wendy", role, organizations
    )


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"sub": None}, "claim sub"),
        ({"sub": ""}, "claim sub"),
        ({"sub": "x" * 256}, "claim sub"),
        ({"preferred_username": 5}, "claim preferred_username"),
        ({"groups": "owners"}, "claim groups"),
        ({"groups": []}, "none of the person's groups"),
        ({"groups": ["Owners", None, {}]}, "none of the person's groups"),
    ],
)
def test_who_does_not_come_in(claims, why):
    assert why in map_claims(OIDC, CLAIMS | claims)
