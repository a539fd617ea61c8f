"""Rules and warnings about inbound connectors that know servers by their address alone.

Called by `policy.connectors.rules` for what is an error, and by `policy.connectors.lint` for what is a trap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatepost.policy.connectors.names import network
from gatepost.policy.connectors.values import AddressSenders, ConnectorType, Mode

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

    reads = {"ef_skip_last_ip", "ef_skip_ips", "connector_type", "sender_ip_addresses", "tls_sender_certificate_name"}
    if not draft.bad & reads:
        field = "ef_skip_ips" if connector.ef_skip_ips else "ef_skip_last_ip"
        yield from (draft.error(field, why) for why in _hops(connector))


def _hops(connector: InboundConnector) -> Iterator[str]:
    if not connector.skips_hops:
        return
    if connector.connector_type is not ConnectorType.PARTNER:
        yield 'the mail of own servers is the organization\'s own; write connector_type = "partner" for a filter'
    elif not connector.sender_ip_addresses and not connector.tls_sender_certificate_name:
        yield "anybody could write the Received fields; name the filter by sender_ip_addresses or its certificate"
    if connector.ef_skip_ips and connector.ef_skip_last_ip:
        yield "the last hop alone, or these addresses: leave one of ef_skip_last_ip and ef_skip_ips out"


def _senders(connector: InboundConnector) -> Iterator[str]:
    if connector.senders_by_address is AddressSenders.ACCEPTED_DOMAINS:
        return
    if connector.connector_type is not ConnectorType.ON_PREMISES:
        yield 'a partner never relays; write connector_type = "on-premises", or leave this out'
    elif not connector.sender_ip_addresses:
        yield "there is no address by which to know the servers; write sender_ip_addresses, or leave this out"


def lint(connector: InboundConnector, label: str) -> Iterator[str]:
    """Warn where an address stands alone between the Internet and a relay, and where skipped hops change nothing."""
    if connector.skips_hops and connector.mode is Mode.REHEARSE:
        yield f"{label}: in rehearsal it skips no hops: address rules see the filter itself"
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
