"""The fields of inbound connectors about what an address says of a client, a part of `policy.connectors.records`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gatepost.policy.connectors.fields import NetworkText, Switch
from gatepost.policy.connectors.values import AddressSenders

SkipLastIp = Annotated[
    Switch,
    Field(
        description="Partner, for a filter in front of the gateway: address rules, content hooks and the trace see the "
        "client that the filter took the message from, by the filter's Received field (docs/load-balancer.md)."
    ),
]
SkipIps = Annotated[
    tuple[NetworkText, ...],
    Field(
        description="The same for a filter of several hops: the addresses of all its hosts. The gateway skips them and "
        "private addresses in the Received fields; the first other address is the client."
    ),
]
SendersByAddress = Annotated[
    AddressSenders,
    Field(
        description="On-premises: the reverse-paths with which servers that only sender_ip_addresses identify may "
        "relay. accepted-domains-and-null: also the null reverse-path of notices and automatic replies. any: also "
        "foreign domains, which forwarded mail has; the gateway rewrites them (SRS)."
    ),
]
