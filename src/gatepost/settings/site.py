"""The settings of a site's own certificates for its nodes: the table `[site]`.

A part of `settings.model`, read with it; used by `node.site_host`, `pki.site.membership` and the `site` commands.
"""

from __future__ import annotations

from typing import Annotated

from gatepost.policy.connectors.fields import Domain, Duration, Form, Range
from gatepost.policy.connectors.names import SmartHost, host_port
from gatepost.policy.connectors.units import format_duration
from gatepost.settings.references import address_or_none
from gatepost.settings.section import Checked, Section, setting


def _place(value: str) -> str:
    host, port = host_port(value, 8445)
    return str(SmartHost(host, port)) if port != 25 else f"{SmartHost(host)}:25"  # which a smart host leaves out


class SiteNode(Section):
    """Where another node's internal listener is, and which nodes take mail in its place when it does not answer."""

    name: Domain = setting(description="The node's server.hostname, as `gatepost site status` shows it.")
    address: Annotated[str, Checked(_place), Form('"host", "host:port" or "[v6]:port"')] = setting(
        default="",
        description="Host name or IP address, and the port unless it is 8445. The server there must prove that it is "
        "the node. Empty: the node's own name.",
    )
    same_store: tuple[Domain, ...] = setting(
        default=(),
        description="server.hostname of the nodes that share its database. Mail for its organizations goes to them, "
        "in this order, when it does not answer. Each must prove its own name; its own [[site.node]] says where it is.",
    )


class Site(Section):
    """The address at which nodes join the site and renew certificates (docs/site.md). Needs store.master_key."""

    address: Annotated[str, Checked(address_or_none), Form('"host:port" or "[v6]:port"; empty: nobody can join')] = (
        setting(
            default="",
            description='Address and port at which nodes request certificates, such as "0.0.0.0:8444"; only on the '
            "node where you ran gatepost site init.",
        )
    )
    node_lifetime: Annotated[Duration, Range(10, 7776000, format_duration)] = setting(
        default=604800,
        description="Lifetime of a node's certificate. Nodes renew after half of it. A removed node stays trusted "
        "until its last certificate expires.",
    )
    nodes: tuple[SiteNode, ...] = setting(default=(), alias="node", description="[[site.node]]")
