"""Organizations that are hidden from a principal.

Used by `manage.use_cases.trace` and `manage.use_cases.queue`; what it does to a row is in `policy.decisions.withheld`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.policy.decisions.withheld import Hidden

if TYPE_CHECKING:
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.gateway import Gateway


def hidden_from(gateway: Gateway, principal: Principal) -> Hidden:
    """Raises Refusal (UNREADABLE) if the resources cannot be read: then nobody knows what must not be shown."""
    organizations = gateway.directory().resources.organizations
    return Hidden(
        frozenset(organization.name for organization in organizations if not principal.sees(organization.name)),
        frozenset(
            each.trust_anchors
            for organization in organizations
            if principal.sees(organization.name)
            for each in organization.inbound_connectors
        ),
    )
