"""The networks that the gateway connects to for others: the table `[network]`. A part of `settings.model`."""

from __future__ import annotations

from pydantic import Field

from gatepost.policy.connectors.addresses import AddressPolicy
from gatepost.policy.connectors.fields import NetworkText, Record
from gatepost.policy.connectors.names import network


class Network(Record):
    """The network that the gateway stands in, and who may make it connect there."""

    tenants_may_reach: tuple[NetworkText, ...] = Field(
        default=(),
        description="Networks beside the public internet that the gateway connects to where a tenant chose the host: "
        "smart hosts, LMTP servers, content hooks and OAuth issuers that a principal of one organization wrote, and "
        'the MX hosts of its mail. Such as ["10.20.0.0/16"]. Each address is checked when it is connected to. What the '
        "gateway's owner writes needs no entry here.",
    )

    def policy(self) -> AddressPolicy:
        """The policy on addresses that may be called where a tenant chose the host."""
        return AddressPolicy(tuple(map(network, self.tenants_may_reach)))
