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
    """That mail to the domain takes another way, and which, as a note for an administrator; "" if it takes this one.

    Of a connector that is disabled, or that only mail flow rules use, nothing is said: that is told elsewhere.
    """
    if not connector.enabled or connector.is_transport_rule_scoped:
        return ""
    owner = directory.organization_of(domain) or organization
    selection = select_outbound(directory, owner, domain)
    chosen = selection.connector
    if chosen is not None and owner.name == organization.name and chosen.name == connector.name:
        return ""
    return f"mail to {domain} does not go by this connector: {'; '.join(selection.reasons)}"
