from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.resources import apply_document
from gatepost.pki.site.records import Membership, Node, SiteAuthority
from gatepost.pki.site.store import AUTHORITY, MEMBERSHIP, NODE, SiteStore

OWNER = Principal("ann", frozenset({Scope.OWNER}))
OWN = "mx.gate.example"
OTHER = "mx2.gate.example"
MEMBER = {(MEMBERSHIP, MEMBERSHIP): Membership("site", OWN, "", "ab" * 32, 0.0, 1e10)}
AUTHORITIES = {
    (AUTHORITY, "a"): SiteAuthority("a", "site", "ab" * 32, added=0.0, signs_from=0.0, not_after=1e10),
    **{(NODE, name): Node(name, ("ab" * 32,), "a", joined=0.0, renewed=0.0, not_after=1e10) for name in (OWN, OTHER)},
}
NO_SITE = "but this gateway belongs to no site, so its mail waits"
NO_NODE = "which is not a node of this site, so its mail waits"


@pytest.mark.parametrize(
    ("records", "home", "said"),
    [
        ({}, "", None),
        ({}, OWN, None),
        ({}, OTHER, NO_SITE),
        (MEMBER | AUTHORITIES, OWN, None),
        (MEMBER | AUTHORITIES, OTHER, None),
        (MEMBER | AUTHORITIES, "mx9.gate.example", NO_NODE),
        (MEMBER, "mx9.gate.example", None),  # the authority is elsewhere: who knows
    ],
)
def test_a_home_that_does_not_exist_is_told(gateway, records, home, said):
    if records:
        with gateway.config() as store:
            SiteStore(store, None).apply(records, author="test")
    result = apply_document(gateway, OWNER, {"organization": {"contoso": {"home": home}}}, ChangeOptions("ann"))
    assert result.version
    expected = [f"organization contoso: its home is {home}, {said}"] if said else []
    assert [text.partition(";")[0] for text in result.warnings] == expected
