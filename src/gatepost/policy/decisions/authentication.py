"""Decide who authenticates a message of others, and which fields that claim to be our results are taken out of it.

Asked by `policy.decisions.inbound` for each recipient, and by `mail.inbound.transaction` before the header section
comes. The organization that accepts the recipient's domain has the say. Its own servers and users are known in better
ways, so that their mail is not authenticated. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.policy.connectors.values import AuthenticationResults

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.facts import SessionFacts
    from gatepost.policy.connectors.records import Organization
    from gatepost.policy.decisions.decision import InboundVerdict
    from gatepost.policy.decisions.home import Nodes


def authenticated_by(whose: tuple[str, str], recipients: Organization | None) -> AuthenticationResults:
    """Choose the party that authenticates mail to a recipient.

    whose: organization and direction ("incoming", "originating") of the verdict. recipients: the organization that
    accepts the recipient's domain, None if none does.
    """
    if recipients is None or whose == (recipients.name, "originating"):
        return AuthenticationResults.NONE
    return recipients.authentication_results


def forged_ids(
    directory: Directory, session: SessionFacts, verdicts: Sequence[InboundVerdict], hostname: str, nodes: Nodes
) -> frozenset[str]:
    """The authserv-ids, in lower case, with which fields are taken out of a message (RFC 8601 section 5).

    Ours and those of the site's other nodes, if an organization that has to do with the message authenticates mail at
    all, whoever sends it; () for mail of another node, which has done it.
    """
    if session.node or not directory.authenticates:
        return frozenset()
    names = {name for verdict in verdicts for name in (verdict.organization, verdict.recipient_organization)}
    concerned = (directory.organization(name) for name in names if name)
    none = AuthenticationResults.NONE
    if all(organization is None or organization.authentication_results is none for organization in concerned):
        return frozenset()
    homes = (organization.home for organization in directory.organizations)
    known = (hostname, nodes.own, *nodes.sharing, *nodes.places, *homes)
    return frozenset(name.lower() for name in known if name)
