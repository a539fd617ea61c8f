"""Map an issuer's verified claims to a person: name, role and organizations, by the groups of the settings. Pure.

Called by `manage.use_cases.issuer_login`. The first group of the settings that the person is in counts; who is in none
does not come in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatepost.manage.access.issuer_rows import IssuerIdentity
from gatepost.manage.access.principal import Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.settings.oidc import Oidc


def map_claims(oidc: Oidc, claims: Mapping[str, Any]) -> IssuerIdentity | str:
    """The person; or why nobody comes in, for the record: nothing of the claims is in it but names of claims."""
    subject, name, groups = claims.get("sub"), claims.get(oidc.name_claim), claims.get(oidc.groups_claim)
    if not isinstance(subject, str) or not 0 < len(subject) <= 255:
        return "the token has no claim sub with a text"
    if not isinstance(name, str) or not name:
        return f"the token has no claim {oidc.name_claim} with a text"
    if not isinstance(groups, list):
        return f"the token has no claim {oidc.groups_claim} with a list"
    for group in oidc.groups:
        if group.name in groups:
            return IssuerIdentity(
                oidc.issuer, subject, name, Role(group.role.value), frozenset(group.organizations) or None
            )
    return f"none of the person's groups ({oidc.groups_claim}) is in the settings"
