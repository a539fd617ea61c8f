"""The networks that the gateway connects to for others: the table `[network]`. A part of `settings.model`."""

from __future__ import annotations

from pydantic import Field

from gatepost.policy.connectors.addresses import AddressPolicy
from gatepost.policy.connectors.fields import NetworkText, Record
from gatepost.policy.connectors.names import network


class Network(Record):
    """The gateway's network, and which of its hosts tenants may make the gateway connect to."""

    tenants_may_reach: tuple[NetworkText, ...] = Field(
        default=(),
        description="Networks besides the public internet to which the gateway may connect when a tenant chose the "
        "host: smart hosts, LMTP servers, content hooks and OAuth issuers of a user of one organization, "
        'and the MX hosts of its mail. For example ["10.20.0.0/16"]. The gateway checks each address when '
        "it connects. Hosts that the gateway's owner sets need no entry.",
    )

    def policy(self) -> AddressPolicy:
        """The policy on addresses that may be called where a tenant chose the host."""
        return AddressPolicy(tuple(map(network, self.tenants_may_reach)))
