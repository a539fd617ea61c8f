"""Check whether a domain's mail takes a connector at all: mail that goes past it is not protected by it.

Pure; used by `analysis.checks.validation` and `analysis.checks.drill_context`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.policy.connectors.selection import select_outbound

if TYPE_CHECKING:
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.records import Organization, OutboundConnector


def elsewhere(directory: Directory, organization: Organization, connector: OutboundConnector, domain: str) -> str:
    """A note that mail to the domain takes another route, and which; "" if it takes this connector.

    A disabled connector, or one that only mail flow rules use, gets no note: other findings report that.
    """
    if not connector.enabled or connector.is_transport_rule_scoped:
        return ""
    owner = directory.organization_of(domain) or organization
    selection = select_outbound(directory, owner, domain)
    chosen = selection.connector
    if chosen is not None and owner.name == organization.name and chosen.name == connector.name:
        return ""
    return f"mail to {domain} does not go by this connector: {'; '.join(selection.reasons)}"
