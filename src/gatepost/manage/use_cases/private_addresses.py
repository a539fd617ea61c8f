"""Permission to make the gateway connect to private addresses (not of the public internet).

A look at a partner connects to wherever the DNS of that partner says, so that whoever owns a domain chooses where:
asked by anybody, it would be a port scanner of the network that the gateway stands in. Who may make connectors for the
whole gateway could do so anyway. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.manage.access.principal import Scope

if TYPE_CHECKING:
    from gatepost.manage.access.principal import Principal


def may_reach_private_addresses(principal: Principal) -> bool:
    """Those who may make connectors for the whole gateway; [network] tenants_may_reach says what others may reach."""
    return principal.may(Scope.CONNECTORS)
