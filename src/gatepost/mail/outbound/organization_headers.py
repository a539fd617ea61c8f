"""The content step that keeps Exchange's own header fields from all but the organization's Exchange.

The first of the steps (`mail.outbound.content`), so that what signs or encrypts sees the message as it leaves. Which
fields these are, and what becomes of them, is said in `protocols.message.organization_headers`; who brought them in was
decided by `policy.decisions.header_trust`. Mail that never had any and goes to no server that wants them is not looked
into.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatepost.policy.decisions.routes import MxRoute, SmartHosts
from gatepost.protocols.message.organization_headers import Crossing, changed_headers, origin_fields

if TYPE_CHECKING:
    from gatepost.mail.outbound.body import MessageBody
    from gatepost.mail.outbound.content import OutgoingMessage
    from gatepost.policy.connectors.records import Organization


class OrganizationHeaders:
    """hostname: of the gateway, which states the origin of a message that states none itself."""

    def __init__(self, hostname: str) -> None:
        self._hostname = hostname

    async def apply(self, outgoing: OutgoingMessage, body: MessageBody) -> tuple[MessageBody, dict[str, Any]]:
        """The body with the fields that belong to where it goes. Raises BodyUnreadable."""
        message, home = outgoing.message, _home(outgoing)
        if home is None and (not message.has_organization_headers or _stays(outgoing)):
            return body, {}
        header = await body.header()
        kept = home is not None and message.has_organization_headers
        change = changed_headers(header, Crossing.DEMOTED if kept else Crossing.STRIPPED)
        before, section = b"", change.section
        if home is not None:
            before, section = origin_fields(
                section,
                internal=message.is_internal,
                hostname=self._hostname,
                domain=_domain(outgoing, home),
            )
        if not before and section is header:
            return body, {}
        record = change.record() | ({"cross_premises": True} if home is not None else {})
        return body.with_header(before + section, skip=len(header)), {"headers": record}


def _home(outgoing: OutgoingMessage) -> Organization | None:
    """The organization to whose own Exchange the message goes, if its connector says so and the message is its own.

    By who owns the connector, never by what it says: another's may say the same. And never with mail for a domain of
    another organization: what carries that is not the sender's own Exchange, whatever its connector claims.
    """
    route = outgoing.route
    if not isinstance(route, SmartHosts | MxRoute) or route.connector is None:
        return None
    own = outgoing.message.organization
    if not route.connector.cloud_services_mail_enabled or route.connector_owner != own:
        return None
    return outgoing.directory.organization(own) if route.domain_owner in {"", own} else None


def _stays(outgoing: OutgoingMessage) -> bool:
    """Whether it goes to mailboxes here of the message's own organization."""
    return not outgoing.leaves and outgoing.domain_owner == outgoing.message.organization


def _domain(outgoing: OutgoingMessage, home: Organization) -> str:
    """The sender's domain if it is the organization's, else its first accepted domain."""
    domain = outgoing.message.reverse_path.rpartition("@")[2].lower()
    owner = outgoing.directory.organization_of(domain) if domain else None
    if owner is not None and owner.name == home.name:
        return domain
    return next(
        (
            accepted_domain.name
            for accepted_domain in home.accepted_domains
            if not accepted_domain.name.startswith("*.")
        ),
        "",
    )
