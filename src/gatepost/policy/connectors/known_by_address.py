"""Rules and warnings about inbound connectors that know servers by their address alone.

Called by `policy.connectors.rules` for what is an error, and by `policy.connectors.lint` for what is a trap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatepost.policy.connectors.names import network
from gatepost.policy.connectors.values import AddressSenders, ConnectorType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.policy.connectors.errors import Draft, FieldError
    from gatepost.policy.connectors.records import InboundConnector


_OWN_HOSTS: Final = 16  # addresses of a network that may well be servers all of them


def errors(draft: Draft[InboundConnector]) -> Iterator[FieldError]:
    """Yield what contradicts what in the fields about addresses; nothing where one of them is wrong by itself."""
    connector = draft.value
    if not draft.bad & {"senders_by_address", "connector_type", "sender_ip_addresses"}:
        yield from (draft.error("senders_by_address", why) for why in _senders(connector))


def _senders(connector: InboundConnector) -> Iterator[str]:
    if connector.senders_by_address is AddressSenders.ACCEPTED_DOMAINS:
        return
    if connector.connector_type is not ConnectorType.ON_PREMISES:
        yield 'a partner never relays; write connector_type = "on-premises", or leave this out'
    elif not connector.sender_ip_addresses:
        yield "there is no address by which to know the servers; write sender_ip_addresses, or leave this out"


def lint(connector: InboundConnector, label: str) -> Iterator[str]:
    """Warn where an address stands alone between the Internet and a relay."""
    if connector.senders_by_address is AddressSenders.ACCEPTED_DOMAINS:
        return
    if connector.senders_by_address is AddressSenders.ANY:
        yield (
            f'{label}: senders_by_address = "any" lets every program at its addresses send to anyone as anyone; give '
            "the servers a certificate (tls_sender_certificate_name) if they can have one"
        )
    for text in connector.sender_ip_addresses:
        size = network(text).num_addresses
        if size > _OWN_HOSTS:
            count = f"{size:,}" if size < 10**6 else "very many"
            yield (
                f"{label}: senders_by_address lets all of {text} relay, {count} addresses; name the servers one by one"
            )
