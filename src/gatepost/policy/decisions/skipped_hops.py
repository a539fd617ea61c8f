"""Find the true client of a message that came by a filter: Exchange's enhanced filtering (exchange.md section 2.1).

Asked by `mail.inbound.transaction` once the header section is whole. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.policy.connectors.addresses import is_public
from gatepost.policy.connectors.facts import Introduction, SessionFacts, Teller
from gatepost.policy.connectors.network_set import NetworkSet
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.policy.connectors.records import InboundConnector


def skip_hops(session: SessionFacts, connector: InboundConnector, addresses: Iterable[str]) -> SessionFacts:
    """The facts with the true client in place of the filter that the connector knows.

    addresses: that each hop took the message from, the last hop first. The filter itself is always skipped; then, with
    ef_skip_ips, those networks and private addresses. The facts stay as they are if the fields do not say who it was.
    """
    skipped = NetworkSet.of(connector.ef_skip_ips)
    for address in addresses:
        if connector.ef_skip_last_ip or (address not in skipped and is_public(address)):
            introduction = Introduction(Teller.RECEIVED, session.peer_ip)
            return replace(session, peer_ip=address, introduction=introduction)
    return session
