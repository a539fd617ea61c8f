"""Resources of a small organization, for a gateway under test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DOMAIN = "contoso.example"
"""The accepted domain of `organization`."""
OWN_SERVER = "127.0.0.2"
"""The address of the own servers of `organization`: mail from there may go to everybody. Partners are at 127.0.0.1."""


def organization(*outbound: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """The organization contoso: its domain, the mailboxes ann@ and postmaster@, and an own server at OWN_SERVER.

    outbound: its outbound connectors; `gatepost.testing.partner.Partner.connector` makes one. fields: more of the
    organization, as in docs/resources.md; lists are added to those above.
    """
    own_servers = {
        "name": "own servers",
        "connector_type": "on-premises",
        "sender_ip_addresses": [OWN_SERVER],
        "associated_accepted_domains": [DOMAIN],
    }
    values: dict[str, Any] = {
        "accepted_domain": [{"name": DOMAIN}],
        "mailbox": [{"address": f"{name}@{DOMAIN}"} for name in ("ann", "postmaster")],
        "inbound_connector": [own_servers],
        "outbound_connector": [dict(connector) for connector in outbound],
    }
    for name, value in fields.items():
        values[name] = [*values[name], *value] if name in values else value
    return {"organization": {"contoso": values}}
