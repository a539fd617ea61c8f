"""Find hosts, given by IP address, that the gateway does not connect to for tenants.

Called by `manage.use_cases.change` for the warnings of a change. What a name leads to is known when it is connected to
(`policy.connectors.addresses`). Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gatepost.policy.connectors.addresses import AddressPolicy, not_allowed
from gatepost.policy.connectors.content_hook import scanner_host
from gatepost.policy.connectors.fields import Access
from gatepost.policy.connectors.grants import ungranted
from gatepost.policy.connectors.names import SmartHost, resource_label
from gatepost.protocols.tls.names import is_ip_address
from gatepost.texts import own

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.policy.connectors.resources import Resources


def unreachable(resources: Resources, policy: AddressPolicy) -> Iterator[str]:
    """Of the values that no owner granted those that name an address outside the policy, a sentence each."""
    for organization, (part, name, field, value), access in ungranted(resources):
        host = _host(field, value) if access is Access.NETWORK else ""
        if is_ip_address(host) and not policy.allows(host):
            whose = resource_label(part, name, organization)
            yield f"{field} of the {own(whose)} will not be reached: {own(not_allowed(host))}"


def _host(field: str, value: str) -> str:
    match field:
        case "smart_hosts":
            return SmartHost.parse(value).host
        case "delivery":
            return SmartHost.parse(value.removeprefix("lmtp:")).host
        case "address":
            return scanner_host(value)
        case _:
            return urlsplit(value).hostname or ""
