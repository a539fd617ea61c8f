"""Find smart hosts that are the gateway itself: mail sent there would loop.

Called by `manage.use_cases.change` for the warnings of a change. What other names lead to is known when mail is sent;
mail by MX is kept from the gateway's own addresses then (`mail.outbound.hosts`). Pure.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatepost.policy.connectors.names import host_port

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from gatepost.policy.connectors.names import SmartHost
    from gatepost.policy.connectors.resources import Resources


@dataclass(frozen=True, slots=True)
class Listeners:
    """The addresses at which the gateway itself is reached.

    addresses: "ADDRESS:PORT" of each listener. hostname: the gateway's own. own: IP addresses by which others reach it
    though no interface has them.
    """

    addresses: Collection[str]
    hostname: str = ""
    own: Collection[str] = ()

    def include(self, smart: SmartHost) -> bool:
        """Whether a smart host is one of them, as far as its name or IP address tells."""
        listening = [host_port(address, None, lowest=0) for address in self.addresses]
        if smart.port not in {port for _, port in listening}:
            return False
        if not smart.is_address:
            return smart.host == self.hostname.lower()
        target = ipaddress.ip_address(smart.host)
        if target in {ipaddress.ip_address(address) for address in self.own}:
            return True
        bound = {ipaddress.ip_address(host) for host, port in listening if port == smart.port}
        everywhere = any(address.is_unspecified and address.version == target.version for address in bound)
        return target in bound or (everywhere and (target.is_loopback or target.is_unspecified))


def own_smart_hosts(resources: Resources, listeners: Listeners) -> Iterator[str]:
    """The smart hosts of enabled connectors that are the gateway itself, a sentence each."""
    for organization in resources.organizations:
        for connector in organization.outbound_connectors:
            for smart in connector.smart_hosts if connector.enabled else ():
                if listeners.include(smart):
                    yield (
                        f"outbound connector {connector.name!r} of {organization.name}: the smart host {smart} is a "
                        "listener of this gateway, so mail would loop; name the server that should receive it"
                    )
